// Command store measures Guanlan's store against its peers on this machine:
// ingest, queries, memory, disk, start and metrics. Everything runs one after
// the other, each server alone, with data in a temporary folder.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/bench/gen"
	"github.com/guanlan-io/guanlan/bench/suite"
)

// run is one run: what was asked for, and what came of it.
type run struct {
	suite.Suite
	bin string // programs of peers, built on demand

	subjects      string // as they were asked for
	subject       []string
	soak          time.Duration
	idle          time.Duration
	rate          time.Duration
	workers       int
	series        int
	spans, batch  int
	loadedAlready bool

	plan *gen.Plan // the spans that are loaded
	live *gen.Plan // spans that come while something is measured
	// cost is processor µs a span by subject, for the ratios.
	cost map[string]float64
}

var (
	usualSubjects = []string{"guanlan", "victorialogs", "jaeger", "prometheus"}
	allSubjects   = append(slices.Clone(usualSubjects), "victorialogs-purego")
)

func main() {
	s := &run{cost: map[string]float64{}}
	s.Suite = suite.Suite{
		Name: "store", Measures: true, Prepare: s.prepare, About: s.about,
		Parts: []suite.Part{
			{Name: "binary", Run: s.ours(s.binary)},
			{Name: "idle", Run: s.ours(s.idling)},
			{Name: "ingest", Run: s.once(s.loaded)},
			{Name: "query", Run: s.once(s.loaded)},
			{Name: "start", Run: s.once(s.loaded)},
			{Name: "ack", Run: s.ours(s.acknowledge)},
			{Name: "series", Run: s.metrics},
			{Name: "soak", Run: s.ours(s.soaking)},
		},
	}
	flag.StringVar(&s.subjects, "subjects", strings.Join(usualSubjects, ","), "servers to run, comma-separated: "+strings.Join(allSubjects, ","))
	flag.IntVar(&s.spans, "spans", 2_000_000, "spans to load")
	flag.IntVar(&s.batch, "batch", 1000, "spans of a request")
	flag.IntVar(&s.workers, "workers", 4, "requests under way at a time")
	flag.IntVar(&s.series, "series", 100_000, "active series")
	flag.DurationVar(&s.soak, "soak", 10*time.Minute, "length of the soak at 10k spans/s and 5k logs/s")
	s.Main()
}

func (s *run) prepare(context.Context) (err error) {
	s.idle, s.rate = 30*time.Second, 30*time.Second
	if s.Short {
		s.spans, s.series = min(s.spans, 200_000), min(s.series, 10_000)
		s.soak, s.idle, s.rate = time.Minute, 5*time.Second, 10*time.Second
	}
	if s.subject, err = suite.Choose(s.subjects, allSubjects); err != nil {
		return fmt.Errorf("-subjects: %w", err)
	}
	if s.bin, err = filepath.Abs("bin"); err != nil {
		return err
	}
	// The newest six hours. Minutes are whole because rollups are kept by it.
	end := time.Now().Truncate(time.Minute)
	s.plan = gen.NewPlan(1, end.Add(-6*time.Hour), end, s.spans, s.batch)
	s.live = gen.NewPlan(2, end, end.Add(time.Hour), s.spans, liveBatch)
	return nil
}

func (s *run) about() string {
	return fmt.Sprintf("%d spans of 10 a trace in batches of %d", s.plan.Spans(), s.plan.SpansPerBatch())
}

// ours is a part that has no peers.
func (s *run) ours(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !s.has("guanlan") {
			return nil
		}
		return f(ctx)
	}
}

// once is for parts that share one loaded server.
func (s *run) once(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if s.loadedAlready {
			return nil
		}
		s.loadedAlready = true
		return f(ctx)
	}
}

func (s *run) has(subject string) bool { return slices.Contains(s.subject, subject) }

// say tells what goes on.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
