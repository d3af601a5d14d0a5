package red

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Unit is the unit in which durations are reported.
type Unit int

// Units of durations.
const (
	Milliseconds Unit = iota
	Seconds
)

func (u Unit) nanoseconds() float64 {
	if u == Seconds {
		return 1e9
	}
	return 1e6
}

// String is the UCUM code.
func (u Unit) String() string {
	if u == Seconds {
		return "s"
	}
	return "ms"
}

// Limits of histograms.
const (
	maxBounds      = 250 // of explicit buckets; each is a series in Prometheus
	minMaxSize     = 2   // exponential buckets; fewer cannot be downscaled into
	maxMaxSize     = 1_000
	defaultMaxSize = 160 // as the OpenTelemetry SDKs: 4 decades within ±4.4 %
)

// DefaultBounds are the buckets of the OpenTelemetry span metrics.
func DefaultBounds() []time.Duration {
	ms := []int{2, 4, 6, 8, 10, 50, 100, 200, 400, 800, 1000, 1400, 2000, 5000, 10_000, 15_000}
	out := make([]time.Duration, len(ms))
	for i, m := range ms {
		out[i] = time.Duration(m) * time.Millisecond
	}
	return out
}

// HistogramOptions says how durations are kept.
//
// Explicit buckets are the default although they cost 19 series in Prometheus
// where an exponential histogram costs one and draws a finer heat map: what
// dashboards, SLO rules (le=…) and Grafana's service graph query is _bucket.
type HistogramOptions struct {
	// Bounds are the upper bounds of explicit buckets, ascending; default
	// DefaultBounds.
	Bounds []time.Duration
	// Exponential keeps exponential (native) histograms instead.
	Exponential bool
	// MaxSize is the most buckets of an exponential histogram; default 160.
	// More width than that is met with coarser buckets.
	MaxSize int
}

func (o HistogramOptions) validate() error {
	if o.Exponential && len(o.Bounds) > 0 {
		return fmt.Errorf("histogram: want either explicit bounds or exponential buckets")
	}
	if o.MaxSize != 0 && (o.MaxSize < minMaxSize || o.MaxSize > maxMaxSize) {
		return fmt.Errorf("histogram of %d exponential buckets: want %d to %d", o.MaxSize, minMaxSize, maxMaxSize)
	}
	if len(o.Bounds) > maxBounds {
		return fmt.Errorf("histogram of %d buckets: want at most %d", len(o.Bounds), maxBounds)
	}
	for i, b := range o.Bounds {
		if b <= 0 || i > 0 && b <= o.Bounds[i-1] {
			return fmt.Errorf("histogram bound %s: bounds must be positive and ascending", b)
		}
	}
	return nil
}

// layout is what the histograms of an aggregator have in common.
type layout struct {
	unit      float64   // nanoseconds
	bounds    []uint64  // nanoseconds, inclusive; nil when exponential
	reported  []float64 // bounds in unit
	first     [65]uint8 // lowest bucket for a duration of so many significant bits
	maxSize   int32
	exemplars int // most exemplars of one histogram and flush
}

func newLayout(o HistogramOptions, unit Unit, exemplars int) *layout {
	l := &layout{unit: unit.nanoseconds(), exemplars: exemplars}
	if o.Exponential {
		l.maxSize = defaultMaxSize
		if o.MaxSize != 0 {
			l.maxSize = int32(o.MaxSize)
		}
		return l
	}
	bounds := o.Bounds
	if len(bounds) == 0 {
		bounds = DefaultBounds()
	}
	for _, b := range bounds {
		l.bounds = append(l.bounds, uint64(b))
		l.reported = append(l.reported, float64(b)/l.unit)
	}
	for n := range l.first {
		lowest := uint64(0)
		if n > 0 {
			lowest = 1 << (n - 1)
		}
		i, _ := slices.BinarySearch(l.bounds, lowest)
		l.first[n] = uint8(i)
	}
	return l
}

func (l *layout) explicit() bool { return l.bounds != nil }

// bucket returns the index of the explicit bucket of a duration.
func (l *layout) bucket(d uint64) int {
	i := int(l.first[bits.Len64(d)])
	for i < len(l.bounds) && d > l.bounds[i] {
		i++
	}
	return i
}

// slots is how many bands of duration exemplars are kept for.
func (l *layout) slots() int {
	if l.explicit() {
		return len(l.bounds) + 1
	}
	return exponentialSlots
}

// exponentialSlots are octaves of duration: below 1 ms, 1 to 2 ms … above 17 s.
const exponentialSlots = 16

// slot returns the band of a duration. For explicit buckets it is the bucket:
// Prometheus keeps exemplars by bucket.
func (l *layout) slot(d uint64) int {
	if l.explicit() {
		return l.bucket(d)
	}
	return min(bits.Len64(d>>20), exponentialSlots-1)
}

// histogram is the durations of one series.
type histogram struct {
	count   uint64
	sum     float64  // nanoseconds, weighted
	buckets []uint64 // explicit, or exponential from offset on
	offset  int32
	scale   int32
	zero    uint64
	slots   []exemplar // by layout.slot; nil until the first exemplar
}

func newHistogram(l *layout) histogram {
	if l.explicit() {
		return histogram{buckets: make([]uint64, len(l.bounds)+1)}
	}
	return histogram{scale: maxScale}
}

// add counts a duration n times; w is the weight before rounding.
func (h *histogram) add(l *layout, d, n uint64, w float64) {
	h.count += n
	h.sum += w * float64(d)
	if l.explicit() {
		h.buckets[l.bucket(d)] += n
	} else {
		h.addExponential(l, d, n)
	}
}

// exemplar is a span that fell in a series. The zero value is none.
type exemplar struct {
	trace    pcommon.TraceID
	span     pcommon.SpanID
	duration uint64
	end      pcommon.Timestamp
}

// note offers a span as exemplar. Of each band the slowest span stays.
func (h *histogram) note(l *layout, span ptrace.Span, d uint64) {
	if e := h.slowest(l, d); e != nil && !span.TraceID().IsEmpty() {
		*e = exemplar{trace: span.TraceID(), span: span.SpanID(), duration: d, end: span.EndTimestamp()}
	}
}

// noteSide offers a side of a call as exemplar.
func (h *histogram) noteSide(l *layout, s *side) {
	if s.linked || s.trace.IsEmpty() {
		return // linked: the trace is not its own
	}
	if e := h.slowest(l, s.duration); e != nil {
		*e = exemplar{trace: s.trace, span: s.self, duration: s.duration, end: s.end}
	}
}

// slowest returns where to put a span if it is the slowest of its band.
func (h *histogram) slowest(l *layout, d uint64) *exemplar {
	if l.exemplars <= 0 {
		return nil
	}
	if h.slots == nil {
		h.slots = make([]exemplar, l.slots())
	}
	if e := &h.slots[l.slot(d)]; d >= e.duration {
		return e
	}
	return nil
}

// moment is when a point of a series is for and what it says.
type moment struct {
	start, at pcommon.Timestamp
	what      int
	round     int // number of the flush; turns the choice of exemplars
}

const (
	pointValue = iota
	pointZero  // the series begins: nothing was counted yet
	pointStale // the series ends
)

// prepare makes m a histogram of the kind of l.
func (l *layout) prepare(m pmetric.Metric) {
	if l.explicit() {
		m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	} else {
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	}
}

// appendTo adds a point to m, which l prepared, and returns its attributes for
// the caller to fill in. A point with a value takes the exemplars with it.
func (h *histogram) appendTo(m pmetric.Metric, l *layout, t moment) pcommon.Map {
	if !l.explicit() {
		return h.appendExponential(m.ExponentialHistogram().DataPoints().AppendEmpty(), l, t)
	}
	p := m.Histogram().DataPoints().AppendEmpty()
	p.SetStartTimestamp(t.start)
	p.SetTimestamp(t.at)
	p.ExplicitBounds().FromRaw(l.reported)
	switch t.what {
	case pointValue:
		p.SetCount(h.count)
		p.SetSum(h.sum / l.unit)
		p.BucketCounts().FromRaw(h.buckets)
		h.takeExemplars(p.Exemplars(), l, t)
	case pointZero:
		p.SetSum(0)
		p.BucketCounts().FromRaw(make([]uint64, len(h.buckets)))
	case pointStale:
		p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		p.SetSum(0)
		p.BucketCounts().FromRaw(make([]uint64, len(h.buckets)))
	}
	return p.Attributes()
}

// takeExemplars moves the chosen exemplars to out: the slowest always, the
// others from bands that lie apart, different ones at every flush. They come
// in ascending order of value, as Prometheus' translation expects them.
func (h *histogram) takeExemplars(out pmetric.ExemplarSlice, l *layout, t moment) {
	var filled [maxBounds + 1]uint8
	bands := filled[:0]
	for i := range h.slots {
		if !h.slots[i].trace.IsEmpty() {
			bands = append(bands, uint8(i))
		}
	}
	if len(bands) == 0 {
		return
	}
	if rest := len(bands) - 1; len(bands) > l.exemplars {
		slowest := bands[rest]
		others := l.exemplars - 1
		var chosen [maxBounds + 1]bool
		for i := range others {
			chosen[bands[(t.round+i*rest/others)%rest]] = true
		}
		chosen[slowest] = true
		bands = slices.DeleteFunc(bands, func(b uint8) bool { return !chosen[b] })
	}
	picked := make([]exemplar, 0, len(bands))
	for _, b := range bands {
		picked = append(picked, h.slots[b])
	}
	if !l.explicit() {
		// One series takes them all, and takes them in order of time.
		slices.SortFunc(picked, func(a, b exemplar) int { return int(int64(a.end) - int64(b.end)) })
	}
	for _, e := range picked {
		x := out.AppendEmpty()
		x.SetTraceID(e.trace)
		x.SetSpanID(e.span)
		x.SetDoubleValue(float64(e.duration) / l.unit)
		// A clock that is ahead must not keep out the exemplars that follow.
		x.SetTimestamp(min(max(e.end, t.start), t.at))
	}
	clear(h.slots)
}

// maxScale is the finest scale of exponential buckets, 256 to an octave;
// Prometheus' native histograms know none finer.
const maxScale = 8

func (h *histogram) addExponential(l *layout, d, n uint64) {
	if d == 0 {
		h.zero += n
		return
	}
	i := exponentialIndex(float64(d)/l.unit, h.scale)
	if len(h.buckets) == 0 {
		h.offset = i
		h.buckets = append(h.buckets, n)
		return
	}
	low, high := min(i, h.offset), max(i, h.offset+int32(len(h.buckets))-1)
	if high-low >= l.maxSize {
		shift := int32(0)
		for (high>>shift)-(low>>shift) >= l.maxSize {
			shift++
		}
		h.downscale(shift)
		i >>= shift
		low, high = low>>shift, high>>shift
	}
	if low < h.offset {
		h.buckets = slices.Insert(h.buckets, 0, make([]uint64, h.offset-low)...)
		h.offset = low
	}
	for h.offset+int32(len(h.buckets))-1 < high {
		h.buckets = append(h.buckets, 0)
	}
	h.buckets[i-h.offset] += n
}

// downscale merges 2^shift buckets into one.
func (h *histogram) downscale(shift int32) {
	offset := h.offset >> shift
	last := (h.offset + int32(len(h.buckets)) - 1) >> shift
	for k, n := range h.buckets {
		to := (h.offset+int32(k))>>shift - offset
		h.buckets[k] = 0
		h.buckets[to] += n // to <= k: its own count was moved before
	}
	h.buckets = h.buckets[:last-offset+1]
	h.offset = offset
	h.scale -= shift
}

// exponentialIndex returns the bucket of v > 0: bucket i holds values above
// 2^(i/2^scale) up to and including 2^((i+1)/2^scale).
func exponentialIndex(v float64, scale int32) int32 {
	fraction, exponent := math.Frexp(v) // v = fraction × 2^exponent, fraction in [½,1)
	e := int32(exponent)
	if scale <= 0 {
		if fraction == 0.5 {
			return (e - 2) >> -scale
		}
		return (e - 1) >> -scale
	}
	if fraction == 0.5 { // a power of two is the upper bound of its bucket, exactly
		return (e-1)<<scale - 1
	}
	within := int32(math.Floor(math.Log2(fraction) * float64(int32(1)<<scale)))
	return e<<scale + min(within, -1)
}

func (h *histogram) appendExponential(p pmetric.ExponentialHistogramDataPoint, l *layout, t moment) pcommon.Map {
	p.SetStartTimestamp(t.start)
	p.SetTimestamp(t.at)
	p.SetScale(h.scale)
	p.SetSum(0)
	switch t.what {
	case pointValue:
		p.SetCount(h.count)
		p.SetSum(h.sum / l.unit)
		p.SetZeroCount(h.zero)
		p.Positive().SetOffset(h.offset)
		p.Positive().BucketCounts().FromRaw(h.buckets)
		h.takeExemplars(p.Exemplars(), l, t)
	case pointStale:
		p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	}
	return p.Attributes()
}

// durationOf returns the duration of a span in nanoseconds, 0 where its end is
// before its start.
func durationOf(span ptrace.Span) uint64 {
	if start, end := span.StartTimestamp(), span.EndTimestamp(); end > start {
		return uint64(end - start)
	}
	return 0
}
