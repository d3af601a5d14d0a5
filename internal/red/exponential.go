package red

import (
	"math"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

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
