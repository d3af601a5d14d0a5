package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	stocktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/guanlan-io/guanlan/bench/report"
	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

const (
	offeredRate = 20_000 // spans a second
	offeredFor  = 10 * time.Second
	batchTime   = 100 * time.Millisecond // what the receiver takes for a batch
)

// slow is a receiver that takes its time.
type slow struct {
	encoder
	got atomic.Int64
}

func (s *slow) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	time.Sleep(batchTime)
	for _, r := range spans {
		for _, scope := range r.ScopeSpans {
			s.got.Add(int64(len(scope.Spans)))
		}
	}
	return nil
}

// export offers spans at a steady rate, in gusts of 10 ms, to exporters with
// their default queues and a receiver that takes 100 ms for a batch.
func (s *run) export(ctx context.Context) error {
	offer := func(t trace.Tracer) (offered int) {
		began := time.Now()
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for ; time.Since(began) < offeredFor && ctx.Err() == nil; <-ticker.C {
			for due := int(time.Since(began).Seconds() * offeredRate); offered < due; offered++ {
				_, sp := t.Start(ctx, "GET /orders/{id}")
				sp.SetAttributes(someAttributes()...)
				sp.End()
			}
		}
		return offered
	}
	lost := func(subject string, offered, got int, target, note string) {
		s.Report.Add(report.Row{Part: "export", Metric: "lost at 20k spans/s, 100 ms a batch", Subject: subject, Value: 100 * float64(offered-got) / float64(offered), Unit: "%", Target: target,
			Note: fmt.Sprintf("%d of %d arrived; %s", got, offered, note)})
	}
	most := 0
	var got atomic.Int64
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(_ context.Context, _ []byte, items int) (int, error) {
		time.Sleep(batchTime)
		got.Add(int64(items))
		return 0, nil
	}})
	watched := make(chan struct{})
	watch, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(watched)
		for ; watch.Err() == nil; time.Sleep(time.Millisecond) {
			most = max(most, pipe.Stats().Waiting)
		}
	}()
	offered := offer(sdk.NewTracerProvider(core.NewProvider(core.Options{Pipe: pipe})).Tracer("bench"))
	if err := pipe.Close(ctx); err != nil {
		return err
	}
	stop()
	<-watched
	lost(subjectOurs, offered, int(got.Load()), "<= 0", fmt.Sprintf("%.1f MiB waited at most", float64(most)/(1<<20)))

	receiver := new(slow)
	exporter, err := otlptrace.New(ctx, receiver)
	if err != nil {
		return err
	}
	stock := stocktrace.NewTracerProvider(stocktrace.WithBatcher(exporter))
	offered = offer(stock.Tracer("bench"))
	if err := stock.Shutdown(ctx); err != nil {
		return err
	}
	lost(subjectStock, offered, int(receiver.got.Load()), "", "default queue and batch")
	return nil
}
