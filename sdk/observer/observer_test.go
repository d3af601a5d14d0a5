package observer

import (
	"context"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

func newMeter() *core.Meter { return core.NewMeter(core.NewScope("observer", "", ""), 0) }

func TestSamplingAndQueriesAllocateNothing(t *testing.T) {
	o := New(Options{})
	o.sampleRare()
	o.sampleRare()
	buf := make([]float64, 0, MaxSamples)
	for name, f := range map[string]func(){
		"Sample":   o.Sample,
		"Last":     func() { o.Last(Goroutines) },
		"Rate":     func() { o.Rate(Allocated, time.Minute) },
		"Sum":      func() { o.Sum(Allocated, time.Minute) },
		"Mean":     func() { o.Mean(HeapLive, time.Minute) },
		"Max":      func() { o.Max(SchedLatency, 0) },
		"P95":      func() { o.P95(Goroutines, time.Minute) },
		"Quantile": func() { o.Quantile(SchedLatency, 0.99, 0) },
		"Values":   func() { o.AppendValues(buf, Goroutines, 0) },
	} {
		if n := testing.AllocsPerRun(500, f); n != 0 {
			t.Errorf("%s takes %v allocations", name, n)
		}
	}
	exporting := New(Options{Meter: newMeter()})
	exporting.Collect()
	if n := testing.AllocsPerRun(100, exporting.Collect); n > 2 { // names of two files, for the kernel
		t.Errorf("Collect takes %v allocations", n)
	}
}

// Everything that is asked for must be known to the Go that the module is for.
func TestRuntimeKnowsAllReadings(t *testing.T) {
	o := New(Options{})
	for _, s := range o.samples {
		if s.Value.Kind() == 0 {
			t.Errorf("the runtime does not know %s", s.Name)
		}
	}
	for i, d := range o.dists {
		if n := len(d.bounds); n < 10 || n >= maxBuckets {
			t.Errorf("%v has %d bounds: %v", firstDist+Metric(i), n, d.bounds)
		}
	}
	seen := map[string]bool{}
	for _, m := range All() {
		if m.String() == "" || m.Unit() == "" || seen[m.String()] {
			t.Errorf("metric %d is called %q with the unit %q", m, m, m.Unit())
		}
		seen[m.String()] = true
	}
}

func TestRunSamplesEachSecondAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := New(Options{Samples: 60})
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { o.Run(ctx) })
		time.Sleep(25*time.Second + time.Millisecond)
		synctest.Wait()
		if o.often.n != 26 || o.rare.n != 3 {
			t.Errorf("after 25 s there are %d samples and %d rare ones, want 26 and 3", o.often.n, o.rare.n)
		}
		if got := len(o.AppendValues(nil, Goroutines, 10*time.Second)); got != 11 {
			t.Errorf("10 s have %d samples, want 11", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if o.often.n != 60 || o.rare.n != 7 {
			t.Errorf("after an hour there are %d samples and %d rare ones, want 60 and 7", o.often.n, o.rare.n)
		}
		cancel()
		running.Wait()
	})
}

func TestQueriesTellWhatHappened(t *testing.T) {
	o := New(Options{})
	if !math.IsNaN(o.Last(Goroutines)) || !math.IsNaN(o.Rate(Allocated, 0)) || !math.IsNaN(o.P95(GCPause, 0)) {
		t.Error("an empty window answers something else than NaN")
	}
	o.Sample()
	o.sampleRare()
	var kept [][]byte
	for range 64 {
		kept = append(kept, make([]byte, 1<<20))
	}
	const collections = 3
	for range collections {
		runtime.GC()
	}
	release := make(chan struct{})
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() { <-release })
	}
	var p process
	for began := time.Now(); hasCPU && p.user+p.system < o.Last(ProcessCPU)+0.01 && time.Since(began) < 10*time.Second; {
		p.read() // uses some
	}
	o.Sample()
	o.sampleRare()
	close(release)
	wg.Wait()
	runtime.KeepAlive(kept)
	above := func(what string, got, want float64) {
		t.Helper()
		if !(got >= want) {
			t.Errorf("%s is %v, want at least %v", what, got, want)
		}
	}
	above("sum of allocated bytes", o.Sum(Allocated, 0), 64<<20)
	above("rate of allocations", o.Rate(Allocations, 0), 1)
	above("collections", o.Sum(GCCycles, 0), collections)
	above("live heap", o.Last(HeapLive), 64<<20)
	above("goroutines", o.Max(Goroutines, 0), 500)
	above("threads", o.Last(Threads), 1)
	above("memory", o.Last(MemoryUsed), 64<<20)
	above("share of the collector", o.Last(GCCPUFraction), 1e-9)
	if f := o.Last(GCCPUFraction); f > 1 {
		t.Errorf("the collector's share is %v", f)
	}
	above("pauses", o.Rate(GCPause, 0), 1)
	above("longest pause", o.Max(GCPause, 0), lowest)
	above("scheduling latencies", o.Rate(SchedLatency, 0), 1)
	if hasCPU {
		above("CPU time", o.Sum(ProcessCPU, 0), 0.01)
	}
	if hasProc {
		above("resident memory", o.Last(RSS), 1<<20)
	}
	var none *Observer
	none.Sample()
	none.Collect()
	if !math.IsNaN(none.Last(Goroutines)) || !math.IsNaN(none.Sum(Goroutines, 0)) || !math.IsNaN(o.Last(numMetrics)) || !math.IsNaN(o.Rate(255, 0)) {
		t.Error("nobody knows something")
	}
}

func TestSampleBesideQueries(t *testing.T) {
	o := New(Options{Meter: newMeter(), Samples: 10})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 300 {
				o.Sample()
				o.sampleRare()
				o.Collect()
			}
		})
		wg.Go(func() {
			for i := range 3000 {
				m := Metric(i % int(numMetrics))
				if v := o.Rate(m, 0); m == Allocated && v < 0 {
					t.Errorf("a counter shrinks: %v", v)
				}
				o.P95(m, time.Second)
				o.Last(m)
			}
		})
	}
	wg.Wait()
}

// A sample must not cost more where there are many goroutines.
func TestSampleIsAsQuickWithManyGoroutines(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has a limit of 8128 goroutines")
	}
	many := 50_000
	if s := os.Getenv("GUANLAN_GOROUTINES"); s != "" {
		many, _ = strconv.Atoi(s)
	}
	o := New(Options{})
	quickest := func() time.Duration {
		best := time.Hour
		for range 500 {
			began := time.Now()
			o.Sample()
			best = min(best, time.Since(began))
		}
		return best
	}
	few := quickest()
	release := make(chan struct{})
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() { <-release })
	}
	o.Sample()
	if got := o.Last(Goroutines); got < float64(many) {
		t.Errorf("%v goroutines, want at least %d", got, many)
	}
	full := quickest()
	close(release)
	wg.Wait()
	t.Logf("%v with few goroutines, %v with %d", few, full, many)
	if full > 5*few+5*time.Microsecond {
		t.Errorf("a sample takes %v with few goroutines, %v with %d", few, full, many)
	}
}

func BenchmarkSample(b *testing.B) {
	o := New(Options{})
	b.ReportAllocs()
	for b.Loop() {
		o.Sample()
	}
}

func BenchmarkSampleRare(b *testing.B) {
	o := New(Options{})
	b.ReportAllocs()
	for b.Loop() {
		o.sampleRare()
	}
}

func BenchmarkCollect(b *testing.B) {
	o := New(Options{Meter: newMeter()})
	b.ReportAllocs()
	for b.Loop() {
		o.Collect()
	}
}

func BenchmarkP95(b *testing.B) {
	o := New(Options{})
	for range defaultSamples {
		o.Sample()
	}
	b.ReportAllocs()
	for b.Loop() {
		o.P95(HeapLive, 0)
	}
}

func TestNamesOfLabelsAreTheExported(t *testing.T) {
	for _, m := range All() {
		name, _, _ := strings.Cut(m.String(), "{")
		if !strings.HasPrefix(name, "go.") && !strings.HasPrefix(name, "process.") && !strings.HasPrefix(name, "guanlan.go.") {
			t.Errorf("%v is in nobody's name space", m)
		}
	}
}
