package sdkopentracing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/harness"
	"github.com/opentracing/opentracing-go/log"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// start starts an SDK; stop stops it and returns the spans by their names.
func start(t *testing.T) (stop func() map[string]*tracepb.Span) {
	spans := map[string]*tracepb.Span{}
	var mu sync.Mutex
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/traces" {
			return
		}
		body, err := io.ReadAll(r.Body)
		var m collectorpb.ExportTraceServiceRequest
		if err := errors.Join(err, proto.Unmarshal(body, &m)); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, r := range m.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, sp := range s.Spans {
					spans[sp.Name] = sp
				}
			}
		}
	}))
	t.Cleanup(receiver.Close)
	s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: receiver.URL, Sampler: core.NewByThreshold(1), NoRuntime: true})
	if err != nil {
		t.Fatal(err)
	}
	return func() map[string]*tracepb.Span {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		return spans
	}
}

// The checks that the OpenTracing project has for implementations.
func TestAPI(t *testing.T) {
	stop := start(t)
	defer stop()
	harness.RunAPIChecks(t, func() (opentracing.Tracer, func()) { return New(), nil },
		harness.CheckEverything(), harness.UseProbe(probe{}))
}

type probe struct{}

func (probe) SameTrace(a, b opentracing.Span) bool {
	return a.(*span).otel.SpanContext().TraceID() == b.(*span).otel.SpanContext().TraceID()
}

func (probe) SameSpanContext(a opentracing.Span, c opentracing.SpanContext) bool {
	return a.(*span).otel.SpanContext().SpanID() == trace.SpanContextFromContext(c.(spanContext).context()).SpanID()
}

// A service that is half migrated: both APIs in turn, in one process and over
// HTTP, make one tree.
func TestOneTree(t *testing.T) {
	stop := start(t)
	opentracing.SetGlobalTracer(New())
	defer opentracing.SetGlobalTracer(opentracing.NoopTracer{})
	defer sdk.SetSpanView(nil, nil)
	otelTracer := otel.Tracer("migrated")
	var behind, request string
	// Wholly OpenTracing, as its guides have it.
	old := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		from, err := opentracing.GlobalTracer().Extract(opentracing.HTTPHeaders, opentracing.HTTPHeadersCarrier(r.Header))
		if err != nil {
			t.Error(err)
		}
		server := opentracing.StartSpan("old server", ext.RPCServerOption(from))
		defer server.Finish()
		ctx := opentracing.ContextWithSpan(r.Context(), server)
		behind, request = server.BaggageItem("tenant")+","+sdk.BizID(ctx), sdk.RequestID(ctx)
		_, inner := otelTracer.Start(ctx, "migrated inside of old")
		inner.End()
	}))
	defer old.Close()
	// Served by the SDK; within, one API calls the other.
	server := httptest.NewServer(sdk.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		first, ctx := opentracing.StartSpanFromContext(sdk.WithBizID(r.Context(), "b-1"), "old inside of handler")
		defer first.Finish()
		first.SetBaggageItem("tenant", "t-1")
		ctx = opentracing.ContextWithSpan(ctx, first)
		ctx, second := otelTracer.Start(ctx, "migrated inside of both")
		defer second.End()
		client, ctx := opentracing.StartSpanFromContext(ctx, "old client", ext.SpanKindRPCClient)
		defer client.Finish()
		req, _ := http.NewRequestWithContext(ctx, "GET", old.URL, nil)
		if err := client.Tracer().Inject(client.Context(), opentracing.HTTPHeaders, opentracing.HTTPHeadersCarrier(req.Header)); err != nil {
			t.Error(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
	})))
	defer server.Close()
	req, _ := http.NewRequest("GET", server.URL, nil)
	req.Header.Set("X-Request-ID", "r-1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	server.Close()
	old.Close()
	if behind != "t-1,b-1" || request != "r-1" {
		t.Errorf("the old server finds tenant and business case %q, request %q", behind, request)
	}
	spans := stop()
	for _, edge := range [][2]string{
		{"GET", "old inside of handler"}, {"old inside of handler", "migrated inside of both"}, {"migrated inside of both", "old client"},
		{"old client", "old server"}, {"old server", "migrated inside of old"},
	} {
		parent, child := spans[edge[0]], spans[edge[1]]
		if parent == nil || child == nil || string(child.ParentSpanId) != string(parent.SpanId) || string(child.TraceId) != string(parent.TraceId) {
			t.Errorf("%q is not the parent of %q: %v, %v", edge[0], edge[1], parent, child)
		}
	}
	if k := spans["old server"].GetKind(); k != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("kind of the old server %v", k)
	}
	if k := spans["old client"].GetKind(); k != tracepb.Span_SPAN_KIND_CLIENT {
		t.Errorf("kind of the old client %v", k)
	}
}

// A span that began elsewhere has one face, which keeps what it is given.
func TestOneFace(t *testing.T) {
	stop := start(t)
	opentracing.SetGlobalTracer(New())
	defer opentracing.SetGlobalTracer(opentracing.NoopTracer{})
	defer sdk.SetSpanView(nil, nil)
	check := func(ctx context.Context) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				opentracing.SpanFromContext(ctx).SetBaggageItem("k"+strconv.Itoa(i), "v")
				trace.SpanFromContext(ctx).RecordError(errors.New("no"))
			})
		}
		wg.Wait()
		child, _ := opentracing.StartSpanFromContext(ctx, "child")
		defer child.Finish()
		for i := range 8 {
			key := "k" + strconv.Itoa(i)
			if a, b := opentracing.SpanFromContext(ctx).BaggageItem(key), child.BaggageItem(key); a != "v" || b != "v" {
				t.Errorf("item %s of the span is %q, of its child %q", key, a, b)
			}
		}
	}
	rec := httptest.NewRecorder()
	sdk.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { check(r.Context()) })).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	ctx, s := otel.Tracer("x").Start(t.Context(), "migrated")
	check(ctx)
	first := opentracing.SpanFromContext(ctx)
	New() // another tracer has other faces
	if second := opentracing.SpanFromContext(ctx); second == first || second.BaggageItem("k1") != "" {
		t.Error("a span has the face of a tracer that was replaced")
	}
	s.End()
	stop()
}

// A lazy field has others, and one that does nothing is none.
func TestFields(t *testing.T) {
	stop := start(t)
	tracer := New()
	defer sdk.SetSpanView(nil, nil)
	s := tracer.StartSpan("n")
	s.LogFields(log.Noop(), log.Lazy(func(e log.Encoder) {
		e.EmitString("event", "lazy")
		e.EmitInt("n", 7)
		e.EmitLazyLogger(func(e log.Encoder) { e.EmitObject("o", []int{1}) })
	}), log.Bool("b", true))
	s.Finish()
	events := stop()["n"].Events
	if len(events) != 1 || events[0].Name != "lazy" || len(events[0].Attributes) != 3 {
		t.Fatalf("events %v", events)
	}
	for i, want := range []string{"n", "o", "b"} {
		if got := events[0].Attributes[i].Key; got != want {
			t.Errorf("attribute %d is %q, want %q", i, got, want)
		}
	}
}

// What refers to a span does not keep the context that the span was started in.
func TestReferencesAreLight(t *testing.T) {
	stop := start(t)
	defer stop()
	opentracing.SetGlobalTracer(New())
	defer opentracing.SetGlobalTracer(opentracing.NoopTracer{})
	defer sdk.SetSpanView(nil, nil)
	type key struct{}
	gone := make(chan struct{})
	last := func() opentracing.Span {
		request := new([1 << 10]byte)
		runtime.AddCleanup(request, func(c chan struct{}) { close(c) }, gone)
		ctx, s := otel.Tracer("x").Start(context.WithValue(t.Context(), key{}, request), "request")
		defer s.End()
		first := opentracing.StartSpan("first", opentracing.ChildOf(opentracing.SpanFromContext(ctx).Context()))
		defer first.Finish()
		return opentracing.StartSpan("last", opentracing.FollowsFrom(first.Context()))
	}()
	for deadline := time.Now().Add(time.Minute); ; {
		runtime.GC()
		select {
		case <-gone:
			last.Finish()
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("a span keeps what the request had that it follows from")
		}
	}
}

func TestSpan(t *testing.T) {
	stop := start(t)
	tracer := New()
	defer sdk.SetSpanView(nil, nil)
	noon := time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)
	cause, parent := tracer.StartSpan("cause"), tracer.StartSpan("parent")
	s := tracer.StartSpan("n", opentracing.FollowsFrom(cause.Context()), opentracing.ChildOf(parent.Context()), opentracing.StartTime(noon), opentracing.Tag{Key: "a", Value: 1})
	s.SetTag("b", "x").SetTag("c", true).SetTag("d", 1.5).SetTag("e", uint64(1)<<63).SetTag("f", []int{1})
	ext.Error.Set(s, true)
	s.LogFields(log.Event("began"), log.Int("n", 1))
	s.LogKV("event", "said", "n", 2)
	s.LogFields(log.Event("error"), log.Error(errors.New("no")))
	s.LogKV("odd")
	s.FinishWithOptions(opentracing.FinishOptions{FinishTime: noon.Add(time.Second), LogRecords: []opentracing.LogRecord{{Timestamp: noon, Fields: []log.Field{log.String("event", "late")}}}})
	cause.Finish()
	parent.Finish()
	alone := tracer.StartSpan("follows only", opentracing.FollowsFrom(cause.Context()))
	alone.Finish()
	spans := stop()
	got := spans["n"]
	if got == nil || string(got.ParentSpanId) != string(spans["parent"].SpanId) || len(got.Links) != 1 || string(got.Links[0].SpanId) != string(spans["cause"].SpanId) {
		t.Fatalf("span %v", got)
	}
	if string(spans["follows only"].ParentSpanId) != string(spans["cause"].SpanId) {
		t.Errorf("what follows from a span is in another trace: %v", spans["follows only"])
	}
	if got.StartTimeUnixNano != uint64(noon.UnixNano()) || got.EndTimeUnixNano != uint64(noon.Add(time.Second).UnixNano()) || got.Status.Code != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("from %d to %d, status %v", got.StartTimeUnixNano, got.EndTimeUnixNano, got.Status)
	}
	var attrs, events []string
	for _, a := range got.Attributes {
		attrs = append(attrs, a.Key+"="+a.Value.String())
	}
	slices.Sort(attrs)
	if len(attrs) != 6 || attrs[4] != `e=string_value:"9223372036854775808"` {
		t.Errorf("attributes %q", attrs)
	}
	for _, e := range got.Events {
		events = append(events, e.Name)
	}
	if !slices.Equal(events, []string{"began", "said", "exception", "exception", "late"}) {
		t.Errorf("events %q", events)
	}
}

func TestCarriers(t *testing.T) {
	stop := start(t)
	defer stop()
	tracer := New()
	defer sdk.SetSpanView(nil, nil)
	s := tracer.StartSpan("n")
	defer s.Finish()
	text := opentracing.TextMapCarrier{}
	if err := tracer.Inject(s.Context(), opentracing.TextMap, text); err != nil {
		t.Fatal(err)
	}
	c, err := tracer.Extract(opentracing.TextMap, text)
	if err != nil || !(probe{}).SameSpanContext(s, c) {
		t.Errorf("from %v: %v, error %v", text, c, err)
	}
	var wire bytes.Buffer
	if err := tracer.Inject(s.Context(), opentracing.Binary, &wire); err != nil {
		t.Fatal(err)
	}
	whole := wire.String()
	if c, err = tracer.Extract(opentracing.Binary, &wire); err != nil || !(probe{}).SameSpanContext(s, c) {
		t.Errorf("binary: %v, error %v", c, err)
	}
	for _, bad := range []string{whole[:len(whole)-1], whole[:3], "\xff" + whole[1:], "\x00\x00\x00\x01x"} {
		if _, err := tracer.Extract(opentracing.Binary, strings.NewReader(bad)); !errors.Is(err, opentracing.ErrSpanContextCorrupted) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	for want, err := range map[error]error{
		opentracing.ErrUnsupportedFormat:  tracer.Inject(s.Context(), "smoke", nil),
		opentracing.ErrInvalidCarrier:     tracer.Inject(s.Context(), opentracing.TextMap, 1),
		opentracing.ErrInvalidSpanContext: tracer.Inject(nil, opentracing.TextMap, text),
	} {
		if err != want {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	_, unsupported := tracer.Extract("smoke", nil)
	_, invalid := tracer.Extract(opentracing.TextMap, 1)
	_, none := tracer.Extract(opentracing.TextMap, opentracing.TextMapCarrier{})
	if unsupported != opentracing.ErrUnsupportedFormat || invalid != opentracing.ErrInvalidCarrier || none != opentracing.ErrSpanContextNotFound {
		t.Errorf("errors %v, %v, %v", unsupported, invalid, none)
	}
}
