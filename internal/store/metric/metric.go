// Package metric keeps metrics in a Prometheus TSDB for each tenant and
// answers PromQL over them. It is the only package that knows the engine; it
// adds what an embedded store needs and the engine lacks: tenants, retention
// over all of them, a disk that may run full, and one account of what was
// refused and why.
package metric

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Store is the metric store of one Guanlan. All methods are safe for
// concurrent use.
//
// On disk, Dir holds a folder for each tenant, which is an ordinary Prometheus
// TSDB (blocks, wal, wbl, chunks_head) that promtool reads, with families.json
// beside; and the file reserve, whose space is given up when the disk fills.
//
// Durability: what a write acknowledged is in the write-ahead log, that is in
// the page cache, and survives the death of the process. The log reaches the
// disk itself when the system writes it back or a segment is full; a power
// failure may lose the seconds before.
type Store struct {
	opts      Options
	space     *space
	retention *retention
	engine    *engine
	counts    counters
	converter sync.Pool // of *prometheusremotewrite.PrometheusConverter

	mu      sync.RWMutex
	tenants map[store.Tenant]*instance
	closed  bool

	stop   context.CancelFunc
	upkeep sync.WaitGroup
}

// Open opens the store in opts.Dir and its default tenant, replaying what the
// last process left in the write-ahead log. Other tenants are opened at their
// first use. On a full disk it opens what it can and the rest when there is
// space.
func Open(opts Options) (*Store, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open metric store: %w", err)
	}
	s := &Store{opts: opts, tenants: map[store.Tenant]*instance{}}
	s.space = newSpace(opts.Dir, opts.MinFree, opts.Logger, s.seriesInMemory)
	s.retention = newRetention(opts.Retention, opts.MaxBytes)
	s.engine = newEngine(&s.opts)
	if !s.space.refresh() {
		s.space.release() // opening may have to repair a log
		s.space.low.Store(true)
	}
	if _, err := s.instance(store.Tenant{}, true); errors.Is(err, errNoRoom) {
		opts.Logger.Error("metrics are closed until the disk has space", "err", err)
	} else if err != nil {
		return nil, errors.Join(err, s.engine.close())
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.upkeep.Go(func() { s.keepSpace(ctx) })
	s.upkeep.Go(func() { s.maintain(ctx) })
	return s, nil
}

// Close ends queries and appends (it waits for those under way as long as ctx
// lasts) and closes all tenants. A tenant that is still in use when ctx ends
// is left as after a crash: nothing is lost.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.upkeep.Wait()

	all := s.instances()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, in := range all {
		wg.Go(func() { errs[i] = in.close(ctx) })
	}
	wg.Wait()
	errs = append(errs, s.engine.close())
	return errors.Join(errs...)
}

// Exists reports whether the tenant has data or had some.
func (s *Store) Exists(t store.Tenant) bool {
	s.mu.RLock()
	in := s.tenants[t]
	s.mu.RUnlock()
	if in != nil {
		return true
	}
	_, err := os.Stat(filepath.Join(s.opts.Dir, tenantDir(t)))
	return err == nil
}

// Options returns the options in force, defaults filled in.
func (s *Store) Options() Options {
	o := s.opts
	o.Promote = slices.Clone(o.Promote)
	return o
}

// instance returns the opened tenant. For one that does not exist it returns
// nil, or creates it when create is set.
func (s *Store) instance(t store.Tenant, create bool) (*instance, error) {
	s.mu.RLock()
	in, closed := s.tenants[t], s.closed
	s.mu.RUnlock()
	if closed {
		return nil, s.closing(t)
	}
	if in == nil {
		var err error
		if in, err = s.admitTenant(t, create); in == nil {
			return nil, err
		}
	}
	if err := in.open(); err != nil {
		return nil, err
	}
	return in, nil
}

func (s *Store) closing(t store.Tenant) error {
	return fmt.Errorf("open metrics of tenant %s: closing: %w", t, store.ErrUnavailable)
}

// admitTenant puts t among the tenants of this process, without opening it.
func (s *Store) admitTenant(t store.Tenant, create bool) (*instance, error) {
	dir := filepath.Join(s.opts.Dir, tenantDir(t))
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.tenants[t]; in != nil {
		return in, nil
	}
	if s.closed {
		return nil, s.closing(t)
	}
	if !create {
		if _, err := os.Stat(dir); err != nil {
			return nil, nil
		}
	}
	if len(s.tenants) >= MaxTenants {
		return nil, fmt.Errorf("open metrics of tenant %s: %w", t, ErrTenants)
	}
	in := newInstance(s, t, dir)
	s.tenants[t] = in
	return in, nil
}

// instances returns all tenants that were used since Open.
func (s *Store) instances() []*instance {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*instance, 0, len(s.tenants))
	for _, in := range s.tenants {
		all = append(all, in)
	}
	return all
}

func (s *Store) seriesInMemory() uint64 {
	var n uint64
	for _, in := range s.instances() {
		if g := in.gen.Load(); g != nil {
			n += g.db.Head().NumSeries()
		}
	}
	return n
}

// ErrTenants refuses a tenant beyond MaxTenants. It wraps store.ErrInvalid, not
// store.ErrUnavailable: tenants stay open until the process ends, so that who
// tried again would do so for ever.
var ErrTenants = fmt.Errorf("metrics of %d tenants are open, the most that one process keeps: send further tenants to another instance: %w", MaxTenants, store.ErrInvalid)

// tenantDir is the name of a tenant's folder: "0", "12" or "12_3". The colon of
// the header would end a path in many a configuration.
func tenantDir(t store.Tenant) string { return strings.ReplaceAll(t.String(), ":", "_") }

func parseTenantDir(name string) (store.Tenant, bool) {
	t, err := store.ParseTenant(strings.ReplaceAll(name, "_", ":"))
	return t, err == nil && name == tenantDir(t)
}

// closeGrace bounds how long a tenant that must be reopened waits for its
// queries. They end sooner by the query timeout; a stream of remote read may
// take longer.
const closeGrace = 5 * time.Minute
