package observer

import (
	"math"
	"runtime/metrics"
)

// What is read of the runtime, by its place in Observer.samples.
const (
	goroutines = iota
	runnable
	threads
	memoryTotal
	memoryReleased
	memoryStacks
	heapLive
	heapObjects
	heapGoal
	allocatedBytes
	allocatedObjects
	gcCycles
	cpuTotal
	cpuGC
	mutexWait
	firstRareReading

	cpuUser = iota - 1
	cpuScavenge
	cpuIdle
	cgoCalls
	maxProcs
	gogc
	memoryLimit
	schedLatencies
	gcPauses
	numReadings
)

// readings are the runtime's names.
var readings = [numReadings]string{
	goroutines:       "/sched/goroutines:goroutines",
	runnable:         "/sched/goroutines/runnable:goroutines",
	threads:          "/sched/threads/total:threads",
	memoryTotal:      "/memory/classes/total:bytes",
	memoryReleased:   "/memory/classes/heap/released:bytes",
	memoryStacks:     "/memory/classes/heap/stacks:bytes",
	heapLive:         "/gc/heap/live:bytes",
	heapObjects:      "/gc/heap/objects:objects",
	heapGoal:         "/gc/heap/goal:bytes",
	allocatedBytes:   "/gc/heap/allocs:bytes",
	allocatedObjects: "/gc/heap/allocs:objects",
	gcCycles:         "/gc/cycles/total:gc-cycles",
	cpuTotal:         "/cpu/classes/total:cpu-seconds",
	cpuGC:            "/cpu/classes/gc/total:cpu-seconds",
	mutexWait:        "/sync/mutex/wait/total:seconds",
	cpuUser:          "/cpu/classes/user:cpu-seconds",
	cpuScavenge:      "/cpu/classes/scavenge/total:cpu-seconds",
	cpuIdle:          "/cpu/classes/idle:cpu-seconds",
	cgoCalls:         "/cgo/go-to-c-calls:calls",
	maxProcs:         "/sched/gomaxprocs:threads",
	gogc:             "/gc/gogc:percent",
	memoryLimit:      "/gc/gomemlimit:bytes",
	schedLatencies:   "/sched/latencies:seconds",
	gcPauses:         "/sched/pauses/total/gc:seconds",
}

// runtimeOf is the reading of each distribution.
var runtimeOf = [numMetrics - firstDist]int{SchedLatency - firstDist: schedLatencies, GCPause - firstDist: gcPauses}

func newReadings() []metrics.Sample {
	s := make([]metrics.Sample, len(readings))
	for i, name := range readings {
		s[i].Name = name
	}
	return s
}

// number is a reading as a number; 0 of what this Go does not know.
func number(s []metrics.Sample, at int) float64 {
	switch v := &s[at].Value; v.Kind() {
	case metrics.KindUint64:
		return float64(v.Uint64())
	case metrics.KindFloat64:
		return v.Float64()
	}
	return 0
}

// integer is a reading as OTLP has it: signed, and cut off at its largest.
func integer(s []metrics.Sample, at int) int64 {
	if s[at].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(min(s[at].Value.Uint64(), math.MaxInt64))
}

// histogram is a reading of a distribution; nil of what this Go does not know.
// It is overwritten by the next read.
func histogram(s []metrics.Sample, at int) *metrics.Float64Histogram {
	if s[at].Value.Kind() != metrics.KindFloat64Histogram {
		return nil
	}
	return s[at].Value.Float64Histogram()
}

const (
	// Durations below lowest and above highest do not matter apart from each
	// other: a goroutine that is run after 8 µs did not wait, and one after a
	// second did.
	lowest, highest = 8e-6, 1.2
	maxBuckets      = 24
)

// buckets are the counts of a distribution since the start of the process, and
// the estimated sum.
type buckets struct {
	counts [maxBuckets]uint64
	sum    float64
}

// reduction makes the runtime's some 160 buckets few: to bounds that are the
// runtime's own and each at least twice the one before, so that no count has to
// be divided. The sum is not known to the runtime. It is estimated as if all
// durations lay in the middle of the runtime's own narrow buckets, whose width is
// at most a quarter of their bound.
type reduction struct {
	bounds []float64 // upper ones; a bucket more is without bound
	into   []uint8   // the bucket that each of the runtime's goes to
	middle []float64 // of each of the runtime's
}

func newReduction(h *metrics.Float64Histogram) (r reduction) {
	if h == nil || len(h.Buckets) != len(h.Counts)+1 {
		return r
	}
	r.into, r.middle = make([]uint8, len(h.Counts)), make([]float64, len(h.Counts))
	for i := range h.Counts {
		low, high := h.Buckets[i], h.Buckets[i+1]
		r.into[i] = uint8(len(r.bounds))
		const slack = 1e-9 // of fractions that should be equal
		if high >= lowest && high <= highest && len(r.bounds) < maxBuckets-1 && (len(r.bounds) == 0 || high >= 2*r.bounds[len(r.bounds)-1]*(1-slack)) {
			r.bounds = append(r.bounds, high)
		}
		switch {
		case math.IsInf(low, -1):
			r.middle[i] = max(0, min(high, 0))
		case math.IsInf(high, 1):
			r.middle[i] = low
		default:
			r.middle[i] = (low + high) / 2
		}
	}
	return r
}

// reduce fills b.
func (r *reduction) reduce(h *metrics.Float64Histogram, b *buckets) {
	*b = buckets{}
	if h == nil || len(h.Counts) != len(r.into) {
		return
	}
	for i, n := range h.Counts {
		if n != 0 {
			b.counts[r.into[i]] += n
			b.sum += float64(n) * r.middle[i]
		}
	}
}
