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
	// Integer values are written as integers; of a histogram, the exemplars.
	Integer bool
	// Observed values are read when metrics are collected. What is recorded
	// counts for the next collection alone, and series without a value are not
	// in it. A Series of such an instrument is good for one record: do not keep
	// it.
	Observed bool
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
	began time.Time

	mu       sync.RWMutex
	series   map[string]*Series // by their encoded attributes, in order
	overflow *Series
	swept    bool // of an observed one: there was no room since the last collection
}

// Instrument adds an instrument, or finds the one that is there with the same
// name, description, unit and form.
func (m *Meter) Instrument(opts InstrumentOptions) *Instrument {
	if opts.Form == Histogram && opts.Bounds == nil {
		opts.Bounds = DefaultBounds
	}
	i := &Instrument{opts: opts, limit: m.limit, began: time.Now(), series: map[string]*Series{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, old := range m.instruments {
		if o := &old.opts; o.Name == opts.Name && o.Description == opts.Description && o.Unit == opts.Unit && o.Form == opts.Form && o.Integer == opts.Integer && o.Observed == opts.Observed {
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
	if s == nil && i.overflow != nil && i.full() {
		s = i.overflow
	}
	i.mu.RUnlock()
	if s != nil {
		return s
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.series[string(key)]; s != nil {
		return s
	}
	i.sweep()
	if i.full() {
		if i.overflow == nil {
			i.overflow = i.newSeries(i.key(nil, []Attr{Bool(overflowKey, true)}))
		}
		return i.overflow
	}
	s = i.newSeries(slices.Clone(key))
	i.series[string(key)] = s
	return s
}

// full reports that there is no room for another series, as one is the
// overflow's, and that none can be made.
func (i *Instrument) full() bool {
	return len(i.series) >= i.limit-1 && (!i.opts.Observed || i.swept)
}

// sweep makes room for another series if there is none, by letting go of those
// that were not observed since the last collection. Between two collections it
// is tried once.
func (i *Instrument) sweep() {
	if !i.opts.Observed || i.swept || len(i.series) < i.limit-1 {
		return
	}
	i.swept = true
	for key, s := range i.series {
		if !s.set.Load() {
			delete(i.series, key)
		}
	}
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
	// The smallest and the largest of a histogram, as bits of floats.
	least, most atomic.Uint64
	shard       [shards]shard

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
	s.exemplars.above.Store(notYet)
	switch {
	case !s.start.IsZero():
	case i.opts.Observed: // what is told has been counted all along
		s.start = i.began
	default:
		s.start = time.Now()
	}
	if s.form == Histogram {
		s.least.Store(math.Float64bits(math.Inf(1)))
		s.most.Store(math.Float64bits(math.Inf(-1)))
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

// AddFloat changes a sum of fractions. NaN is not added: it would stay.
func (s *Series) AddFloat(v float64) {
	if v != v {
		return
	}
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
	if len(s.bounds) > fewBounds {
		bucket, _ = slices.BinarySearch(s.bounds, v)
	}
	for bucket < len(s.bounds) && v > s.bounds[bucket] {
		bucket++
	}
	// Before the count, so that there are none without it.
	if v < math.Float64frombits(s.least.Load()) {
		stretch(&s.least, v, func(old float64) bool { return v < old })
	}
	if v > math.Float64frombits(s.most.Load()) {
		stretch(&s.most, v, func(old float64) bool { return v > old })
	}
	luck := rand.Uint32()
	shard := &s.shard[luck%shards]
	shard.counts[bucket].Add(1)
	shard.addFloat(v)
	s.touch()
	if sc != nil && sc.IsSampled() {
		s.exemplars.offer(v, sc, luck/shards)
	}
}

// fewBounds is up to how many bounds looking at one after the other is quicker
// than halving them.
const fewBounds = 32

// stretch replaces an extreme value as long as v is beyond it.
func stretch(of *atomic.Uint64, v float64, beyond func(old float64) bool) {
	for old := of.Load(); beyond(math.Float64frombits(old)); old = of.Load() {
		if of.CompareAndSwap(old, math.Float64bits(v)) {
			return
		}
	}
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
	numberExemplars  = 5
	numberInt        = 6
	numberAttributes = 7

	histogramCount      = 4
	histogramSum        = 5
	histogramCounts     = 6
	histogramBounds     = 7
	histogramExemplars  = 8
	histogramAttributes = 9
	histogramMin        = 11
	histogramMax        = 12

	exemplarTime   = 2
	exemplarDouble = 3
	exemplarSpan   = 4
	exemplarTrace  = 5
	exemplarInt    = 6
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
	all := i.all()
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
		if i.opts.Observed && s.set.Swap(false) || !i.opts.Observed && s.set.Load() {
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

// all is every series; an observed instrument may make room again.
func (i *Instrument) all() []*Series {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.swept = false
	all := make([]*Series, 0, len(i.series)+1)
	for _, s := range i.series {
		all = append(all, s)
	}
	if i.overflow != nil {
		all = append(all, i.overflow)
	}
	return all
}

func (i *Instrument) appendPoint(b []byte, s *Series, now time.Time) []byte {
	b, point := openField(b, dataPoints)
	b = append(b, s.attrs...)
	if s.form != Gauge {
		b = appendFixed64(b, pointStart, uint64(s.start.UnixNano()))
	}
	b = appendFixed64(b, pointTime, uint64(now.UnixNano()))
	if s.form == Histogram {
		return closeField(s.exemplars.append(s.appendHistogram(b), histogramExemplars, i.opts.Integer), point)
	}
	field := numberDouble
	if i.opts.Integer {
		field = numberInt
	}
	b = appendFixed64(b, field, s.number(i.opts.Integer, i.opts.Observed))
	return closeField(s.exemplars.append(b, numberExemplars, i.opts.Integer), point)
}

// number is the value of a sum or gauge, as it is written. A sum that is taken
// begins again.
func (s *Series) number(integer, take bool) uint64 {
	if s.form == Gauge {
		return s.last.Load()
	}
	var whole uint64
	var fraction float64
	for n := range s.shard {
		bits := s.shard[n].sum.Load()
		if take {
			bits = s.shard[n].sum.Swap(0)
		}
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
	// Of measurements that were given in buckets they are not known.
	if least, most := s.least.Load(), s.most.Load(); math.Float64frombits(least) <= math.Float64frombits(most) {
		b = appendFixed64(b, histogramMin, least)
		b = appendFixed64(b, histogramMax, most)
	}
	return b
}
