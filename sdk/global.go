//go:build !guanlan_std

package sdk

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// globals are OpenTelemetry's global providers at some time.
type globals struct {
	traces trace.TracerProvider
	counts metric.MeterProvider
	logs   log.LoggerProvider
}

func presentGlobals() globals {
	return globals{otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetLoggerProvider()}
}

// publish makes s OpenTelemetry's global SDK.
func (s *SDK) publish() { presentGlobals().replaceBy(s) }

// replaceBy makes s the global SDK for each signal where nobody else has become it.
func (g globals) replaceBy(s *SDK) {
	now := presentGlobals()
	if now.traces == g.traces {
		otel.SetTracerProvider(s.traces)
		otel.SetTextMapPropagator(Propagator{})
	}
	if now.counts == g.counts {
		otel.SetMeterProvider(s.counted)
	}
	if now.logs == g.logs {
		otel.SetLoggerProvider(s.recorded)
	}
}

// tellError hears of what nobody else wants to hear of.
func tellError(err error) { otel.Handle(err) }
