package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"

	"github.com/guanlan-io/guanlan/bench/gen"
	"github.com/guanlan-io/guanlan/bench/load"
	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/bench/suite"
)

// starts is how often a start is measured; the median counts.
const starts = 5

// idling measures starts with an empty folder, and memory at rest after every
// signal and the user interface were used once.
func (s *run) idling(ctx context.Context) error {
	say("start guanlan with empty folders")
	var took []time.Duration
	for i := range starts {
		v, err := s.startGuanlan(ctx, fmt.Sprintf("empty-%d", i))
		if err != nil {
			return err
		}
		took = append(took, v.took)
		if i < starts-1 {
			v.end()
			continue
		}
		defer v.end()
		missing, err := s.touch(ctx, v)
		if err != nil {
			return err
		}
		say("let it rest for %v", s.idle)
		cpu := v.proc.CPU()
		if err := wait(ctx, s.idle); err != nil {
			return err
		}
		share := (v.proc.CPU() - cpu).Seconds() / s.idle.Seconds() * 100
		m := v.proc.Memory()
		s.Report.Add(report.Row{Part: "idle", Metric: "start to ready, empty", Subject: v.title, Value: millis(suite.Median(took)), Unit: "ms", Target: "<= 1000", Note: fmt.Sprintf("median of %d", starts)})
		note := fmt.Sprintf("%.1f MiB not backed by files; peak %.1f", m.Anon, m.Peak)
		if len(missing) > 0 {
			note += "; not to be had: " + strings.Join(missing, ", ")
		}
		s.Report.Add(report.Row{Part: "idle", Metric: "idle RSS, all signals and UI used", Subject: v.title, Value: m.RSS, Unit: "MiB", Target: "<= 80", Note: note})
		s.Report.Add(report.Row{Part: "idle", Metric: "idle CPU", Subject: v.title, Value: share, Unit: "% of a core"})
	}
	return nil
}

// touch uses every signal and the user interface once, and returns the pages
// that there are not: a build without the interface can be measured too.
func (s *run) touch(ctx context.Context, v *server) (missing []string, err error) {
	m := s.live.Maker()
	now := time.Now()
	if _, err := v.spans(ctx, m.SpansAt(0, gen.Spans, now.Add(-time.Second), now)); err != nil {
		return nil, fmt.Errorf("send spans: %w", err)
	}
	if _, err := v.logs(ctx, m.LogsAt(0, now.Add(-time.Second), now)); err != nil {
		return nil, fmt.Errorf("send logs: %w", err)
	}
	samples := gen.NewSeries(1, 0, 100).Request(now, 0, 100)
	if _, err := remoteWrite(v)(ctx, snappy.Encode(nil, samples)); err != nil {
		return nil, fmt.Errorf("send samples: %w", err)
	}
	for _, path := range []string{"/", "/guanlan/v1/services", "/guanlan/v1/graph", "/guanlan/v1/traces", "/guanlan/v1/traces/heatmap", "/guanlan/v1/logs", "/api/v1/query?query=up"} {
		if _, _, err := get(ctx, v.http+path); errors.Is(err, errMissing) {
			missing = append(missing, path)
		} else if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// restarts measures starts with the planned spans in the store: after an
// orderly end, and after a kill just behind an acknowledgement.
func (s *run) restarts(ctx context.Context, v *server) error {
	say("stop and start guanlan with %d spans", s.plan.Spans())
	var took []time.Duration
	for range starts {
		if _, err := v.proc.Stop(); err != nil {
			return err
		}
		if err := v.start(ctx); err != nil {
			return err
		}
		took = append(took, v.took)
	}
	s.Report.Add(report.Row{Part: "start", Metric: fmt.Sprintf("start to ready, %s spans", short(s.plan.Spans())), Subject: v.title, Value: millis(suite.Median(took)), Unit: "ms", Target: "<= 3000", Note: fmt.Sprintf("median of %d", starts)})

	// More than before has never been seen by the store when it is killed.
	from, to := s.plan.Start().Add(-time.Minute), time.Now().Add(time.Hour)
	before, err := countGuanlan(ctx, v, from, to)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	extra := max(1, min(200_000, s.plan.Spans()/10)/s.plan.SpansPerBatch())
	more := gen.NewPlan(4, s.plan.Start(), s.plan.End(), extra*s.plan.SpansPerBatch(), s.plan.SpansPerBatch())
	result, err := load.Full(ctx, s.workers, more.Batches(), func(int) load.Make {
		m := more.Maker()
		return func(i int) ([]byte, int) { return m.Spans(i, gen.Spans), more.SpansPerBatch() }
	}, v.spans, nil)
	if err != nil {
		return fmt.Errorf("load before the kill: %w", err)
	}
	v.proc.Kill()
	if err := v.start(ctx); err != nil {
		return err
	}
	found, visible, err := settledCount(ctx, v, countGuanlan, from, to, before+result.Acked)
	if err != nil {
		return err
	}
	s.Report.Add(report.Row{Part: "start", Metric: "start to ready after kill -9", Subject: v.title, Value: millis(v.took), Unit: "ms", Note: fmt.Sprintf("%d spans acknowledged within %v before it", result.Acked, result.Wall.Round(100*time.Millisecond))})
	s.Report.Add(report.Row{Part: "start", Metric: "lost by kill -9", Subject: v.title, Value: float64(before + result.Acked - found), Unit: "spans", Target: "<= 0", Note: fmt.Sprintf("%d acknowledged in all, %d found %.1f s after it was ready", before+result.Acked, found, visible.Seconds())})
	return nil
}

// wait returns after d, or with an error when ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.New("stopped")
	case <-time.After(d):
		return nil
	}
}

// short writes a round number as people say it.
func short(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}
