package sdkopentracing

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/log"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
)

// span is the OpenTracing face of a span.
type span struct {
	tracer  *Tracer
	otel    trace.Span
	ctx     context.Context // with the span and the ids
	mu      sync.Mutex
	baggage baggage.Baggage // takes the place of that of ctx
}

// span makes the face of the span in ctx.
func (t *Tracer) span(ctx context.Context) *span {
	return &span{tracer: t, otel: trace.SpanFromContext(ctx), ctx: ctx, baggage: baggage.FromContext(ctx)}
}

// Tags that have a meaning of their own in OpenTelemetry.
const (
	tagKind  = "span.kind"
	tagError = "error"
)

// context is ctx with the baggage as it is now.
func (s *span) context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return baggage.ContextWithBaggage(s.ctx, s.baggage)
}

// meet adds baggage to what the span has; where both have a member, the span's
// stays.
func (s *span) meet(b baggage.Baggage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range b.Members() {
		if s.baggage.Member(m.Key()).Key() == m.Key() {
			continue
		}
		if with, err := s.baggage.SetMember(m); err == nil {
			s.baggage = with
		}
	}
}

// Context implements opentracing.Span.
func (s *span) Context() opentracing.SpanContext { return spanContext(sdk.Capture(s.context())) }

// Tracer implements opentracing.Span.
func (s *span) Tracer() opentracing.Tracer { return s.tracer }

// Finish implements opentracing.Span.
func (s *span) Finish() { s.otel.End() }

// FinishWithOptions implements opentracing.Span.
func (s *span) FinishWithOptions(o opentracing.FinishOptions) {
	for _, r := range o.LogRecords {
		s.event(r.Timestamp, r.Fields)
	}
	for _, d := range o.BulkLogData {
		r := d.ToLogRecord()
		s.event(r.Timestamp, r.Fields)
	}
	if o.FinishTime.IsZero() {
		s.otel.End()
		return
	}
	s.otel.End(trace.WithTimestamp(o.FinishTime))
}

// SetOperationName implements opentracing.Span.
func (s *span) SetOperationName(name string) opentracing.Span {
	s.otel.SetName(name)
	return s
}

// SetTag implements opentracing.Span.
func (s *span) SetTag(key string, v any) opentracing.Span {
	switch key {
	case tagKind: // is known since the span started
	case tagError:
		if isTrue(v) {
			s.otel.SetStatus(codes.Error, "")
		}
	default:
		s.otel.SetAttributes(attributeOf(key, v))
	}
	return s
}

// LogFields implements opentracing.Span.
func (s *span) LogFields(fields ...log.Field) { s.event(time.Time{}, fields) }

// LogKV implements opentracing.Span.
func (s *span) LogKV(keyValues ...any) {
	fields, err := log.InterleavedKVToFields(keyValues...)
	if err != nil {
		fields = []log.Field{log.Error(err), log.String("function", "LogKV")}
	}
	s.event(time.Time{}, fields)
}

// event adds an event; the field event is its name, and an error is recorded as
// one. A zero time is now.
func (s *span) event(at time.Time, fields []log.Field) {
	name, attrs := "log", make([]attribute.KeyValue, 0, len(fields))
	var opts []trace.EventOption
	if !at.IsZero() {
		opts = append(opts, trace.WithTimestamp(at))
	}
	var failure error
	e := encoder{add: func(key string, v any) {
		if key == "event" {
			name = fmt.Sprint(v)
			return
		}
		attrs = append(attrs, attributeOf(key, v))
	}}
	for _, f := range fields {
		if err, ok := f.Value().(error); ok && failure == nil {
			failure = err
			continue
		}
		f.Marshal(e)
	}
	opts = append(opts, trace.WithAttributes(attrs...))
	if failure != nil {
		s.otel.RecordError(failure, opts...)
		return
	}
	s.otel.AddEvent(name, opts...)
}

// encoder is a log.Encoder.
type encoder struct{ add func(key string, v any) }

func (e encoder) EmitString(key, v string)          { e.add(key, v) }
func (e encoder) EmitBool(key string, v bool)       { e.add(key, v) }
func (e encoder) EmitInt(key string, v int)         { e.add(key, v) }
func (e encoder) EmitInt32(key string, v int32)     { e.add(key, v) }
func (e encoder) EmitInt64(key string, v int64)     { e.add(key, v) }
func (e encoder) EmitUint32(key string, v uint32)   { e.add(key, v) }
func (e encoder) EmitUint64(key string, v uint64)   { e.add(key, v) }
func (e encoder) EmitFloat32(key string, v float32) { e.add(key, v) }
func (e encoder) EmitFloat64(key string, v float64) { e.add(key, v) }
func (e encoder) EmitObject(key string, v any)      { e.add(key, v) }

// EmitLazyLogger implements log.Encoder: a lazy field has any number of others.
func (e encoder) EmitLazyLogger(v log.LazyLogger) {
	if v != nil {
		v(e)
	}
}

// SetBaggageItem implements opentracing.Span. What OpenTelemetry's baggage cannot
// hold is left out.
func (s *span) SetBaggageItem(key, value string) opentracing.Span {
	m, err := baggage.NewMemberRaw(key, value)
	if err != nil {
		return s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if with, err := s.baggage.SetMember(m); err == nil {
		s.baggage = with
	}
	return s
}

// BaggageItem implements opentracing.Span.
func (s *span) BaggageItem(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.baggage.Member(key).Value()
}

// LogEvent implements opentracing.Span.
func (s *span) LogEvent(event string) { s.LogFields(log.Event(event)) }

// LogEventWithPayload implements opentracing.Span.
func (s *span) LogEventWithPayload(event string, payload any) {
	s.LogFields(log.Event(event), log.Object("payload", payload))
}

// Log implements opentracing.Span.
func (s *span) Log(data opentracing.LogData) {
	r := data.ToLogRecord()
	s.event(r.Timestamp, r.Fields)
}

func kindOf(v any) trace.SpanKind {
	switch strings.ToLower(fmt.Sprint(v)) {
	case string(ext.SpanKindRPCClientEnum):
		return trace.SpanKindClient
	case string(ext.SpanKindRPCServerEnum):
		return trace.SpanKindServer
	case string(ext.SpanKindProducerEnum):
		return trace.SpanKindProducer
	case string(ext.SpanKindConsumerEnum):
		return trace.SpanKindConsumer
	}
	return trace.SpanKindInternal
}

func isTrue(v any) bool { return v == true || v == "true" }

// attributeOf keeps the types that OpenTelemetry has; others become text.
func attributeOf(key string, v any) attribute.KeyValue {
	switch v := v.(type) {
	case string:
		return attribute.String(key, v)
	case bool:
		return attribute.Bool(key, v)
	case int:
		return attribute.Int(key, v)
	case int8:
		return attribute.Int64(key, int64(v))
	case int16:
		return attribute.Int64(key, int64(v))
	case int32:
		return attribute.Int64(key, int64(v))
	case int64:
		return attribute.Int64(key, v)
	case uint8:
		return attribute.Int64(key, int64(v))
	case uint16:
		return attribute.Int64(key, int64(v))
	case uint32:
		return attribute.Int64(key, int64(v))
	case float32:
		return attribute.Float64(key, float64(v))
	case float64:
		return attribute.Float64(key, v)
	}
	return attribute.String(key, fmt.Sprint(v)) // also of uint64, which may not fit
}
