package red

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// t0 is when tests begin.
var t0 = time.Unix(1_700_000_000, 0)

// testSpan is a span as tests write it.
type testSpan struct {
	service, namespace string
	name               string
	kind               ptrace.SpanKind
	status             ptrace.StatusCode
	trace, id, parent  uint64
	link               [2]uint64 // trace and span; zero for none
	duration           time.Duration
	state              string
	attributes         map[string]any
	resource           map[string]any
}

func traceID(n uint64) (id pcommon.TraceID) {
	if n != 0 {
		binary.BigEndian.PutUint64(id[8:], n)
	}
	return id
}

func spanID(n uint64) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

// batch makes traces of spans, a resource each.
func batch(spans ...testSpan) ptrace.Traces {
	td := ptrace.NewTraces()
	for _, s := range spans {
		rs := td.ResourceSpans().AppendEmpty()
		r := rs.Resource().Attributes()
		if s.service != "" {
			r.PutStr("service.name", s.service)
		}
		if s.namespace != "" {
			r.PutStr("service.namespace", s.namespace)
		}
		for k, v := range s.resource {
			_ = r.PutEmpty(k).FromRaw(v)
		}
		span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		span.SetName(s.name)
		span.SetKind(s.kind)
		span.Status().SetCode(s.status)
		span.SetTraceID(traceID(s.trace))
		span.SetSpanID(spanID(s.id))
		span.SetParentSpanID(spanID(s.parent))
		if s.link != [2]uint64{} {
			l := span.Links().AppendEmpty()
			l.SetTraceID(traceID(s.link[0]))
			l.SetSpanID(spanID(s.link[1]))
		}
		span.SetStartTimestamp(pcommon.NewTimestampFromTime(t0))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(t0.Add(s.duration)))
		span.TraceState().FromRaw(s.state)
		_ = span.Attributes().FromRaw(s.attributes)
	}
	return td
}

// point is one point of a series.
type point struct {
	start, at time.Time
	value     uint64 // of a counter
	count     uint64 // of a histogram
	sum       float64
	buckets   []uint64
	exemplars []pmetric.Exemplar
	stale     bool
}

// recorder collects what flushes emit, by series: name{key="value",…}.
type recorder struct {
	series   map[string][]point
	resource map[string]string // of a series, by the same key
	units    map[string]string // by metric
	bounds   []float64
}

func newRecorder() *recorder {
	return &recorder{series: map[string][]point{}, resource: map[string]string{}, units: map[string]string{}}
}

func textOf(m pcommon.Map) string {
	var parts []string
	for k, v := range m.All() {
		parts = append(parts, fmt.Sprintf("%s=%q", k, v.AsString()))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ",") + "}"
}

func (r *recorder) record(md pmetric.Metrics) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				r.units[m.Name()] = m.Unit()
				add := func(attributes pcommon.Map, p point) {
					key := m.Name() + textOf(attributes)
					r.series[key] = append(r.series[key], p)
					r.resource[key] = textOf(rm.Resource().Attributes())
				}
				switch m.Type() {
				case pmetric.MetricTypeSum:
					for _, p := range m.Sum().DataPoints().All() {
						add(p.Attributes(), point{start: p.StartTimestamp().AsTime(), at: p.Timestamp().AsTime(),
							value: uint64(p.IntValue()), stale: p.Flags().NoRecordedValue()})
					}
				case pmetric.MetricTypeHistogram:
					for _, p := range m.Histogram().DataPoints().All() {
						r.bounds = p.ExplicitBounds().AsRaw()
						add(p.Attributes(), point{start: p.StartTimestamp().AsTime(), at: p.Timestamp().AsTime(),
							count: p.Count(), sum: p.Sum(), buckets: p.BucketCounts().AsRaw(),
							exemplars: exemplarsOf(p.Exemplars()), stale: p.Flags().NoRecordedValue()})
					}
				case pmetric.MetricTypeExponentialHistogram:
					for _, p := range m.ExponentialHistogram().DataPoints().All() {
						add(p.Attributes(), point{start: p.StartTimestamp().AsTime(), at: p.Timestamp().AsTime(),
							count: p.Count(), sum: p.Sum(), buckets: append(p.Positive().BucketCounts().AsRaw(), p.ZeroCount()),
							exemplars: exemplarsOf(p.Exemplars()), stale: p.Flags().NoRecordedValue()})
					}
				}
			}
		}
	}
}

func exemplarsOf(s pmetric.ExemplarSlice) []pmetric.Exemplar {
	var out []pmetric.Exemplar
	for _, e := range s.All() {
		out = append(out, e)
	}
	return out
}

// total is the sum of a counter over the life of its series: a series that
// ended and began again counts each time.
func total(points []point) (n uint64) {
	for i, p := range points {
		last := i+1 == len(points)
		if !p.stale && (last || points[i+1].stale) {
			n += p.value
		}
	}
	return n
}

// last returns the newest value of every series with the prefix.
func (r *recorder) last(prefix string) map[string]uint64 {
	out := map[string]uint64{}
	for key, points := range r.series {
		if strings.HasPrefix(key, prefix) {
			p := points[len(points)-1]
			out[strings.TrimPrefix(key, prefix)] = max(p.value, p.count)
		}
	}
	return out
}

// check tells what Prometheus or a reader of cumulative counters would not
// take: times that do not go forward, values that fall, a series that does not
// begin at zero or goes on after it ended, a histogram that does not add up.
func (r *recorder) check(t interface{ Errorf(string, ...any) }) {
	if tt, ok := t.(*testing.T); ok {
		tt.Helper()
	}
	for key, points := range r.series {
		begins := true
		for i, p := range points {
			if i > 0 && p.at.UnixMilli() <= points[i-1].at.UnixMilli() {
				t.Errorf("%s: point %d at %s, not after %s", key, i, p.at, points[i-1].at)
			}
			if !p.start.Before(p.at) {
				t.Errorf("%s: point %d at %s starts at %s", key, i, p.at, p.start)
			}
			switch {
			case begins:
				if p.stale || p.value != 0 || p.count != 0 {
					t.Errorf("%s: begins with %+v, want zero", key, p)
				}
			case p.stale:
			default:
				before := points[i-1]
				if p.start != before.start {
					t.Errorf("%s: start moved from %s to %s", key, before.start, p.start)
				}
				if p.value < before.value || p.count < before.count || p.sum < before.sum {
					t.Errorf("%s: fell from %+v to %+v", key, before, p)
				}
			}
			begins = p.stale
			if p.stale {
				continue
			}
			var n uint64
			for _, b := range p.buckets {
				n += b
			}
			if n != p.count {
				t.Errorf("%s: buckets have %d, count is %d", key, n, p.count)
			}
		}
	}
}
