// Package telemetry sets up OpenTelemetry for one service: traces, metrics and
// logs go out over OTLP/gRPC. It is the stock SDK and nothing else; copy it.
//
// The standard variables configure it, among them OTEL_EXPORTER_OTLP_ENDPOINT
// (default http://127.0.0.1:4317), OTEL_RESOURCE_ATTRIBUTES,
// OTEL_TRACES_SAMPLER and OTEL_METRIC_EXPORT_INTERVAL.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

const (
	endpointVar     = "OTEL_EXPORTER_OTLP_ENDPOINT"
	defaultEndpoint = "http://127.0.0.1:4317"

	// flushTimeout bounds how long a service waits at exit for its last
	// telemetry to be accepted.
	flushTimeout = 5 * time.Second
)

// Start makes OpenTelemetry's global providers send the telemetry of service.
// The returned function sends what is left and ends them; call it last.
func Start(ctx context.Context, service, version string) (stop func(), err error) {
	if os.Getenv(endpointVar) == "" {
		if err := os.Setenv(endpointVar, defaultEndpoint); err != nil {
			return nil, fmt.Errorf("set %s: %w", endpointVar, err)
		}
	}
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(
			semconv.ServiceName(service),
			semconv.ServiceVersion(version),
			semconv.ServiceInstanceID(uuid.NewString()),
			semconv.DeploymentEnvironmentNameKey.String("demo"),
		),
		resource.WithFromEnv(), // last, so that it wins
	)
	if err != nil {
		return nil, fmt.Errorf("describe service: %w", err)
	}

	spans, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("open trace exporter: %w", err)
	}
	metrics, err := otlpmetricgrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("open metric exporter: %w", err)
	}
	logs, err := otlploggrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("open log exporter: %w", err)
	}

	tracers := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithSpanProcessor(labeller{}),
		sdktrace.WithBatcher(spans),
	)
	meters := sdkmetric.NewMeterProvider(
		sdkmetric.WithResource(res),
		sdkmetric.WithExemplarFilter(exemplar.TraceBasedFilter),
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithProducer(runtime.NewProducer()))),
	)
	loggers := sdklog.NewLoggerProvider(
		sdklog.WithResource(res),
		sdklog.WithProcessor(labeller{}),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(logs)),
	)
	otel.SetTracerProvider(tracers)
	otel.SetMeterProvider(meters)
	otel.SetLoggerProvider(loggers)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	if err := runtime.Start(); err != nil {
		return nil, fmt.Errorf("observe Go runtime: %w", err)
	}

	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		err := errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx), loggers.Shutdown(ctx))
		if err != nil {
			slog.Error("some telemetry was not sent", "error", err)
		}
	}, nil
}
