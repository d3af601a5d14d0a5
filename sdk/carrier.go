package sdk

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/baggage"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Carrier takes what is known of a context to another goroutine, through a
// channel or a queue within the process: the span, the ids, the baggage and when
// it left. It does not hold the context, so nothing of a request stays in memory
// for it. It may be copied and used several times; the zero Carrier carries
// nothing. Between processes, use Propagator.
type Carrier struct {
	span    core.SpanContext
	request string // id
	baggage baggage.Baggage
	left    time.Time
}

// Capture makes a Carrier of ctx.
func Capture(ctx context.Context) Carrier {
	c := Carrier{request: RequestID(ctx), baggage: baggage.FromContext(ours(ctx, baggageKey)), left: time.Now()}
	c.span, _ = contextOf(ctx)
	return c
}

// Context is ctx with what was captured: spans that start there are children of
// the captured one. Without any it is ctx.
func (c Carrier) Context(ctx context.Context) context.Context {
	if c.baggage.Len() > 0 {
		ctx = baggage.ContextWithBaggage(ctx, c.baggage)
	}
	if !c.span.IsValid() && c.request == "" {
		return ctx
	}
	return &remote{Context: ctx, span: remoteSpan{noRecording, c.span}, hasSpan: c.span.IsValid(), request: c.request}
}

// wait is how long ago the Carrier was made.
func (c *Carrier) wait() time.Duration {
	if c.left.IsZero() {
		return -1
	}
	return time.Since(c.left)
}

// Run does the work that was handed over, in a span that is a child of the
// captured one, and counts how long it waited. The context of fn ends with ctx,
// and has its values but for what was captured. Keep name to few values: it is
// on metrics. Panics pass through.
func (c Carrier) Run(ctx context.Context, name string, fn func(context.Context) error) error {
	t := &handover{taskKey: taskKey{name: name}, waited: c.wait(), fn: fn}
	return t.run(c.Context(ctx))
}

// RunBatch does work that was handed over in several parts at once. The span is
// within that of ctx, as there is no one parent, and has a link to each of the
// captured ones, as many as a span may have; how long the first of them waited
// is counted. The ids and the baggage are those of ctx.
func RunBatch(ctx context.Context, name string, from []Carrier, fn func(context.Context) error) error {
	t := &handover{taskKey: taskKey{name: name}, waited: -1, links: from, fn: fn}
	for i := range from {
		t.waited = max(t.waited, from[i].wait())
	}
	return t.run(ctx)
}

// Message is a value on its way through a channel, and what context it was sent
// in.
type Message[T any] struct {
	Carrier
	Value T
}

// NewMessage captures ctx.
func NewMessage[T any](ctx context.Context, v T) Message[T] { return Message[T]{Capture(ctx), v} }
