package red

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBucketHoldsItsBounds(t *testing.T) {
	l := newLayout(HistogramOptions{}, Milliseconds, 0)
	f := func(d time.Duration, want int) {
		t.Helper()
		if got := l.bucket(uint64(d)); got != want {
			t.Errorf("bucket(%s) = %d, want %d", d, got, want)
		}
	}
	f(0, 0)
	f(2*time.Millisecond, 0)
	f(2*time.Millisecond+1, 1)
	f(15*time.Second, 15)
	f(15*time.Second+1, 16)
	if got := l.bucket(math.MaxUint64); got != 16 {
		t.Errorf("bucket(max) = %d, want 16", got)
	}
	if got, want := l.reported[:3], []float64{2, 4, 6}; !slices.Equal(got, want) {
		t.Errorf("bounds %v…, want %v", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		bounds := rapid.SliceOfNDistinct(rapid.Int64Range(1, 1<<40), 1, 60, rapid.ID).Draw(t, "bounds")
		slices.Sort(bounds)
		var o HistogramOptions
		for _, b := range bounds {
			o.Bounds = append(o.Bounds, time.Duration(b))
		}
		l := newLayout(o, Seconds, 0)
		d := rapid.OneOf(rapid.Int64Range(0, 1<<41), rapid.SampledFrom(bounds)).Draw(t, "duration")
		want, _ := slices.BinarySearch(bounds, d)
		if got := l.bucket(uint64(d)); got != want {
			t.Fatalf("bucket(%d) of %v = %d, want %d", d, bounds, got, want)
		}
	})
}

func TestExponentialIndex(t *testing.T) {
	for _, c := range []struct {
		v     float64
		scale int32
		want  int32
	}{
		{1, 0, -1}, {1.5, 0, 0}, {2, 0, 0}, {4, 0, 1}, {4.1, 0, 2},
		{1, 3, -1}, {2, 3, 7}, {math.Nextafter(2, 3), 3, 8}, {math.Nextafter(2, 1), 3, 7},
		{1, -1, -1}, {4, -1, 0}, {5, -1, 1}, {16, -1, 1}, {0.25, 8, -2*256 - 1},
	} {
		if got := exponentialIndex(c.v, c.scale); got != c.want {
			t.Errorf("exponentialIndex(%v, %d) = %d, want %d", c.v, c.scale, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(1e-6, 1e12).Draw(t, "v")
		scale := rapid.Int32Range(-4, maxScale).Draw(t, "scale")
		i := exponentialIndex(v, scale)
		width := math.Exp2(float64(-scale)) // octaves of a bucket
		if low, high := math.Exp2(float64(i)*width), math.Exp2(float64(i+1)*width); v < low*(1-1e-12) || v > high*(1+1e-12) {
			t.Fatalf("exponentialIndex(%v, %d) = %d, which is (%v, %v]", v, scale, i, low, high)
		}
	})
}

// However the durations come, the buckets are those of the final scale.
func TestExponentialBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(minMaxSize, 40).Draw(t, "size")
		l := newLayout(HistogramOptions{Exponential: true, MaxSize: size}, Milliseconds, 0)
		h := newHistogram(l)
		durations := rapid.SliceOfN(rapid.Uint64Range(0, 1<<45), 1, 50).Draw(t, "durations")
		for _, d := range durations {
			h.add(l, d, 1, 1)
			if len(h.buckets) > size {
				t.Fatalf("%d buckets, want at most %d", len(h.buckets), size)
			}
		}
		want, zero := map[int32]uint64{}, uint64(0)
		for _, d := range durations {
			if d == 0 {
				zero++
				continue
			}
			want[exponentialIndex(float64(d)/1e6, maxScale)>>(maxScale-h.scale)]++
		}
		for k, n := range h.buckets {
			i := h.offset + int32(k)
			if n != want[i] {
				t.Fatalf("bucket %d at scale %d has %d, want %d", i, h.scale, n, want[i])
			}
			delete(want, i)
		}
		if len(want) > 0 || h.zero != zero {
			t.Fatalf("not counted: %v; %d zeros, want %d", want, h.zero, zero)
		}
	})
}

func TestHistogramOptions(t *testing.T) {
	second := time.Second
	for name, o := range map[string]HistogramOptions{
		"both":       {Exponential: true, Bounds: []time.Duration{second}},
		"descending": {Bounds: []time.Duration{2 * second, second}},
		"twice":      {Bounds: []time.Duration{second, second}},
		"zero":       {Bounds: []time.Duration{0}},
		"size":       {Exponential: true, MaxSize: 1},
		"many":       {Bounds: make([]time.Duration, maxBounds+1)},
	} {
		if err := o.validate(); err == nil {
			t.Errorf("%s: no error for %+v", name, o)
		}
	}
}
