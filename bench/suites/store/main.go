// Command store measures Guanlan's store against its peers on this machine:
// ingest, queries, memory, disk, start and metrics. Everything runs one after
// the other, each server alone, with data in a temporary folder.
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

	"github.com/guanlan-io/guanlan/bench/gen"
	"github.com/guanlan-io/guanlan/bench/report"
)

// suite is one run: what was asked for, and what came of it.
type suite struct {
	guanlan string // program under test
	repo    string // root of the repository
	bin     string // programs of peers, built on demand
	dir     string // of all data; removed at the end

	parts   []string
	subject []string
	short   bool
	soak    time.Duration
	idle    time.Duration
	rate    time.Duration
	workers int
	series  int

	plan *gen.Plan // the spans that are loaded
	live *gen.Plan // spans that come while something is measured
	rep  *report.Report
	// cost is processor µs a span by subject, for the ratios.
	cost map[string]float64
}

// The parts in the order in which they are run. ingest, query and start share
// one loaded server.
var allParts = []string{"binary", "idle", "ingest", "query", "start", "ack", "series", "soak"}

var (
	usualSubjects = []string{"guanlan", "victorialogs", "jaeger", "prometheus"}
	allSubjects   = append(slices.Clone(usualSubjects), "victorialogs-purego")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s := &suite{cost: map[string]float64{}}
	var parts, subjects, out, tmp string
	var spans, batch int
	flag.StringVar(&parts, "run", "all", "parts to run, comma-separated: "+strings.Join(allParts, ","))
	flag.StringVar(&subjects, "subjects", strings.Join(usualSubjects, ","), "servers to run, comma-separated: "+strings.Join(allSubjects, ","))
	flag.StringVar(&s.guanlan, "guanlan", "../bin/guanlan", "program under test")
	flag.StringVar(&out, "out", "results/store.json", "file that takes the rows; parts not run keep theirs")
	flag.StringVar(&tmp, "tmp", "", "folder for data (default the system's)")
	flag.BoolVar(&s.short, "short", false, "a tenth of the spans, one minute of soak: to try the suite, not to quote")
	flag.IntVar(&spans, "spans", 2_000_000, "spans to load")
	flag.IntVar(&batch, "batch", 1000, "spans of a request")
	flag.IntVar(&s.workers, "workers", 4, "requests under way at a time")
	flag.IntVar(&s.series, "series", 100_000, "active series")
	flag.DurationVar(&s.soak, "soak", 10*time.Minute, "length of the soak at 10k spans/s and 5k logs/s")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	s.idle, s.rate = 30*time.Second, 30*time.Second
	if s.short {
		spans, s.series = min(spans, 200_000), min(s.series, 10_000)
		s.soak, s.idle, s.rate = time.Minute, 5*time.Second, 10*time.Second
	}
	var err error
	if s.parts, err = choose(parts, allParts); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if s.subject, err = choose(subjects, allSubjects); err != nil {
		return fmt.Errorf("-subjects: %w", err)
	}
	if s.repo, err = filepath.Abs(".."); err != nil {
		return err
	}
	if _, err := os.Stat("peers/jaeger/go.mod"); err != nil {
		return errors.New("run this in the folder bench, for example by make bench-store")
	}
	if s.bin, err = filepath.Abs("bin"); err != nil {
		return err
	}
	if s.guanlan, err = filepath.Abs(s.guanlan); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp(tmp, "guanlan-bench-"); err != nil {
		return fmt.Errorf("make a folder for data: %w", err)
	}
	defer os.RemoveAll(s.dir)

	// The newest six hours. Minutes are whole because rollups are kept by it.
	end := time.Now().Truncate(time.Minute)
	s.plan = gen.NewPlan(1, end.Add(-6*time.Hour), end, spans, batch)
	s.live = gen.NewPlan(2, end, end.Add(time.Hour), spans, liveBatch)
	s.rep = report.New(os.Stderr)

	began := time.Now()
	err = s.all(ctx)
	if ctx.Err() != nil {
		err = errors.New("stopped; no results were written")
	}
	if err != nil {
		return err
	}
	head := fmt.Sprintf("%s, %d cores, %s; %d spans of %s in batches of %d; took %v",
		cpuName(), runtime.NumCPU(), runtime.Version(), s.plan.Spans(), "10 a trace", s.plan.SpansPerBatch(), time.Since(began).Round(time.Second))
	fmt.Printf("\n%s\n\n", head)
	if err := s.rep.Table(os.Stdout); err != nil {
		return err
	}
	if err := s.rep.Write(out); err != nil {
		return err
	}
	fmt.Printf("\n%d rows to %s; %d targets missed\n", s.rep.Len(), out, s.rep.Failed())
	return nil
}

// all runs the chosen parts. A peer that cannot be had costs its rows only; a
// failure of Guanlan ends the suite.
func (s *suite) all(ctx context.Context) error {
	if s.wants("binary") && s.has("guanlan") {
		if err := s.binary(ctx); err != nil {
			return fmt.Errorf("binary: %w", err)
		}
	}
	if s.wants("idle") && s.has("guanlan") {
		if err := s.idling(ctx); err != nil {
			return fmt.Errorf("idle: %w", err)
		}
	}
	if s.wants("ingest") || s.wants("query") || s.wants("start") {
		if err := s.loaded(ctx); err != nil {
			return err
		}
	}
	if s.wants("ack") && s.has("guanlan") {
		if err := s.acknowledge(ctx); err != nil {
			return fmt.Errorf("ack: %w", err)
		}
	}
	if s.wants("series") {
		if err := s.metrics(ctx); err != nil {
			return fmt.Errorf("series: %w", err)
		}
	}
	if s.wants("soak") && s.has("guanlan") {
		if err := s.soaking(ctx); err != nil {
			return fmt.Errorf("soak: %w", err)
		}
	}
	return nil
}

func (s *suite) wants(part string) bool { return slices.Contains(s.parts, part) }

func (s *suite) has(subject string) bool { return slices.Contains(s.subject, subject) }

func choose(list string, from []string) ([]string, error) {
	if list == "all" {
		return from, nil
	}
	chosen := strings.Split(list, ",")
	for _, c := range chosen {
		if !slices.Contains(from, c) {
			return nil, fmt.Errorf("no %q; there are %s", c, strings.Join(from, ", "))
		}
	}
	return chosen, nil
}

// say tells what goes on.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func cpuName() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}
