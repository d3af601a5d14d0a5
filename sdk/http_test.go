package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// sink receives OTLP and keeps the bodies; what is in them is looked for as
// bytes, the encoding has tests of its own.
type sink struct {
	*httptest.Server
	bodies chan sunk
}

type sunk struct {
	path string
	body string
}

func newSink(t testing.TB) *sink {
	s := &sink{bodies: make(chan sunk, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.bodies <- sunk{r.URL.Path, string(body)}
	}))
	t.Cleanup(s.Close)
	return s
}

// start starts an SDK that sends to a sink.
func start(t testing.TB, opts Options) (*SDK, *sink) {
	t.Helper()
	sink := newSink(t)
	opts.Endpoint = sink.URL
	// What is looked for must not be in a random id by chance.
	opts.Resource = append(opts.Resource, attribute.String("service.instance.id", "instance"))
	opts.Failed = func(err error) { t.Error(err) }
	s, err := Start(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return s, sink
}

// sent shuts the SDK down and returns what the sink has got by path.
func sent(t *testing.T, s *SDK, k *sink) map[string]string {
	t.Helper()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for {
		select {
		case b := <-k.bodies:
			got[b.path] += b.body
		default:
			return got
		}
	}
}

func TestHandler(t *testing.T) {
	s, sink := start(t, Options{ServiceName: "shop"})
	mux := http.NewServeMux()
	log := slog.New(NewLogHandler(nil, s.log.logger, nil))
	var inner trace.SpanContext
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		inner = trace.SpanContextFromContext(r.Context())
		log.InfoContext(r.Context(), "order shown", "order.id", r.PathValue("id"))
		fmt.Fprint(w, "hello")
	})
	mux.HandleFunc("/fails", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
	mux.HandleFunc("/panics", func(http.ResponseWriter, *http.Request) { panic(errors.New("oh")) })
	server := httptest.NewUnstartedServer(s.HTTPServer().Handler(mux))
	server.Config.ErrorLog = discardLog()
	server.Start()
	defer server.Close()
	req, _ := http.NewRequest("GET", server.URL+"/orders/4711?Signature=secret", nil)
	req.Header.Set("traceparent", someParent)
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	for path, want := range map[string]int{"/fails": 502, "/nowhere": 404, "/panics": 0} {
		res, err := http.Get(server.URL + path)
		if (err == nil) != (want != 0) || (err == nil && res.StatusCode != want) {
			t.Errorf("%s: %v, error %v, want status %d", path, res, err, want)
		}
	}
	server.Close() // waits for the handlers
	if inner.TraceID().String() != someTrace || inner.SpanID().String() == someSpan || inner.IsRemote() {
		t.Errorf("span context in the handler %+v, want a child of %s", inner, someParent)
	}
	got := sent(t, s, sink)
	id := inner.SpanID()
	for path, wants := range map[string][]string{
		"/v1/traces":  {"GET /orders/{id}", "/orders/4711", "Signature=REDACTED", "GET /fails", "502", "panic", "exception.stacktrace", "*errors.errorString", "shop"},
		"/v1/logs":    {"order shown", "order.id", "4711", "shop", string(id[:])},
		"/v1/metrics": {"http.server.request.duration", "/orders/{id}", "/fails", "panic", "shop"},
	} {
		for _, want := range wants {
			if !strings.Contains(got[path], want) {
				t.Errorf("%q is not in what was sent to %s", want, path)
			}
		}
		if strings.Contains(got[path], "secret") {
			t.Errorf("a signature was sent to %s", path)
		}
	}
	if strings.Contains(got["/v1/metrics"], "4711") {
		t.Error("a path got into the metrics")
	}
}

// A request is one, however often its handlers are wrapped; each SDK has its own.
func TestHandlerTwice(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	other, otherSink := start(t, Options{Sampler: core.NewByThreshold(1)})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(http.ResponseWriter, *http.Request) {})
	type key struct{}
	between := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, 1)))
		})
	}
	wrap := s.HTTPServer().Handler
	for _, h := range []http.Handler{wrap(wrap(mux)), wrap(between(wrap(mux))), wrap(other.HTTPServer().Handler(mux))} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/orders/1", nil))
	}
	sent(t, s, sink)
	sent(t, other, otherSink)
	if n := s.pipe.Stats().Sent; n != 3 {
		t.Errorf("%d spans of 3 requests", n)
	}
	if n := other.pipe.Stats().Sent; n != 1 {
		t.Errorf("%d spans of 1 request in the other SDK", n)
	}
}

// Methods that are not known have one name for all of them.
func TestUnknownMethods(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	mux := http.NewServeMux()
	mux.HandleFunc("/orders/{id}", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(s.HTTPServer().Handler(mux))
	defer server.Close()
	for _, path := range []string{"/orders/1", "/nowhere"} {
		req, _ := http.NewRequest("BREW", server.URL+path, nil)
		res, err := s.HTTPClient().Transport(nil).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	server.Close()
	// A span's name is field 5 of it.
	spans := sent(t, s, sink)["/v1/traces"]
	for name, want := range map[string]int{"HTTP /orders/{id}": 1, "HTTP": 3, "_OTHER": 0, "_OTHER /orders/{id}": 0} {
		if n := strings.Count(spans, "\x2a"+string(rune(len(name)))+name); n != want {
			t.Errorf("%d spans are called %s, want %d", n, name, want)
		}
	}
	if !strings.Contains(spans, "_OTHER") || !strings.Contains(spans, "BREW") {
		t.Error("the method is not in the attributes")
	}
}

// A failure that was not sampled is kept, and is what the histogram points at.
func TestFailuresAreExemplars(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	ids := map[string]trace.TraceID{}
	h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ids[r.URL.Path] = trace.SpanContextFromContext(r.Context()).TraceID()
		if r.URL.Path == "/fails" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	for _, path := range []string{"/works", "/fails"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	got := sent(t, s, sink)
	for _, to := range []string{"/v1/traces", "/v1/metrics"} {
		works, fails := ids["/works"], ids["/fails"]
		if strings.Contains(got[to], string(works[:])) || !strings.Contains(got[to], string(fails[:])) {
			t.Errorf("%s: has the request that works: %v, the one that fails: %v", to, strings.Contains(got[to], string(works[:])), strings.Contains(got[to], string(fails[:])))
		}
	}
}

// hijackable is a writer whose connection can be taken over.
type hijackable struct{ *httptest.ResponseRecorder }

func (hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }
func (h hijackable) ReadFrom(r io.Reader) (int64, error)        { return io.Copy(h.ResponseRecorder, r) }

// What lasts as long as the client wants is not slow for being long.
func TestLastingRequests(t *testing.T) {
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		slow  bool
	}{
		"work": {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, true},
		"download": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "x")
			w.(http.Flusher).Flush()
		}, true},
		"WebSocket": {func(w http.ResponseWriter, _ *http.Request) { _, _, _ = w.(http.Hijacker).Hijack() }, false},
		"events": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/Event-Stream; charset=utf-8")
			w.(http.Flusher).Flush()
		}, false},
		"long poll": {func(_ http.ResponseWriter, r *http.Request) { RequestOf(r.Context()).Lasting() }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			sampler := core.NewAdaptive(core.Policy{Base: 1e-9, Few: -1, Least: 1e-9}, time.Now())
			sent := 0
			pipe := core.NewPipe(nil, core.PipeOptions{Send: func(_ context.Context, _ []byte, n int) (int, error) { sent += n; return 0, nil }})
			s := &SDK{enabled: true, provider: NewTracerProvider(core.NewProvider(core.Options{Sampler: sampler, Pipe: pipe})), adaptive: sampler, meters: map[string]*core.Meter{}, idHeaders: &idHeaders{}}
			s.server = newHTTPServer(s)
			s.server.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c.serve(w, r)
				time.Sleep(time.Hour)
			})).ServeHTTP(hijackable{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
			if err := pipe.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if (sent == 1) != c.slow {
				t.Errorf("%s: %d spans are kept, slow should be %v", name, sent, c.slow)
			}
		})
	}
	Request{}.Lasting() // without an SDK
}

// A request is one allocation of a size that the runtime has: a word more and
// each costs 32 bytes more.
func TestSizeOfARequest(t *testing.T) {
	if n := unsafe.Sizeof(request{}); n > 288 {
		t.Errorf("a request takes %d bytes", n)
	}
}

// A service runs on whatever its telemetry meets.
func TestStartSurvives(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"no receiver":      {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"no URL":           {"OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere"},
		"disabled":         {"OTEL_SDK_DISABLED": "true"},
		"rubbish":          {"OTEL_TRACES_SAMPLER": "some", "OTEL_BSP_SCHEDULE_DELAY": "soon", "OTEL_RESOURCE_ATTRIBUTES": "a", "OTEL_EXPORTER_OTLP_HEADERS": "hunter2", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"an empty ratio":   {"OTEL_TRACES_SAMPLER": "traceidratio"},
		"nothing is wrong": {},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			s, err := Start(t.Context(), Options{Failed: func(error) {}})
			wrong := name != "no receiver" && name != "disabled" && name != "nothing is wrong"
			if (err != nil) != wrong {
				t.Errorf("error %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret in the error %v", err)
			}
			_, sp := s.TracerProvider().Tracer("t").Start(t.Context(), "n")
			sp.End()
			w := httptest.NewRecorder()
			s.HTTPServer().Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != 404 {
				t.Errorf("status %d", w.Code)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = s.Shutdown(ctx) // must return
		})
	}
}

func TestConfigure(t *testing.T) {
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/base/", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:2/x", "OTEL_EXPORTER_OTLP_HEADERS": "a=1%202,b=2",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "b=3", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_SERVICE_NAME": "env", "OTEL_RESOURCE_ATTRIBUTES": "team=x, service.name=other",
		"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5", "OTEL_SPAN_EVENT_COUNT_LIMIT": "7", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "9",
	}
	c, err := configure(Options{}, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if c.traces.URL != "http://c:1/base/v1/traces" || c.metrics.URL != "http://m:2/x" || !c.traces.Gzip || fmt.Sprint(c.traces.Headers, c.metrics.Headers) != "map[a:1 2 b:3] map[a:1 2 b:2]" {
		t.Errorf("senders %+v, %+v", c.traces, c.metrics)
	}
	if c.limits.Events != 7 || c.limits.ValueLength != 9 || c.limits.Attributes != 128 {
		t.Errorf("limits %+v", c.limits)
	}
	if d := c.sampler.Decide(&core.SpanContext{TraceID: core.TraceID{15: 1, 9: 0xff}}, "", 0, nil); !d.Keep || d.State != "ot=th:8" {
		t.Errorf("decision %+v", d)
	}
	if got := string(core.EncodeResource(c.resource, "")); !strings.Contains(got, "env") || strings.Contains(got, "other") || !strings.Contains(got, "team") {
		t.Errorf("resource %q", got)
	}
	c, err = configure(Options{Endpoint: "http://o:3", ServiceName: "code", Headers: map[string]string{"b": "4"}}, func(k string) string { return env[k] })
	if err != nil || c.metrics.URL != "http://o:3/v1/metrics" || c.traces.Headers["b"] != "4" || !strings.Contains(string(core.EncodeResource(c.resource, "")), "code") {
		t.Errorf("with options: %+v, error %v", c, err)
	}
}

// A request with its copy of http.Request fits into 576 bytes, of which the
// allocator takes 8; the next size is 640. A larger http.Request of a later Go may
// change that.
func TestRequestSize(t *testing.T) {
	if own := unsafe.Sizeof(request{}); woven && own > 288 || !woven && own > 264 {
		t.Errorf("a request takes %d bytes", own)
	}
	if both := unsafe.Sizeof(copiedRequest{}); !woven && unsafe.Sizeof(http.Request{}) <= 304 && both > 576-8 {
		t.Errorf("with its copy it takes %d", both)
	}
}

func BenchmarkHandler(b *testing.B) {
	for _, p := range []float64{0, 0.01, 1} {
		b.Run(fmt.Sprintf("sampled=%v", p), func(b *testing.B) {
			s, sink := start(b, Options{Sampler: core.NewByThreshold(p)})
			go func() {
				for range sink.bodies {
				}
			}()
			mux := http.NewServeMux()
			mux.HandleFunc("GET /orders/{id}", func(http.ResponseWriter, *http.Request) {})
			bare, ours := http.Handler(mux), s.HTTPServer().Handler(mux)
			r := httptest.NewRequest("GET", "/orders/4711", nil)
			w := httptest.NewRecorder()
			for name, h := range map[string]http.Handler{"bare": bare, "ours": ours} {
				b.Run(name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						h.ServeHTTP(w, r)
					}
				})
			}
		})
	}
}

// discardLog keeps the stacks of panics that tests make out of their output.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// A request that a handler makes, for another handler to answer a part, is not the
// one that is served; what middleware makes of that is.
func TestRequestServed(t *testing.T) {
	s, _ := start(t, Options{})
	h := s.HTTPServer().Handler(http.StripPrefix("/api", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if RequestServed(r.Clone(r.Context())).IsZero() {
			t.Error("a copy is another request")
		}
		part, err := http.NewRequestWithContext(r.Context(), "GET", "/part", nil)
		if err != nil {
			t.Error(err)
		}
		if !RequestServed(part).IsZero() || RequestOf(part.Context()).IsZero() {
			t.Error("a part is the whole")
		}
	})))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/orders", nil))
	if !RequestServed(httptest.NewRequest("GET", "/", nil)).IsZero() {
		t.Error("there is one without a server")
	}
}
