package observer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"testing"
	"time"
)

// filled is an observer that has seen a level and a counter of these values, one
// each second.
func filled(samples int, level, counter []float64) *Observer {
	o := New(Options{Samples: samples})
	for i := range level {
		v := o.often.push(time.Duration(i) * time.Second)
		v[Goroutines], v[Allocated] = level[i], counter[i]
	}
	return o
}

func TestWindow(t *testing.T) {
	o := filled(5, []float64{1000, 1000, 5, 1, 4, 2, 3}, []float64{0, 0, 100, 110, 130, 160, 200})
	f := func(what string, got, want float64) {
		t.Helper()
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	f("last level", o.Last(Goroutines), 3)
	f("last total", o.Last(Allocated), 200)
	f("mean, overwritten samples are gone", o.Mean(Goroutines, time.Hour), 3)
	f("all is an hour", o.Mean(Goroutines, 0), 3)
	f("mean of 2 s", o.Mean(Goroutines, 2*time.Second), 3)
	f("max", o.Max(Goroutines, 0), 5)
	f("max of 2 s", o.Max(Goroutines, 2*time.Second), 4)
	f("sum", o.Sum(Goroutines, time.Second), 5)
	f("slope", o.Rate(Goroutines, 0), -0.5)
	f("median", o.Quantile(Goroutines, 0.5, 0), 3)
	f("least", o.Quantile(Goroutines, 0, 0), 1)
	f("P95", o.P95(Goroutines, 0), 5)
	f("no such share", o.Quantile(Goroutines, 1.1, 0), unknown)
	f("share NaN", o.Quantile(Goroutines, math.NaN(), 0), unknown)
	f("growth", o.Sum(Allocated, 0), 100)
	f("growth per second", o.Rate(Allocated, 0), 25)
	f("mean growth", o.Mean(Allocated, 2*time.Second), 35)
	f("largest growth", o.Max(Allocated, 0), 40)
	f("P50 of growth", o.Quantile(Allocated, 0.5, 0), 20)
	f("a counter with one sample", o.Rate(Allocated, time.Millisecond), unknown)
	f("a level with one sample", o.Mean(Goroutines, time.Millisecond), 3)
	if got := fmt.Sprint(o.AppendValues([]float64{7}, Goroutines, 2*time.Second), o.AppendValues(nil, Allocated, 0)); got != "[7 4 2 3] [10 20 30 40]" {
		t.Errorf("values %s", got)
	}
}

// Quantiles are compared with a plain sort, windows with a plain slice.
func TestWindowAgainstSlices(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		samples := 2 + rng.IntN(MaxSamples)
		level, counter := make([]float64, 1+rng.IntN(2*MaxSamples)), []float64(nil)
		for i := range level {
			level[i] = math.Floor(rng.NormFloat64() * 100)
			counter = append(counter, float64(i)*3)
		}
		o := filled(samples, level, counter)
		seconds := rng.IntN(400)
		kept := level[max(0, len(level)-min(samples, MaxSamples)):]
		kept = slices.Clone(kept[max(0, len(kept)-seconds-1):])
		if got := o.AppendValues(nil, Goroutines, time.Duration(seconds)*time.Second+1); !slices.Equal(got, kept) {
			t.Fatalf("%d samples of %d in %d s: got %v, want %v", len(level), samples, seconds, got, kept)
		}
		slices.Sort(kept)
		q := rng.Float64()
		want := kept[max(0, int(math.Ceil(q*float64(len(kept))))-1)]
		if got := o.Quantile(Goroutines, q, time.Duration(seconds)*time.Second+1); got != want {
			t.Fatalf("quantile %v of %v: got %v, want %v", q, kept, got, want)
		}
		if got := o.Rate(Allocated, 0); len(level) > 1 && math.Abs(got-3) > 1e-9 {
			t.Fatalf("rate %v, want 3", got)
		}
	}
}

// The few buckets must hold what the runtime's hold, and the estimated sum must
// be near the true one.
func TestReduction(t *testing.T) {
	o := New(Options{})
	of := histogram(o.samples, schedLatencies)
	h := &metrics.Float64Histogram{Buckets: of.Buckets, Counts: make([]uint64, len(of.Counts))}
	r := newReduction(h)
	rng := rand.New(rand.NewPCG(3, 4))
	var durations []float64
	var sum float64
	var total uint64
	for range 20_000 {
		d := math.Exp(rng.NormFloat64()*2 - 8) // 0.3 ms, from 0.1 µs to 1 s
		durations = append(durations, d)
		sum += d
		total++
		at, _ := slices.BinarySearch(h.Buckets, d) // of bounds that exclude: none is hit
		h.Counts[at-1]++
	}
	var b buckets
	r.reduce(h, &b)
	slices.Sort(durations)
	var below uint64
	for i, bound := range r.bounds {
		below += b.counts[i]
		at, _ := slices.BinarySearch(durations, bound)
		if below != uint64(at) {
			t.Errorf("%d durations up to %v, want %d", below, bound, at)
		}
		if !slices.Contains(h.Buckets, bound) || i > 0 && bound < 1.99*r.bounds[i-1] {
			t.Errorf("bound %v is not the runtime's, or too near to the one before", bound)
		}
	}
	if got := below + b.counts[len(r.bounds)]; got != total {
		t.Errorf("%d durations in all, want %d", got, total)
	}
	if math.Abs(b.sum/sum-1) > 0.02 {
		t.Errorf("sum %v, want about %v", b.sum, sum)
	}

	// Queries over a window see what came in it.
	o.rare.push(0)
	o.counts[0] = buckets{} // the process began
	o.rare.push(10 * time.Second)
	*o.slot(0, 1) = b
	if got := o.Rate(SchedLatency, 0); got != float64(total)/10 {
		t.Errorf("rate %v, want %v", got, float64(total)/10)
	}
	if got := o.Mean(SchedLatency, 0); math.Abs(got/(sum/float64(total))-1) > 0.02 {
		t.Errorf("mean %v, want about %v", got, sum/float64(total))
	}
	for _, q := range []float64{0.1, 0.5, 0.9, 0.95, 0.99} {
		want := durations[int(q*float64(len(durations)))]
		if got := o.Quantile(SchedLatency, q, 0); !(got > want/2 && got < want*2) {
			t.Errorf("quantile %v is %v, want about %v", q, got, want)
		}
	}
	if empty := newReduction(nil); empty.bounds != nil {
		t.Errorf("of nothing there are bounds %v", empty.bounds)
	}
	(&reduction{}).reduce(nil, &b)
	if b != (buckets{}) {
		t.Errorf("of nothing there are counts %v", b)
	}
}
