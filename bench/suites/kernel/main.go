//go:build linux

// Command kernel measures what watching the kernel costs, and what it misses:
// the real agent watches this machine while programs of the suite load it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/bench/report"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "play" {
		if err := play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "kernel play:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernel:", err)
		os.Exit(1)
	}
}

const (
	subjectAgent   = "guanlan agent"
	subjectWithout = "without"
)

// suite is one run.
type suite struct {
	report  *report.Report
	guanlan string // the binary
	self    string // this program, which plays what is watched
	dir     string // of logs; removed at the end
	sink    *sink

	rounds int
	each   time.Duration // of a round of load
	rest   time.Duration // until an agent counts as idle
	storm  int           // opens a second
}

var parts = []struct {
	name string
	run  func(*suite, context.Context) error
}{
	{"start", (*suite).start},
	{"tcp", (*suite).tcp},
	{"audit", (*suite).audit},
	{"lost", (*suite).lost},
	{"oom", (*suite).oom},
	{"profile", (*suite).profile},
	{"attach", (*suite).attach},
	{"agent", (*suite).agent},
}

func run(ctx context.Context) error {
	s := &suite{report: report.New(os.Stderr)}
	out := flag.String("out", "results/kernel.json", "file that takes the rows; parts not run keep theirs")
	only := flag.String("run", "all", "parts to run, comma-separated: "+names())
	short := flag.Bool("short", false, "one round of all, of seconds: to try the suite, not to quote")
	flag.StringVar(&s.guanlan, "guanlan", "../bin/guanlan", "program under test")
	flag.IntVar(&s.rounds, "rounds", 7, "rounds of load, of each kind")
	flag.DurationVar(&s.each, "each", 5*time.Second, "length of a round")
	flag.DurationVar(&s.rest, "rest", time.Minute, "time until an agent counts as idle")
	flag.IntVar(&s.storm, "storm", 50_000, "files of interest opened a second in part lost")
	flag.Parse()
	if *short {
		s.rounds, s.each, s.rest = 2, 2*time.Second, 10*time.Second
	}
	if os.Geteuid() != 0 {
		return errors.New("run this as root: the agent loads BPF programs")
	}
	if _, err := os.Stat("suites/kernel"); err != nil {
		return errors.New("run this in the folder bench, for example by make bench-kernel")
	}
	var err error
	if s.guanlan, err = filepath.Abs(s.guanlan); err != nil {
		return err
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "guanlan-bench-"); err != nil {
		return fmt.Errorf("make a folder for logs: %w", err)
	}
	defer os.RemoveAll(s.dir)
	if s.sink, err = listen(); err != nil {
		return err
	}
	defer s.sink.close()

	began, ran := time.Now(), 0
	for _, p := range parts {
		if *only != "all" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, p.name)
		err := p.run(s, ctx)
		if ctx.Err() != nil {
			return errors.New("stopped; no results were written")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		ran++
	}
	if ran == 0 {
		return fmt.Errorf("-run %s: there is no such part; there are %s", *only, names())
	}
	fmt.Printf("\n%s, %d cores, %s; took %v\n\n", runtime.GOARCH, runtime.NumCPU(), runtime.Version(), time.Since(began).Round(time.Second))
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

// median of a list that is not empty, in no order. It sorts it.
func median(all []float64) float64 {
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// spread is for notes: the least and the largest.
func spread(all []float64, unit string) string {
	return fmt.Sprintf("rounds from %.3g to %.3g %s", slices.Min(all), slices.Max(all), unit)
}
