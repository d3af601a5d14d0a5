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
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sdk:", err)
		os.Exit(1)
	}
}

const (
	subjectOurs  = "guanlan sdk"
	subjectStock = "OpenTelemetry 1.47.0"
)

// suite measures and reports.
type suite struct {
	report *report.Report
	err    error         // of what was measured
	each   time.Duration // of a round
	rounds int
}

// part is one thing that is done with both SDKs.
type part struct {
	name string
	run  func(*suite, context.Context) error
}

var parts = []part{
	{"http", (*suite).http},
	{"span", (*suite).span},
	{"metric", (*suite).metric},
	{"propagation", (*suite).propagation},
	{"log", (*suite).log},
	{"runtime", (*suite).runtime},
	{"export", (*suite).export},
	{"service", (*suite).service},
}

func run(ctx context.Context) error {
	s := &suite{report: report.New(os.Stderr)}
	out := flag.String("out", "results/sdk.json", "file that takes the rows; parts not run keep theirs")
	only := flag.String("run", "all", "parts to run, comma-separated: "+names())
	flag.DurationVar(&s.each, "each", time.Second, "length of a round")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds of each measurement, of which the median counts")
	flag.Parse()
	var ran []string
	for _, p := range parts {
		if *only != "all" && !strings.Contains(","+*only+",", ","+p.name+",") {
			continue
		}
		fmt.Fprintln(os.Stderr, p.name)
		if err := errors.Join(p.run(s, ctx), s.err); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		ran = append(ran, p.name)
	}
	if len(ran) == 0 {
		return fmt.Errorf("-run %s: there is no such part; there are %s", *only, names())
	}
	fmt.Printf("\n%s, %d cores, %s\n\n", runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	if err := s.report.Table(os.Stdout); err != nil {
		return err
	}
	if err := s.report.Write(*out); err != nil {
		return err
	}
	fmt.Printf("\n%d rows to %s; %d targets missed\n", s.report.Len(), *out, s.report.Failed())
	return nil
}

func names() string {
	var all []string
	for _, p := range parts {
		all = append(all, p.name)
	}
	return strings.Join(all, ",")
}

// cost of an operation.
type cost struct {
	ns, allocs float64
}

// measure runs f in rounds and gives the median of their CPU. f does its work n
// times. end, if there is one, ends what f left to do, within the measurement;
// when end fails, the part has failed.
func (s *suite) measure(f func(n int), end func() error) cost {
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
		cpu := processCPU()
		f(n)
		flush()
		cpu = processCPU() - cpu
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

func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("BUG: getrusage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// compare reports ours and OpenTelemetry's, and how many times ours theirs costs.
func (s *suite) compare(part, metric string, ours, stock cost, nsTarget, allocTarget, timesTarget, note string) {
	s.compareWith(subjectStock, part, metric, ours, stock, nsTarget, allocTarget, timesTarget, note)
}

func (s *suite) compareWith(peer, part, metric string, ours, stock cost, nsTarget, allocTarget, timesTarget, note string) {
	s.report.Add(report.Row{Part: part, Metric: metric, Subject: subjectOurs, Value: ours.ns, Unit: "ns", Target: nsTarget, Note: note})
	s.report.Add(report.Row{Part: part, Metric: metric + ", allocations", Subject: subjectOurs, Value: math.Round(ours.allocs*100) / 100, Unit: "", Target: allocTarget})
	if stock == (cost{}) {
		return
	}
	s.report.Add(report.Row{Part: part, Metric: metric, Subject: peer, Value: stock.ns, Unit: "ns"})
	s.report.Add(report.Row{Part: part, Metric: metric + ", allocations", Subject: peer, Value: math.Round(stock.allocs*100) / 100, Unit: ""})
	s.report.Add(report.Row{Part: part, Metric: metric + ", theirs to ours", Subject: subjectOurs, Value: stock.ns / ours.ns, Unit: "×", Target: timesTarget})
}
