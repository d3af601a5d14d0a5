package metric

import (
	"context"
	"fmt"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/deltatocumulativeprocessor"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/otel/metric/noop"
)

const (
	// maxDeltaStreams bounds the streams of one tenant that are added up: some
	// 1 KB of memory each. Points of further streams are refused.
	maxDeltaStreams = 100_000
	// deltaIdle is how long a stream may pause before its sum is forgotten.
	// After that it starts again at its next point, which rate() takes for a
	// restart and loses that point; so it must exceed the interval at which
	// anyone exports.
	deltaIdle = time.Hour
)

// accumulator adds up the delta points of one tenant. It is the library that
// Prometheus' own OTLP receiver uses, which comes as a collector processor.
// The sums are in memory: after a restart they begin anew, as a counter does
// when its process restarts.
type accumulator struct {
	proc processor.Metrics
}

func newAccumulator() (*accumulator, error) {
	f := deltatocumulativeprocessor.NewFactory()
	cfg := f.CreateDefaultConfig().(*deltatocumulativeprocessor.Config)
	cfg.MaxStreams = maxDeltaStreams
	cfg.MaxStale = deltaIdle
	// The processor works in place, so there is no next consumer to speak of.
	none, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("add up delta metrics: %w", err)
	}
	settings := processor.Settings{
		ID:                component.NewID(f.Type()),
		TelemetrySettings: component.TelemetrySettings{MeterProvider: noop.NewMeterProvider()},
	}
	proc, err := f.CreateMetrics(context.Background(), settings, cfg, none)
	if err != nil {
		return nil, fmt.Errorf("add up delta metrics: %w", err)
	}
	if err := proc.Start(context.Background(), nil); err != nil {
		return nil, fmt.Errorf("add up delta metrics: %w", err)
	}
	return &accumulator{proc}, nil
}

// accumulate makes all points of md cumulative, in place, and returns how many
// could not be added.
func (a *accumulator) accumulate(ctx context.Context, md pmetric.Metrics) (lost int, err error) {
	before := md.DataPointCount()
	if err := a.proc.ConsumeMetrics(ctx, md); err != nil {
		return 0, err
	}
	return before - md.DataPointCount(), nil
}

func (a *accumulator) close() { _ = a.proc.Shutdown(context.Background()) } // ends a goroutine; cannot fail

// accumulator returns that of the tenant, making it at the first use.
func (in *instance) accumulator() (*accumulator, error) {
	in.deltaMu.Lock()
	defer in.deltaMu.Unlock()
	if in.delta == nil {
		acc, err := newAccumulator()
		if err != nil {
			return nil, err
		}
		in.delta = acc
	}
	return in.delta, nil
}
