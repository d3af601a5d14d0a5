package storeexporter

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.uber.org/zap"
)

// NewProcessorFactory returns the factory of the store processor: it stores
// traces as the exporter does and passes on what the store has accepted.
//
// It stands before what counts spans. Beside an exporter, a counter would also
// see the batches that the store refuses, once for each time they are sent.
func NewProcessorFactory() processor.Factory {
	return processor.NewFactory(
		component.MustNewType("store"),
		defaultConfig,
		processor.WithTraces(func(_ context.Context, set processor.Settings, c component.Config, next consumer.Traces) (processor.Traces, error) {
			return &stage{sink: sink{config: c.(*Config)}, next: next, log: set.Logger}, nil
		}, component.StabilityLevelBeta),
	)
}

// stage is a sink in the middle of a pipeline.
type stage struct {
	sink
	next consumer.Traces
	log  *zap.Logger
}

// ConsumeTraces answers for the store alone: a sender that heard an error of
// what comes behind it would send again what is stored.
func (s *stage) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	if err := s.sink.ConsumeTraces(ctx, td); err != nil {
		return err
	}
	if err := s.next.ConsumeTraces(ctx, td); err != nil {
		s.log.Warn("Stored spans were not passed on", zap.Int("spans", td.SpanCount()), zap.Error(err))
	}
	return nil
}
