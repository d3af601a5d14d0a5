package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// goroutinesAreGone waits until no more goroutines run than before. Those of
// idle connections are closed first.
func goroutinesAreGone(t *testing.T, before int) {
	t.Helper()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// Whatever the receiver does, the service answers, ends in time, and everything
// is accounted for.
func TestReceivers(t *testing.T) {
	hang := make(chan struct{})
	var calls atomic.Int64
	receivers := map[string]http.HandlerFunc{
		"down":  nil,
		"hangs": func(http.ResponseWriter, *http.Request) { <-hang },
		"flaps": func(w http.ResponseWriter, _ *http.Request) {
			switch calls.Add(1) % 3 {
			case 0:
				w.WriteHeader(http.StatusServiceUnavailable)
			case 1:
				panic(http.ErrAbortHandler) // the connection breaks
			}
		},
		"garbage":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x0a\xff\xff\xff\xff\x7f<html>") },
		"without end":     func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 10<<20)) },
		"redirects":       func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"takes half":      func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte{1<<3 | 2, 2, 1 << 3, 5}) },
		"refuses":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"takes all, well": func(http.ResponseWriter, *http.Request) {},
	}
	for name, h := range receivers {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			url := "http://127.0.0.1:1"
			var server *httptest.Server
			if h != nil {
				server = httptest.NewUnstartedServer(h)
				server.Config.ErrorLog = discardLog()
				server.Start()
				url = server.URL
			}
			transport := &http.Transport{}
			s, err := Start(t.Context(), Options{Endpoint: url, Sampler: core.NewByThreshold(1), Client: &http.Client{Transport: transport}, Failed: func(error) { panic("a hook that panics") }})
			if err != nil {
				t.Fatal(err)
			}
			const requests = 2000
			service := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }))
			began := time.Now()
			for range requests {
				w := httptest.NewRecorder()
				service.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
				if w.Body.String() != "ok" {
					t.Fatalf("answer %q", w.Body)
				}
			}
			// Only what blocks takes that long.
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("%d requests took %v", requests, took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_ = s.Shutdown(ctx)
			if st := s.Stats().Spans; st.Added != requests || st.Sent+st.Failed+st.Rejected != requests || st.Waiting != 0 {
				t.Errorf("of %d spans: %+v", requests, st)
			}
			transport.CloseIdleConnections()
			if server != nil {
				server.CloseClientConnections()
				if name == "hangs" {
					close(hang)
				}
				server.Close()
			}
			goroutinesAreGone(t, before)
		})
	}
}

// A client that asks for ever new paths must not cost memory or series.
func TestManyRoutes(t *testing.T) {
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000") // what is sent is sent once, however long this takes
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	route := 0
	h := s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		route++
		r.Pattern = fmt.Sprintf("/made/up/%d", route) // as a router without bounds does
	}))
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	var before, after runtime.MemStats
	for i := range 100_000 {
		if i == 5000 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		h.ServeHTTP(w, r)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("95,000 more routes took %d bytes", grown)
	}
	got := sent(t, s, sink)["/v1/metrics"]
	if n := strings.Count(got, "/made/up/"); n > core.DefaultCardinality || n < core.DefaultCardinality/2 {
		t.Errorf("%d routes were sent", n)
	}
	if !strings.Contains(got, "otel.metric.overflow") {
		t.Error("what did not fit is not visible")
	}
}

func TestAMillionGoroutines(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("the race detector allows 8,000 goroutines at a time")
	}
	s, err := Start(t.Context(), Options{Endpoint: "http://127.0.0.1:1", Sampler: core.NewByThreshold(1), Failed: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	const all = 1_000_000
	tracer := s.TracerProvider().Tracer("t")
	ctx, root := tracer.Start(t.Context(), "root")
	var wg sync.WaitGroup
	for range all {
		wg.Go(func() {
			_, sp := tracer.Start(ctx, "forked")
			sp.End()
		})
	}
	wg.Wait()
	root.End()
	st := s.Stats().Spans
	if st.Added+st.Full != all+1 || st.Waiting > 16<<20 {
		t.Errorf("of %d spans: %+v", all+1, st)
	}
	goroutinesAreGone(t, before)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Shutdown(done)
}

func TestAbsurdValues(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	tracer := s.TracerProvider().Tracer("t")
	huge := strings.Repeat("x", 20<<20)
	for name, do := range map[string]func(context.Context, trace.Span){
		"a huge value":       func(_ context.Context, sp trace.Span) { sp.SetAttributes(attribute.String("k", huge)) },
		"a huge key":         func(_ context.Context, sp trace.Span) { sp.SetAttributes(attribute.String(huge, "v")) },
		"a huge name":        func(_ context.Context, sp trace.Span) { sp.SetName(huge) },
		"many attributes":    func(_ context.Context, sp trace.Span) { sp.SetAttributes(manyAttributes(100_000)...) },
		"not UTF-8":          func(_ context.Context, sp trace.Span) { sp.SetAttributes(attribute.String("\xff", "\xc3\x28")) },
		"no number":          func(_ context.Context, sp trace.Span) { sp.SetAttributes(attribute.Float64("k", math.NaN())) },
		"no error":           func(_ context.Context, sp trace.Span) { sp.RecordError(nil) },
		"ended twice":        func(_ context.Context, sp trace.Span) { sp.End(); sp.End() },
		"used after its end": func(_ context.Context, sp trace.Span) { sp.End(); sp.SetName("n"); sp.AddEvent("e") },
		"ends before it was": func(_ context.Context, sp trace.Span) { sp.End(trace.WithTimestamp(time.Unix(0, 0))) },
		"ends in year 9999": func(_ context.Context, sp trace.Span) {
			sp.End(trace.WithTimestamp(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)))
		},
		"begins before 1970": func(ctx context.Context, _ trace.Span) {
			tracer.Start(ctx, "n", trace.WithTimestamp(time.Time{}.Add(1)))
		},
		"a child of its own": func(ctx context.Context, sp trace.Span) {
			trace.SpanFromContext(ctx).AddLink(trace.Link{SpanContext: sp.SpanContext()})
		},
		"logged with nothing": func(ctx context.Context, _ trace.Span) { s.LogHandler(nil).WithGroup("").WithAttrs(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, sp := tracer.Start(t.Context(), name)
			do(ctx, sp)
			sp.End()
		})
	}
	st := s.Stats().Spans
	if st.Full != 3 { // larger than all that may wait
		t.Errorf("%d spans did not fit, want the huge ones", st.Full)
	}
	if got := sent(t, s, sink)["/v1/traces"]; !strings.Contains(got, "no number") || !strings.Contains(got, "ends before it was") {
		t.Error("a span with absurd values is lost")
	}
}

func manyAttributes(n int) []attribute.KeyValue {
	all := make([]attribute.KeyValue, n)
	for i := range all {
		all[i] = attribute.Int(fmt.Sprint("key", i), i)
	}
	return all
}

// The wall clock may jump as it likes: windows of the sampler are no shorter
// than nothing, and a span takes as long as it took.
func TestClockJumps(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := core.NewAdaptive(core.Policy{}, now)
	for _, jump := range []time.Duration{time.Second, -24 * time.Hour, 0, 1000 * time.Hour, -1, time.Nanosecond, math.MaxInt64, math.MinInt64} {
		for range 1000 {
			a.Observe(time.Millisecond, false)
		}
		now = now.Add(jump)
		a.Turn(now, 0)
		if p := a.Share(); !(p >= 0.0001*0.999 && p <= 1) {
			t.Errorf("after a jump by %v the share is %v", jump, p)
		}
	}
}

// A process may end while a request is under way.
func TestShutdownDuringExport(t *testing.T) {
	under := make(chan struct{}, 100)
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then net/http sees the client leave
		under <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(release)
	before := runtime.NumGoroutine()
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	s, err := Start(t.Context(), Options{Endpoint: server.URL, Sampler: core.NewByThreshold(1), Client: &http.Client{Transport: transport}, Failed: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	_, sp := s.TracerProvider().Tracer("t").Start(t.Context(), "n")
	sp.End()
	flushing := make(chan error, 1)
	go func() { flushing <- s.Flush(t.Context()) }()
	<-under
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown with a request under way: %v, want that its time is over", err)
	}
	<-flushing
	if st := s.Stats().Spans; st.Failed != 1 || st.Waiting != 0 {
		t.Errorf("the span that was under way: %+v", st)
	}
	_, late := s.TracerProvider().Tracer("t").Start(t.Context(), "late")
	late.End()
	if st := s.Stats().Spans; st.Full != 1 {
		t.Errorf("a span after the end: %+v, want it counted as not taken", st)
	}
	transport.CloseIdleConnections()
	server.CloseClientConnections()
	goroutinesAreGone(t, before)
}
