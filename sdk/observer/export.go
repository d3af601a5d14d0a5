package observer

import (
	"math"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// loaded is when the process began, but for the few milliseconds before its
// packages are initialized.
var loaded = time.Now()

// export is the series that the observer keeps up to date. Names, units,
// descriptions and attributes are those of OpenTelemetry's semantic conventions
// 1.43, where these have them; what they do not have is called guanlan.go.
type export struct {
	fields []field
	limit  *core.Series
	cgo    *core.Series
	dists  [numMetrics - firstDist]*core.Series
	buf    buckets
}

// field is a series and where its value comes from.
type field struct {
	series *core.Series
	whole  func(o *Observer) int64   // one of both
	part   func(o *Observer) float64 // of sums
	gauge  bool
	asked  bool // of the system, which may not answer: then it is 0
}

func newExport(m *core.Meter, o *Observer) *export {
	e := &export{}
	series := func(form core.Form, whole bool, name, unit, description string, attrs ...core.Attr) *core.Series {
		return m.Instrument(core.InstrumentOptions{Name: name, Unit: unit, Description: description, Form: form, Integer: whole, Start: loaded}).With(attrs...)
	}
	reading := func(at int) func(*Observer) int64 {
		return func(o *Observer) int64 { return integer(o.samples, at) }
	}
	seconds := func(at int) func(*Observer) float64 {
		return func(o *Observer) float64 { return number(o.samples, at) }
	}
	whole := func(s *core.Series, of func(*Observer) int64) {
		e.fields = append(e.fields, field{series: s, whole: of})
	}
	part := func(s *core.Series, of func(*Observer) float64) {
		e.fields = append(e.fields, field{series: s, part: of})
	}

	used := m.Instrument(core.InstrumentOptions{Name: "go.memory.used", Unit: "By", Description: "Memory used by the Go runtime.", Form: core.UpDownCounter, Integer: true, Start: loaded})
	whole(used.With(core.String("go.memory.type", "stack")), reading(memoryStacks))
	whole(used.With(core.String("go.memory.type", "other")), func(o *Observer) int64 {
		return integer(o.samples, memoryTotal) - integer(o.samples, memoryReleased) - integer(o.samples, memoryStacks)
	})
	e.limit = series(core.UpDownCounter, true, "go.memory.limit", "By", "Go runtime memory limit configured by the user, if a limit exists.")
	whole(series(core.Counter, true, "go.memory.allocated", "By", "Memory allocated to the heap by the application."), reading(allocatedBytes))
	whole(series(core.Counter, true, "go.memory.allocations", "{allocation}", "Count of allocations to the heap by the application."), reading(allocatedObjects))
	whole(series(core.UpDownCounter, true, "go.memory.gc.goal", "By", "Heap size target for the end of the GC cycle."), reading(heapGoal))
	whole(series(core.Counter, true, "go.memory.gc.cycles", "{gc_cycle}", "Number of completed GC cycles."), reading(gcCycles))
	whole(series(core.UpDownCounter, true, "go.goroutine.count", "{goroutine}", "Count of live goroutines."), reading(goroutines))
	whole(series(core.UpDownCounter, true, "go.processor.limit", "{thread}", "The number of OS threads that can execute user-level Go code simultaneously."), reading(maxProcs))
	whole(series(core.UpDownCounter, true, "go.config.gogc", "%", "Heap size target percentage configured by the user, otherwise 100."), reading(gogc))
	cpu := m.Instrument(core.InstrumentOptions{Name: "go.cpu.time", Unit: "s", Description: "Estimated CPU time spent by the Go runtime.", Form: core.Counter, Start: loaded})
	for _, c := range []struct {
		state string
		at    int
	}{{"user", cpuUser}, {"gc", cpuGC}, {"scavenge", cpuScavenge}, {"idle", cpuIdle}} {
		part(cpu.With(core.String("go.cpu.state", c.state)), seconds(c.at))
	}

	whole(series(core.UpDownCounter, true, HeapLive.String(), HeapLive.Unit(), "Heap memory that the last garbage collection found alive."), reading(heapLive))
	whole(series(core.UpDownCounter, true, HeapObjects.String(), HeapObjects.Unit(), "Objects on the heap, alive or not swept yet."), reading(heapObjects))
	part(series(core.Counter, false, MutexWait.String(), MutexWait.Unit(), "Time that goroutines have waited for mutexes, all of them together."), seconds(mutexWait))
	e.cgo = series(core.Counter, true, "guanlan.go.cgo.calls", "{call}", "Calls from Go to C.")

	const estimated = " Sums are estimated from the middles of the runtime's buckets."
	for i, about := range [...]string{
		SchedLatency - firstDist: "The time goroutines have spent in the scheduler in a runnable state before actually running.",
		GCPause - firstDist:      "Distribution of individual GC-related stop-the-world pause latencies. This is the time from deciding to stop the world until the world is started again.",
	} {
		if len(o.dists[i].bounds) == 0 {
			continue // this Go does not know it
		}
		of := firstDist + Metric(i)
		e.dists[i] = m.Instrument(core.InstrumentOptions{Name: of.String(), Unit: of.Unit(), Description: about + estimated, Form: core.Histogram, Bounds: o.dists[i].bounds, Start: loaded}).With()
	}

	if hasCPU {
		cpu := m.Instrument(core.InstrumentOptions{Name: "process.cpu.time", Unit: "s", Description: "Total CPU seconds broken down by different CPU modes.", Form: core.Counter, Start: loaded})
		part(cpu.With(core.String("cpu.mode", "user")), func(o *Observer) float64 { return o.process.user })
		part(cpu.With(core.String("cpu.mode", "system")), func(o *Observer) float64 { return o.process.system })
	}
	if hasProc {
		asked := func(s *core.Series, of func(*Observer) int64) {
			e.fields = append(e.fields, field{series: s, whole: of, asked: true})
		}
		asked(series(core.UpDownCounter, true, "process.memory.usage", "By", "The amount of physical memory in use."), func(o *Observer) int64 { return o.process.rss })
		asked(series(core.UpDownCounter, true, "process.thread.count", "{thread}", "Process threads count."), func(o *Observer) int64 { return o.process.threads })
		asked(series(core.UpDownCounter, true, "process.unix.file_descriptor.count", "{file_descriptor}", "Number of unix file descriptors in use by the process."), func(o *Observer) int64 { return o.process.files })
	}
	e.fields = append(e.fields, field{gauge: true, part: func(*Observer) float64 { return time.Since(loaded).Seconds() },
		series: series(core.Gauge, false, "process.uptime", "s", "The time the process has been running.")})
	return e
}

// publish runs under o.reading, with all readings fresh.
func (e *export) publish(o *Observer) {
	for i := range e.fields {
		switch f := &e.fields[i]; {
		case f.gauge:
			f.series.SetFloat(f.part(o))
		case f.whole != nil:
			if n := f.whole(o); n != 0 || !f.asked {
				f.series.SetTotal(n)
			}
		default:
			f.series.SetTotalFloat(f.part(o))
		}
	}
	if limit := integer(o.samples, memoryLimit); limit == math.MaxInt64 {
		e.limit.Clear() // there is none
	} else {
		e.limit.SetTotal(limit)
	}
	if n := integer(o.samples, cgoCalls); n > 0 { // most programs have none
		e.cgo.SetTotal(n)
	}
	for i, s := range e.dists {
		if s != nil {
			o.dists[i].reduce(histogram(o.samples, runtimeOf[i]), &e.buf)
			s.SetBuckets(e.buf.counts[:len(o.dists[i].bounds)+1], e.buf.sum)
		}
	}
}
