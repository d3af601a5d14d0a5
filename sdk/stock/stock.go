//go:build guanlan_stock

package stock

import (
	"context"
	"errors"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

func init() { sdk.UseStock(start) }

func start(ctx context.Context, c sdk.StockConfig) (*sdk.StockProviders, error) {
	var spans sdktrace.SpanExporter
	var points metric.Exporter
	var records sdklog.Exporter
	var err1, err2, err3 error
	if c.Traces.URL != "" {
		spans, err1 = otlptracehttp.New(ctx, traceOptions(c.Traces)...)
	}
	if c.Metrics.URL != "" {
		points, err2 = otlpmetrichttp.New(ctx, metricOptions(c.Metrics)...)
	}
	if c.Logs.URL != "" {
		records, err3 = otlploghttp.New(ctx, logOptions(c.Logs)...)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	res := resource.NewSchemaless(c.Resource...)
	traced := []sdktrace.TracerProviderOption{sdktrace.WithResource(res), sdktrace.WithSampler(sampler{c.Sampler}), sdktrace.WithSpanProcessor(copier(c.Baggage))}
	counted := []metric.Option{metric.WithResource(res)}
	logged := []sdklog.LoggerProviderOption{sdklog.WithResource(res), sdklog.WithProcessor(logCopier(c.Baggage))}
	if spans != nil {
		traced = append(traced, sdktrace.WithBatcher(spans, sdktrace.WithBatchTimeout(c.SpanDelay)))
	}
	if points != nil {
		counted = append(counted, metric.WithReader(metric.NewPeriodicReader(points, metric.WithInterval(c.Interval))))
	}
	if records != nil {
		logged = append(logged, sdklog.WithProcessor(sdklog.NewBatchProcessor(records, sdklog.WithExportInterval(c.LogDelay))))
	}
	tracers := sdktrace.NewTracerProvider(traced...)
	meters := metric.NewMeterProvider(counted...)
	loggers := sdklog.NewLoggerProvider(logged...)
	return &sdk.StockProviders{
		Traces: tracers, Metrics: meters, Logs: loggers,
		Flush: func(ctx context.Context) error {
			return errors.Join(tracers.ForceFlush(ctx), meters.ForceFlush(ctx), loggers.ForceFlush(ctx))
		},
		Shutdown: func(ctx context.Context) error {
			return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx), loggers.Shutdown(ctx))
		},
	}, nil
}

func traceOptions(o core.SenderOptions) []otlptracehttp.Option {
	opts := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(o.URL), otlptracehttp.WithHeaders(o.Headers)}
	if o.Gzip {
		opts = append(opts, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	}
	return append(opts, otlptracehttp.WithHTTPClient(client(o)))
}

func metricOptions(o core.SenderOptions) []otlpmetrichttp.Option {
	opts := []otlpmetrichttp.Option{otlpmetrichttp.WithEndpointURL(o.URL), otlpmetrichttp.WithHeaders(o.Headers)}
	if o.Gzip {
		opts = append(opts, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
	}
	return append(opts, otlpmetrichttp.WithHTTPClient(client(o)))
}

func logOptions(o core.SenderOptions) []otlploghttp.Option {
	opts := []otlploghttp.Option{otlploghttp.WithEndpointURL(o.URL), otlploghttp.WithHeaders(o.Headers)}
	if o.Gzip {
		opts = append(opts, otlploghttp.WithCompression(otlploghttp.GzipCompression))
	}
	return append(opts, otlploghttp.WithHTTPClient(client(o)))
}

// client is one of its own, so that nobody traces it.
func client(o core.SenderOptions) *http.Client {
	if o.Client != nil {
		return o.Client
	}
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true}, Timeout: o.Timeout}
}

// sampler lets Guanlan's decide about traces that begin here.
type sampler struct{ own core.Sampler }

func (s sampler) Description() string { return "Guanlan" }

func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	keep, state := parent.IsSampled(), parent.TraceState()
	if never, ok := s.own.(core.Never); ok && !never.ByParent {
		keep = false
	}
	if !parent.IsValid() {
		sc := core.SpanContext{TraceID: core.TraceID(p.TraceID)}
		d := s.own.Decide(&sc, p.Name, core.SpanKind(p.Kind), nil)
		keep = d.Keep
		if parsed, err := trace.ParseTraceState(d.State); err == nil {
			state = parsed
		}
	}
	result := sdktrace.SamplingResult{Decision: sdktrace.Drop, Tracestate: state}
	if keep {
		result.Decision = sdktrace.RecordAndSample
	}
	return result
}

// copier puts members of the baggage on spans.
type copier []string

func (c copier) OnStart(ctx context.Context, sp sdktrace.ReadWriteSpan) {
	b := baggage.FromContext(ctx)
	for _, name := range c {
		if v := b.Member(name).Value(); v != "" {
			sp.SetAttributes(attribute.String(name, v))
		}
	}
}

func (copier) OnEnd(sdktrace.ReadOnlySpan)      {}
func (copier) Shutdown(context.Context) error   { return nil }
func (copier) ForceFlush(context.Context) error { return nil }

// logCopier puts them on log records.
type logCopier []string

func (c logCopier) OnEmit(ctx context.Context, r *sdklog.Record) error {
	b := baggage.FromContext(ctx)
	for _, name := range c {
		if v := b.Member(name).Value(); v != "" {
			r.AddAttributes(attribute.String(name, v))
		}
	}
	return nil
}

func (logCopier) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (logCopier) Shutdown(context.Context) error                         { return nil }
func (logCopier) ForceFlush(context.Context) error                       { return nil }
