package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/bench/gen"
	"github.com/guanlan-io/guanlan/bench/load"
	"github.com/guanlan-io/guanlan/bench/proc"
	"github.com/guanlan-io/guanlan/bench/report"
)

// A server has settled when it was quiet for so long. VictoriaLogs writes
// what is in memory every five seconds, Guanlan gives merged parts free that
// a checkpoint held every ten; less would end before it.
const (
	quiet        = 12 * time.Second
	settleWithin = 2 * time.Minute
)

// loaded runs the parts that need a server with the planned spans in it.
func (s *run) loaded(ctx context.Context) error {
	if s.has("guanlan") {
		if err := s.loadedGuanlan(ctx); err != nil {
			return fmt.Errorf("guanlan: %w", err)
		}
	}
	for _, p := range []struct {
		peer
		start     func(context.Context, peer) (*server, error)
		count     counter
		questions func(*run, *server) []question
	}{
		{victoriaLogs, s.startVictoriaLogs, countVictoriaLogs, victoriaLogsQuestions},
		{victoriaLogsGo, s.startVictoriaLogs, countVictoriaLogs, victoriaLogsQuestions},
		{jaeger, s.startJaeger, nil, jaegerQuestions},
	} {
		if !s.has(p.subject) || !s.Asked("ingest") && !s.Asked("query") {
			continue
		}
		err := func() error {
			v, err := p.start(ctx, p.peer)
			if err != nil {
				return err
			}
			defer v.end()
			if err := s.ingest(ctx, v, p.count); err != nil {
				return err
			}
			if s.Asked("query") {
				return s.ask(ctx, v, "", p.questions(s, v))
			}
			return nil
		}()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			say("%s: %v", p.title, err)
			s.Report.Add(report.Row{Part: "ingest", Metric: "ingest CPU", Subject: p.title, Skipped: true, Note: err.Error()})
		}
	}
	s.compare()
	return nil
}

func (s *run) loadedGuanlan(ctx context.Context) error {
	v, err := s.startGuanlan(ctx, "guanlan")
	if err != nil {
		return err
	}
	defer v.end()
	if err := s.ingest(ctx, v, countGuanlan); err != nil {
		return err
	}
	if s.Asked("query") {
		if err := s.ask(ctx, v, "", guanlanQuestions(s, v)); err != nil {
			return err
		}
		if err := s.askWhileLoading(ctx, v); err != nil {
			return err
		}
	}
	if s.Asked("start") {
		return s.restarts(ctx, v)
	}
	return nil
}

// counter counts the spans that a server has, row by row.
type counter func(ctx context.Context, v *server, from, to time.Time) (int64, error)

// ingest loads the planned spans as fast as they are taken.
func (s *run) ingest(ctx context.Context, v *server, count counter) error {
	say("load %d spans into %s", s.plan.Spans(), v.title)
	// What lies there before, such as a reserve for a full disk, is no cost of
	// spans.
	empty := folders(v.dir)
	cpu, client := v.proc.CPU(), proc.Self()
	result, err := load.Full(ctx, s.workers, s.plan.Batches(), func(int) load.Make {
		m := s.plan.Maker()
		return func(i int) ([]byte, int) { return m.Spans(i, v.form), s.plan.SpansPerBatch() }
	}, v.spans, s.progress(s.plan.Spans()))
	if err != nil {
		return fmt.Errorf("load: %w\n%s", err, v.proc.Tail())
	}
	taken, client := v.proc.CPU()-cpu, proc.Self()-client
	peak := v.proc.Memory().Peak
	waited := v.proc.Settle(ctx, v.dir, quiet, settleWithin)
	settled := v.proc.CPU() - cpu
	full := folders(v.dir)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	unsettled := ""
	if waited >= settleWithin {
		unsettled = fmt.Sprintf("; still busy after %v", settleWithin)
	}
	say("  settled after %v%s", waited.Round(time.Second), unsettled)

	n := float64(result.Acked)
	s.cost[v.title] = micros(settled) / n
	if !s.Asked("ingest") {
		return nil
	}
	ours := v.title == "guanlan"
	add := func(metric string, value float64, unit, target, note string) {
		if !ours {
			target = ""
		}
		s.Report.Add(report.Row{Part: "ingest", Metric: metric, Subject: v.title, Value: value, Unit: unit, Target: target, Note: note})
	}
	add("ingest CPU", micros(settled)/n, "µs/span", "<= 25", fmt.Sprintf("merges until settled included%s; %.1f when the last span was acknowledged", unsettled, micros(taken)/n))
	add("ingest rate", result.PerSecond(), "spans/s", ">= 80000", fmt.Sprintf("the client's %.1f µs/span on the same cores", micros(client)/n))
	add("ingest acknowledgement p99", millis(result.Latencies.Quantile(0.99)), "ms", "", fmt.Sprintf("at full load, %d requests under way", s.workers))
	add("ingest peak RSS", peak, "MiB", "", "")
	disk, where := grown(empty, full, n)
	add("disk", disk, "B/span", "<= 75", fmt.Sprintf("settled%s; %s; sent %.0f B/span", unsettled, where, float64(result.Bytes)/n))
	if result.Rejected > 0 || result.Retries > 0 {
		add("ingest rejected spans", float64(result.Rejected), "", "<= 0", fmt.Sprintf("%d requests were sent again", result.Retries))
	}
	if count == nil {
		return nil
	}
	found, _, err := settledCount(ctx, v, count, s.plan.Start().Add(-time.Minute), s.plan.End().Add(time.Minute), result.Acked)
	if err != nil {
		return err
	}
	add("acknowledged but not found", n-float64(found), "spans", "<= 0", fmt.Sprintf("%d acknowledged", result.Acked))
	if ours && found > result.Acked {
		add("found but not acknowledged", float64(found)-n, "spans", "<= 0", "")
	}
	return nil
}

// folders is the disk space of the folders and files up to two levels below
// dir, by path.
func folders(dir string) map[string]int64 {
	sizes := map[string]int64{}
	for _, pattern := range []string{"*", "*/*"} {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is well-formed
		for _, path := range paths {
			name, _ := filepath.Rel(dir, path) // path is below dir
			sizes[name] = proc.Allocated(path)
			if parent := filepath.Dir(name); parent != "." {
				sizes[parent] -= sizes[name]
			}
		}
	}
	return sizes
}

// grown is the growth of folders for each of n spans, in all and by folder.
func grown(before, after map[string]int64, n float64) (total float64, where string) {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		growth := float64(after[name]-before[name]) / n
		total += growth
		if growth >= 0.5 {
			parts = append(parts, fmt.Sprintf("%s %.1f", name, growth))
		}
	}
	return total, strings.Join(parts, ", ")
}

// compare adds what the peers' figures make of Guanlan's.
func (s *run) compare() {
	own, ok := s.cost["guanlan"]
	if !ok || !s.Asked("ingest") {
		return
	}
	if other, ok := s.cost[jaeger.title]; ok {
		s.Report.Add(report.Row{Part: "ingest", Metric: "ingest CPU, Jaeger's to ours", Subject: "guanlan", Value: other / own, Unit: "×", Target: ">= 8"})
	} else if s.has(jaeger.subject) {
		s.Report.Add(report.Row{
			Part: "ingest", Metric: "ingest CPU, earlier", Subject: jaeger.title, Value: 218, Unit: "µs/span",
			Note: "reference: measured earlier on another run, with other spans; not a result of this run",
		})
	}
	if other := cmp.Or(s.cost[victoriaLogs.title], s.cost[victoriaLogsGo.title]); other > 0 {
		s.Report.Add(report.Row{
			Part: "ingest", Metric: "ingest CPU, ours to VictoriaLogs'", Subject: "guanlan", Value: own / other, Unit: "×", Target: "<= 1.5",
			Note: "which has no journal, no metrics of requests and no service graph",
		})
	}
}

// liveBatch is the spans of a request at a fixed rate: what a Go SDK sends at
// a time by default is 512.
const liveBatch = 500

// The fixed rate at which spans and logs come in.
const (
	liveSpans    = 10_000 // a second
	liveInterval = time.Second * liveBatch / liveSpans
	// lanes bounds how many requests are under way when the receiver falls
	// behind: two seconds of them.
	lanes = int(2 * time.Second / liveInterval)
)

// flow sends live spans at the fixed rate until d is over or ctx ends. With
// logs it sends the log records of each batch too, half as many.
func (s *run) flow(ctx context.Context, v *server, d time.Duration, perBatch int, logs bool) (spans, records load.Result, err error) {
	plan := s.live
	if perBatch != liveBatch {
		plan = gen.NewPlan(3, s.live.Start(), s.live.End(), s.live.Spans(), perBatch)
	}
	interval := time.Duration(plan.SpansPerBatch()) * time.Second / liveSpans
	first := int(time.Now().UnixMilli() % 1e9 * 10) // ids that no earlier flow used
	until := func() (time.Time, time.Time) {
		now := time.Now()
		return now.Add(-interval), now
	}
	failed := make(chan error, 1)
	if logs {
		go func() {
			var err error
			records, err = load.Paced(ctx, interval, d, lanes, func(int) load.Make {
				m := plan.Maker()
				return func(i int) ([]byte, int) {
					from, to := until()
					return m.LogsAt(first+i, from, to), plan.SpansPerBatch() / 2
				}
			}, v.logs)
			failed <- err
		}()
	} else {
		failed <- nil
	}
	spans, err = load.Paced(ctx, interval, d, lanes, func(int) load.Make {
		m := plan.Maker()
		return func(i int) ([]byte, int) {
			from, to := until()
			return m.SpansAt(first+i, v.form, from, to), plan.SpansPerBatch()
		}
	}, v.spans)
	return spans, records, errors.Join(err, <-failed)
}

// progress tells how far a load is, every tenth of it.
func (s *run) progress(total int) func(int64) {
	began, told := time.Now(), int64(0)
	return func(acked int64) {
		if tenth := acked * 10 / int64(total); tenth > told {
			told = tenth
			say("  %d %% after %v", tenth*10, time.Since(began).Round(time.Second))
		}
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
