package red

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

func newTenants(max int, o Options) *Tenants {
	return NewTenants(max, func(now time.Time) (Meter, error) { return NewAggregator(o, now, nil) })
}

func TestTenantsAreApart(t *testing.T) {
	tenants := newTenants(2, Options{Expiration: time.Minute})
	observe := func(after time.Duration, tenant string, spans int) {
		t.Helper()
		var list []testSpan
		for range spans {
			list = append(list, testSpan{service: "a", name: "n"})
		}
		if err := tenants.Observe(t0.Add(after), tenant, batch(list...)); err != nil {
			t.Fatal(err)
		}
	}
	calls := func(after time.Duration) map[string]uint64 {
		out := map[string]uint64{}
		tenants.Flush(t0.Add(after), func(tenant string, md pmetric.Metrics) {
			r := newRecorder()
			r.record(md)
			for key, n := range r.last("traces.span.metrics.calls") {
				if points := r.series["traces.span.metrics.calls"+key]; !points[len(points)-1].stale {
					out[tenant] += n
				}
			}
		})
		return out
	}
	observe(0, "1", 1)
	observe(0, "2", 0) // takes no place
	observe(0, "3", 2)
	observe(0, "4", 3) // one too many
	if d := cmp.Diff(map[string]uint64{"1": 1, "3": 2}, calls(time.Second)); d != "" {
		t.Error("(-want +got):", d)
	}
	if got := tenants.Rejected(); got != 3 {
		t.Errorf("%d spans rejected, want 3", got)
	}
	calls(time.Hour) // all end
	observe(time.Hour, "4", 3)
	if d := cmp.Diff(map[string]uint64{"4": 3}, calls(time.Hour+time.Second)); d != "" {
		t.Error("after expiry (-want +got):", d)
	}
}

func TestTenantsTellWhatFails(t *testing.T) {
	broken := errors.New("broken")
	tenants := NewTenants(0, func(time.Time) (Meter, error) { return nil, broken })
	if err := tenants.Observe(t0, "1", batch(testSpan{})); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

// A tenant that is forgotten while its spans come in does not take them along.
func TestTenantsWhileFlushing(t *testing.T) {
	const workers, rounds = 3, 300
	tenants := newTenants(0, Options{Expiration: time.Nanosecond})
	done := make(chan struct{})
	var work sync.WaitGroup
	for w := range workers {
		work.Go(func() {
			for i := range rounds {
				if err := tenants.Observe(t0, fmt.Sprint((w+i)%2), batch(testSpan{service: "a", name: "n"})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { work.Wait(); close(done) }()
	now := t0
	recorders := map[string]*recorder{}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		now = now.Add(time.Second)
		tenants.Flush(now, func(tenant string, md pmetric.Metrics) {
			if recorders[tenant] == nil {
				recorders[tenant] = newRecorder()
			}
			recorders[tenant].record(md)
		})
	}
	var got uint64
	for _, r := range recorders {
		for key, points := range r.series {
			if strings.HasPrefix(key, "traces.span.metrics.calls") {
				got += total(points)
			}
		}
	}
	if want := uint64(workers * rounds); got != want {
		t.Errorf("counted %d, want %d", got, want)
	}
}
