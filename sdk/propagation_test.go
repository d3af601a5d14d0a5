package sdk

import (
	"context"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	someTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	someSpan   = "00f067aa0ba902b7"
	someParent = "00-" + someTrace + "-" + someSpan + "-01"
)

// The stock propagators must read what ours writes and the other way round.
func TestPropagatorIsTheStockOne(t *testing.T) {
	stock := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	for _, h := range []http.Header{
		{"Traceparent": {someParent}, "Tracestate": {"a=b"}, "Baggage": {"k=v,x=%20y"}},
		{"Traceparent": {"00-" + someTrace + "-" + someSpan + "-00"}},
		{"Baggage": {"k=v"}},
		{"Baggage": {"malformed"}},
		{"Traceparent": {"00-1-2-01"}, "Tracestate": {"a=b"}},
		{},
	} {
		for name, carrier := range map[string]propagation.TextMapCarrier{"header": propagation.HeaderCarrier(h), "map": asMap(h)} {
			want := stock.Extract(context.Background(), carrier)
			got := Propagator{}.Extract(context.Background(), carrier)
			if w, g := trace.SpanContextFromContext(want), trace.SpanContextFromContext(got); !g.Equal(w) {
				t.Errorf("%s %v: span context %+v, the stock propagator's is %+v", name, h, g, w)
			}
			for range 2 {
				if w, g := baggage.FromContext(want).String(), baggage.FromContext(got).String(); len(w) != len(g) || (len(w) < 5 && w != g) {
					t.Errorf("%s %v: baggage %q, the stock propagator's is %q", name, h, g, w)
				}
			}
			stockOut, out := http.Header{}, http.Header{}
			stock.Inject(got, propagation.HeaderCarrier(stockOut))
			Propagator{}.Inject(want, propagation.HeaderCarrier(out))
			for _, field := range []string{headerTraceparent, headerTracestate} {
				if stockOut.Get(field) != out.Get(field) {
					t.Errorf("%s %v: %s is written as %q, by the stock propagator as %q", name, h, field, out.Get(field), stockOut.Get(field))
				}
			}
		}
	}
}

func asMap(h http.Header) propagation.MapCarrier {
	m := propagation.MapCarrier{}
	for k, v := range h {
		m[map[string]string{headerTraceparent: "traceparent", headerTracestate: "tracestate", headerBaggage: "baggage"}[k]] = v[0]
	}
	return m
}

func TestExtractAllocations(t *testing.T) {
	carrier := propagation.HeaderCarrier{headerTraceparent: {someParent}, headerTracestate: {"ot=th:8"}, headerBaggage: {"k=v"}}
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() { Propagator{}.Extract(ctx, carrier) }); n > 1 {
		t.Errorf("Extract takes %v allocations, want 1", n)
	}
}

func BenchmarkExtract(b *testing.B) {
	carrier := propagation.HeaderCarrier{headerTraceparent: {someParent}, headerTracestate: {"ot=th:8"}, headerBaggage: {"k=v"}}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		Propagator{}.Extract(ctx, carrier)
	}
}
