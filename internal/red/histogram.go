package red

import (
	"fmt"
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

// moment is when a point of a series is for and what it says.
type moment struct {
	start, at pcommon.Timestamp
	since     pcommon.Timestamp // just after the flush before
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

// durationOf returns the duration of a span in nanoseconds, 0 where its end is
// before its start.
func durationOf(span ptrace.Span) uint64 {
	if start, end := span.StartTimestamp(), span.EndTimestamp(); end > start {
		return uint64(end - start)
	}
	return 0
}
