// Command sdk measures what Guanlan's SDK and OpenTelemetry's own cost a
// service: CPU and allocations of an operation, in the same process, one after
// the other.
//
// CPU is user and system time of the process, so that exporters and garbage
// collection count, wherever they run. Exporters encode what they are given and
// drop it: the network is the same for both.
package main

import (
	"context"
	"errors"
	"flag"
	"math"
	"runtime"
	"time"

	"github.com/guanlan-io/guanlan/bench/proc"
	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/bench/suite"
)

const (
	subjectOurs  = "guanlan sdk"
	subjectStock = "OpenTelemetry 1.47.0"
)

// run measures and reports.
type run struct {
	suite.Suite
	err    error         // of what was measured
	each   time.Duration // of a round
	rounds int
}

func main() {
	s := new(run)
	s.Suite = suite.Suite{Name: "sdk", Parts: []suite.Part{
		s.part("http", s.http),
		s.part("span", s.span),
		s.part("metric", s.metric),
		s.part("propagation", s.propagation),
		s.part("log", s.log),
		s.part("runtime", s.runtime),
		s.part("export", s.export),
		s.part("service", s.service),
	}}
	flag.DurationVar(&s.each, "each", time.Second, "length of a round")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds of each measurement, of which the median counts")
	s.Main()
}

// part fails when anything that it measured has.
func (s *run) part(name string, f func(context.Context) error) suite.Part {
	return suite.Part{Name: name, Run: func(ctx context.Context) error { return errors.Join(f(ctx), s.err) }}
}

// cost of an operation.
type cost struct {
	ns, allocs float64
}

// measure runs f in rounds and gives the median of their CPU. f does its work n
// times. end, if there is one, ends what f left to do, within the measurement;
// when end fails, the part has failed.
func (s *run) measure(f func(n int), end func() error) cost {
	flush := func() {
		if end != nil {
			s.err = errors.Join(s.err, end())
		}
	}
	n := 1
	for took := time.Duration(0); took < s.each/10; n *= 2 { // warm up, and find out how many make a round
		began := time.Now()
		f(n)
		took = time.Since(began)
	}
	flush()
	began := time.Now()
	f(n)
	n = max(1, int(float64(n)*s.each.Seconds()/max(time.Since(began).Seconds(), 1e-9)))
	flush()
	var all []cost
	for range s.rounds {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpu := proc.Self()
		f(n)
		flush()
		cpu = proc.Self() - cpu
		runtime.ReadMemStats(&after)
		all = append(all, cost{float64(cpu.Nanoseconds()) / float64(n), float64(after.Mallocs-before.Mallocs) / float64(n)})
	}
	return median(all)
}

// median is that of the CPU, with its allocations.
func median(all []cost) cost {
	for i := range all { // few
		for j := i; j > 0 && all[j].ns < all[j-1].ns; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all[len(all)/2]
}

func (c cost) less(base cost) cost {
	return cost{c.ns - base.ns, math.Max(0, c.allocs-base.allocs)}
}

// compare reports ours and OpenTelemetry's, and how many times ours theirs costs.
func (s *run) compare(part, metric string, ours, stock cost, nsTarget, allocTarget, timesTarget, note string) {
	s.compareWith(subjectStock, part, metric, ours, stock, nsTarget, allocTarget, timesTarget, note)
}

func (s *run) compareWith(peer, part, metric string, ours, stock cost, nsTarget, allocTarget, timesTarget, note string) {
	s.Report.Add(report.Row{Part: part, Metric: metric, Subject: subjectOurs, Value: ours.ns, Unit: "ns", Target: nsTarget, Note: note})
	s.Report.Add(report.Row{Part: part, Metric: metric + ", allocations", Subject: subjectOurs, Value: math.Round(ours.allocs*100) / 100, Unit: "", Target: allocTarget})
	if stock == (cost{}) {
		return
	}
	s.Report.Add(report.Row{Part: part, Metric: metric, Subject: peer, Value: stock.ns, Unit: "ns"})
	s.Report.Add(report.Row{Part: part, Metric: metric + ", allocations", Subject: peer, Value: math.Round(stock.allocs*100) / 100, Unit: ""})
	s.Report.Add(report.Row{Part: part, Metric: metric + ", theirs to ours", Subject: subjectOurs, Value: stock.ns / ours.ns, Unit: "×", Target: timesTarget})
}
