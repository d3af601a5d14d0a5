package red

import (
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Aggregator counts spans by service, name, kind, status and extra
// dimensions.
//
// Series hang in one hash table by identity; the parts of the identity are
// compared too, so that no two series ever mix. They are listed by service as
// well: a flush goes from service to service and holds the lock for one of
// them at a time, so that it does not stop ingestion.
//
// One lock is enough: a span takes about 0.1 µs, so that it could carry a
// hundred times the 80,000 spans/s that ingestion is built for.
type Aggregator struct {
	opts   Options
	layout *layout
	stats  *Stats
	clock  flushClock
	seed   maphash.Seed

	mu       sync.Mutex
	series   map[uint64]*series // chained by next where hashes collide
	count    int                // without overflow series
	services map[serviceKey]*service
	list     []*service
	rest     *service         // takes the spans of services beyond the limit
	fallback []string         // scratch: dimensions of the current resource
	dims     []string         // scratch: dimensions of the current span
	integers map[int64]string // text of integers met in dimensions
}

type serviceKey struct{ namespace, name string }

// service is the series of one service.
type service struct {
	key      serviceKey
	hash     uint64
	series   []*series
	counted  int // of series, without overflow
	overflow [kinds * statuses]*series
}

// series is one combination of dimensions.
type series struct {
	hash     uint64
	next     *series
	service  *service
	name     string
	dims     []string // beside Options.Dimensions; "" where left out
	kind     uint8
	status   uint8
	overflow bool
	life     life
	round    rounder
	calls    histogram
}

// NewAggregator returns an Aggregator that counts from now on. stats may be
// nil.
func NewAggregator(o Options, now time.Time, stats *Stats) (*Aggregator, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Dimensions = slices.Clone(o.Dimensions)
	if stats == nil {
		stats = &Stats{}
	}
	a := &Aggregator{
		opts:     o,
		layout:   newLayout(o.Histogram, o.Unit, o.MaxExemplars),
		stats:    stats,
		seed:     maphash.MakeSeed(),
		series:   map[uint64]*series{},
		services: map[serviceKey]*service{},
		fallback: make([]string, len(o.Dimensions)),
		dims:     make([]string, len(o.Dimensions)),
		integers: map[int64]string{},
	}
	a.clock.init(now)
	return a, nil
}

// Observe counts the spans of td. It keeps nothing of td.
func (a *Aggregator) Observe(now time.Time, td ptrace.Traces) {
	at := a.clock.elapsed(now)
	var spans, overflowed uint64
	a.mu.Lock()
	defer func() {
		clear(a.fallback) // their strings belong to td
		clear(a.dims)
		a.mu.Unlock()
		a.stats.Spans.Add(spans)
		a.stats.Overflowed.Add(overflowed)
	}()
	resources := td.ResourceSpans()
	for i := range resources.Len() {
		rs := resources.At(i)
		var svc *service
		scopes := rs.ScopeSpans()
		for j := range scopes.Len() {
			list := scopes.At(j).Spans()
			for k := range list.Len() {
				if svc == nil {
					svc = a.enter(rs.Resource().Attributes())
				}
				span := list.At(k)
				s := a.find(svc, span)
				if s.overflow {
					overflowed++
				}
				w := 1.0
				if state := span.TraceState().AsRaw(); state != "" {
					w = weight(state)
				}
				d := durationOf(span)
				s.calls.add(a.layout, d, s.round.round(w), w)
				s.calls.note(a.layout, span, d)
				s.life.touch(at)
				spans++
			}
		}
	}
}

// enter returns the service of a resource and reads its dimensions. When the
// limit on series leaves no room for a new service it is rest.
func (a *Aggregator) enter(resource pcommon.Map) *service {
	for i, d := range a.opts.Dimensions {
		a.fallback[i] = d.Default
		if v, ok := resource.Get(d.Name); ok {
			a.fallback[i] = a.text(v)
		}
	}
	key := serviceOf(resource)
	svc := a.services[key]
	switch {
	case svc != nil:
	case a.count < a.opts.MaxSeries:
		key = serviceKey{strings.Clone(key.namespace), strings.Clone(key.name)}
		svc = a.newService(key)
		a.services[key] = svc
	default:
		if a.rest == nil {
			a.rest = a.newService(serviceKey{})
			a.rest.counted = a.opts.MaxSeriesPerService // all of it is overflow
		}
		svc = a.rest
	}
	return svc
}

func (a *Aggregator) newService(key serviceKey) *service {
	svc := &service{key: key, hash: maphash.Comparable(a.seed, key)}
	a.list = append(a.list, svc)
	return svc
}

// unknownService is what the OpenTelemetry specification has resources
// without a name be called.
const unknownService = "unknown_service"

// serviceOf reads the service of a resource; its strings belong to pdata.
func serviceOf(resource pcommon.Map) serviceKey {
	key := serviceKey{name: unknownService}
	if v, ok := resource.Get(semconv.ServiceName); ok && v.Str() != "" {
		key.name = label(v.Str())
	}
	if v, ok := resource.Get(semconv.ServiceNamespace); ok {
		key.namespace = label(v.Str())
	}
	return key
}

// find returns the series of a span, which may be a new one.
func (a *Aggregator) find(svc *service, span ptrace.Span) *series {
	name := label(span.Name())
	kind, status := kindOf(span), statusOf(span)
	const mix = 0x9E3779B97F4A7C15 // 2^64 over the golden ratio
	h := maphash.String(a.seed, name) ^ svc.hash
	h = (h ^ uint64(kind)<<8 ^ uint64(status)) * mix
	if len(a.dims) > 0 {
		attributes := span.Attributes()
		for i, d := range a.opts.Dimensions {
			a.dims[i] = a.fallback[i]
			if v, ok := attributes.Get(d.Name); ok {
				a.dims[i] = a.text(v)
			}
			h = (h<<7 | h>>57) ^ maphash.String(a.seed, a.dims[i])
			h *= mix
		}
	}
	return a.lookup(h, svc, name, kind, status)
}

// lookup returns the series with this identity, of which h is the hash and
// a.dims a part; if there is none, a new one.
func (a *Aggregator) lookup(h uint64, svc *service, name string, kind, status uint8) *series {
	first := a.series[h]
	for s := first; s != nil; s = s.next {
		if s.name == name && s.kind == kind && s.status == status && s.service == svc && slices.Equal(s.dims, a.dims) {
			return s
		}
	}
	if svc.counted >= a.opts.MaxSeriesPerService || a.count >= a.opts.MaxSeries {
		return a.overflow(svc, kind, status)
	}
	s := &series{
		hash: h, next: first, service: svc, name: strings.Clone(name), kind: kind, status: status,
		life: a.clock.born(), round: newRounder(), calls: newHistogram(a.layout),
	}
	for _, d := range a.dims {
		s.dims = append(s.dims, strings.Clone(d))
	}
	a.series[h] = s
	a.count++
	svc.counted++
	svc.series = append(svc.series, s)
	a.stats.Series.Add(1)
	return s
}

// overflow returns the series of svc for what is beyond the limits. It folds
// what has no bound, the name and the extra dimensions.
func (a *Aggregator) overflow(svc *service, kind, status uint8) *series {
	at := int(kind)*statuses + int(status)
	if svc.overflow[at] == nil {
		s := &series{
			service: svc, kind: kind, status: status, overflow: true,
			life: a.clock.born(), round: newRounder(), calls: newHistogram(a.layout),
		}
		svc.overflow[at] = s
		svc.series = append(svc.series, s)
		a.stats.Series.Add(1)
	}
	return svc.overflow[at]
}

// maxIntegers bounds the texts of integers that are kept: status codes and
// ports are few, and an id has no place in a dimension.
const maxIntegers = 4_096

// text returns a value as a label. It allocates for floats, bytes, lists and
// maps, and for integers when there are too many different ones.
func (a *Aggregator) text(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return label(v.Str())
	case pcommon.ValueTypeInt:
		s, ok := a.integers[v.Int()]
		if !ok {
			s = strconv.FormatInt(v.Int(), 10)
			if len(a.integers) < maxIntegers {
				a.integers[v.Int()] = s
			}
		}
		return s
	case pcommon.ValueTypeBool:
		return strconv.FormatBool(v.Bool())
	default:
		return label(v.AsString())
	}
}

// Flush hands the cumulative metrics as of now to emit, in parts. emit owns
// what it gets; no lock is held during the call. Series that were idle for
// Options.Expiration end with a stale point and are forgotten.
func (a *Aggregator) Flush(now time.Time, emit func(pmetric.Metrics)) {
	a.clock.flushing.Lock()
	defer a.clock.flushing.Unlock()
	a.mu.Lock()
	f := a.clock.begin(now, a.opts.Expiration)
	list := slices.Clone(a.list)
	a.mu.Unlock()
	out, points := pmetric.NewMetrics(), 0
	for _, svc := range list {
		a.mu.Lock()
		points += a.flushService(out, svc, f)
		a.mu.Unlock()
		if points >= pointsPerFlush {
			emit(out)
			out, points = pmetric.NewMetrics(), 0
		}
	}
	a.mu.Lock()
	a.sweep()
	a.mu.Unlock()
	if points > 0 {
		emit(out)
	}
}

// flushService appends the metrics of one service to out and returns how many
// points they have.
func (a *Aggregator) flushService(out pmetric.Metrics, svc *service, f flush) (points int) {
	var calls, durations pmetric.Metric
	begin := func() {
		rm := out.ResourceMetrics().AppendEmpty()
		// Only what identifies the service: job in Prometheus. Anything that
		// tells instances apart would multiply series and target_info.
		attributes := rm.Resource().Attributes()
		if svc.key.name != "" {
			attributes.PutStr(semconv.ServiceName, svc.key.name)
		}
		if svc.key.namespace != "" {
			attributes.PutStr(semconv.ServiceNamespace, svc.key.namespace)
		}
		sm := rm.ScopeMetrics().AppendEmpty()
		sm.Scope().SetName("guanlan/red")
		calls = sm.Metrics().AppendEmpty()
		calls.SetName(a.opts.Namespace + ".calls")
		calls.SetDescription("Number of spans.")
		sum := calls.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		durations = sm.Metrics().AppendEmpty()
		durations.SetDescription("Duration of spans.")
		if a.opts.Naming == NamingTempo {
			durations.SetName(a.opts.Namespace + ".latency") // without unit: a suffix would follow from it
		} else {
			durations.SetName(a.opts.Namespace + ".duration")
			durations.SetUnit(a.opts.Unit.String())
		}
		a.layout.prepare(durations)
	}
	kept := svc.series[:0]
	for _, s := range svc.series {
		for m := range f.moments(&s.life) {
			if points == 0 {
				begin()
			}
			points += 2
			p := calls.Sum().DataPoints().AppendEmpty()
			setNumber(p, s.calls.count, m)
			a.describe(p.Attributes(), s)
			a.describe(s.calls.appendTo(durations, a.layout, m), s)
		}
		if s.life.ended {
			a.remove(s)
		} else {
			kept = append(kept, s)
		}
	}
	clear(svc.series[len(kept):])
	svc.series = kept
	return points
}

// sweep forgets services without series.
func (a *Aggregator) sweep() {
	a.list = slices.DeleteFunc(a.list, func(svc *service) bool {
		if len(svc.series) > 0 {
			return false
		}
		if svc == a.rest {
			a.rest = nil
		} else {
			delete(a.services, svc.key)
		}
		return true
	})
}

// remove forgets a series; its place in the list of its service is up to the
// caller.
func (a *Aggregator) remove(s *series) {
	a.stats.Series.Add(-1)
	a.stats.Removed.Add(1)
	if s.overflow {
		s.service.overflow[int(s.kind)*statuses+int(s.status)] = nil
		return
	}
	a.count--
	s.service.counted--
	if first := a.series[s.hash]; first != s {
		for first.next != s {
			first = first.next
		}
		first.next = s.next
	} else if s.next != nil {
		a.series[s.hash] = s.next
	} else {
		delete(a.series, s.hash)
	}
}

// describe writes the dimensions of s.
func (a *Aggregator) describe(m pcommon.Map, s *series) {
	m.EnsureCapacity(6 + len(s.dims))
	if s.service.key.name != "" {
		m.PutStr(semconv.ServiceName, s.service.key.name)
		if a.opts.Naming == NamingTempo {
			m.PutStr(semconv.TempoService, s.service.key.name)
		}
	}
	if s.overflow {
		m.PutBool(semconv.OTelMetricOverflow, true)
	} else {
		m.PutStr(semconv.SpanName, s.name)
	}
	m.PutStr(semconv.SpanKind, kindNames[s.kind])
	m.PutStr(semconv.StatusCode, statusNames[s.status])
	for i, d := range s.dims {
		if d != "" {
			m.PutStr(a.opts.Dimensions[i].Name, d)
		}
	}
	if a.opts.InstanceID != "" {
		m.PutStr(semconv.CollectorInstanceID, a.opts.InstanceID)
	}
}

// Idle tells that the aggregator holds nothing.
func (a *Aggregator) Idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.list) == 0
}

const (
	kinds    = 6
	statuses = 3
)

var (
	kindNames = [kinds]string{
		ptrace.SpanKindUnspecified: "SPAN_KIND_UNSPECIFIED",
		ptrace.SpanKindInternal:    "SPAN_KIND_INTERNAL",
		ptrace.SpanKindServer:      "SPAN_KIND_SERVER",
		ptrace.SpanKindClient:      "SPAN_KIND_CLIENT",
		ptrace.SpanKindProducer:    "SPAN_KIND_PRODUCER",
		ptrace.SpanKindConsumer:    "SPAN_KIND_CONSUMER",
	}
	statusNames = [statuses]string{
		ptrace.StatusCodeUnset: "STATUS_CODE_UNSET",
		ptrace.StatusCodeOk:    "STATUS_CODE_OK",
		ptrace.StatusCodeError: "STATUS_CODE_ERROR",
	}
)

// kindOf returns the kind of a span as an index; a kind that is not known is
// unspecified.
func kindOf(span ptrace.Span) uint8 {
	if k := span.Kind(); k >= 0 && k < kinds {
		return uint8(k)
	}
	return 0
}

func statusOf(span ptrace.Span) uint8 {
	if c := span.Status().Code(); c >= 0 && c < statuses {
		return uint8(c)
	}
	return 0
}
