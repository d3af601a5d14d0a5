package metric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/guanlan-io/guanlan/internal/store"
)

// instance is one tenant of a Store. Its engine is opened once and, after a
// disk error, closed and opened again: each opening is a generation.
type instance struct {
	s        *Store
	tenant   store.Tenant
	dir      string
	log      *slog.Logger
	families *families

	gen       atomic.Pointer[generation] // nil while not open
	down      atomic.Bool                // had to be closed, or never had room to open; upkeep opens it
	repairing atomic.Bool                // upkeep is at it

	mu      sync.Mutex // serialises open, reopen and close; guards the next three
	closed  bool
	openErr error
	nextTry time.Time

	deltaMu sync.Mutex
	delta   *accumulator
}

// generation is one opening of the engine. Whoever reads or appends stands in
// the gate meanwhile: the engine unmaps its files when closed, so that closing
// it under a reader would end the process.
type generation struct {
	db      *tsdb.DB
	replay  *tsdb.DBStats
	metrics *registry
	reads   gate
	appends gate
	// broken: a write to a log failed. What follows the failed record may not
	// be readable after a restart, so nothing more is acknowledged.
	broken atomic.Bool
	bound  seriesBound
}

// openRetry spaces attempts to open a tenant whose folder cannot be opened.
const openRetry = 5 * time.Second

func newInstance(s *Store, t store.Tenant, dir string) *instance {
	return &instance{
		s: s, tenant: t, dir: dir,
		log:      s.opts.Logger.With("tenant", t.String()),
		families: loadFamilies(filepath.Join(dir, familiesFile), s.opts.Logger),
	}
}

// open opens the engine unless it is open. While a tenant is being reopened
// after a disk error it answers with an error instead of waiting.
func (in *instance) open() error {
	if in.gen.Load() != nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.gen.Load() != nil {
		return nil
	}
	if in.closed {
		return in.s.closing(in.tenant)
	}
	if in.down.Load() {
		return in.unavailable()
	}
	if time.Now().Before(in.nextTry) {
		return in.openErr
	}
	if err := in.start(); err != nil {
		in.openErr = fmt.Errorf("open metrics of tenant %s: %w: %w", in.tenant, err, store.ErrUnavailable)
		if errors.Is(err, errNoRoom) {
			in.down.Store(true)
		} else {
			in.nextTry = time.Now().Add(openRetry)
		}
		return in.openErr
	}
	return nil
}

var errNoRoom = errors.New("disk full: opening writes to it")

// start opens the engine. in.mu is held.
func (in *instance) start() error {
	if !in.s.space.roomToOpen() {
		return errNoRoom
	}
	g := &generation{replay: tsdb.NewDBStats(), metrics: newRegistry()}
	began := time.Now()
	var logs int64
	for _, name := range []string{"wal", "wbl", "chunks_head"} {
		logs += dirSize(filepath.Join(in.dir, name))
	}
	in.s.retention.setLogs(in.tenant, logs)
	db, err := tsdb.Open(in.dir, in.log, g.metrics, in.s.opts.engine(in.blocksToDelete, &g.bound), g.replay)
	if err != nil {
		return err
	}
	g.db = db
	// Compaction is run by upkeep: one tenant at a time, and not when the disk
	// has no room for the new block.
	db.DisableCompactions()
	if err := g.metrics.ready(in.s.opts.OutOfOrder > 0); err != nil {
		return errors.Join(err, db.Close())
	}
	g.bound.on.Store(true)
	in.s.export(in.tenant, g)
	in.gen.Store(g)
	in.log.Info("metrics opened", "dir", in.dir, "took", time.Since(began), "series", db.Head().NumSeries(), "blocks", len(db.Blocks()))
	return nil
}

// stop closes the current generation, waiting for its users as long as ctx
// lasts; if they do not leave, it leaves the engine as it is. in.mu is held.
func (in *instance) stop(ctx context.Context) error {
	g := in.gen.Load()
	if g == nil {
		return nil
	}
	if err := errors.Join(g.appends.close(ctx), g.reads.close(ctx)); err != nil {
		return fmt.Errorf("close metrics of tenant %s: still in use: %w", in.tenant, err)
	}
	in.gen.Store(nil)
	in.s.unexport(in.tenant, g)
	if err := closeEngine(g.db); err != nil {
		return fmt.Errorf("close metrics of tenant %s: %w", in.tenant, err)
	}
	return nil
}

// closeEngine turns the panic of an engine that cannot write its last chunks
// into an error; those chunks are in the write-ahead log.
func closeEngine(db *tsdb.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("write head chunks: %v", p)
		}
	}()
	return db.Close()
}

// repair has upkeep do f, unless it is at this tenant already: f waits for the
// tenant's readers, and the others must not wait with it.
func (in *instance) repair(f func()) {
	if !in.repairing.CompareAndSwap(false, true) {
		return
	}
	in.s.upkeep.Go(func() {
		defer in.repairing.Store(false)
		in.mu.Lock()
		defer in.mu.Unlock()
		if !in.closed {
			f()
		}
	})
}

// needsRepair reports whether the tenant is closed, or should be, for a fault
// of the disk.
func (in *instance) needsRepair() bool {
	g := in.gen.Load()
	return in.down.Load() || (g != nil && g.broken.Load())
}

// reopen replaces a broken generation, which repairs the log: it cuts off what
// follows the record that failed, all of which was refused to the senders.
// in.mu is held.
func (in *instance) reopen(ctx context.Context) {
	if !in.needsRepair() || time.Now().Before(in.nextTry) {
		return
	}
	in.down.Store(true)
	in.nextTry = time.Now().Add(openRetry)
	ctx, cancel := context.WithTimeout(ctx, closeGrace)
	defer cancel()
	if err := in.stop(ctx); err != nil {
		if in.gen.Load() != nil {
			in.log.Warn("reopen metrics after a disk error: later", "err", err)
			return
		}
		in.log.Warn("metrics did not close cleanly after a disk error", "err", err)
	}
	if err := in.start(); err != nil {
		in.log.Error("reopen metrics after a disk error", "err", err)
		return
	}
	in.down.Store(false)
}

// close closes the tenant for good.
func (in *instance) close(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	in.deltaMu.Lock()
	if in.delta != nil {
		in.delta.close()
	}
	in.deltaMu.Unlock()
	return errors.Join(in.stop(ctx), in.families.save())
}

// unavailable is what users of a tenant without engine get.
func (in *instance) unavailable() error {
	return fmt.Errorf("metrics of tenant %s are closed until the disk has space and takes writes: %w", in.tenant, store.ErrUnavailable)
}

// read returns the engine for reading; the caller must leave its gate reads.
func (in *instance) read() (g *generation, err error) {
	if g = in.gen.Load(); g == nil || !g.reads.enter() {
		return nil, in.unavailable()
	}
	return g, nil
}

// settle brings pending chunks to disk. If the engine cannot do that, although
// the reserve made room, the tenant is closed until there is space: the
// engine's own attempt, within a minute, would end the process.
func (in *instance) settle(ctx context.Context) {
	g := in.gen.Load()
	if g == nil {
		return
	}
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%v", p)
			}
		}()
		g.db.ForceHeadMMap()
		return nil
	}()
	if err == nil {
		return
	}
	in.log.Error("disk full: metrics are closed until the disk has space", "err", err)
	g.broken.Store(true)
	in.down.Store(true)
	in.repair(func() {
		ctx, cancel := context.WithTimeout(ctx, settleGrace)
		defer cancel()
		if err := in.stop(ctx); err != nil {
			in.log.Error("close metrics on a full disk", "err", err)
		}
	})
}

// settleGrace is shorter than the minute after which the engine writes its
// chunks by itself.
const settleGrace = 30 * time.Second
