//go:build guanlan_stock

package sdk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

const stock = true

// Span is what operations record in: a span of OpenTelemetry's own SDK, with
// the methods of core.Span. It cannot be kept when it was not sampled.
type Span struct {
	other  trace.Span
	began  time.Time
	sc     core.SpanContext
	failed bool
}

type recorder struct{ sp Span }

// StockConfig is what the SDK was told, for whoever starts OpenTelemetry's.
type StockConfig struct {
	Resource              []attribute.KeyValue
	Traces, Metrics, Logs core.SenderOptions // without URL: the signal is not sent
	Sampler               core.Sampler
	Baggage               []string // members that become attributes
	SpanDelay, LogDelay   time.Duration
	Interval              time.Duration // of metrics
}

// StockProviders is OpenTelemetry's SDK, running.
type StockProviders struct {
	Traces          trace.TracerProvider
	Metrics         metric.MeterProvider
	Logs            log.LoggerProvider
	Flush, Shutdown func(context.Context) error
}

// useStock starts OpenTelemetry's SDK.
var useStock func(context.Context, StockConfig) (*StockProviders, error)

// UseStock is how package stock says that it is there.
func UseStock(start func(context.Context, StockConfig) (*StockProviders, error)) { useStock = start }

// given is what a signal is sent with.
func (e *exporter) given() core.SenderOptions {
	if e.none {
		return core.SenderOptions{}
	}
	return e.SenderOptions
}

type other struct{ *StockProviders }

// startOther puts OpenTelemetry's SDK in the place of ours.
func (s *SDK) startOther(ctx context.Context, c *config) error {
	if useStock == nil {
		return errors.New(`start OpenTelemetry's SDK: built with the tag guanlan_stock, but without import _ "github.com/guanlan-io/guanlan/sdk/stock"; Guanlan's is used`)
	}
	if c.traces.protocol == protocolGRPC || c.metrics.protocol == protocolGRPC || c.logs.protocol == protocolGRPC {
		return errors.New("start OpenTelemetry's SDK: package sdk/stock sends by protocol http/protobuf only, and the configuration says grpc; Guanlan's is used")
	}
	p, err := useStock(ctx, StockConfig{
		Resource: keyValues(c.resource), Traces: c.traces.given(), Metrics: c.metrics.given(), Logs: c.logs.given(),
		Sampler: c.sampler, Baggage: c.members, SpanDelay: c.delay, LogDelay: c.logDelay, Interval: c.interval,
	})
	if err != nil {
		return fmt.Errorf("start OpenTelemetry's SDK: %w; Guanlan's is used", err)
	}
	s.other = other{p}
	s.traces, s.counted, s.recorded = p.Traces, p.Metrics, p.Logs
	s.log.other = p.Logs.Logger(scopeOfSDK, log.WithInstrumentationVersion(Version))
	return nil
}

func (o other) flush(ctx context.Context) error {
	if o.StockProviders == nil {
		return nil
	}
	return o.Flush(ctx)
}

func (o other) shutdown(ctx context.Context) error {
	if o.StockProviders == nil {
		return nil
	}
	return o.Shutdown(ctx)
}

type logOther struct{ other log.Logger } // nil: it did not start

func (o logOther) emit(own *core.Logger, r *core.Record) {
	if o.other == nil {
		own.Emit(r)
		return
	}
	ctx := context.Background()
	if r.Span != nil {
		ctx = trace.ContextWithSpanContext(ctx, toSpanContext(r.Span))
	}
	var out log.Record
	out.SetTimestamp(r.Time)
	out.SetObservedTimestamp(time.Now())
	out.SetSeverity(log.Severity(r.Severity))
	out.SetSeverityText(r.Level)
	out.SetBody(attribute.StringValue(r.Body))
	out.AddAttributes(keyValues(r.Attrs)...)
	o.other.Emit(ctx, out)
}

type operationTracer = trace.Tracer

func (s *SDK) tracer(scope, version string, _ work) operationTracer {
	return s.traces.Tracer(scope, trace.WithInstrumentationVersion(version))
}

func (h *handle) open(t operationTracer, _ core.SpanContext, name string, kind core.SpanKind) {
	ctx, sp := t.Start(h.Context, name, trace.WithSpanKind(stockKind(kind)))
	h.Context = ctx
	h.recorder.sp = Span{other: sp, began: time.Now(), sc: fromSpanContext(sp.SpanContext())}
}

func (r *recorder) of(*handle) *Span { return &r.sp }

func (h *handle) ctx() context.Context { return h }

func stockKind(k core.SpanKind) trace.SpanKind {
	switch k {
	case core.KindServer:
		return trace.SpanKindServer
	case core.KindClient:
		return trace.SpanKindClient
	case core.KindProducer:
		return trace.SpanKindProducer
	case core.KindConsumer:
		return trace.SpanKindConsumer
	}
	return trace.SpanKindInternal
}

// Context is what of the span goes over the wire.
func (s *Span) Context() *core.SpanContext { return &s.sc }

// Recording reports whether anything is recorded.
func (s *Span) Recording() bool { return s.other != nil && s.other.IsRecording() }

// Failed reports whether an error was set.
func (s *Span) Failed() bool { return s.failed }

// Rescue does nothing: what was not sampled is gone.
func (s *Span) Rescue(*core.SpanContext, string, core.SpanKind, time.Time) {}

// SetName replaces the name.
func (s *Span) SetName(name string) {
	if s.other != nil {
		s.other.SetName(name)
	}
}

// SetStatus sets how the operation ended.
func (s *Span) SetStatus(status core.Status, message string) {
	s.failed = s.failed || status == core.StatusError
	switch {
	case s.other == nil:
	case status == core.StatusError:
		s.other.SetStatus(codes.Error, message)
	case status == core.StatusOK:
		s.other.SetStatus(codes.Ok, "")
	}
}

// SetAttr is SetAttrs for one.
func (s *Span) SetAttr(a core.Attr) { s.SetAttrs(a) }

// SetAttrs sets attributes.
func (s *Span) SetAttrs(attrs ...core.Attr) {
	if s.Recording() {
		s.other.SetAttributes(keyValues(attrs)...)
	}
}

// AddEvent adds an event; a zero time is now.
func (s *Span) AddEvent(name string, at time.Time, attrs ...core.Attr) {
	if !s.Recording() {
		return
	}
	opts := []trace.EventOption{trace.WithAttributes(keyValues(attrs)...)}
	if !at.IsZero() {
		opts = append(opts, trace.WithTimestamp(at))
	}
	s.other.AddEvent(name, opts...)
}

// AddLink adds a link.
func (s *Span) AddLink(to *core.SpanContext, attrs ...core.Attr) {
	if s.Recording() {
		s.other.AddLink(trace.Link{SpanContext: toSpanContext(to), Attributes: keyValues(attrs)})
	}
}

// EndAfter is End at so long after the start.
func (s *Span) EndAfter(took time.Duration) { s.End(s.began.Add(took)) }

// End ends the span; a zero time is now.
func (s *Span) End(at time.Time) {
	if s.other == nil {
		return
	}
	if at.IsZero() {
		s.other.End()
		return
	}
	s.other.End(trace.WithTimestamp(at))
}

// keyValues converts attributes.
func keyValues(attrs []core.Attr) []attribute.KeyValue {
	all := make([]attribute.KeyValue, len(attrs))
	for i := range attrs {
		all[i] = attribute.KeyValue{Key: attribute.Key(attrs[i].Key), Value: stockValue(&attrs[i].Value)}
	}
	return all
}

func stockValue(v *core.Value) attribute.Value {
	switch x := v.Any().(type) {
	case bool:
		return attribute.BoolValue(x)
	case int64:
		return attribute.Int64Value(x)
	case float64:
		return attribute.Float64Value(x)
	case string:
		return attribute.StringValue(x)
	case []byte:
		return attribute.ByteSliceValue(x)
	case []bool:
		return attribute.BoolSliceValue(x)
	case []int64:
		return attribute.Int64SliceValue(x)
	case []float64:
		return attribute.Float64SliceValue(x)
	case []string:
		return attribute.StringSliceValue(x)
	case []core.Value:
		all := make([]attribute.Value, len(x))
		for i := range x {
			all[i] = stockValue(&x[i])
		}
		return attribute.SliceValue(all...)
	case []core.Attr:
		return attribute.MapValue(keyValues(x)...)
	}
	return attribute.Value{}
}
