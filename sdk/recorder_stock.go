//go:build guanlan_stock

package sdk

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

const stock = true

// Span is what operations record in: a span of OpenTelemetry's own SDK, with
// the methods of core.Span. It cannot be kept when it was not sampled.
type Span struct {
	other  trace.Span
	sc     core.SpanContext
	failed bool
}

type recorder struct{ sp Span }

type operationTracer = trace.Tracer

func (s *SDK) tracer(scope, version string) operationTracer {
	return s.traces.Tracer(scope, trace.WithInstrumentationVersion(version))
}

func (h *handle) open(t operationTracer, name string, kind core.SpanKind, began time.Time) {
	ctx, sp := t.Start(h.Context, name, trace.WithSpanKind(stockKind(kind)), trace.WithTimestamp(began))
	h.Context = ctx
	h.recorder.sp = Span{other: sp, sc: fromSpanContext(sp.SpanContext())}
}

func (h *handle) recorded() *Span { return &h.recorder.sp }

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
