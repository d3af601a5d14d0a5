package metric

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/promql"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/store"
)

// batch is OTLP of one resource and scope.
type batch struct {
	pmetric.Metrics
	resource pcommon.Map
	metrics  pmetric.MetricSlice
}

func newBatch(resource map[string]string) batch {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	for k, v := range resource {
		rm.Resource().Attributes().PutStr(k, v)
	}
	return batch{md, rm.Resource().Attributes(), rm.ScopeMetrics().AppendEmpty().Metrics()}
}

func (b batch) metric(name, unit string) pmetric.Metric {
	m := b.metrics.AppendEmpty()
	m.SetName(name)
	m.SetUnit(unit)
	return m
}

func (b batch) gauge(name, unit string, at time.Time, v float64) pmetric.NumberDataPoint {
	p := b.metric(name, unit).SetEmptyGauge().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetDoubleValue(v)
	return p
}

func (b batch) sum(name, unit string, temporality pmetric.AggregationTemporality, at time.Time, v int64) pmetric.NumberDataPoint {
	s := b.metric(name, unit).SetEmptySum()
	s.SetAggregationTemporality(temporality)
	s.SetIsMonotonic(true)
	p := s.DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(at.Add(-time.Minute)))
	p.SetIntValue(v)
	return p
}

func (b batch) exponential(name, unit string, temporality pmetric.AggregationTemporality, at time.Time) pmetric.ExponentialHistogramDataPoint {
	h := b.metric(name, unit).SetEmptyExponentialHistogram()
	h.SetAggregationTemporality(temporality)
	p := h.DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(at.Add(-time.Minute)))
	p.SetScale(2)
	p.SetCount(6)
	p.SetSum(9)
	p.Positive().SetOffset(1)
	p.Positive().BucketCounts().FromRaw([]uint64{1, 2, 3})
	return p
}

const (
	cumulative = pmetric.AggregationTemporalityCumulative
	delta      = pmetric.AggregationTemporalityDelta
)

// everything renders all samples at a time, native histograms as Prometheus
// does.
func everything(t *testing.T, s *Store, at time.Time, selector string) []string {
	t.Helper()
	q, err := s.Engine().NewInstantQuery(context.Background(), s.Database(store.Tenant{}), nil, selector, at)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	v, err := q.Exec(context.Background()).Vector()
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, p := range v {
		if p.H != nil {
			out = append(out, fmt.Sprintf("%s %s", p.Metric, p.H))
		} else {
			out = append(out, fmt.Sprintf("%s %v", p.Metric, p.F))
		}
	}
	slices.Sort(out)
	return out
}

func TestWriteTranslates(t *testing.T) {
	now := time.Now()
	service := map[string]string{"service.name": "checkout", "service.namespace": "shop", "service.instance.id": "i1"}
	for name, c := range map[string]struct {
		resource map[string]string
		build    func(batch)
		want     []string
	}{
		"gauge with unit": {service, func(b batch) {
			b.gauge("process.memory.usage", "By", now, 5).Attributes().PutStr("state", "used")
		}, []string{`{__name__="process_memory_usage_bytes", instance="i1", job="shop/checkout", service_namespace="shop", state="used"} 5`}},
		"counter": {service, func(b batch) {
			b.sum("http.server.requests", "{request}", cumulative, now, 7).Attributes().PutInt("http.response.status_code", 200)
		}, []string{`{__name__="http_server_requests_total", http_response_status_code="200", instance="i1", job="shop/checkout", service_namespace="shop"} 7`}},
		"up-down counter": {nil, func(b batch) {
			p := b.sum("queue.length", "1", cumulative, now, 3)
			_ = p
			b.metrics.At(0).Sum().SetIsMonotonic(false)
		}, []string{`{__name__="queue_length"} 3`}},
		"promoted and target_info": {
			map[string]string{"service.name": "a", "service.instance.id": "i", "service.version": "1.2", "deployment.environment.name": "prod", "k8s.namespace.name": "n", "k8s.pod.name": "p", "process.pid": "1"},
			func(b batch) { b.gauge("g", "", now, 1) },
			[]string{
				`{__name__="g", deployment_environment_name="prod", instance="i", job="a", k8s_namespace_name="n", k8s_pod_name="p", service_version="1.2"} 1`,
				`{__name__="target_info", deployment_environment_name="prod", instance="i", job="a", k8s_namespace_name="n", k8s_pod_name="p", process_pid="1", service_version="1.2"} 1`,
			}},
		"classic histogram": {nil, func(b batch) {
			h := b.metric("latency", "s").SetEmptyHistogram()
			h.SetAggregationTemporality(cumulative)
			p := h.DataPoints().AppendEmpty()
			p.SetTimestamp(pcommon.NewTimestampFromTime(now))
			p.SetCount(6)
			p.SetSum(2.5)
			p.ExplicitBounds().FromRaw([]float64{0.1, 1})
			p.BucketCounts().FromRaw([]uint64{1, 2, 3})
		}, []string{
			`{__name__="latency_seconds_bucket", le="+Inf"} 6`,
			`{__name__="latency_seconds_bucket", le="0.1"} 1`,
			`{__name__="latency_seconds_bucket", le="1"} 3`,
			`{__name__="latency_seconds_count"} 6`,
			`{__name__="latency_seconds_sum"} 2.5`,
		}},
		"exponential histogram": {nil, func(b batch) {
			b.exponential("rpc.duration", "ms", cumulative, now)
		}, []string{`{__name__="rpc_duration_milliseconds"} {count:6, sum:9, (1.189207115002721,1.414213562373095]:1, (1.414213562373095,1.6817928305074288]:2, (1.6817928305074288,2]:3}`}},
		"finer than native": {nil, func(b batch) {
			p := b.exponential("fine", "", cumulative, now)
			p.SetScale(10) // four of its buckets make one
			p.Positive().SetOffset(0)
			p.Positive().BucketCounts().FromRaw([]uint64{1, 1, 1, 1, 2})
		}, []string{`{__name__="fine"} {count:6, sum:9, (1,1.0027112750502025]:4, (1.0027112750502025,1.0054299011128027]:2}`}},
		"summary": {nil, func(b batch) {
			p := b.metric("gc.pause", "s").SetEmptySummary().DataPoints().AppendEmpty()
			p.SetTimestamp(pcommon.NewTimestampFromTime(now))
			p.SetCount(4)
			p.SetSum(1)
			q := p.QuantileValues().AppendEmpty()
			q.SetQuantile(0.99)
			q.SetValue(0.5)
		}, []string{
			`{__name__="gc_pause_seconds", quantile="0.99"} 0.5`,
			`{__name__="gc_pause_seconds_count"} 4`,
			`{__name__="gc_pause_seconds_sum"} 1`,
		}},
		"no recorded value": {nil, func(b batch) {
			b.gauge("gone", "", now.Add(-time.Minute), 1)
			p := b.gauge("gone", "", now, 0)
			p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		}, nil},
		"colliding attributes": {nil, func(b batch) {
			p := b.gauge("g", "", now, 1)
			p.Attributes().PutStr("a.b", "1")
			p.Attributes().PutStr("a_b", "2")
		}, []string{`{__name__="g", a_b="1;2"} 1`}},
		"delta first point": {nil, func(b batch) {
			b.sum("d", "", delta, now, 4)
		}, []string{`{__name__="d_total"} 4`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			b := newBatch(c.resource)
			c.build(b)
			before := pmetric.NewMetrics()
			b.CopyTo(before)
			if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
				t.Fatal(err)
			}
			wantLines(t, everything(t, s, now, `{__name__!=""}`), c.want...)
			marshal := &pmetric.JSONMarshaler{}
			x, _ := marshal.MarshalMetrics(before)
			y, _ := marshal.MarshalMetrics(b.Metrics)
			if string(x) != string(y) {
				t.Error("Write changed its argument")
			}
			// A batch that is sent again is no error.
			if name != "delta first point" {
				if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
					t.Errorf("second time: %v", err)
				}
			}
		})
	}
}

func TestWriteRefusesOnlyBadPoints(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		spoil func(batch)
		want  map[Reason]int
	}{
		"no value":             {func(b batch) { p := b.gauge("x", "", now, 0); clearValue(p) }, map[Reason]int{InvalidPoint: 1}},
		"no type":              {func(b batch) { b.metric("x", "") }, map[Reason]int{InvalidPoint: 1}},
		"no name":              {func(b batch) { b.gauge("", "", now, 1) }, map[Reason]int{InvalidPoint: 1}},
		"name without letters": {func(b batch) { b.gauge("服务", "", now, 1) }, map[Reason]int{InvalidPoint: 1}},
		"no temporality":       {func(b batch) { b.sum("x", "", pmetric.AggregationTemporalityUnspecified, now, 1) }, map[Reason]int{InvalidPoint: 1}},
		"nameless label":       {func(b batch) { b.gauge("x", "", now, 1).Attributes().PutStr("", "v") }, map[Reason]int{InvalidLabels: 1}},
		"label of symbols":     {func(b batch) { b.gauge("x", "", now, 1).Attributes().PutStr("服务", "v") }, map[Reason]int{InvalidLabels: 1}},
		"long label":           {func(b batch) { b.gauge("x", "", now, 1).Attributes().PutStr("k", strings.Repeat("v", maxLabels)) }, map[Reason]int{InvalidLabels: 1}},
		"too coarse":           {func(b batch) { b.exponential("x", "", cumulative, now).SetScale(-5) }, map[Reason]int{InvalidHistogram: 1}},
		"count below buckets":  {func(b batch) { b.exponential("x", "", cumulative, now).SetCount(1) }, map[Reason]int{InvalidHistogram: 1}},
		"too old":              {func(b batch) { b.gauge("x", "", now.Add(-400*24*time.Hour), 1) }, map[Reason]int{TooOld: 1}},
		"no time":              {func(b batch) { b.gauge("x", "", now, 1).SetTimestamp(0) }, map[Reason]int{TooOld: 1}},
		"future":               {func(b batch) { b.gauge("x", "", now.Add(time.Hour), 1) }, map[Reason]int{TooNew: 1}},
		"two values":           {func(b batch) { b.gauge("twice", "", now, 2) }, map[Reason]int{Duplicate: 1}},
		"bad neighbours in one metric": {func(b batch) {
			ps := b.metrics.At(0).Gauge().DataPoints()
			clearValue(ps.AppendEmpty())
			p := ps.AppendEmpty()
			ps.At(0).CopyTo(p)
			p.Attributes().PutStr("after", "yes")
		}, map[Reason]int{InvalidPoint: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			if err := put(s, store.Tenant{}, "twice", now, 1); err != nil {
				t.Fatal(err)
			}
			b := newBatch(nil)
			b.gauge("good", "", now, 1)
			c.spoil(b)
			b.gauge("alsogood", "", now, 1)
			err := s.Write(context.Background(), store.Tenant{}, b.Metrics)
			var partial *PartialError
			if !errors.As(err, &partial) || !errors.Is(err, store.ErrInvalid) {
				t.Fatalf("got %v, want a PartialError", err)
			}
			if d := cmp.Diff(c.want, partial.Rejected); d != "" {
				t.Errorf("%v\n%s", err, d)
			}
			want := map[Reason]uint64{}
			for _, r := range reasons {
				want[r] = uint64(c.want[r])
			}
			if d := cmp.Diff(want, s.Stats().Rejected); d != "" {
				t.Error(d)
			}
			got := everything(t, s, now, `{__name__=~"good|alsogood|x"}`)
			kept := []string{`{__name__="alsogood"} 1`, `{__name__="good"} 1`}
			if name == "bad neighbours in one metric" {
				kept = append(kept, `{__name__="good", after="yes"} 1`)
			}
			slices.Sort(kept)
			wantLines(t, got, kept...)
		})
	}
}

func clearValue(p pmetric.NumberDataPoint) {
	empty := pmetric.NewNumberDataPoint()
	empty.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	empty.CopyTo(p)
}

func TestWriteAddsUpDeltas(t *testing.T) {
	s := openStore(t)
	start := time.Now().Add(-10 * time.Minute)
	send := func(i int, build func(b batch, at, from time.Time)) error {
		b := newBatch(map[string]string{"service.name": "a"})
		build(b, start.Add(time.Duration(i+1)*time.Minute), start.Add(time.Duration(i)*time.Minute))
		return s.Write(context.Background(), store.Tenant{}, b.Metrics)
	}
	for i := range 3 {
		if err := send(i, func(b batch, at, from time.Time) {
			b.sum("n", "", delta, at, int64(i+1)).SetStartTimestamp(pcommon.NewTimestampFromTime(from))
			b.exponential("e", "", delta, at).SetStartTimestamp(pcommon.NewTimestampFromTime(from))
			h := b.metric("h", "").SetEmptyHistogram()
			h.SetAggregationTemporality(delta)
			p := h.DataPoints().AppendEmpty()
			p.SetTimestamp(pcommon.NewTimestampFromTime(at))
			p.SetStartTimestamp(pcommon.NewTimestampFromTime(from))
			p.SetCount(3)
			p.SetSum(1)
			p.ExplicitBounds().FromRaw([]float64{1})
			p.BucketCounts().FromRaw([]uint64{2, 1})
		}); err != nil {
			t.Fatal(err)
		}
	}
	at := start.Add(3 * time.Minute)
	wantLines(t, everything(t, s, at, `{job="a"}`),
		`{__name__="e", job="a"} {count:18, sum:27, (1.189207115002721,1.414213562373095]:3, (1.414213562373095,1.6817928305074288]:6, (1.6817928305074288,2]:9}`,
		`{__name__="h_bucket", job="a", le="+Inf"} 9`,
		`{__name__="h_bucket", job="a", le="1"} 6`,
		`{__name__="h_count", job="a"} 9`,
		`{__name__="h_sum", job="a"} 3`,
		`{__name__="n_total", job="a"} 6`,
	)
	// The same delta again must not count twice.
	err := send(2, func(b batch, at, from time.Time) {
		b.sum("n", "", delta, at, 3).SetStartTimestamp(pcommon.NewTimestampFromTime(from))
	})
	var partial *PartialError
	if !errors.As(err, &partial) || partial.Rejected[StaleDelta] != 1 {
		t.Errorf("repeated delta: got %v, want one %s", err, StaleDelta)
	}
	wantLines(t, instant(t, s, store.Tenant{}, "n_total", at), `{__name__="n_total", job="a"} 6`)
}

func TestWriteOutOfOrder(t *testing.T) {
	s := openStore(t)
	now := time.Now()
	for _, minute := range []int{0, -5, -25, -15, -1} { // none in order but the first
		b := newBatch(nil)
		b.gauge("m", "", now.Add(time.Duration(minute)*time.Minute), float64(minute))
		b.exponential("e", "", cumulative, now.Add(time.Duration(minute)*time.Minute))
		if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
			t.Fatal(err)
		}
	}
	wantLines(t, instant(t, s, store.Tenant{}, "count_over_time(m[30m])", now), "{} 5")
	wantLines(t, instant(t, s, store.Tenant{}, "count_over_time(e[30m])", now), "{} 5")
	b := newBatch(nil)
	b.gauge("m", "", now.Add(-31*time.Minute), 1)
	var partial *PartialError
	if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); !errors.As(err, &partial) || partial.Rejected[TooOld] != 1 {
		t.Errorf("beyond the window: got %v, want one %s", err, TooOld)
	}
}

func TestWriteExemplars(t *testing.T) {
	s := openStore(t)
	now := time.Now()
	b := newBatch(nil)
	p := b.exponential("e", "", cumulative, now)
	ex := p.Exemplars().AppendEmpty()
	ex.SetTimestamp(pcommon.NewTimestampFromTime(now))
	ex.SetDoubleValue(1.5)
	ex.SetTraceID(pcommon.TraceID{1, 2})
	ex.SetSpanID(pcommon.SpanID{3})
	p.Exemplars().AppendEmpty().SetTimestamp(pcommon.NewTimestampFromTime(now)) // without a value: left out, the point stays
	c := b.sum("c", "", cumulative, now, 1).Exemplars().AppendEmpty()
	c.SetTimestamp(pcommon.NewTimestampFromTime(now))
	c.SetIntValue(7)
	c.FilteredAttributes().PutStr("user", "u1")
	if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
		t.Fatal(err)
	}
	eq, err := s.Database(store.Tenant{}).ExemplarQuerier(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	res, err := eq.Select(0, now.UnixMilli()+1, []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "__name__", "e|c_total")})
	if err != nil {
		t.Fatal(err)
	}
	want := []exemplar.QueryResult{
		{SeriesLabels: labels.FromStrings("__name__", "c_total"), Exemplars: []exemplar.Exemplar{
			{Labels: labels.FromStrings("user", "u1"), Value: 7, Ts: now.UnixMilli(), HasTs: true}}},
		{SeriesLabels: labels.FromStrings("__name__", "e"), Exemplars: []exemplar.Exemplar{
			{Labels: labels.FromStrings("span_id", "0300000000000000", "trace_id", "01020000000000000000000000000000"), Value: 1.5, Ts: now.UnixMilli(), HasTs: true}}},
	}
	if d := cmp.Diff(want, res, cmp.Comparer(labels.Equal)); d != "" {
		t.Error(d)
	}
	if st := s.Stats(); st.Exemplars != 2 || st.ExemplarsAppended != 2 || st.ExemplarsRejected != 0 {
		t.Errorf("stats: got %d held, %d appended, %d rejected", st.Exemplars, st.ExemplarsAppended, st.ExemplarsRejected)
	}
	// One behind the window is refused alone.
	b = newBatch(nil)
	c = b.sum("c", "", cumulative, now.Add(time.Second), 2).Exemplars().AppendEmpty()
	c.SetTimestamp(pcommon.NewTimestampFromTime(now.Add(-2 * time.Hour)))
	c.SetIntValue(7)
	if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.ExemplarsRejected != 1 {
		t.Errorf("rejected exemplars: got %d, want 1", st.ExemplarsRejected)
	}
}

func TestWriteKeepsMetadata(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, in(dir))
	b := newBatch(nil)
	b.gauge("process.memory", "By", time.Now(), 1)
	b.metrics.At(0).SetDescription("Memory in use.")
	b.exponential("rpc.duration", "s", cumulative, time.Now())
	if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
		t.Fatal(err)
	}
	want := map[string]metadata.Metadata{
		"process_memory_bytes": {Type: model.MetricTypeGauge, Unit: "bytes", Help: "Memory in use."},
		"rpc_duration_seconds": {Type: model.MetricTypeHistogram, Unit: "seconds"},
	}
	check := func() {
		t.Helper()
		got, err := s.Database(store.Tenant{}).Metadata("")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	check()
	closeStore(t, s)
	s = openStore(t, in(dir))
	check()
	if got, err := s.Database(store.Tenant{}).Metadata("process_memory_bytes"); len(got) != 1 || err != nil {
		t.Errorf("one family: got %v, %v", got, err)
	}
}

func TestWriteEndsWithContext(t *testing.T) {
	s := openStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := newBatch(nil)
	b.gauge("m", "", time.Now(), 1)
	if err := s.Write(ctx, store.Tenant{}, b.Metrics); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	wantLines(t, instant(t, s, store.Tenant{}, "m", time.Now()))
}

func TestPromoteCanBeChosen(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		promote []string
		want    string
	}{
		{[]string{}, `{__name__="g", job="a"} 1`},
		{[]string{"team"}, `{__name__="g", job="a", team="pay"} 1`},
	} {
		s := openStore(t, func(o *Options) { o.Promote = c.promote })
		b := newBatch(map[string]string{"service.name": "a", "service.version": "1", "team": "pay"})
		b.gauge("g", "", now, 1)
		if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
			t.Fatal(err)
		}
		wantLines(t, everything(t, s, now, "g"), c.want)
	}
}

// Quantiles of a native histogram must be those of the exponential one.
func TestNativeHistogramQuantile(t *testing.T) {
	s := openStore(t)
	now := time.Now()
	b := newBatch(nil)
	b.exponential("e", "", cumulative, now)
	if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); err != nil {
		t.Fatal(err)
	}
	got, err := s.Instant(context.Background(), store.Tenant{}, "histogram_quantile(0.5, e)", now)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	// Half of 6 is reached at the end of the second bucket.
	if want := math.Exp2(0.75); math.Abs(got[0].Value-want) > 1e-9 {
		t.Errorf("got %v, want %v", got[0].Value, want)
	}
	var _ promql.QueryEngine = s.Engine()
}

// TestMend writes labels that are not UTF-8, as old programs send them.
func TestMend(t *testing.T) {
	s := openStore(t, in(t.TempDir()))
	now := time.Now()
	b := newBatch(map[string]string{"service.name": "caf\xe9"})
	b.gauge("m", "", now, 1).Attributes().PutStr("k", "\xff\xfeok")
	if err := s.Write(t.Context(), store.Tenant{}, b.Metrics); err != nil {
		t.Fatal(err)
	}
	got, err := s.Instant(t.Context(), store.Tenant{}, "m", now)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if l := got[0].Labels; l["job"] != "caf\uFFFD" || l["k"] != "\uFFFDok" {
		t.Errorf("got labels %q, want the wrong bytes replaced", l)
	}
}
