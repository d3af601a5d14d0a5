package red

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"
)

func newAggregator(t interface{ Fatal(...any) }, o Options, stats *Stats) *Aggregator {
	a, err := NewAggregator(o, t0, stats)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNamesAndDimensions(t *testing.T) {
	a := newAggregator(t, Options{Dimensions: []Dimension{{Name: "http.response.status_code"}, {Name: "region", Default: "none"}, {Name: "flag"}}}, nil)
	a.Observe(t0, batch(
		testSpan{service: "shop", namespace: "eu", name: "GET /", kind: ptrace.SpanKindServer, duration: 3 * time.Millisecond,
			attributes: map[string]any{"http.response.status_code": 200, "flag": true}},
		testSpan{service: "shop", namespace: "eu", name: "GET /", kind: ptrace.SpanKindServer, status: ptrace.StatusCodeError, duration: time.Second,
			attributes: map[string]any{"http.response.status_code": "500"}, resource: map[string]any{"region": "x", "service.instance.id": "i1"}},
		testSpan{name: "tick"},
	))
	r := newRecorder()
	a.Flush(t0.Add(time.Second), r.record)
	r.check(t)
	want := map[string]uint64{
		`{flag="true",http.response.status_code="200",region="none",service.name="shop",span.kind="SPAN_KIND_SERVER",span.name="GET /",status.code="STATUS_CODE_UNSET"}`: 1,
		`{http.response.status_code="500",region="x",service.name="shop",span.kind="SPAN_KIND_SERVER",span.name="GET /",status.code="STATUS_CODE_ERROR"}`:                1,
		`{region="none",service.name="unknown_service",span.kind="SPAN_KIND_UNSPECIFIED",span.name="tick",status.code="STATUS_CODE_UNSET"}`:                              1,
	}
	if d := cmp.Diff(want, r.last("traces.span.metrics.calls")); d != "" {
		t.Error("calls (-want +got):", d)
	}
	if d := cmp.Diff(want, r.last("traces.span.metrics.duration")); d != "" {
		t.Error("durations (-want +got):", d)
	}
	if d := cmp.Diff(map[string]string{"traces.span.metrics.calls": "", "traces.span.metrics.duration": "ms"}, r.units); d != "" {
		t.Error("units (-want +got):", d)
	}
	for key, got := range r.resource {
		want := `{service.name="shop",service.namespace="eu"}`
		if strings.Contains(key, "unknown_service") {
			want = `{service.name="unknown_service"}`
		}
		if got != want {
			t.Errorf("resource of %s is %s, want %s", key, got, want)
		}
	}
}

func TestTempoNames(t *testing.T) {
	a := newAggregator(t, Options{Naming: NamingTempo, InstanceID: "gateway-1"}, nil)
	a.Observe(t0, batch(testSpan{service: "shop", name: "GET /", kind: ptrace.SpanKindServer, duration: 1500 * time.Millisecond}))
	r := newRecorder()
	a.Flush(t0.Add(time.Second), r.record)
	const key = `{collector.instance.id="gateway-1",service.name="shop",service="shop",span.kind="SPAN_KIND_SERVER",span.name="GET /",status.code="STATUS_CODE_UNSET"}`
	if got := r.series["traces.spanmetrics.latency"+key]; len(got) != 2 || got[1].sum != 1.5 {
		t.Errorf("latency = %+v, want a zero and 1.5 s", got)
	}
	if got := r.last("traces.spanmetrics.calls")[key]; got != 1 {
		t.Errorf("calls = %d, want 1", got)
	}
	if got := r.units["traces.spanmetrics.latency"]; got != "" {
		t.Errorf("unit %q, want none: it would become a suffix", got)
	}
}

func TestAggregatorRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"naming":    {Naming: 7},
		"unit":      {Unit: 7},
		"reserved":  {Dimensions: []Dimension{{Name: "span.name"}}},
		"same":      {Dimensions: []Dimension{{Name: "a.b"}, {Name: "a_b"}}},
		"nameless":  {Dimensions: []Dimension{{}}},
		"label":     {Dimensions: []Dimension{{Name: "le"}}},
		"histogram": {Histogram: HistogramOptions{MaxSize: -1}},
		"limit":     {MaxSeries: -1},
		"many":      {Dimensions: make([]Dimension, maxDimensions+1)},
	} {
		if _, err := NewAggregator(o, t0, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Prometheus sees the whole of a series' first interval only if the series
// begins with zero, and a series that ends leaves room for its return.
func TestLifeOfASeries(t *testing.T) {
	for _, o := range []Options{{Expiration: time.Minute}, {Expiration: time.Minute, Histogram: HistogramOptions{Exponential: true}}} {
		stats := &Stats{}
		a := newAggregator(t, o, stats)
		r := newRecorder()
		span := testSpan{service: "shop", name: "GET /", duration: time.Millisecond}
		now := t0
		flush := func(after time.Duration) {
			now = now.Add(after)
			a.Flush(now, r.record)
		}
		flush(15 * time.Second) // nothing
		a.Observe(now.Add(time.Second), batch(span, span))
		flush(15 * time.Second) // 0, 2
		flush(15 * time.Second) // 2
		flush(50 * time.Second) // stale
		flush(15 * time.Second) // nothing
		if !a.Idle() || stats.Series.Load() != 0 || stats.Removed.Load() != 1 || len(a.series) != 0 {
			t.Errorf("not forgotten: %d series, %d removed", stats.Series.Load(), stats.Removed.Load())
		}
		a.Observe(now, batch(span))
		flush(0) // 0, 1: a flush at the time of the one before moves on
		r.check(t)
		type seen struct {
			At    time.Duration
			Value uint64
			Stale bool
		}
		const s = time.Second
		const ms = time.Millisecond
		want := []seen{
			{15*s + ms, 0, false}, {30 * s, 2, false}, {45 * s, 2, false}, {95 * s, 0, true},
			{110*s + ms, 0, false}, {110*s + 2*ms, 1, false},
		}
		const key = `{service.name="shop",span.kind="SPAN_KIND_UNSPECIFIED",span.name="GET /",status.code="STATUS_CODE_UNSET"}`
		for _, metric := range []string{"traces.span.metrics.calls", "traces.span.metrics.duration"} {
			var got []seen
			for _, p := range r.series[metric+key] {
				got = append(got, seen{p.at.Sub(t0), max(p.value, p.count), p.stale})
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got): %s", metric, d)
			}
		}
	}
}

func TestExpirationNeverLosesSpans(t *testing.T) {
	a := newAggregator(t, Options{Expiration: time.Second}, nil)
	r := newRecorder()
	a.Observe(t0, batch(testSpan{service: "shop", name: "rare"}))
	a.Flush(t0.Add(time.Hour), r.record) // long idle, and never flushed before
	if got := r.last("traces.span.metrics.calls"); len(got) != 1 || got[`{service.name="shop",span.kind="SPAN_KIND_UNSPECIFIED",span.name="rare",status.code="STATUS_CODE_UNSET"}`] != 1 {
		t.Errorf("got %v, want one call", got)
	}
}

func TestOverflow(t *testing.T) {
	stats := &Stats{}
	a := newAggregator(t, Options{MaxSeries: 4, MaxSeriesPerService: 2, Dimensions: []Dimension{{Name: "user"}}}, stats)
	var spans []testSpan
	for i := range 5 { // noisy fills its own limit, not that of others
		spans = append(spans, testSpan{service: "noisy", name: fmt.Sprint("GET /", i), kind: ptrace.SpanKindServer, attributes: map[string]any{"user": "u"}})
	}
	spans = append(spans,
		testSpan{service: "noisy", name: "GET /9", kind: ptrace.SpanKindServer, status: ptrace.StatusCodeError},
		testSpan{service: "calm", name: "a"}, testSpan{service: "calm", name: "b"}, testSpan{service: "calm", name: "c"},
		testSpan{service: "late", name: "a"}, testSpan{service: "later", name: "a", kind: ptrace.SpanKindClient})
	a.Observe(t0, batch(spans...))
	r := newRecorder()
	a.Flush(t0.Add(time.Second), r.record)
	r.check(t)
	unset := func(labels string) string { return "{" + labels + `,status.code="STATUS_CODE_UNSET"}` }
	want := map[string]uint64{
		unset(`otel.metric.overflow="true",service.name="noisy",span.kind="SPAN_KIND_SERVER"`):                            3,
		`{otel.metric.overflow="true",service.name="noisy",span.kind="SPAN_KIND_SERVER",status.code="STATUS_CODE_ERROR"}`: 1,
		unset(`service.name="calm",span.kind="SPAN_KIND_UNSPECIFIED",span.name="a"`):                                      1,
		unset(`service.name="calm",span.kind="SPAN_KIND_UNSPECIFIED",span.name="b"`):                                      1,
		unset(`otel.metric.overflow="true",service.name="calm",span.kind="SPAN_KIND_UNSPECIFIED"`):                        1,
		unset(`otel.metric.overflow="true",span.kind="SPAN_KIND_UNSPECIFIED"`):                                            1,
		unset(`otel.metric.overflow="true",span.kind="SPAN_KIND_CLIENT"`):                                                 1,
		`{service.name="noisy",span.kind="SPAN_KIND_SERVER",span.name="GET /0",status.code="STATUS_CODE_UNSET",user="u"}`: 1,
		`{service.name="noisy",span.kind="SPAN_KIND_SERVER",span.name="GET /1",status.code="STATUS_CODE_UNSET",user="u"}`: 1,
	}
	if d := cmp.Diff(want, r.last("traces.span.metrics.calls")); d != "" {
		t.Error("calls (-want +got):", d)
	}
	if got := stats.Overflowed.Load(); got != 7 {
		t.Errorf("%d spans overflowed, want 7", got)
	}
	// Series that end make room again.
	a.Flush(t0.Add(time.Hour), r.record)
	a.Observe(t0.Add(time.Hour), batch(testSpan{service: "late", name: "a"}))
	a.Flush(t0.Add(time.Hour+time.Second), r.record)
	r.check(t)
	if got := r.last("traces.span.metrics.calls")[unset(`service.name="late",span.kind="SPAN_KIND_UNSPECIFIED",span.name="a"`)]; got != 1 {
		t.Errorf("after expiry the series of late has %d, want 1", got)
	}
}

func TestHashesThatCollide(t *testing.T) {
	a := newAggregator(t, Options{Dimensions: []Dimension{{Name: "d"}}}, nil)
	one, two := a.newService(serviceKey{name: "one"}), a.newService(serviceKey{name: "two"})
	type identity struct {
		svc          *service
		name, dim    string
		kind, status uint8
	}
	all := []identity{{one, "n", "", 1, 1}, {two, "n", "", 1, 1}, {one, "m", "", 1, 1}, {one, "n", "d", 1, 1}, {one, "n", "", 2, 1}, {one, "n", "", 1, 2}}
	find := func(i identity) *series {
		a.dims[0] = i.dim
		return a.lookup(7, i.svc, i.name, i.kind, i.status)
	}
	found := map[*series]bool{}
	for _, i := range all {
		found[find(i)] = true
	}
	if len(found) != len(all) {
		t.Fatalf("%d series for %d identities", len(found), len(all))
	}
	// From the middle, the end and the front of the chain.
	for n, k := range []int{2, 0, 5, 3, 1, 4} {
		s := find(all[k])
		a.remove(s)
		for _, rest := range []int{2, 0, 5, 3, 1, 4}[n+1:] {
			if !found[find(all[rest])] {
				t.Fatalf("without %d, %d is a new series", k, rest)
			}
		}
	}
	if len(a.series) != 0 || a.count != 0 {
		t.Errorf("%d chains and %d series are left", len(a.series), a.count)
	}
}

func TestLabels(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := label(in); got != want {
			t.Errorf("label(%q) = %q, want %q", in, got, want)
		}
	}
	long := strings.Repeat("x", maxLabel-1)
	f("GET /购物车", "GET /购物车")
	f("a\xffb", "a\uFFFDb")
	f(long+"yz", long+"y")
	f(long+"é", long) // not half a character
	f(strings.Repeat("购", 200), strings.Repeat("购", maxLabel/3))
}

// plan is a random course of spans and flushes.
type plan struct {
	opts  Options
	spans []testSpan
	cuts  map[int]time.Duration // flushes before the span, after that time
}

func drawPlan(t *rapid.T) plan {
	p := plan{cuts: map[int]time.Duration{}}
	p.opts.MaxSeries = rapid.IntRange(1, 30).Draw(t, "max series")
	p.opts.MaxSeriesPerService = rapid.IntRange(1, 10).Draw(t, "max series per service")
	p.opts.Expiration = rapid.SampledFrom([]time.Duration{time.Second, time.Minute, -1}).Draw(t, "expiration")
	p.opts.Histogram.Exponential = rapid.Bool().Draw(t, "exponential")
	p.opts.MaxExemplars = rapid.IntRange(-1, 5).Draw(t, "exemplars")
	if rapid.Bool().Draw(t, "dimension") {
		p.opts.Dimensions = []Dimension{{Name: "user"}}
	}
	one := rapid.Custom(func(t *rapid.T) testSpan {
		return testSpan{
			service:  rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "service"),
			name:     rapid.SampledFrom([]string{"", "n1", "n2", "n3", "n4", "n5"}).Draw(t, "name"),
			kind:     rapid.SampledFrom([]ptrace.SpanKind{0, 1, 2, 3, 4, 5, 9}).Draw(t, "kind"),
			status:   rapid.SampledFrom([]ptrace.StatusCode{0, 1, 2, 7}).Draw(t, "status"),
			duration: time.Duration(rapid.Int64Range(-5, 20_000).Draw(t, "ms")) * time.Millisecond,
			state:    rapid.SampledFrom([]string{"", "ot=th:8", "ot=th:55", "ot=th:1"}).Draw(t, "state"),
			attributes: map[string]any{
				"user": rapid.SampledFrom([]string{"", "u1", "u2"}).Draw(t, "user"),
			},
		}
	})
	p.spans = rapid.SliceOfN(one, 1, 80).Draw(t, "spans")
	for i := range p.spans {
		p.spans[i].trace, p.spans[i].id = uint64(i+1), uint64(i+1)
		if rapid.IntRange(0, 4).Draw(t, "flush") == 0 {
			p.cuts[i] = time.Duration(rapid.IntRange(0, 90).Draw(t, "after")) * time.Second
		}
	}
	return p
}

// Whatever order spans, flushes, overflow and expiry come in: nothing is lost
// and nothing is counted twice.
func TestNoSpanIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		stats := &Stats{}
		a := newAggregator(t, p.opts, stats)
		r := newRecorder()
		now := t0
		want := 0.0
		for i, s := range p.spans {
			if after, ok := p.cuts[i]; ok {
				now = now.Add(after)
				a.Flush(now, r.record)
			}
			a.Observe(now, batch(s))
			want += weight(s.state)
			if a.count > p.opts.MaxSeries {
				t.Fatalf("%d series, want at most %d", a.count, p.opts.MaxSeries)
			}
		}
		a.Flush(now.Add(time.Second), r.record)
		r.check(t)

		got, lives := 0.0, 0
		for key, points := range r.series {
			if !strings.HasPrefix(key, "traces.span.metrics.calls") {
				continue
			}
			got += float64(total(points))
			for _, q := range points {
				if q.value == 0 && !q.stale {
					lives++
				}
			}
			// The counter and its histogram tell the same.
			durations := r.series["traces.span.metrics.duration"+strings.TrimPrefix(key, "traces.span.metrics.calls")]
			if len(durations) != len(points) {
				t.Fatalf("%s: %d points, %d of its histogram", key, len(points), len(durations))
			}
			for i := range points {
				if points[i].value != durations[i].count {
					t.Fatalf("%s: %d calls, histogram has %d", key, points[i].value, durations[i].count)
				}
			}
		}
		if off := math.Abs(got - want); off > float64(lives)+1e-6 {
			t.Fatalf("counted %v of %v: off by %v with %d series", got, want, off, lives)
		}
		if got := stats.Spans.Load(); got != uint64(len(p.spans)) {
			t.Fatalf("stats say %d spans, want %d", got, len(p.spans))
		}
	})
}

func TestExemplarsAreOfTheirSeriesAndBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		p.opts.MaxSeries, p.opts.MaxSeriesPerService = 1000, 1000
		a := newAggregator(t, p.opts, nil)
		limit := a.layout.exemplars
		now := t0
		var since []testSpan
		flush := func() {
			now = now.Add(time.Second)
			r := newRecorder()
			a.Flush(now, r.record)
			slowest := map[string]time.Duration{} // by series
			for _, s := range since {
				one := newAggregator(t, p.opts, nil) // what series is s?
				one.Observe(t0, batch(s))
				alone := newRecorder()
				one.Flush(t0.Add(time.Second), alone.record)
				for key := range alone.last("traces.span.metrics.duration") {
					slowest[key] = max(slowest[key], s.duration, 0)
				}
			}
			for key, points := range r.series {
				key, ok := strings.CutPrefix(key, "traces.span.metrics.duration")
				if !ok {
					continue
				}
				exemplars := points[len(points)-1].exemplars
				if len(exemplars) > max(limit, 0) {
					t.Fatalf("%s: %d exemplars, want at most %d", key, len(exemplars), limit)
				}
				if d, ok := slowest[key]; ok && limit > 0 && len(exemplars) == 0 {
					t.Fatalf("%s: no exemplar, slowest took %s", key, d)
				}
				top := 0.0
				for i, e := range exemplars {
					id := e.TraceID()
					s := p.spans[int(id[15])-1]
					ms := max(0, float64(s.duration)/1e6)
					if e.DoubleValue() != ms || e.SpanID() != spanID(s.id) {
						t.Fatalf("%s: exemplar %v is not span %+v", key, e.DoubleValue(), s)
					}
					if !strings.Contains(key, fmt.Sprintf("span.name=%q", s.name)) ||
						!strings.Contains(key, statusNames[statusOf(batch(s).ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0))]) {
						t.Fatalf("%s: exemplar of span %+v", key, s)
					}
					if !p.opts.Histogram.Exponential && i > 0 && e.DoubleValue() < exemplars[i-1].DoubleValue() {
						t.Fatalf("%s: exemplars do not ascend", key)
					}
					top = max(top, e.DoubleValue())
				}
				if limit > 0 && len(exemplars) > 0 && top != float64(slowest[key])/1e6 {
					t.Fatalf("%s: slowest exemplar %v ms, slowest span %s", key, top, slowest[key])
				}
			}
			since = nil
		}
		for i, s := range p.spans {
			if _, ok := p.cuts[i]; ok {
				flush()
			}
			a.Observe(now, batch(s))
			since = append(since, s)
		}
		flush()
	})
}

func TestExemplarsSpread(t *testing.T) {
	a := newAggregator(t, Options{MaxExemplars: 3}, nil)
	seen := map[float64]int{}
	for round := range 8 {
		now := t0.Add(time.Duration(round) * time.Minute)
		for i, ms := range []int{1, 3, 5, 7, 9, 30, 70, 150, 300} {
			a.Observe(now, batch(testSpan{service: "a", name: "n", trace: uint64(i + 1), id: 1, duration: time.Duration(ms) * time.Millisecond}))
		}
		r := newRecorder()
		a.Flush(now.Add(time.Second), r.record)
		for _, points := range r.series {
			for _, e := range points[len(points)-1].exemplars {
				seen[e.DoubleValue()]++
			}
		}
	}
	want := map[float64]int{1: 2, 3: 2, 5: 2, 7: 2, 9: 2, 30: 2, 70: 2, 150: 2, 300: 8} // the slowest always, the others in turn
	if d := cmp.Diff(want, seen); d != "" {
		t.Error("exemplars by value (-want +got):", d)
	}
}

// Prometheus refuses an exemplar that is older than the one before it.
func TestExemplarsGoForward(t *testing.T) {
	for _, exponential := range []bool{false, true} {
		a := newAggregator(t, Options{MaxExemplars: 20, Histogram: HistogramOptions{Exponential: exponential}}, nil)
		r := newRecorder()
		for round, skew := range []time.Duration{0, -time.Hour, time.Hour, -time.Minute} {
			now := t0.Add(time.Duration(round) * 15 * time.Second)
			td := batch(testSpan{service: "a", name: "n", trace: 1, id: 1, duration: time.Second}, testSpan{service: "a", name: "n", trace: 2, id: 1, duration: 9 * time.Millisecond},
				testSpan{service: "a", name: "n", trace: 3, id: 1, duration: 3 * time.Second})
			for i, rs := range td.ResourceSpans().All() {
				span := rs.ScopeSpans().At(0).Spans().At(0)
				d := span.EndTimestamp() - span.StartTimestamp()
				end := pcommon.NewTimestampFromTime(now.Add(skew + time.Duration(i)*time.Second))
				span.SetEndTimestamp(end)
				span.SetStartTimestamp(end - d)
			}
			a.Observe(now, td)
			a.Flush(now.Add(10*time.Second), r.record)
		}
		for key, points := range r.series {
			last := map[float64]time.Time{} // by bucket, for which the value stands; exponential has one for all
			n := 0
			for _, p := range points {
				for _, e := range p.exemplars {
					bucket := e.DoubleValue()
					if exponential {
						bucket = 0
					}
					at := e.Timestamp().AsTime()
					if at.Before(last[bucket]) || !exponential && at.Equal(last[bucket]) || at.After(p.at) {
						t.Errorf("%s: exemplar %v at %s, after one at %s, in a point at %s", key, e.DoubleValue(), at, last[bucket], p.at)
					}
					last[bucket] = at
					n++
				}
			}
			if strings.HasPrefix(key, "traces.span.metrics.duration") && n != 12 {
				t.Errorf("%s: %d exemplars, want 12", key, n)
			}
		}
	}
}

func TestClockThatGoesBack(t *testing.T) {
	a := newAggregator(t, Options{}, nil)
	r := newRecorder()
	for _, after := range []time.Duration{10 * time.Second, -time.Hour, 0, 20 * time.Second} {
		a.Observe(t0.Add(after), batch(testSpan{service: "a", name: "n"}))
		a.Flush(t0.Add(after), r.record)
	}
	r.check(t)
	for key, n := range r.last("traces.span.metrics.calls") {
		if n != 4 {
			t.Errorf("%s: %d calls, want 4", key, n)
		}
	}
}

func TestObserveWhileFlushing(t *testing.T) {
	const workers, rounds = 4, 200
	stats := &Stats{}
	a := newAggregator(t, Options{Expiration: time.Nanosecond}, stats)
	r := newRecorder()
	done := make(chan struct{})
	var work sync.WaitGroup
	for w := range workers {
		work.Go(func() {
			for i := range rounds {
				a.Observe(t0, batch(testSpan{service: fmt.Sprint("s", i%7), name: fmt.Sprint("n", (i+w)%11), state: "ot=th:8"}))
			}
		})
	}
	go func() { work.Wait(); close(done) }()
	now := t0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		now = now.Add(10 * time.Millisecond)
		a.Flush(now, r.record)
	}
	r.check(t)
	var got uint64
	for key, points := range r.series {
		if strings.HasPrefix(key, "traces.span.metrics.calls") {
			got += total(points)
		}
	}
	if want := uint64(2 * workers * rounds); got != want {
		t.Errorf("counted %d, want %d", got, want)
	}
}

func TestFlushComesInParts(t *testing.T) {
	a := newAggregator(t, Options{}, nil)
	var spans []testSpan
	for s := range 50 {
		for n := range 100 {
			spans = append(spans, testSpan{service: fmt.Sprint("s", s), name: fmt.Sprint("n", n)})
		}
	}
	a.Observe(t0, batch(spans...))
	parts, series := 0, 0
	a.Flush(t0.Add(time.Second), func(md pmetric.Metrics) {
		parts++
		series += md.DataPointCount() / 4 // zero and value, counter and histogram
		if n := md.DataPointCount(); n > 2*pointsPerFlush {
			t.Errorf("part of %d points, want about %d", n, pointsPerFlush)
		}
	})
	if series != 5000 || parts < 4 {
		t.Errorf("%d series in %d parts, want 5000 in about 5", series, parts)
	}
}

func TestKnownSeriesAllocateNothing(t *testing.T) {
	for _, o := range []Options{{}, {Histogram: HistogramOptions{Exponential: true}}, {Dimensions: []Dimension{{Name: "code"}, {Name: "ok"}, {Name: "region"}}}} {
		a := newAggregator(t, o, nil)
		td := batch(testSpan{service: "a", namespace: "ns", name: "n", trace: 1, id: 1, state: "ot=th:55", duration: time.Second,
			attributes: map[string]any{"code": 404, "ok": true}, resource: map[string]any{"region": "eu"}})
		if got := testing.AllocsPerRun(100, func() { a.Observe(t0, td) }); got != 0 {
			t.Errorf("%v allocations a batch, want none", got)
		}
	}
}
