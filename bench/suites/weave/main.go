// Command weave measures what guanlan build costs: the build of the plain shop
// against go build of the same sources, and the woven services against the same
// shop with the SDK by hand and without anything.
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "weave:", err)
		os.Exit(1)
	}
}

// What is compared.
const (
	subjectPlain = "go build"
	subjectWoven = "guanlan build"
	subjectSDK   = "guanlan sdk by hand"
	subjectPeer  = "orchestrion " + peerVersion
)

// suite is one run.
type suite struct {
	report  *report.Report
	guanlan string // the binary
	repo    string // root of the repository
	dir     string // of everything that is made; removed at the end

	colds, edits, rounds int
	each                 time.Duration // of a round of requests
	heavy                time.Duration // of the load that must lose nothing

	plain, woven variant // how they are built
	programs     map[string]string
}

// part is one thing that is measured.
type part struct {
	name string
	run  func(*suite, context.Context) error
}

// In this order: build leaves caches that the others build with.
var parts = []part{
	{"build", (*suite).build},
	{"peer", (*suite).peer},
	{"binary", (*suite).binary},
	{"request", (*suite).request},
	{"lost", (*suite).lost},
}

func run(ctx context.Context) error {
	s := &suite{report: report.New(os.Stderr), programs: map[string]string{}}
	out := flag.String("out", "results/weave.json", "file that takes the rows; parts not run keep theirs")
	only := flag.String("run", "all", "parts to run, comma-separated: "+names())
	short := flag.Bool("short", false, "one round of all, of seconds: to try the suite, not to quote")
	tmp := flag.String("tmp", "", "folder for caches and programs, 6 GB (default the system's)")
	flag.StringVar(&s.guanlan, "guanlan", "../bin/guanlan", "program under test")
	flag.IntVar(&s.colds, "colds", 3, "builds with empty caches, of each")
	flag.IntVar(&s.edits, "edits", 11, "builds after the edit of a line, and without one, of each")
	flag.IntVar(&s.rounds, "rounds", 9, "rounds of requests, of each")
	flag.DurationVar(&s.each, "each", 5*time.Second, "length of a round of requests")
	flag.DurationVar(&s.heavy, "heavy", 30*time.Second, "length of the load that must lose nothing")
	flag.Parse()
	if *short {
		s.colds, s.edits, s.rounds, s.each, s.heavy = 1, 3, 2, 2*time.Second, 5*time.Second
	}
	var err error
	if s.repo, err = filepath.Abs(".."); err != nil {
		return err
	}
	if _, err := os.Stat("suites/weave"); err != nil {
		return errors.New("run this in the folder bench, for example by make bench-weave")
	}
	if s.guanlan, err = filepath.Abs(s.guanlan); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp(*tmp, "guanlan-bench-"); err != nil {
		return fmt.Errorf("make a folder for what is built: %w", err)
	}
	defer os.RemoveAll(s.dir)
	asked := func(part string) bool { return *only == "all" || slices.Contains(strings.Split(*only, ","), part) }
	// Without the part that measures them, builds need no empty caches.
	if err := s.prepare(asked("build")); err != nil {
		return err
	}

	began, ran := time.Now(), 0
	for _, p := range parts {
		if !asked(p.name) {
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
