//go:build guanlan_woven

package trace

import (
	"context"
	"sync/atomic"

	ours "guanlan/otel/attribute"
	ourtrace "guanlan/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
	"go.opentelemetry.io/otel/trace/embedded"
)

// GuanlanProvider gives tracers of the woven SDK.
type GuanlanProvider struct{ embedded.TracerProvider }

// Tracer implements TracerProvider.
func (GuanlanProvider) Tracer(name string, opts ...TracerOption) Tracer {
	c := NewTracerConfig(opts...)
	with := []ourtrace.TracerOption{ourtrace.WithInstrumentationVersion(c.InstrumentationVersion()), ourtrace.WithSchemaURL(c.SchemaURL())}
	if set := c.InstrumentationAttributes(); set.Len() > 0 {
		with = append(with, ourtrace.WithInstrumentationAttributes(guanlanAttrs(set.ToSlice())...))
	}
	return &guanlanTracer{name: name, with: with}
}

// guanlanTracer is a tracer of the SDK that runs.
type guanlanTracer struct {
	embedded.Tracer
	name string
	with []ourtrace.TracerOption
	last atomic.Pointer[guanlanOf]
}

// guanlanOf is the tracer of one SDK.
type guanlanOf struct {
	sdk *sdk.SDK
	ourtrace.Tracer
}

// of is nil when none runs.
func (t *guanlanTracer) of() ourtrace.Tracer {
	s := sdk.Default()
	if s == nil {
		return nil
	}
	if last := t.last.Load(); last != nil && last.sdk == s {
		return last.Tracer
	}
	own := s.TracerProvider().Tracer(t.name, t.with...)
	t.last.Store(&guanlanOf{s, own})
	return own
}

// Start implements Tracer.
func (t *guanlanTracer) Start(ctx context.Context, name string, opts ...SpanStartOption) (context.Context, Span) {
	if ctx == nil {
		ctx = context.Background()
	}
	of := t.of()
	if of == nil {
		return ctx, SpanFromContext(ctx)
	}
	c := NewSpanStartConfig(opts...)
	var few [5]ourtrace.SpanStartOption
	with := append(few[:0], ourtrace.WithSpanKind(ourtrace.SpanKind(c.SpanKind())))
	if a := c.Attributes(); len(a) > 0 {
		var attrs []ours.KeyValue = guanlanAttrs(a)
		with = append(with, ourtrace.WithAttributes(attrs...))
	}
	if c.NewRoot() {
		with = append(with, ourtrace.WithNewRoot())
	}
	if at := c.Timestamp(); !at.IsZero() {
		with = append(with, ourtrace.WithTimestamp(at))
	}
	if l := c.Links(); len(l) > 0 {
		links := make([]ourtrace.Link, 0, len(l))
		for _, l := range l {
			links = append(links, ourtrace.Link{SpanContext: guanlanContextIn(l.SpanContext), Attributes: guanlanAttrs(l.Attributes)})
		}
		with = append(with, ourtrace.WithLinks(links...))
	}
	ctx, s := of.Start(ctx, name, with...)
	return ctx, guanlanFace{of: s}
}
