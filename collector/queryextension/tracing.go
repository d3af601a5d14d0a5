package queryextension

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// tracing makes a span of every API request, so that Guanlan is one of the
// services it shows. The collector's own tracing is not used for it: that also
// makes spans of every batch it takes in.
type tracing struct {
	provider *trace.TracerProvider
	log      *slog.Logger
}

// startTracing sends spans to the OTLP/HTTP base URL; none for "".
func startTracing(url, version string, log *slog.Logger) (*tracing, error) {
	t := &tracing{log: log}
	if url == "" {
		return t, nil
	}
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(strings.TrimSuffix(url, "/")+"/v1/traces"),
		otlptracehttp.WithTimeout(2*time.Second))
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // empty is what we say when we do not know
	t.provider = trace.NewTracerProvider(
		trace.WithBatcher(exporter, trace.WithBatchTimeout(2*time.Second)),
		trace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "guanlan"),
			attribute.String("service.version", version),
			attribute.String("host.name", host),
		)),
	)
	return t, nil
}

func (t *tracing) wrap(h http.Handler) http.Handler {
	if t.provider == nil || h == nil {
		return h
	}
	return otelhttp.NewHandler(h, "query",
		otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithFilter(func(r *http.Request) bool { return !strings.HasSuffix(r.URL.Path, "/tail") }),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + route(r.URL.Path) }))
}

// stop sends what is left. Nobody should wait long for it. It may be called
// when nothing was started, and again.
func (t *tracing) stop(ctx context.Context) {
	if t == nil || t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Debug("send the last own spans", "error", err)
	}
}

// route names a path without the ids in it, so that span names stay few.
func route(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		after := ""
		if i > 0 {
			after = parts[i-1]
		}
		switch {
		case (after == "services" || after == "label") && p != "":
			parts[i] = "{name}"
		case after == "traces" && p != "" && p != "heatmap" && p != "compare":
			parts[i] = "{id}"
		}
	}
	return strings.Join(parts, "/")
}
