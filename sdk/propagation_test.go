package sdk

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
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

// Headers of several lines are one list, of traceparent there is one, and what is
// too long is as if it were not there: a request must not cost more than it is
// long.
func TestHeadersOfManyLines(t *testing.T) {
	many := slices.Repeat([]string{"baggage=a"}, 90_000) // 1 MB on the wire, as net/http allows
	for _, test := range []struct {
		parents, states, members   []string
		wantTrace, wantState, want string
	}{
		{[]string{someParent}, []string{"a=b", "ot=th:8"}, []string{"k=v", "l=w"}, someTrace, "a=b,ot=th:8", "w"},
		{[]string{someParent, someParent}, []string{"a=b"}, []string{"l=w"}, "", "", "w"},
		{many, many, many, "", "", ""},
		{[]string{someParent}, many, append([]string{"l=w"}, many...), someTrace, "", ""},
		{nil, nil, []string{"l=w", "k=" + strings.Repeat("a", maxJoined-len("l=w,k="))}, "", "", "w"},
		{nil, nil, []string{"l=w", "k=" + strings.Repeat("a", maxJoined-len("l=w,k=")+1)}, "", "", ""},
	} {
		h := http.Header{headerTraceparent: test.parents, headerTracestate: test.states, headerBaggage: test.members}
		entries := map[string][]string{"traceparent": test.parents, "tracestate": test.states, "baggage": test.members}
		for name, extract := range map[string]func() context.Context{
			"header":  func() context.Context { return Propagator{}.Extract(t.Context(), propagation.HeaderCarrier(h)) },
			"entries": func() context.Context { return Propagator{}.ExtractEntries(t.Context(), entries) },
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ctx := extract()
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%s of %d lines: %d bytes are allocated", name, len(test.members), n)
			}
			sc := trace.SpanContextFromContext(ctx)
			gotTrace := ""
			if sc.IsValid() {
				gotTrace = sc.TraceID().String()
			}
			if gotTrace != test.wantTrace || sc.TraceState().String() != test.wantState {
				t.Errorf("%s of %d lines: trace %q with state %q, want %q with %q", name, len(test.parents), gotTrace, sc.TraceState(), test.wantTrace, test.wantState)
			}
			if got := baggage.FromContext(ctx).Member("l").Value(); got != test.want {
				t.Errorf("%s of %d lines: member %q, want %q", name, len(test.members), got, test.want)
			}
		}
	}
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
