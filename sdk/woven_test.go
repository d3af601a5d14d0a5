//go:build guanlan_woven

package sdk

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// These tests run in a woven Go only: guanlan test -tags guanlan_woven.

// in runs f in a goroutine of its own, and waits for it.
func in(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func TestLocalScope(t *testing.T) {
	for _, sampled := range []float64{0, 1} {
		s, _ := start(t, Options{Sampler: core.NewByThreshold(sampled)})
		tracer := s.TracerProvider().Tracer("t")
		type userKey struct{}
		ctx := context.WithValue(WithRequestID(WithBizID(t.Context(), "case"), "req"), userKey{}, "theirs")
		ctx, outer := tracer.Start(ctx, "outer")
		trace1 := outer.SpanContext().TraceID()
		traceOf := func(opts ...trace.SpanStartOption) trace.TraceID {
			ctx, sp := tracer.Start(context.Background(), "inner", opts...)
			defer sp.End()
			if ctx.Value(userKey{}) != nil {
				t.Error("a value of the program's came along")
			}
			return sp.SpanContext().TraceID()
		}
		none := func(when string) {
			t.Helper()
			if bg := context.Background(); traceOf() == trace1 || RequestID(bg) != "" || BizID(bg) != "" || WithLocal(bg) != bg {
				t.Error("there is something " + when)
			}
		}
		none("before")
		scope := EnterLocal(ctx)
		check := func() {
			t.Helper()
			bg := context.Background()
			if traceOf() != trace1 || RequestID(bg) != "req" || BizID(bg) != "case" {
				t.Errorf("found trace %v, request %q, case %q", traceOf(), RequestID(bg), BizID(bg))
			}
			if traceOf(trace.WithNewRoot()) == trace1 || traceOf(trace.WithSpanKind(trace.SpanKindServer)) == trace1 || traceOf(trace.WithSpanKind(trace.SpanKindConsumer)) == trace1 {
				t.Error("what begins is within")
			}
			var entries []string
			if entries = (Propagator{}).AppendEntries(nil, bg); !strings.Contains(strings.Join(entries, " "), trace1.String()) {
				t.Errorf("over the wire: %q", entries)
			}
			// What has a span, or says that it has none, says all there is to say.
			other, sp := tracer.Start(trace.ContextWithSpanContext(bg, trace.SpanContext{}), "another")
			if sp.SpanContext().TraceID() == trace1 || RequestID(other) != "" || BizID(other) != "" || baggage.FromContext(other).Len() != 0 {
				t.Error("another trace has got something of this one")
			}
			sp.End()
			if id := RequestID(WithRequestID(bg, "own")); id != "own" {
				t.Errorf("request %q, want its own", id)
			}
			op := tasks.Start(bg, "task")
			if got, _ := contextIn(op.Ctx()); trace.TraceID(got.TraceID) != trace1 {
				t.Errorf("an operation is in trace %v", got.TraceID)
			}
			op.Finish("")
			op.End(taskKey{})
		}
		check()
		in(check)
		nested := EnterLocal(context.Background())
		none("in a scope of nothing")
		nested.Leave()
		check()
		goOn, left := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(left)
			<-goOn
			none("in a goroutine that goes on")
		}()
		scope.Leave()
		close(goOn)
		<-left
		none("afterwards")
		scope.Leave()
		outer.End()
	}
}

func TestLocalScopeOfAnotherGoroutine(t *testing.T) {
	s, _ := start(t, Options{Sampler: core.NewByThreshold(1)})
	ctx, sp := s.TracerProvider().Tracer("t").Start(t.Context(), "outer")
	defer sp.End()
	var scope LocalScope
	in(func() { scope = EnterLocal(ctx) })
	mine := EnterLocal(WithRequestID(t.Context(), "mine"))
	defer mine.Leave()
	scope.Leave() // ends it, and leaves alone what this one works for
	if id := RequestID(context.Background()); id != "mine" {
		t.Errorf("request %q, want its own", id)
	}
}

// A server that nobody has instrumented: spans of handlers that pass no context
// on are in it, and nothing is when it has answered.
func TestWovenServer(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	tracer := s.TracerProvider().Tracer("t")
	var late sync.WaitGroup
	goOn := make(chan struct{})
	var lines bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&lines, nil)).With("a", 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := RequestOf(context.Background())
		if id.IsZero() || id != RequestOf(r.Context()) {
			t.Error("the request is not found")
		}
		_, sp := tracer.Start(context.Background(), "careless")
		sp.End()
		logger.Info("line")
		late.Add(1)
		go func() {
			defer late.Done()
			<-goOn
			if _, sp := tracer.Start(context.Background(), "late"); sp.SpanContext().TraceID() == trace.SpanFromContext(r.Context()).SpanContext().TraceID() {
				t.Error("a span of what goes on is in the request")
			}
		}()
	})
	// Twice by itself, and once by us: one span.
	server := httptest.NewServer(Handler(s.HTTPServer().Handler(mux)))
	res, err := server.Client().Get(server.URL + "/orders/7")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	server.Close()
	close(goOn)
	late.Wait()
	got := sent(t, s, sink)
	for _, want := range []string{"GET /orders/{id}", "careless"} {
		if n := strings.Count(got["/v1/traces"], want); n != 1 {
			t.Errorf("%q %d times, want once", want, n)
		}
	}
	if n := strings.Count(got["/v1/logs"], "line"); n != 1 || !strings.Contains(lines.String(), `"trace_id":"`) {
		t.Errorf("sent %d times, want once; line %s", n, lines.String())
	}
}

// Our own handler beside a woven one: the record is sent once.
func TestWovenHandlerBesideOurs(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "twice written", 0)
	var lines bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&lines, nil), s.LogHandler(nil)} {
		if err := h.Handle(t.Context(), r.Clone()); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(sent(t, s, sink)["/v1/logs"], "twice written"); n != 1 {
		t.Errorf("sent %d times, want once", n)
	}
}

// The program's SDK takes over from the provisional one, of which nothing is lost.
func TestProvisionalGivesWay(t *testing.T) {
	running.Store(nil)
	early := newSink(t)
	p, err := StartProvisional(t.Context(), Options{Endpoint: early.URL, Sampler: core.NewByThreshold(1), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	if Default() != p || otel.GetTracerProvider() == p.TracerProvider() {
		t.Error("it is not the one that runs, or OpenTelemetry's already")
	}
	tracer := p.TracerProvider().Tracer("t")
	_, before := tracer.Start(t.Context(), "before")
	before.End()
	_, under := tracer.Start(t.Context(), "under way")
	s, _ := start(t, Options{Sampler: core.NewByThreshold(1)})
	if Default() != s || otel.GetTracerProvider() != s.TracerProvider() {
		t.Error("the program's own has not taken over")
	}
	under.End()
	LastFlush()
	got := ""
	for !strings.Contains(got, "before") || !strings.Contains(got, "under way") {
		select {
		case b := <-early.bodies:
			got += b.body
		case <-time.After(time.Minute):
			t.Fatalf("the provisional one has sent %q", got)
		}
	}
	if _, err := StartProvisional(t.Context(), Options{Endpoint: early.URL}); err != nil || Default() != s {
		t.Errorf("one that comes too late has taken over, or failed: %v", err)
	}
}
