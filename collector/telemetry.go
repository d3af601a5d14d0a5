package collector

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// selfTelemetry is the collector's usual telemetry, but for what is logged of failures to
// send (sendLog) and to start (startLog), and for its end: our own metrics go to our own receiver, which
// stops before they do. That the last export finds nobody is no failure of the process.
func selfTelemetry() telemetry.Factory {
	usual := otelconftelemetry.NewFactory()
	return telemetry.NewFactory(usual.CreateDefaultConfig,
		telemetry.WithCreateResource(usual.CreateResource),
		telemetry.WithCreateLogger(func(ctx context.Context, set telemetry.LoggerSettings, c component.Config) (*zap.Logger, component.ShutdownFunc, error) {
			var sending []*senders
			build := set.BuildZapLogger
			if build == nil {
				build = zap.Config.Build
			}
			set.BuildZapLogger = func(config zap.Config, o ...zap.Option) (*zap.Logger, error) {
				return build(config, append(o, zap.WrapCore(func(next zapcore.Core) zapcore.Core {
					l := newSendLog(startLog{next}, time.Now)
					sending = append(sending, l.all)
					return l
				}))...)
			}
			log, shutdown, err := usual.CreateLogger(ctx, set, c)
			return log, func(ctx context.Context) error {
				for _, s := range sending {
					s.flush()
				}
				return shutdown(ctx)
			}, err
		}),
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

// startLog leaves out what the collector's frame logs of a component that does not start:
// it returns the same error, and the process ends with it.
type startLog struct{ zapcore.Core }

// With implements zapcore.Core.
func (l startLog) With(fields []zapcore.Field) zapcore.Core { return startLog{l.Core.With(fields)} }

// Check implements zapcore.Core.
func (l startLog) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if strings.HasPrefix(e.Message, "Failed to start ") {
		return ce
	}
	return l.Core.Check(e, ce)
}
