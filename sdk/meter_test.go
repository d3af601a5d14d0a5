package sdk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// newMeters makes a provider that notes what it reports.
func newMeters(t testing.TB, opts MeterOptions) (*MeterProvider, *reports) {
	r := new(reports)
	opts.Failed = r.add
	return NewMeterProvider(opts), r
}

type reports struct {
	mu   sync.Mutex
	text []string
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, err.Error())
}

// take is what was reported since the last call.
func (r *reports) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.text
	r.text = nil
	return text
}

// points collects and returns how many data points there are.
func points(t testing.TB, p *MeterProvider) int {
	t.Helper()
	_, n, err := p.Collect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInstrumentsAreTheSame(t *testing.T) {
	p, r := newMeters(t, MeterOptions{})
	m := p.Meter("m", metric.WithInstrumentationAttributes(attribute.Int("a", 1), attribute.Int("b", 2)))
	if p.Meter("m", metric.WithInstrumentationAttributes(attribute.Int("b", 2), attribute.Int("a", 1))) != m || p.Meter("m") == m {
		t.Error("meters are not told apart by their scope")
	}
	one, _ := m.Int64Counter("Requests", metric.WithUnit("1"))
	if again, _ := m.Int64Counter("Requests", metric.WithUnit("1")); again != one || len(r.take()) != 0 {
		t.Error("the same instrument is another one, or is told of")
	}
	if spelled, _ := m.Int64Counter("REQUESTS", metric.WithUnit("1")); spelled != one {
		t.Error("a name that is spelled another way is another instrument")
	}
	if got := r.take(); len(got) != 1 || !strings.Contains(got[0], `"Requests" is also spelled "REQUESTS"`) {
		t.Errorf("another spelling: %q", got)
	}
	for range 2 { // is told once
		if other, _ := m.Float64Counter("requests", metric.WithUnit("1")); any(other) == any(one) {
			t.Error("a counter of fractions is one of integers")
		}
	}
	if got := r.take(); len(got) != 1 || !strings.Contains(got[0], "counter of integers") || !strings.Contains(got[0], "counter of fractions") {
		t.Errorf("a contradiction: %q", got)
	}
}

func TestInstrumentNames(t *testing.T) {
	m := NewMeterProvider(MeterOptions{Failed: func(error) {}}).Meter("m")
	for name, valid := range map[string]bool{"a": true, "A_b.c-d/9": true, strings.Repeat("x", 255): true, strings.Repeat("x", 256): false, "": false, "9": false, "_a": false, "a b": false, "é": false, "aé": false, "a{": false} {
		c, err := m.Int64Counter(name)
		if (err == nil) != valid || err != nil && !errors.Is(err, ErrInstrumentName) {
			t.Errorf("name %q: %v", name, err)
		}
		c.Add(t.Context(), 1) // works all the same
		if _, err := m.Float64ObservableGauge(name + "?"); !errors.Is(err, ErrInstrumentName) {
			t.Errorf("name %q: %v", name+"?", err)
		}
	}
	for _, bounds := range [][]float64{{2, 1}, {1, 1}, {math.NaN()}, {0, math.NaN()}} {
		h, err := m.Float64Histogram(fmt.Sprint("h", len(bounds), bounds[0] == bounds[0]), metric.WithExplicitBucketBoundaries(bounds...))
		if err == nil {
			t.Errorf("bounds %v are taken", bounds)
		}
		h.Record(t.Context(), 1)
	}
}

func TestWhatIsNoMeasurementIsIgnored(t *testing.T) {
	p, _ := newMeters(t, MeterOptions{})
	m := p.Meter("m")
	whole, _ := m.Int64Counter("whole")
	whole.Add(t.Context(), -1)
	fraction, _ := m.Float64Counter("fraction")
	fraction.Add(t.Context(), -0.5)
	fraction.Add(t.Context(), math.NaN())
	h, _ := m.Float64Histogram("h")
	h.Record(t.Context(), math.NaN())
	if n := points(t, p); n != 0 {
		t.Errorf("%d points of nothing", n)
	}
	var none context.Context
	whole.Add(none, 1)
	h.Record(none, 1)
	if n := points(t, p); n != 2 {
		t.Errorf("%d points without a context, want 2", n)
	}
}

// gauge observes 1 after f was called.
func gauge(t testing.TB, m metric.Meter, name string, f func(context.Context) error) {
	t.Helper()
	_, err := m.Int64ObservableGauge(name, metric.WithInt64Callback(func(ctx context.Context, o metric.Int64Observer) error {
		err := f(ctx)
		o.Observe(1)
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
}

func TestCallbacksThatFail(t *testing.T) {
	p, r := newMeters(t, MeterOptions{})
	m := p.Meter("m")
	works := false
	gauge(t, m, "panics", func(context.Context) error {
		if !works {
			panic("oh")
		}
		return nil
	})
	gauge(t, m, "fails", func(context.Context) error {
		if !works {
			return errors.New("no")
		}
		return nil
	})
	gauge(t, m, "leaves", func(context.Context) error {
		if !works {
			runtime.Goexit()
		}
		return nil
	})
	gauge(t, m, "fine", func(context.Context) error { return nil })
	for round, want := range []struct {
		works   bool
		points  int
		reports int
	}{{false, 2, 2}, {false, 2, 0}, {true, 4, 0}, {false, 2, 2}} { // what was observed with an error counts
		works = want.works
		n, got := points(t, p), r.take()
		if n != want.points || len(got) != want.reports {
			t.Errorf("round %d: %d points and reports %q, want %d and %d", round, n, got, want.points, want.reports)
		}
		if round == 0 && (!strings.Contains(got[0], `meter "m": callback of instrument "panics": panic: oh`) || !strings.Contains(got[1], `"fails": no`)) {
			t.Errorf("reports %q", got)
		}
	}
}

// A callback that blocks costs its own values; others are sent in time, and it
// is not called again beside itself.
func TestCallbacksThatBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, r := newMeters(t, MeterOptions{Timeout: 2 * time.Second})
		m := p.Meter("m")
		stuck := make(chan struct{})
		var calls, over atomic.Int32
		gauge(t, m, "stuck", func(ctx context.Context) error {
			calls.Add(1)
			<-stuck
			if ctx.Err() != nil {
				over.Add(1)
			}
			return nil
		})
		gauge(t, m, "obeys", func(ctx context.Context) error { // and takes all the time there is
			<-ctx.Done()
			return nil
		})
		gauge(t, m, "slow", func(ctx context.Context) error { time.Sleep(time.Second); return nil })
		gauge(t, m, "fine", func(context.Context) error { return nil })
		began := time.Now()
		if n, took := points(t, p), time.Since(began); n != 3 || took != 2*time.Second+patience {
			t.Errorf("%d points after %v, want those of obeys, slow and fine when stuck is given up", n, took)
		}
		if got := r.take(); len(got) != 1 || !strings.Contains(got[0], `callback of instrument "stuck": it takes too long`) {
			t.Errorf("reports %q, want one of stuck", got)
		}
		if n := points(t, p); n != 3 || calls.Load() != 1 || len(r.take()) != 0 {
			t.Errorf("again: %d points, stuck was called %d times", n, calls.Load())
		}
		close(stuck)
		synctest.Wait()
		if n := points(t, p); n != 4 || calls.Load() != 2 || over.Load() != 1 {
			t.Errorf("after it has returned: %d points, stuck was called %d times, %d with a context that had ended", n, calls.Load(), over.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		began = time.Now()
		r.take()
		if _, n, err := p.Collect(ctx, nil); err != nil || n < 2 || n > 3 || time.Since(began) != 500*time.Millisecond || len(r.take()) != 0 {
			t.Errorf("with half a second: %d points, error %v after %v, and nobody is to blame", n, err, time.Since(began))
		}
		synctest.Wait()
		time.Sleep(time.Second)
	})
}

// Who waits for a collection that is under way waits no longer than its context.
func TestCollectionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newMeters(t, MeterOptions{Timeout: 10 * time.Second})
		var inside, most atomic.Int32
		gauge(t, p.Meter("m"), "slow", func(context.Context) error {
			most.Store(max(most.Load(), inside.Add(1)))
			time.Sleep(time.Second)
			inside.Add(-1)
			return nil
		})
		for range 3 {
			go func() {
				if _, n, err := p.Collect(context.Background(), nil); n != 1 || err != nil {
					t.Errorf("%d points, %v", n, err)
				}
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, _, err := p.Collect(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("behind three others: %v", err)
		}
		time.Sleep(5 * time.Second)
		if most.Load() != 1 {
			t.Errorf("%d calls at a time", most.Load())
		}
	})
}

func TestRegisterCallback(t *testing.T) {
	p, r := newMeters(t, MeterOptions{})
	m, other := p.Meter("m"), p.Meter("other")
	a, _ := m.Int64ObservableCounter("a")
	b, _ := m.Float64ObservableGauge("b")
	foreign, _ := other.Int64ObservableGauge("foreign")
	var escaped metric.Observer
	reg, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		escaped = o
		o.ObserveInt64(a, 1)
		o.ObserveFloat64(b, 1) // not registered for
		o.ObserveInt64(nil, 1)
		return nil
	}, a)
	if err != nil {
		t.Fatal(err)
	}
	if n, got := points(t, p), r.take(); n != 1 || len(got) != 1 || !strings.Contains(got[0], `"b" is observed by a callback that was not registered for it`) {
		t.Errorf("%d points, reports %q", n, got)
	}
	escaped.ObserveInt64(a, 5) // too late
	for range 2 {
		if err := reg.Unregister(); err != nil {
			t.Error(err)
		}
	}
	if n := points(t, p); n != 0 {
		t.Errorf("%d points after Unregister", n)
	}
	reg, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error { o.ObserveInt64(a, 1); return nil }, foreign, a)
	if err == nil || !strings.Contains(err.Error(), `"foreign" is of meter "other"`) {
		t.Errorf("an instrument of another meter: %v", err)
	}
	if n := points(t, p); n != 1 {
		t.Errorf("%d points, want that of the own instrument", n)
	}
	for _, bad := range []func() (metric.Registration, error){
		func() (metric.Registration, error) { return m.RegisterCallback(nil, a) },
		func() (metric.Registration, error) {
			return m.RegisterCallback(func(context.Context, metric.Observer) error { return nil }, nil)
		},
	} {
		reg, err := bad()
		if err == nil || reg == nil || reg.Unregister() != nil {
			t.Errorf("registration %v, %v", reg, err)
		}
	}
	_ = reg.Unregister()
	gauge(t, m, "twice", func(context.Context) error { return nil })
	gauge(t, m, "twice", func(context.Context) error { t.Error("the callback of the second is called"); return nil })
	if got := r.take(); points(t, p) != 1 || len(got) != 1 || !strings.Contains(got[0], "RegisterCallback") {
		t.Errorf("an instrument with a callback twice: %q", got)
	}
}

// What a callback may do to the SDK while it is called must not stop anybody.
func TestCallbacksMayUseTheSDK(t *testing.T) {
	p, _ := newMeters(t, MeterOptions{})
	m := p.Meter("m")
	var reg metric.Registration
	a, _ := m.Int64ObservableCounter("a")
	reg, _ = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(a, 1)
		_ = reg.Unregister()
		c, _ := p.Meter("new").Int64Counter("c")
		c.Add(context.Background(), 1)
		gauge(t, m, "g", func(context.Context) error { return nil })
		return nil
	}, a)
	if n := points(t, p); n != 2 {
		t.Errorf("%d points, want those of a and c", n)
	}
	if n := points(t, p); n != 2 {
		t.Errorf("%d points, want those of c and g", n)
	}
}

// Whoever hears of a failure may have metrics sent.
func TestFailuresAreToldBetweenCollections(t *testing.T) {
	var p *MeterProvider
	told := 0
	p = NewMeterProvider(MeterOptions{Failed: func(error) {
		told++
		points(t, p)
	}})
	gauge(t, p.Meter("m"), "fails", func(context.Context) error { return errors.New("no") })
	if n := points(t, p); n != 1 || told != 1 {
		t.Errorf("%d points, told %d times", n, told)
	}
}

func TestObservationsAreBounded(t *testing.T) {
	p, r := newMeters(t, MeterOptions{Cardinality: 10})
	_, _ = p.Meter("m").Int64ObservableCounter("a", metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
		for n := range maxSeen + 10 {
			o.Observe(1, metric.WithAttributes(attribute.Int("n", n)))
		}
		return nil
	}))
	if n, got := points(t, p), r.take(); n != 10 || len(got) != 1 || !strings.Contains(got[0], "more than") {
		t.Errorf("%d points, reports %q", n, got)
	}
}

func TestStoppedMeters(t *testing.T) {
	p, _ := newMeters(t, MeterOptions{})
	m := p.Meter("m")
	c, _ := m.Int64Counter("c")
	h, _ := m.Float64Histogram("h")
	called := 0
	gauge(t, m, "g", func(context.Context) error { called++; return nil })
	c.Add(t.Context(), 1)
	if !c.Enabled(t.Context()) || points(t, p) != 2 {
		t.Error("not enabled")
	}
	p.Stop()
	c.Add(t.Context(), 1)
	h.Record(t.Context(), 1)
	if c.Enabled(t.Context()) || points(t, p) != 1 || called != 1 {
		t.Errorf("after Stop: enabled %v, the callback was called %d times", c.Enabled(t.Context()), called)
	}
	late, err := p.Meter("late").Int64Counter("late")
	if err != nil || late.Enabled(t.Context()) {
		t.Errorf("a late instrument: %v", err)
	}
	late.Add(t.Context(), 1)
	if _, err := m.RegisterCallback(func(context.Context, metric.Observer) error { t.Error("called"); return nil }); err != nil {
		t.Error(err)
	}
	points(t, p)
}

// Whatever the order: the series of a set of attributes is that of the core.
func TestSeriesAreFound(t *testing.T) {
	p, _ := newMeters(t, MeterOptions{Cardinality: 100})
	c, _ := p.Meter("m").Int64Counter("c")
	i := c.(*int64Instrument)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range 5000 {
				n = (n*7 + g) % 3000
				kv := []attribute.KeyValue{attribute.Int("n", n), attribute.String("s", "x")}
				if g%2 == 0 {
					kv[0], kv[1] = kv[1], kv[0]
				}
				set := attribute.NewSet(kv...)
				if got, want := i.of(&set), i.core.With(core.Int("n", int64(n)), core.String("s", "x")); got != want {
					t.Errorf("%v has the series of others", kv)
					return
				}
			}
		}()
	}
	wg.Wait()
	if i.series.len > maxBoundSeries {
		t.Errorf("%d sets are remembered", i.series.len)
	}
}

func TestMeterAllocations(t *testing.T) {
	p, _ := newMeters(t, MeterOptions{})
	m := p.Meter("m")
	c, _ := m.Int64Counter("c")
	h, _ := m.Float64Histogram("h")
	set := attribute.NewSet(attribute.String("http.request.method", "GET"), attribute.Int("http.response.status_code", 200))
	add, record := []metric.AddOption{metric.WithAttributeSet(set)}, []metric.RecordOption{metric.WithAttributeSet(set)}
	ctx, _ := newTracer(t, 1).Start(t.Context(), "n")
	for name, f := range map[string]func(){
		"a counter": func() { c.Add(ctx, 1, add...) }, "a histogram": func() { h.Record(ctx, 0.5, record...) },
		"a counter without attributes": func() { c.Add(ctx, 1) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s takes %v allocations", name, n)
		}
	}
}
