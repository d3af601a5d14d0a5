// Package stocktest runs the same programs on this SDK and on OpenTelemetry's
// own, and compares what a collector receives.
package stocktest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	stock "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// providers gives both, each with a function that flushes it and returns what
// its collector has got.
func providers(t *testing.T, limits core.Limits, attrs ...attribute.KeyValue) map[string]func(program func(trace.TracerProvider)) []*tracepb.ResourceSpans {
	return map[string]func(func(trace.TracerProvider)) []*tracepb.ResourceSpans{
		"stock": func(program func(trace.TracerProvider)) []*tracepb.ResourceSpans {
			r := newReceiver(t)
			exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(r.URL+"/v1/traces"))
			if err != nil {
				t.Fatal(err)
			}
			p := stock.NewTracerProvider(stock.WithBatcher(exporter), stock.WithResource(resource.NewSchemaless(attrs...)), stock.WithRawSpanLimits(stock.SpanLimits{
				AttributeValueLengthLimit: limits.ValueLength, AttributeCountLimit: limits.Attributes, EventCountLimit: limits.Events, LinkCountLimit: limits.Links,
				AttributePerEventCountLimit: limits.EventAttributes, AttributePerLinkCountLimit: limits.LinkAttributes,
			}))
			program(p)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.spans
		},
		"ours": func(program func(trace.TracerProvider)) []*tracepb.ResourceSpans {
			r := newReceiver(t)
			sender, err := core.NewSender(core.SenderOptions{URL: r.URL + "/v1/traces"})
			if err != nil {
				t.Fatal(err)
			}
			var list []core.Attr
			for _, a := range attrs {
				list = append(list, core.String(string(a.Key), a.Value.AsString()))
			}
			pipe := core.NewPipe(core.EncodeResource(list, ""), core.PipeOptions{Send: sender.Send, Failed: func(n int, err error) { t.Errorf("%d spans: %v", n, err) }})
			program(sdk.NewTracerProvider(core.NewProvider(core.Options{Pipe: pipe, Limits: &limits})))
			if err := pipe.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.spans
		},
	}
}

// same runs a program on both and compares.
func same(t *testing.T, limits core.Limits, program func(trace.TracerProvider)) {
	t.Helper()
	got := map[string]*tracepb.TracesData{}
	for name, run := range providers(t, limits, attribute.String("service.name", "shop"), attribute.String("host.name", "h")) {
		got[name] = normal(run(program))
	}
	if len(got["stock"].ResourceSpans) == 0 {
		t.Fatal("the stock SDK sent nothing: the test compares nothing")
	}
	if diff := gocmp.Diff(got["stock"], got["ours"], protocmp.Transform()); diff != "" {
		t.Errorf("the stock SDK (-) and ours (+) send different things:\n%s", diff)
	}
}

type keyValue = commonpb.KeyValue

func byKey(a, b *keyValue) int { return cmp.Compare(a.Key, b.Key) }

// normal puts what was received in an order and takes out what differs from run
// to run: ids become the names of the spans they belong to, times are dropped
// unless the program set them. It also takes out what ours says in addition of
// traces that begin here: the random flag of W3C and the sampling threshold.
func normal(received []*tracepb.ResourceSpans) *tracepb.TracesData {
	data := &tracepb.TracesData{}
	names := map[string]string{}
	for _, r := range received {
		for _, s := range r.ScopeSpans {
			for _, sp := range s.Spans {
				names[string(sp.SpanId)] = sp.Name
			}
		}
	}
	for _, r := range received {
		slices.SortFunc(r.Resource.Attributes, byKey)
		slices.SortFunc(r.ScopeSpans, func(a, b *tracepb.ScopeSpans) int { return cmp.Compare(a.Scope.Name, b.Scope.Name) })
		for _, s := range r.ScopeSpans {
			slices.SortFunc(s.Scope.Attributes, byKey)
			slices.SortFunc(s.Spans, func(a, b *tracepb.Span) int { return cmp.Compare(a.Name, b.Name) })
			for _, sp := range s.Spans {
				sp.TraceId = nil
				sp.SpanId = nil
				if name, ok := names[string(sp.ParentSpanId)]; ok {
					sp.ParentSpanId = []byte(name)
				}
				sp.TraceState, sp.Flags = common(sp.TraceState, sp.Flags)
				slices.SortFunc(sp.Attributes, byKey)
				for _, e := range sp.Events {
					e.TimeUnixNano = given(e.TimeUnixNano)
					slices.SortFunc(e.Attributes, byKey)
					e.Attributes = slices.DeleteFunc(e.Attributes, func(a *keyValue) bool { return a.Key == "exception.stacktrace" })
				}
				for _, l := range sp.Links {
					l.TraceState, l.Flags = common(l.TraceState, l.Flags)
					slices.SortFunc(l.Attributes, byKey)
					if name, ok := names[string(l.SpanId)]; ok {
						l.TraceId, l.SpanId = nil, []byte(name)
					}
				}
				sp.StartTimeUnixNano, sp.EndTimeUnixNano = given(sp.StartTimeUnixNano), given(sp.EndTimeUnixNano)
			}
		}
		data.ResourceSpans = append(data.ResourceSpans, r)
	}
	return data
}

func common(state string, flags uint32) (string, uint32) {
	if state == "ot=th:0" {
		return "", flags &^ uint32(trace.FlagsRandom)
	}
	return state, flags
}

// noon is the time that programs set.
var noon = time.Date(2020, 1, 1, 12, 0, 0, 42, time.UTC)

func given(nanos uint64) uint64 {
	if at := time.Unix(0, int64(nanos)); at.Year() == 2020 {
		return nanos
	}
	return 1
}

func TestTracesAreTheStockSDKs(t *testing.T) {
	limits := core.DefaultLimits
	same(t, limits, func(tp trace.TracerProvider) {
		http := tp.Tracer("http", trace.WithInstrumentationVersion("1.2"), trace.WithSchemaURL("https://opentelemetry.io/schemas/1.37.0"), trace.WithInstrumentationAttributes(attribute.Bool("yes", true)))
		db := tp.Tracer("db")
		ctx, server := http.Start(context.Background(), "GET /orders/{id}", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(noon),
			trace.WithAttributes(attribute.String("http.request.method", "GET"), attribute.Int("http.response.status_code", 200)))
		_, client := db.Start(ctx, "SELECT", trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(trace.Link{SpanContext: server.SpanContext(), Attributes: []attribute.KeyValue{attribute.Int("n", 1)}}))
		client.SetAttributes(attribute.Bool("b", true), attribute.Float64("f", 1.5), attribute.Int64("i", -7), attribute.StringSlice("ss", []string{"a", ""}), attribute.Int64Slice("is", []int64{1, -1}),
			attribute.BoolSlice("bs", []bool{true, false}), attribute.Float64Slice("fs", []float64{0, -2.5}), attribute.String("long", strings.Repeat("x", 70_000)), attribute.String("", "no key"))
		client.RecordError(errors.New("connection reset"), trace.WithAttributes(attribute.Int("try", 2)), trace.WithTimestamp(noon))
		client.SetStatus(codes.Error, "connection reset")
		client.End()
		_, internal := http.Start(ctx, "work")
		internal.AddEvent("began", trace.WithTimestamp(noon), trace.WithAttributes(attribute.String("k", "v")))
		internal.SetName("work, renamed")
		internal.SetAttributes(attribute.Int("a", 1), attribute.Int("a", 2))
		internal.SetAttributes(attribute.Int("a", 3))
		internal.SetStatus(codes.Error, "first")
		internal.SetStatus(codes.Ok, "ignored")
		internal.SetStatus(codes.Error, "too late")
		internal.AddLink(trace.Link{SpanContext: server.SpanContext()})
		internal.End()
		_, producer := http.Start(ctx, "send", trace.WithSpanKind(trace.SpanKindProducer), trace.WithNewRoot())
		producer.End()
		_, consumer := http.Start(ctx, "receive", trace.WithSpanKind(trace.SpanKindConsumer))
		consumer.End()
		consumer.SetAttributes(attribute.Int("late", 1))
		server.SetStatus(codes.Ok, "")
		server.End(trace.WithTimestamp(noon.Add(time.Second)))
	})
}

func TestRemoteParentsAreTheStockSDKs(t *testing.T) {
	same(t, core.DefaultLimits, func(tp trace.TracerProvider) {
		for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
			state, err := trace.ParseTraceState("vendor=x,ot=th:8")
			if err != nil {
				t.Fatal(err)
			}
			parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, TraceState: state, Remote: true})
			ctx, s := tp.Tracer("t").Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "child")
			if s.IsRecording() != parent.IsSampled() {
				t.Errorf("flags %v: recording is %v", flags, s.IsRecording())
			}
			if got := trace.SpanContextFromContext(ctx); got.TraceID() != parent.TraceID() || got.TraceState().String() != state.String() || got.TraceFlags() != flags || got.IsRemote() {
				t.Errorf("flags %v: context %+v of a child of %+v", flags, got, parent)
			}
			_, below := tp.Tracer("t").Start(ctx, "grandchild")
			below.End()
			s.End()
		}
	})
}

func TestLimitsAreTheStockSDKs(t *testing.T) {
	limits := core.Limits{Attributes: 2, Events: 2, Links: 2, EventAttributes: 1, LinkAttributes: 1, ValueLength: 3}
	same(t, limits, func(tp trace.TracerProvider) {
		_, s := tp.Tracer("t").Start(context.Background(), "limited", trace.WithAttributes(attribute.String("a", "äöüß")))
		s.SetAttributes(attribute.String("b", "12345"), attribute.Int("c", 1), attribute.String("a", "again"), attribute.StringSlice("d", []string{"12345"}))
		for range 2 {
			s.AddEvent("e", trace.WithAttributes(attribute.Int("x", 1), attribute.Int("y", 1)))
			s.AddLink(trace.Link{SpanContext: s.SpanContext(), Attributes: []attribute.KeyValue{attribute.Int("x", 1), attribute.Int("y", 1)}})
		}
		s.End()
	})
}

func TestPanicsAreTheStockSDKs(t *testing.T) {
	same(t, core.DefaultLimits, func(tp trace.TracerProvider) {
		defer func() {
			if r := recover(); r == nil {
				t.Error("End swallowed a panic")
			}
		}()
		_, s := tp.Tracer("t").Start(context.Background(), "panics")
		defer s.End()
		panic(errors.New("oh")) // the type of a string, the stock SDK calls ".string"
	})
}
