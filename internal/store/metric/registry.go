package metric

import (
	"errors"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/guanlan-io/guanlan/internal/store"
)

// registry holds the metrics of one generation and picks out those that the
// store itself needs while it runs.
type registry struct {
	*prometheus.Registry
	mu        sync.Mutex
	logErrors []prometheus.Collector
}

func newRegistry() *registry { return &registry{Registry: prometheus.NewRegistry()} }

// The engine counts failed writes to its two logs; there is no other way to
// learn that an out-of-order sample did not reach the log, nor that a record
// of another appender was cut short before ours.
var logErrorNames = []string{
	`fqName: "prometheus_tsdb_wal_writes_failed_total"`,
	`fqName: "prometheus_tsdb_out_of_order_wbl_writes_failed_total"`,
}

// Register implements prometheus.Registerer.
func (r *registry) Register(c prometheus.Collector) error {
	if err := r.Registry.Register(c); err != nil {
		return err
	}
	descs := make(chan *prometheus.Desc, 16)
	go func() { c.Describe(descs); close(descs) }()
	for d := range descs {
		for _, name := range logErrorNames {
			if strings.Contains(d.String(), name) {
				r.mu.Lock()
				r.logErrors = append(r.logErrors, c)
				r.mu.Unlock()
			}
		}
	}
	return nil
}

// MustRegister implements prometheus.Registerer.
func (r *registry) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// ready fails when the engine no longer counts failed log writes, as another
// version might: then nothing could be acknowledged honestly.
func (r *registry) ready(outOfOrder bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	want := 1
	if outOfOrder {
		want = 2
	}
	if len(r.logErrors) < want {
		return errors.New("BUG: the engine does not count failed log writes")
	}
	return nil
}

// logFailed reports whether any write to a log has failed.
func (r *registry) logFailed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := make(chan prometheus.Metric, 1)
	for _, c := range r.logErrors {
		c.Collect(ch)
		var m dto.Metric
		if err := (<-ch).Write(&m); err == nil && m.GetCounter().GetValue() > 0 {
			return true
		}
	}
	return false
}

// export shows a generation's metrics under the tenant's label.
func (s *Store) export(t store.Tenant, g *generation) {
	if s.opts.Registerer == nil {
		return
	}
	if err := s.labelled(t).Register(g.metrics.Registry); err != nil {
		s.opts.Logger.Warn("register metrics of the metric store", "tenant", t.String(), "err", err)
	}
}

func (s *Store) unexport(t store.Tenant, g *generation) {
	if s.opts.Registerer != nil {
		s.labelled(t).Unregister(g.metrics.Registry)
	}
}

func (s *Store) labelled(t store.Tenant) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"tenant": t.String()}, s.opts.Registerer)
}
