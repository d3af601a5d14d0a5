// Package observer watches the Go runtime and the process it runs in, and keeps
// the last minutes at hand: for decisions that a service makes about itself
// (shed load, grow a pool), and for export by OpenTelemetry's names.
//
// The strategy is to touch nothing that grows with the program. A sample is one
// runtime/metrics read into memory that is there already: no stop of the world,
// no goroutine profile, no allocation, and the same cost with ten goroutines as
// with a million. What costs more, histograms and /proc, is read with each tenth
// sample and when metrics are collected.
package observer

import (
	"context"
	"math"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Metric is a figure that is kept over the window.
type Metric uint8

// Metrics. The window sees the value of a level, the growth per second of a
// counter, and the single durations of a distribution.
const (
	Goroutines         Metric = iota // level
	RunnableGoroutines               // level: ready, and waiting for a processor
	Threads                          // level: of the Go runtime
	MemoryUsed                       // level, bytes: taken from the system and not given back
	StackMemory                      // level, bytes
	HeapLive                         // level, bytes: found alive by the last collection
	HeapObjects                      // level: alive, or dead and not swept yet
	HeapGoal                         // level, bytes: size at which the next collection should end
	Allocated                        // counter, bytes
	Allocations                      // counter, objects
	GCCycles                         // counter
	GCCPUFraction                    // level, 0 to 1: share of all processors that the collector took between its last two ends
	MutexWait                        // counter, seconds: of all goroutines together, waiting for locks
	// From here on each tenth sample has them.
	ProcessCPU   // counter, seconds: its rate is the number of cores in use; Unix
	RSS          // level, bytes; Linux
	OpenFiles    // level; Linux
	SchedLatency // distribution, seconds: from ready to running
	GCPause      // distribution, seconds: of a stop of the world for the collector
	numMetrics

	firstRare = ProcessCPU
	firstDist = SchedLatency
)

// described says what each metric is. Those with a name of OpenTelemetry's have
// it here too.
var described = [numMetrics]struct {
	name, unit string
	counter    bool
}{
	Goroutines:         {"go.goroutine.count", "{goroutine}", false},
	RunnableGoroutines: {"guanlan.go.goroutine.runnable", "{goroutine}", false},
	Threads:            {"guanlan.go.thread.count", "{thread}", false},
	MemoryUsed:         {"go.memory.used", "By", false},
	StackMemory:        {"go.memory.used{go.memory.type=stack}", "By", false},
	HeapLive:           {"guanlan.go.heap.live", "By", false},
	HeapObjects:        {"guanlan.go.heap.objects", "{object}", false},
	HeapGoal:           {"go.memory.gc.goal", "By", false},
	Allocated:          {"go.memory.allocated", "By", true},
	Allocations:        {"go.memory.allocations", "{allocation}", true},
	GCCycles:           {"go.memory.gc.cycles", "{gc_cycle}", true},
	GCCPUFraction:      {"guanlan.go.gc.cpu.fraction", "1", false},
	MutexWait:          {"guanlan.go.mutex.wait_time", "s", true},
	ProcessCPU:         {"process.cpu.time", "s", true},
	RSS:                {"process.memory.usage", "By", false},
	OpenFiles:          {"process.unix.file_descriptor.count", "{file_descriptor}", false},
	SchedLatency:       {"go.schedule.duration", "s", false},
	GCPause:            {"go.memory.gc.pause.duration", "s", false},
}

// String is the name of the metric, with the labels that single it out.
func (m Metric) String() string {
	if m >= numMetrics {
		return "unknown"
	}
	return described[m].name
}

// Unit is the unit of the metric's values, by the rules of UCUM. Rates are per
// second.
func (m Metric) Unit() string {
	if m >= numMetrics {
		return ""
	}
	return described[m].unit
}

// All are the metrics there are.
func All() []Metric {
	all := make([]Metric, numMetrics)
	for i := range all {
		all[i] = Metric(i)
	}
	return all
}

const (
	// MaxSamples bounds the window: with all metrics it takes 45 KB then, and
	// a query copies one metric's 300 values onto the stack.
	MaxSamples     = 300
	defaultSamples = 120
	defaultEvery   = time.Second
	// shortestEvery keeps the cost of a sample below a thousandth of a percent
	// of a core.
	shortestEvery = 100 * time.Millisecond
	// rareEvery is how many samples there are to one that takes everything.
	rareEvery = 10
)

// Options configure an Observer. The zero value of a field is its default.
type Options struct {
	// Every is the time between samples. Default 1 s, at least 100 ms.
	Every time.Duration
	// Samples is how many are kept. Default 120, at most MaxSamples.
	Samples int
	// Meter takes what is exported, brought up to date by Collect; nil: nothing
	// is.
	Meter *core.Meter
}

// Observer keeps a window of samples. It is safe for concurrent use; queries
// never wait for a sample that is being taken. All queries of a nil Observer find
// nothing.
type Observer struct {
	opts  Options
	began time.Time

	reading sync.Mutex // guards what follows
	samples []metrics.Sample
	process process
	export  *export // nil: nothing is exported
	// At the last end of a collection; at first, at the start of the process.
	cpuTotal, cpuGC, fraction float64

	mu     sync.RWMutex // guards what follows
	often  ring         // of metrics below firstRare
	rare   ring         // of those from there on
	counts []buckets    // of distributions, beside the slots of rare
	dists  [numMetrics - firstDist]reduction
}

// New makes an observer that holds nothing yet: Run fills it.
func New(opts Options) *Observer {
	if opts.Every <= 0 {
		opts.Every = defaultEvery
	}
	opts.Every = max(opts.Every, shortestEvery)
	if opts.Samples <= 0 {
		opts.Samples = defaultSamples
	}
	opts.Samples = min(max(opts.Samples, 2), MaxSamples)
	rare := opts.Samples/rareEvery + 1
	o := &Observer{
		opts: opts, began: time.Now(), samples: newReadings(),
		often:  newRing(opts.Samples, int(firstRare)),
		rare:   newRing(rare, int(firstDist-firstRare)),
		counts: make([]buckets, rare*int(numMetrics-firstDist)),
	}
	metrics.Read(o.samples) // the runtime makes the memory of histograms now
	for i := range o.dists {
		o.dists[i] = newReduction(histogram(o.samples, runtimeOf[i]))
	}
	if opts.Meter != nil {
		o.export = newExport(opts.Meter, o)
	}
	return o
}

// Run takes samples until ctx ends.
func (o *Observer) Run(ctx context.Context) {
	ticker := time.NewTicker(o.opts.Every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		o.Sample()
		if n%rareEvery == 0 {
			o.sampleRare()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Sample takes one sample of the metrics that are read often, besides those
// that Run takes: right before a query that needs the present.
func (o *Observer) Sample() {
	if o == nil {
		return
	}
	o.reading.Lock()
	defer o.reading.Unlock()
	often := o.samples[:firstRareReading]
	metrics.Read(often)
	// Until a collection ends, the runtime does not bring its account of CPU
	// time up to date.
	if total, gc := number(often, cpuTotal), number(often, cpuGC); total > o.cpuTotal {
		o.fraction = min(max((gc-o.cpuGC)/(total-o.cpuTotal), 0), 1)
		o.cpuTotal, o.cpuGC = total, gc
	}
	at := time.Since(o.began)

	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.often.push(at)
	v[Goroutines] = number(often, goroutines)
	v[RunnableGoroutines] = number(often, runnable)
	v[Threads] = number(often, threads)
	v[MemoryUsed] = number(often, memoryTotal) - number(often, memoryReleased)
	v[StackMemory] = number(often, memoryStacks)
	v[HeapLive] = number(often, heapLive)
	v[HeapObjects] = number(often, heapObjects)
	v[HeapGoal] = number(often, heapGoal)
	v[Allocated] = number(often, allocatedBytes)
	v[Allocations] = number(often, allocatedObjects)
	v[GCCycles] = number(often, gcCycles)
	v[GCCPUFraction] = o.fraction
	v[MutexWait] = number(often, mutexWait)
}

// sampleRare takes the metrics that cost more.
func (o *Observer) sampleRare() {
	o.reading.Lock()
	defer o.reading.Unlock()
	rare := o.samples[firstRareReading:]
	metrics.Read(rare)
	o.process.read()
	at := time.Since(o.began)

	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.rare.push(at)
	v[ProcessCPU-firstRare] = unknown
	if hasCPU {
		v[ProcessCPU-firstRare] = o.process.user + o.process.system
	}
	v[RSS-firstRare] = orUnknown(float64(o.process.rss))
	v[OpenFiles-firstRare] = orUnknown(float64(o.process.files))
	for i := range o.dists {
		o.dists[i].reduce(histogram(o.samples, runtimeOf[i]), o.slot(i, o.rare.newest))
	}
}

// slot is where the counts of a distribution are kept.
func (o *Observer) slot(dist, at int) *buckets {
	return &o.counts[at*len(o.dists)+dist]
}

// Collect brings the exported series up to date. Call it before each collection
// of the meter.
func (o *Observer) Collect() {
	if o == nil || o.export == nil {
		return
	}
	o.reading.Lock()
	defer o.reading.Unlock()
	metrics.Read(o.samples)
	o.process.read()
	o.export.publish(o)
}

// unknown is what queries answer when the window has nothing to answer from. All
// comparisons with it are false.
var unknown = math.NaN()

// orUnknown takes 0 for no answer of the system, or none yet.
func orUnknown(v float64) float64 {
	if v == 0 {
		return unknown
	}
	return v
}
