package red

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Meter makes metrics from spans: an Aggregator or a Graph.
type Meter interface {
	Observe(now time.Time, td ptrace.Traces)
	Flush(now time.Time, emit func(pmetric.Metrics))
	Idle() bool
}

// Tenants keeps a Meter for each tenant, so that the metrics of one hold
// nothing of another's. Safe for concurrent use.
type Tenants struct {
	max      int
	open     func(now time.Time) (Meter, error)
	rejected atomic.Uint64

	// Observe holds mu for reading while it uses a meter, so that none is
	// forgotten in use.
	mu     sync.RWMutex
	meters map[string]Meter
}

// NewTenants returns a Tenants of at most max, DefaultMaxTenants if 0. open
// makes the meter of a new one.
func NewTenants(max int, open func(now time.Time) (Meter, error)) *Tenants {
	if max == 0 {
		max = DefaultMaxTenants
	}
	return &Tenants{max: max, open: open, meters: map[string]Meter{}}
}

// Observe hands td to the meter of tenant. When there are too many tenants
// already, the spans are not counted but by Rejected.
func (t *Tenants) Observe(now time.Time, tenant string, td ptrace.Traces) error {
	if td.SpanCount() == 0 {
		return nil
	}
	for {
		t.mu.RLock()
		m := t.meters[tenant]
		if m != nil {
			m.Observe(now, td)
			t.mu.RUnlock()
			return nil
		}
		t.mu.RUnlock()
		if ok, err := t.add(now, tenant); err != nil {
			return err
		} else if !ok {
			t.rejected.Add(uint64(td.SpanCount()))
			return nil
		}
	}
}

func (t *Tenants) add(now time.Time, tenant string) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.meters[tenant] != nil {
		return true, nil
	}
	if len(t.meters) >= t.max {
		return false, nil
	}
	m, err := t.open(now)
	if err != nil {
		return false, fmt.Errorf("open meter of tenant %q: %w", tenant, err)
	}
	t.meters[tenant] = m
	return true, nil
}

// Flush flushes the meters of all tenants and forgets those that hold nothing
// more.
func (t *Tenants) Flush(now time.Time, emit func(tenant string, md pmetric.Metrics)) {
	t.mu.RLock()
	meters := make(map[string]Meter, len(t.meters))
	for tenant, m := range t.meters {
		meters[tenant] = m
	}
	t.mu.RUnlock()
	for tenant, m := range meters {
		m.Flush(now, func(md pmetric.Metrics) { emit(tenant, md) })
		if !m.Idle() {
			continue
		}
		t.mu.Lock()
		if m.Idle() && t.meters[tenant] == m { // still: spans may have come meanwhile
			delete(t.meters, tenant)
		}
		t.mu.Unlock()
	}
}

// Rejected is how many spans were not counted because there were too many
// tenants.
func (t *Tenants) Rejected() uint64 { return t.rejected.Load() }
