package sdk

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Propagator carries W3C Trace Context and Baggage over headers. It is an
// OpenTelemetry propagator that reads baggage only when somebody asks for it.
type Propagator struct{}

var _ propagation.TextMapPropagator = Propagator{}

// Header names as net/http keeps them.
const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
	headerBaggage     = "Baggage"
)

// Fields implements propagation.TextMapPropagator.
func (Propagator) Fields() []string { return []string{"traceparent", "tracestate", "baggage"} }

// Extract implements propagation.TextMapPropagator. What is malformed is as if
// it were not there.
func (Propagator) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	if h, ok := carrier.(propagation.HeaderCarrier); ok {
		return extract(ctx, header(h, headerTraceparent), header(h, headerTracestate), header(h, headerBaggage))
	}
	return extract(ctx, carrier.Get("traceparent"), carrier.Get("tracestate"), carrier.Get("baggage"))
}

// header is what Get says, without making the name canonical first, and with
// several lines joined as HTTP has it.
func header[H ~map[string][]string](h H, name string) string {
	switch v := h[name]; len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	default:
		joined := v[0]
		for _, line := range v[1:] {
			joined += "," + line
		}
		return joined
	}
}

// ExtractValues is Extract of headers that have been found already; what was
// not there is empty.
func (Propagator) ExtractValues(ctx context.Context, traceparent, tracestate, baggage string) context.Context {
	return extract(ctx, traceparent, tracestate, baggage)
}

func extract(ctx context.Context, parent, state, members string) context.Context {
	sc, ok := core.ParseTraceparent(parent, state)
	if !ok && members == "" {
		return ctx
	}
	r := &remote{Context: ctx, members: members}
	if ok {
		r.span.sc = sc
		r.hasSpan = true
	}
	return r
}

// remote is a context with what came over the wire.
type remote struct {
	context.Context
	span    remoteSpan
	hasSpan bool

	members string // header baggage, as it came
	once    sync.Once
	baggage context.Context // with the parsed one
}

// baggageKey is the key that the OpenTelemetry API keeps baggage under in a
// context.
var baggageKey = func() any {
	p := &keyProbe{Context: context.Background()}
	baggage.FromContext(p)
	return p.key
}()

// Value implements context.Context.
func (r *remote) Value(key any) any {
	switch {
	case key == spanKey && r.hasSpan:
		return &r.span
	case key == baggageKey && r.members != "":
		r.once.Do(func() {
			r.baggage = r.Context
			if b, err := baggage.Parse(r.members); err == nil {
				r.baggage = baggage.ContextWithBaggage(r.Context, b)
			}
		})
		return r.baggage.Value(key)
	}
	return r.Context.Value(key)
}

// remoteSpan stands for the span of the caller.
type remoteSpan struct {
	noop.Span
	sc core.SpanContext
}

// SpanContext implements trace.Span.
func (s *remoteSpan) SpanContext() trace.SpanContext { return toSpanContext(&s.sc) }

// Inject implements propagation.TextMapPropagator.
func (p Propagator) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	parent, state, members := p.InjectValues(ctx)
	if parent != "" {
		carrier.Set("traceparent", parent)
	}
	if state != "" {
		carrier.Set("tracestate", state)
	}
	if members != "" {
		carrier.Set("baggage", members)
	}
}

// InjectValues is what Inject sets; what is not to be set is empty.
func (Propagator) InjectValues(ctx context.Context) (traceparent, tracestate, members string) {
	if sc, ok := contextOf(ctx); ok {
		traceparent, tracestate = string(core.AppendTraceparent(make([]byte, 0, 55), &sc)), sc.State
	}
	if b := baggage.FromContext(ctx); b.Len() > 0 {
		members = b.String()
	}
	return traceparent, tracestate, members
}

// headerCarrier makes a header a carrier.
type headerCarrier = propagation.HeaderCarrier

// contextOf is the span of a context; false when there is none.
func contextOf(ctx context.Context) (sc core.SpanContext, ok bool) {
	switch s := ctx.Value(spanKey).(type) {
	case *span:
		sc = *s.core.Context()
	case *remoteSpan:
		sc = s.sc
	case trace.Span:
		sc = fromSpanContext(s.SpanContext())
	}
	return sc, sc.IsValid()
}
