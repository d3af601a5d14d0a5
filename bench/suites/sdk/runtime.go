package main

import (
	"context"
	"errors"
	"time"

	stockruntime "go.opentelemetry.io/contrib/instrumentation/runtime"
	stockmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/observer"
)

// runtime takes samples of the Go runtime; stock has none but the collection
// itself, which it is compared with.
func (s *run) runtime(ctx context.Context) error {
	reader := stockmetric.NewManualReader(stockmetric.WithProducer(stockruntime.NewProducer()))
	provider := stockmetric.NewMeterProvider(stockmetric.WithReader(reader))
	if err := stockruntime.Start(stockruntime.WithMeterProvider(provider), stockruntime.WithMinimumReadMemStatsInterval(0)); err != nil {
		return err
	}
	var failed error
	var into metricdata.ResourceMetrics
	stock := s.measure(func(n int) {
		for range n {
			failed = errors.Join(failed, reader.Collect(ctx, &into))
		}
	}, nil)
	if err := errors.Join(failed, provider.Shutdown(ctx)); err != nil {
		return err
	}
	meter := core.NewMeter(core.NewScope("bench", "", ""), 0)
	o := observer.New(observer.Options{Meter: meter})
	s.compare("runtime", "runtime sample", s.measure(func(n int) {
		for range n {
			o.Sample()
		}
	}, nil), stock, "<= 1000", "<= 0", "", "stock: a collection, it has no samples")
	meters, body := []*core.Meter{meter}, []byte(nil)
	s.compare("runtime", "runtime metrics collected and encoded", s.measure(func(n int) {
		for range n {
			o.Collect()
			body, _ = core.AppendMetrics(body[:0], nil, meters, time.Now())
		}
	}, nil), cost{}, "", "", "", "with process metrics, which stock's collection has not; stock's is not encoded")
	return nil
}
