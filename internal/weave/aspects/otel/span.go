//go:build guanlan_woven

package trace

import (
	"context"
	"sync/atomic"

	ours "guanlan/otel/attribute"
	ourcodes "guanlan/otel/codes"
	ourtrace "guanlan/otel/trace"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace/embedded"
)

// The woven SDK is written against its own copy of this API. In a context both
// keep spans at one place, the copy's: a span of this API's is wrapped there in
// guanlanForeign, and a span of the SDK is seen through guanlanFace.

// guanlanFace is a span of the SDK. Two faces of one span are equal.
type guanlanFace struct {
	guanlanSealed
	of ourtrace.Span
}

// guanlanSealed is what the API wants embedded. Nothing of it is called.
type guanlanSealed struct{ *guanlanSeal }

type guanlanSeal struct{ embedded.Span }

// guanlanForeign is a span that is not the SDK's: of another SDK, or one that came
// over the wire.
type guanlanForeign struct {
	ourtrace.Span // that has its context
	of            Span
}

func guanlanWith(ctx context.Context, s Span) context.Context {
	switch s := s.(type) {
	case nil: // there is none from here on
		return ourtrace.ContextWithSpan(ctx, nil)
	case guanlanFace:
		return ourtrace.ContextWithSpan(ctx, s.of)
	}
	known := ourtrace.SpanFromContext(ourtrace.ContextWithSpanContext(context.Background(), guanlanContextIn(guanlanContextOf(s))))
	return ourtrace.ContextWithSpan(ctx, &guanlanForeign{known, s})
}

// guanlanContextOf is the context of a span of others, none if it panics, as one
// that is a nil pointer may: the API does not ask it.
func guanlanContextOf(s Span) (sc SpanContext) {
	defer func() { _ = recover() }()
	return s.SpanContext()
}

func guanlanFrom(ctx context.Context) Span {
	if ctx == nil {
		return nil
	}
	switch s := ourtrace.SpanFromContext(ctx).(type) {
	case *guanlanForeign:
		return s.of
	default:
		if !s.IsRecording() && !s.SpanContext().IsValid() {
			return nil
		}
		return guanlanFace{of: s}
	}
}

func guanlanContextIn(sc SpanContext) ourtrace.SpanContext {
	state, _ := ourtrace.ParseTraceState(sc.TraceState().String())
	return ourtrace.NewSpanContext(ourtrace.SpanContextConfig{
		TraceID: ourtrace.TraceID(sc.TraceID()), SpanID: ourtrace.SpanID(sc.SpanID()), TraceFlags: ourtrace.TraceFlags(sc.TraceFlags()), TraceState: state, Remote: sc.IsRemote(),
	})
}

// SpanContext implements Span.
func (f guanlanFace) SpanContext() SpanContext {
	sc := f.of.SpanContext()
	return NewSpanContext(SpanContextConfig{
		TraceID: TraceID(sc.TraceID()), SpanID: SpanID(sc.SpanID()), TraceFlags: TraceFlags(sc.TraceFlags()), TraceState: guanlanState(sc.TraceState()), Remote: sc.IsRemote(),
	})
}

// guanlanLast is the tracestate that was parsed last. The sampler gives the same
// one to most traces.
var guanlanLast atomic.Pointer[guanlanParsed]

type guanlanParsed struct {
	text  string
	state TraceState
}

func guanlanState(of ourtrace.TraceState) TraceState {
	text := of.String()
	if text == "" {
		return TraceState{}
	}
	if last := guanlanLast.Load(); last != nil && last.text == text {
		return last.state
	}
	state, _ := ParseTraceState(text)
	guanlanLast.Store(&guanlanParsed{text, state})
	return state
}

// IsRecording implements Span.
func (f guanlanFace) IsRecording() bool { return f.of.IsRecording() }

// SetName implements Span.
func (f guanlanFace) SetName(name string) { f.of.SetName(name) }

// SetStatus implements Span.
func (f guanlanFace) SetStatus(code codes.Code, description string) {
	f.of.SetStatus(ourcodes.Code(code), description)
}

// SetAttributes implements Span.
func (f guanlanFace) SetAttributes(kv ...attribute.KeyValue) {
	if f.of.IsRecording() {
		f.of.SetAttributes(guanlanAttrs(kv)...)
	}
}

// AddEvent implements Span.
func (f guanlanFace) AddEvent(name string, opts ...EventOption) {
	if f.of.IsRecording() {
		f.of.AddEvent(name, guanlanEvent(opts)...)
	}
}

// RecordError implements Span.
func (f guanlanFace) RecordError(err error, opts ...EventOption) {
	f.of.RecordError(err, guanlanEvent(opts)...)
}

// AddLink implements Span.
func (f guanlanFace) AddLink(l Link) {
	f.of.AddLink(ourtrace.Link{SpanContext: guanlanContextIn(l.SpanContext), Attributes: guanlanAttrs(l.Attributes)})
}

// TracerProvider implements Span.
func (f guanlanFace) TracerProvider() TracerProvider { return GuanlanProvider{} }

// End implements Span. Deferred, it sees a panic that is passing by.
func (f guanlanFace) End(opts ...SpanEndOption) {
	s, ok := f.of.(interface {
		Ends() bool
		EndIn(p any, opts ...ourtrace.SpanEndOption)
	})
	if !ok || !s.Ends() {
		return
	}
	c := NewSpanEndConfig(opts...)
	var few [2]ourtrace.SpanEndOption
	with := few[:0]
	if t := c.Timestamp(); !t.IsZero() {
		with = append(with, ourtrace.WithTimestamp(t))
	}
	if c.StackTrace() {
		with = append(with, ourtrace.WithStackTrace(true))
	}
	s.EndIn(recover(), with...)
}

func guanlanEvent(opts []EventOption) []ourtrace.EventOption {
	c := NewEventConfig(opts...)
	with := append(make([]ourtrace.EventOption, 0, 3), ourtrace.WithTimestamp(c.Timestamp()))
	if c.StackTrace() {
		with = append(with, ourtrace.WithStackTrace(true))
	}
	if a := c.Attributes(); len(a) > 0 {
		with = append(with, ourtrace.WithAttributes(guanlanAttrs(a)...))
	}
	return with
}

func guanlanAttrs(kv []attribute.KeyValue) []ours.KeyValue {
	out := make([]ours.KeyValue, 0, len(kv))
	for _, a := range kv {
		k := ours.Key(a.Key)
		switch v := a.Value.AsInterface().(type) {
		case bool:
			out = append(out, k.Bool(v))
		case int64:
			out = append(out, k.Int64(v))
		case float64:
			out = append(out, k.Float64(v))
		case string:
			out = append(out, k.String(v))
		case []bool:
			out = append(out, k.BoolSlice(v))
		case []int64:
			out = append(out, k.Int64Slice(v))
		case []float64:
			out = append(out, k.Float64Slice(v))
		case []string:
			out = append(out, k.StringSlice(v))
		case nil:
		default: // kinds that newer versions have
			out = append(out, k.String(a.Value.Emit()))
		}
	}
	return out
}
