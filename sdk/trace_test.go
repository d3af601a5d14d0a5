package sdk

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// newTracer makes a tracer that keeps with probability p and sends nowhere.
func newTracer(t testing.TB, p float64) trace.Tracer {
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
	t.Cleanup(func() { _ = pipe.Close(context.Background()) })
	return NewTracerProvider(core.NewProvider(core.Options{Sampler: core.NewByThreshold(p), Pipe: pipe})).Tracer("test")
}

type userKey struct{}

func TestContextIsTheSpan(t *testing.T) {
	tracer := newTracer(t, 1)
	ctx, s := tracer.Start(context.WithValue(t.Context(), userKey{}, 7), "n")
	if trace.SpanFromContext(ctx) != s || ctx.Value(userKey{}) != 7 {
		t.Errorf("the context has span %v and value %v", trace.SpanFromContext(ctx), ctx.Value(userKey{}))
	}
	inner, child := tracer.Start(ctx, "child")
	if trace.SpanFromContext(inner) != child || child.SpanContext().TraceID() != s.SpanContext().TraceID() || child.SpanContext().SpanID() == s.SpanContext().SpanID() {
		t.Errorf("child %+v of %+v", child.SpanContext(), s.SpanContext())
	}
	if got := s.SpanContext().TraceState().String(); got != "ot=th:0" {
		t.Errorf("tracestate %q", got)
	}
	if s.TracerProvider().Tracer("test") != tracer {
		t.Error("the same scope gives another tracer")
	}
	var none context.Context
	if _, s := tracer.Start(none, "no context"); !s.IsRecording() {
		t.Error("without a context nothing is recorded")
	}
}

func TestUnsampledChildrenAreTheirParent(t *testing.T) {
	tracer := newTracer(t, 0)
	ctx, root := tracer.Start(t.Context(), "root")
	if root.IsRecording() || !root.SpanContext().IsValid() || root.SpanContext().IsSampled() {
		t.Errorf("root: recording %v, %+v", root.IsRecording(), root.SpanContext())
	}
	inner, child := tracer.Start(ctx, "child")
	if child != root || inner != ctx {
		t.Error("a child of its own")
	}
	child.End()
	if _, other := tracer.Start(ctx, "n", trace.WithNewRoot()); other.SpanContext().TraceID() == root.SpanContext().TraceID() {
		t.Error("a new root in the old trace")
	}
	if n := testing.AllocsPerRun(1000, func() {
		_, s := tracer.Start(ctx, "child")
		s.End()
	}); n != 0 {
		t.Errorf("an unsampled child takes %v allocations", n)
	}
}

func BenchmarkTracer(b *testing.B) {
	tracer := newTracer(b, 1)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, s := tracer.Start(ctx, "GET /orders/{id}")
		s.SetAttributes(attribute.String("http.request.method", "GET"), attribute.String("http.route", "/orders/{id}"), attribute.String("url.scheme", "http"), attribute.String("url.path", "/orders/4711"),
			attribute.Int("http.response.status_code", 200), attribute.String("server.address", "shop.example"), attribute.Int("server.port", 8080), attribute.String("client.address", "10.1.2.3"))
		s.End()
	}
}

func BenchmarkTracerUnsampled(b *testing.B) {
	tracer := newTracer(b, 0)
	ctx, _ := tracer.Start(context.Background(), "root")
	b.ReportAllocs()
	for b.Loop() {
		_, s := tracer.Start(ctx, "child")
		s.End()
	}
}
