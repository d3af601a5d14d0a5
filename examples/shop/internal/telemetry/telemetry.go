// Package telemetry starts the SDK for a service of the shop. A service with a
// main of its own would import sdk/auto instead; these share one, with programs
// that send nothing.
//
// The standard variables configure it, among them OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER.
package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"

	"github.com/guanlan-io/guanlan/sdk"
)

// Start starts the SDK and has log/slog write to it. sdk.Run ends it.
func Start(ctx context.Context, service, version string) {
	s, err := sdk.Start(ctx, sdk.Options{
		ServiceName: service,
		Resource:    []attribute.KeyValue{attribute.String("service.version", version)},
		Baggage:     labels,
	})
	slog.SetDefault(slog.New(s.LogHandler(nil)))
	if err != nil {
		slog.WarnContext(ctx, "a part of the telemetry's configuration is not used", "error", err)
	}
}
