package core

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Meter holds the instruments of one scope. It is safe for concurrent use.
type Meter struct {
	scope *Scope
	limit int

	mu          sync.Mutex
	instruments []*Instrument
}

// DefaultCardinality is how many series an instrument has at most, that of the
// OpenTelemetry specification. One of them takes what does not fit.
const DefaultCardinality = 2000

// NewMeter makes a meter whose instruments have at most limit series each; 0 is
// DefaultCardinality.
func NewMeter(scope *Scope, limit int) *Meter {
	return &Meter{scope: scope, limit: orDefault(limit, DefaultCardinality)}
}

// Form is what an instrument does with measurements.
type Form uint8

// Forms of instruments.
const (
	Counter       Form = iota // sum of increments
	UpDownCounter             // sum of changes
	Gauge                     // the last value
	Histogram                 // distribution over buckets
)

// InstrumentOptions describe an instrument.
type InstrumentOptions struct {
	Name, Description, Unit string
	Form                    Form
	// Integer values are written as integers; a histogram has none.
	Integer bool
	// Bounds are the upper, inclusive bounds of the buckets of a histogram,
	// ascending; another one is without bound. Default DefaultBounds.
	Bounds []float64
	// Start is since when is counted; default: since a series is made. What is
	// given, see Series.SetTotal, may be older than that.
	Start time.Time
}

// DefaultBounds are those of the OpenTelemetry specification.
var DefaultBounds = []float64{0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000}

// Instrument makes series. It is safe for concurrent use.
type Instrument struct {
	opts  InstrumentOptions
	limit int

	mu       sync.RWMutex
	series   map[string]*Series // by their encoded attributes, in order
	overflow *Series
}

// Instrument adds an instrument, or finds the one that is there with the same
// name, form and unit.
func (m *Meter) Instrument(opts InstrumentOptions) *Instrument {
	if opts.Form == Histogram && opts.Bounds == nil {
		opts.Bounds = DefaultBounds
	}
	i := &Instrument{opts: opts, limit: m.limit, series: map[string]*Series{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, old := range m.instruments {
		if o := &old.opts; o.Name == opts.Name && o.Form == opts.Form && o.Unit == opts.Unit && o.Integer == opts.Integer {
			return old
		}
	}
	m.instruments = append(m.instruments, i)
	return i
}

// overflowKey marks the series of what did not fit.
// Source: OpenTelemetry specification, "Cardinality limits".
const overflowKey = "otel.metric.overflow"

// With is the series of these attributes; of those with the same key the last
// counts. Keep it where the attributes are known beforehand: finding it costs
// many times what recording does.
func (i *Instrument) With(attrs ...Attr) *Series {
	buf := keys.Get().(*[]byte)
	defer keys.Put(buf)
	*buf = i.key((*buf)[:0], attrs)
	key := *buf
	i.mu.RLock()
	s := i.series[string(key)]
	i.mu.RUnlock()
	if s != nil {
		return s
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.series[string(key)]; s != nil {
		return s
	}
	if len(i.series) >= i.limit-1 { // one is the overflow's
		if i.overflow == nil {
			i.overflow = i.newSeries(i.key(nil, []Attr{Bool(overflowKey, true)}))
		}
		return i.overflow
	}
	s = i.newSeries(slices.Clone(key))
	i.series[string(key)] = s
	return s
}

var keys = sync.Pool{New: func() any { return new([]byte) }}

// key encodes attributes in the order of their keys.
func (i *Instrument) key(b []byte, attrs []Attr) []byte {
	var few [16]Attr
	sorted := few[:0]
	for _, a := range attrs { // few: insertion is the quickest, and keeps the order of equal keys
		at := len(sorted)
		sorted = append(sorted, a)
		for ; at > 0 && sorted[at-1].Key > a.Key; at-- {
			sorted[at] = sorted[at-1]
		}
		sorted[at] = a
	}
	field := numberAttributes
	if i.opts.Form == Histogram {
		field = histogramAttributes
	}
	return appendAttrs(b, field, 0, sorted, -1, -1)
}

// shards spread the adding of many cores over several cache lines.
const shards = 4

// Series is one line of a metric. Recording takes no lock and no memory.
type Series struct {
	attrs  []byte // encoded fields of a data point
	form   Form
	bounds []float64
	start  time.Time
	last   atomic.Uint64 // of a gauge
	set    atomic.Bool   // it has a value
	shard  [shards]shard

	exemplars exemplars
}

// shard is a part of the sum.
type shard struct {
	sum    atomic.Uint64 // bits of a float, or an integer
	counts []atomic.Uint64
	_      [64]byte
}

func (i *Instrument) newSeries(attrs []byte) *Series {
	s := &Series{attrs: attrs, form: i.opts.Form, bounds: i.opts.Bounds, start: i.opts.Start}
	if s.start.IsZero() {
		s.start = time.Now()
	}
	if s.form == Histogram {
		for n := range s.shard {
			s.shard[n].counts = make([]atomic.Uint64, len(s.bounds)+1)
		}
	}
	return s
}

// Add changes a sum of integers.
func (s *Series) Add(n int64) {
	s.shard[rand.Uint32()%shards].sum.Add(uint64(n))
	s.touch()
}

// AddFloat changes a sum of fractions.
func (s *Series) AddFloat(v float64) {
	s.shard[rand.Uint32()%shards].addFloat(v)
	s.touch()
}

func (s *Series) touch() {
	if !s.set.Load() {
		s.set.Store(true)
	}
}

func (s *shard) addFloat(v float64) {
	for {
		old := s.sum.Load()
		if s.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Set sets a gauge of integers.
func (s *Series) Set(n int64) {
	s.last.Store(uint64(n))
	s.touch()
}

// SetFloat sets a gauge of fractions.
func (s *Series) SetFloat(v float64) {
	s.last.Store(math.Float64bits(v))
	s.touch()
}

// Record adds a measurement to a histogram. One that was made within a kept
// span may become an exemplar: sc is its context, or nil. NaN is not counted.
func (s *Series) Record(v float64, sc *SpanContext) {
	if v != v {
		return
	}
	bucket := 0
	for bucket < len(s.bounds) && v > s.bounds[bucket] {
		bucket++
	}
	shard := &s.shard[rand.Uint32()%shards]
	shard.counts[bucket].Add(1)
	shard.addFloat(v)
	s.touch()
	if sc != nil && sc.IsSampled() {
		s.exemplars.offer(v, sc)
	}
}

// exemplars keeps the largest and the latest measurement since the last
// collection: the one is what people look for, the other is as good as any.
type exemplars struct {
	mu           sync.Mutex
	largest, any exemplar
}

type exemplar struct {
	value float64
	at    time.Time // zero: there is none
	trace TraceID
	span  SpanID
}

// offer gives way when somebody else is at it.
func (e *exemplars) offer(v float64, sc *SpanContext) {
	if !e.mu.TryLock() {
		return
	}
	defer e.mu.Unlock()
	x := exemplar{v, time.Now(), sc.TraceID, sc.SpanID}
	if e.largest.at.IsZero() || v > e.largest.value {
		e.any, e.largest = e.largest, x
		return
	}
	e.any = x
}

func (e *exemplars) take() (largest, other exemplar) {
	e.mu.Lock()
	defer e.mu.Unlock()
	largest, other = e.largest, e.any
	e.largest, e.any = exemplar{}, exemplar{}
	return largest, other
}

// Fields of OTLP messages.
// Source: opentelemetry-proto 1.9, metrics/v1/metrics.proto.
const (
	metricName        = 1
	metricDescription = 2
	metricUnit        = 3
	metricGauge       = 5
	metricSum         = 7
	metricHistogram   = 9

	dataPoints      = 1 // of all of them
	dataTemporality = 2
	dataMonotonic   = 3
	cumulative      = 2

	pointStart       = 2 // of number and histogram
	pointTime        = 3
	numberDouble     = 4
	numberInt        = 6
	numberAttributes = 7

	histogramCount      = 4
	histogramSum        = 5
	histogramCounts     = 6
	histogramBounds     = 7
	histogramExemplars  = 8
	histogramAttributes = 9

	exemplarTime   = 2
	exemplarDouble = 3
	exemplarSpan   = 4
	exemplarTrace  = 5
)

// AppendMetrics appends an export request with what all meters have counted
// since the start of their series, and says how many data points there are. It
// may run beside recording; a measurement is in this or the next one whole, but
// for the sum of a histogram, which may be ahead of its count by those that are
// just being made.
func AppendMetrics(dst, resource []byte, meters []*Meter, now time.Time) (_ []byte, points int) {
	dst, request := openField(dst, requestResources)
	dst = append(dst, resource...)
	for _, m := range meters {
		m.mu.Lock()
		instruments := m.instruments
		m.mu.Unlock()
		before, scope := len(dst), 0
		dst, scope = openField(dst, resourceScopes)
		dst = append(dst, m.scope.encoded...)
		found := points
		for _, i := range instruments {
			var n int
			dst, n = i.append(dst, now)
			points += n
		}
		if points == found {
			dst = dst[:before]
			continue
		}
		dst = closeField(dst, scope)
	}
	return closeField(dst, request), points
}

func (i *Instrument) append(b []byte, now time.Time) (_ []byte, points int) {
	i.mu.RLock()
	all := make([]*Series, 0, len(i.series)+1)
	for _, s := range i.series {
		all = append(all, s)
	}
	if i.overflow != nil {
		all = append(all, i.overflow)
	}
	i.mu.RUnlock()
	before := len(b)
	b, metric := openField(b, scopeItems)
	b = appendString(b, metricName, i.opts.Name)
	if i.opts.Description != "" {
		b = appendString(b, metricDescription, i.opts.Description)
	}
	if i.opts.Unit != "" {
		b = appendString(b, metricUnit, i.opts.Unit)
	}
	b, data := openField(b, [...]int{Counter: metricSum, UpDownCounter: metricSum, Gauge: metricGauge, Histogram: metricHistogram}[i.opts.Form])
	for _, s := range all {
		if s.set.Load() {
			points++
			b = i.appendPoint(b, s, now)
		}
	}
	if points == 0 {
		return b[:before], 0
	}
	if i.opts.Form != Gauge {
		b = appendVarint(b, dataTemporality, cumulative)
	}
	if i.opts.Form == Counter {
		b = appendVarint(b, dataMonotonic, 1)
	}
	return closeField(closeField(b, data), metric), points
}

func (i *Instrument) appendPoint(b []byte, s *Series, now time.Time) []byte {
	b, point := openField(b, dataPoints)
	b = append(b, s.attrs...)
	if s.form != Gauge {
		b = appendFixed64(b, pointStart, uint64(s.start.UnixNano()))
	}
	b = appendFixed64(b, pointTime, uint64(now.UnixNano()))
	if s.form == Histogram {
		return closeField(s.appendHistogram(b), point)
	}
	field := numberDouble
	if i.opts.Integer {
		field = numberInt
	}
	return closeField(appendFixed64(b, field, s.number(i.opts.Integer)), point)
}

// number is the value of a sum or gauge, as it is written.
func (s *Series) number(integer bool) uint64 {
	if s.form == Gauge {
		return s.last.Load()
	}
	var whole uint64
	var fraction float64
	for n := range s.shard {
		bits := s.shard[n].sum.Load()
		whole += bits
		fraction += math.Float64frombits(bits)
	}
	if integer {
		return whole
	}
	return math.Float64bits(fraction)
}

func (s *Series) appendHistogram(b []byte) []byte {
	// Packed: a size, then eight bytes each. The count is that of the
	// buckets, so that they agree.
	b = binary.AppendUvarint(appendTag(b, histogramCounts, wireBytes), uint64(8*(len(s.bounds)+1)))
	var count uint64
	for bucket := range len(s.bounds) + 1 {
		var n uint64
		for k := range s.shard {
			n += s.shard[k].counts[bucket].Load()
		}
		count += n
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = appendFixed64(b, histogramCount, count)
	var sum float64
	for k := range s.shard {
		sum += math.Float64frombits(s.shard[k].sum.Load())
	}
	b = appendFixed64(b, histogramSum, math.Float64bits(sum))
	b = binary.AppendUvarint(appendTag(b, histogramBounds, wireBytes), uint64(8*len(s.bounds)))
	for _, bound := range s.bounds {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(bound))
	}
	largest, other := s.exemplars.take()
	for _, e := range [...]exemplar{largest, other} {
		if e.at.IsZero() {
			continue
		}
		open := 0
		b, open = openField(b, histogramExemplars)
		b = appendFixed64(b, exemplarTime, uint64(e.at.UnixNano()))
		b = appendFixed64(b, exemplarDouble, math.Float64bits(e.value))
		b = appendBytes(b, exemplarSpan, e.span[:])
		b = appendBytes(b, exemplarTrace, e.trace[:])
		b = closeField(b, open)
	}
	return b
}
