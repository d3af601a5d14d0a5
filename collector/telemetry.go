package collector

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
	"go.uber.org/zap"
)

// selfTelemetry is the collector's usual telemetry, but for its end: our own
// metrics go to our own receiver, which stops before they do. That the last
// export finds nobody is no failure of the process.
func selfTelemetry() telemetry.Factory {
	usual := otelconftelemetry.NewFactory()
	return telemetry.NewFactory(usual.CreateDefaultConfig,
		telemetry.WithCreateResource(usual.CreateResource),
		telemetry.WithCreateLogger(usual.CreateLogger),
		telemetry.WithCreateTracerProvider(usual.CreateTracerProvider),
		telemetry.WithCreateMeterProvider(func(ctx context.Context, set telemetry.MeterSettings, c component.Config) (telemetry.MeterProvider, error) {
			p, err := usual.CreateMeterProvider(ctx, set, c)
			if err != nil {
				return nil, err
			}
			return lastExport{p, set.Logger}, nil
		}),
	)
}

type lastExport struct {
	telemetry.MeterProvider
	log *zap.Logger
}

func (l lastExport) Shutdown(ctx context.Context) error {
	if err := l.MeterProvider.Shutdown(ctx); err != nil {
		l.log.Debug("send the last own metrics", zap.Error(err))
	}
	return nil
}
