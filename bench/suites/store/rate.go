package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/guanlan-io/guanlan/bench/load"
	"github.com/guanlan-io/guanlan/bench/report"
)

// acknowledge measures how long a sender waits at 10k spans/s, for requests
// of an SDK's size and of a gateway's.
func (s *run) acknowledge(ctx context.Context) error {
	v, err := s.startGuanlan(ctx, "ack")
	if err != nil {
		return err
	}
	defer v.end()
	for _, batch := range []int{liveBatch, 1000} {
		say("10k spans/s in requests of %d for %v", batch, s.rate)
		cpu := v.proc.CPU()
		r, _, err := s.flow(ctx, v, s.rate, batch, false)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		used := micros(v.proc.CPU()-cpu) / float64(r.Acked)
		s.Report.Add(report.Row{
			Part: "ack", Metric: fmt.Sprintf("acknowledgement p99, requests of %d", batch), Subject: v.title,
			Value: millis(r.Latencies.Quantile(0.99)), Unit: "ms", Target: "<= 20",
			Note: fmt.Sprintf("%.0f spans/s; p50 %.1f, longest %.1f ms; %.1f µs CPU a span", r.PerSecond(), millis(r.Latencies.Quantile(0.5)), millis(r.Latencies.Quantile(1)), used),
		})
	}
	return nil
}

// What a soak must be long enough for: below it, memory still fills the
// limits that it is given, and a slope says nothing.
const slopeNeeds = 5 * time.Minute

// soaking measures memory while spans and logs come in steadily.
func (s *run) soaking(ctx context.Context) error {
	v, err := s.startGuanlan(ctx, "soak")
	if err != nil {
		return err
	}
	defer v.end()
	say("10k spans/s and 5k logs/s for %v", s.soak)
	began, cpu, empty := time.Now(), v.proc.CPU(), folders(v.dir)
	type outcome struct {
		spans, logs load.Result
		err         error
	}
	done := make(chan outcome, 1)
	go func() {
		spans, logs, err := s.flow(ctx, v, s.soak, liveBatch, true)
		done <- outcome{spans, logs, err}
	}()
	var trace []point
	var o outcome
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for running := true; running; {
		select {
		case o = <-done:
			running = false
		case <-tick.C:
			at := time.Since(began)
			trace = append(trace, point{at.Minutes(), v.proc.Memory().RSS})
			if len(trace)%60 == 0 {
				say("  %v: %.0f MiB", at.Round(time.Second), trace[len(trace)-1].y)
			}
		}
	}
	if o.err != nil {
		return fmt.Errorf("%w\n%s", o.err, v.proc.Tail())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	used := (v.proc.CPU() - cpu).Seconds() / time.Since(began).Seconds() * 100
	m := v.proc.Memory()
	add := func(metric string, value float64, unit, target, note string) {
		s.Report.Add(report.Row{Part: "soak", Metric: metric, Subject: v.title, Value: value, Unit: unit, Target: target, Note: note})
	}
	add("RSS at 10k spans/s + 5k logs/s", m.Peak, "MiB", "<= 250", fmt.Sprintf("peak of %v; %.0f MiB at the end, %.0f not backed by files", s.soak, m.RSS, m.Anon))
	target, note := "<= 1", "MiB a minute over the second half; 1 is what noise amounts to"
	if s.soak < slopeNeeds {
		target, note = "", fmt.Sprintf("needs %v to mean anything", slopeNeeds)
	}
	if len(trace) > 3 {
		add("RSS slope", slope(trace[len(trace)/2:]), "MiB/min", target, note)
	}
	add("CPU at that rate", used, "% of a core", "", fmt.Sprintf("%.0f spans/s and %.0f logs/s acknowledged", o.spans.PerSecond(), o.logs.PerSecond()))
	add("acknowledgement p99 at that rate", millis(o.spans.Latencies.Quantile(0.99)), "ms", "", fmt.Sprintf("logs %.1f ms", millis(o.logs.Latencies.Quantile(0.99))))

	v.proc.Settle(ctx, v.dir, quiet, settleWithin)
	found, _, err := settledCount(ctx, v, countGuanlan, began.Add(-time.Hour), time.Now().Add(time.Hour), o.spans.Acked)
	if err != nil {
		return err
	}
	add("acknowledged but not found", float64(o.spans.Acked-found), "spans", "<= 0", fmt.Sprintf("%d acknowledged", o.spans.Acked))
	records, _, err := settledCount(ctx, v, countLogs, began.Add(-time.Hour), time.Now().Add(time.Hour), o.logs.Acked)
	if err != nil {
		return err
	}
	add("acknowledged but not found, logs", float64(o.logs.Acked-records), "records", "<= 0", fmt.Sprintf("%d acknowledged", o.logs.Acked))
	disk, where := grown(empty, folders(v.dir), float64(o.spans.Acked))
	add("disk, spans and logs", disk, "B/span", "", where+"; half a record a span")
	return nil
}

type point struct{ x, y float64 }

// slope is the median of the slopes between all pairs of points (Theil and
// Sen): single peaks, as garbage collection makes them, do not move it.
func slope(p []point) float64 {
	var all []float64
	for i := range p {
		for j := range i {
			if dx := p[i].x - p[j].x; dx > 0 {
				all = append(all, (p[i].y-p[j].y)/dx)
			}
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}
