package sdkgin

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"
	metricscollector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

// received is what an SDK has sent.
type received struct {
	mu     sync.Mutex
	spans  map[string]*tracepb.Span // by name
	n      int
	series map[string]uint64 // by route and status
}

// start starts an SDK. The function that is returned shuts it down and gives
// what it has sent.
func start(t testing.TB, sampled float64) func() *received {
	t.Helper()
	got := &received{spans: map[string]*tracepb.Span{}, series: map[string]uint64{}}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = got.add(r.URL.Path, body)
		}
		if err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
	}))
	client := &http.Client{Transport: &http.Transport{}}
	s, err := sdk.Start(context.Background(), sdk.Options{Endpoint: sink.URL, Client: client, Sampler: core.NewByThreshold(sampled), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
		sink.Close()
	})
	t.Cleanup(stop)
	return func() *received { stop(); return got }
}

func (r *received) add(path string, body []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch path {
	case "/v1/traces":
		var m tracecollector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					r.spans[s.Name] = s
					r.n++
				}
			}
		}
	case "/v1/metrics":
		var m metricscollector.ExportMetricsServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		for _, rm := range m.ResourceMetrics {
			for _, sm := range rm.ScopeMetrics {
				for _, metric := range sm.Metrics {
					for _, p := range metric.GetHistogram().GetDataPoints() {
						a := attributes(p.Attributes)
						r.series[a["http.route"]+" "+a["http.response.status_code"]] = p.Count
					}
				}
			}
		}
	}
	return nil
}

func attributes(list []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, kv := range list {
		_, all[kv.Key], _ = strings.Cut(strings.TrimSpace(strings.ReplaceAll(kv.Value.String(), `"`, "")), ":")
	}
	return all
}

// shop has routes that end in all ways.
func shop(use ...gin.HandlerFunc) *gin.Engine {
	r := gin.New()
	r.Use(use...)
	r.GET("/orders/:id", func(c *gin.Context) { c.String(http.StatusOK, "order %s", c.Param("id")) })
	r.GET("/fails", func(c *gin.Context) {
		_ = c.Error(errors.New("no stock"))
		_ = c.AbortWithError(http.StatusBadGateway, errors.New("no supplier"))
	})
	r.GET("/panics", func(*gin.Context) { panic(errors.New("oh")) })
	r.GET("/panics-late", func(c *gin.Context) { c.String(http.StatusOK, "a part"); panic("oh") })
	r.GET("/aborts", func(*gin.Context) { panic(http.ErrAbortHandler) })
	return r
}

// get serves a request as net/http does, whose server survives a panic.
func get(t *testing.T, h http.Handler, path string) (status int, body string) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	res, err := server.Client().Get(server.URL + path)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestWithoutSDK(t *testing.T) {
	if sdk.Default() != nil {
		t.Skip("an SDK was started: it can be tested once in a process, and was")
	}
	if status, body := get(t, shop(Middleware()), "/orders/1"); status != 200 || body != "order 1" {
		t.Errorf("status %d, body %q", status, body)
	}
}

var recovery = gin.RecoveryWithWriter(io.Discard)

// stacks are the ways in which the middleware may stand.
var stacks = map[string]func() http.Handler{
	"after Recovery":      func() http.Handler { return shop(recovery, Middleware()) },
	"before Recovery":     func() http.Handler { return shop(Middleware(), recovery) },
	"alone":               func() http.Handler { return shop(Middleware()) },
	"twice":               func() http.Handler { return shop(recovery, Middleware(), Middleware()) },
	"in a wrapped server": func() http.Handler { return sdk.Handler(shop(recovery, Middleware())) },
	"in a wrapped server and before Recovery": func() http.Handler { return sdk.Handler(shop(Middleware(), recovery)) },
	"in a wrapped server without Recovery":    func() http.Handler { return sdk.Handler(shop(Middleware())) },
	"in a wrapped mux": func() http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", shop(recovery, Middleware()))
		return sdk.Handler(mux)
	},
}

func TestMiddleware(t *testing.T) {
	for name, stack := range stacks {
		t.Run(name, func(t *testing.T) {
			got := start(t, 1)
			sees := !strings.Contains(name, "before Recovery") // the panic itself
			for path, want := range map[string]int{"/orders/4711": 200, "/fails": 502, "/panics": 500, "/panics-late": 0, "/nowhere": 404} {
				status, _ := get(t, stack(), path)
				if (name == "alone" || strings.Contains(name, "without")) && path == "/panics" {
					want = 0
				}
				if want != 0 && status != want {
					t.Errorf("%s: status %d, want %d", path, status, want)
				}
			}
			r := got()
			if r.n != 5 {
				t.Errorf("%d spans, want 5", r.n)
			}
			for name, want := range map[string]struct{ status, failure string }{
				"GET /orders/:id": {"200", ""}, "GET /fails": {"502", "502"}, "GET": {"404", ""},
				"GET /panics": {"500", map[bool]string{true: "panic", false: "500"}[sees]},
			} {
				if name == "GET" && strings.Contains(t.Name(), "mux") {
					name = "GET /" // what net/http's mux says stands when gin knows no route
				}
				s := r.spans[name]
				if s == nil {
					t.Errorf("no span %s in %v", name, r.spans)
					continue
				}
				a := attributes(s.Attributes)
				route := strings.TrimPrefix(strings.TrimPrefix(name, "GET"), " ")
				if a["http.response.status_code"] != want.status || a["error.type"] != want.failure || a["http.route"] != route {
					t.Errorf("%s: attributes %v, want %v", name, a, want)
				}
				if failed := s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR; failed != (want.failure != "") {
					t.Errorf("%s: status %v", name, s.Status)
				}
				if r.series[route+" "+want.status] != 1 {
					t.Errorf("%s: series %v", name, r.series)
				}
			}
			if s := r.spans["GET /fails"]; s != nil && (len(s.Events) != 2 || attributes(s.Events[0].Attributes)["exception.message"] != "no stock" || attributes(s.Events[1].Attributes)["exception.type"] != "*errors.errorString") {
				t.Errorf("events of gin's errors: %v", s.Events)
			}
			if s := r.spans["GET /panics"]; s != nil && sees && (len(s.Events) != 1 || !strings.Contains(attributes(s.Events[0].Attributes)["exception.stacktrace"], "sdkgin_test.go")) {
				t.Errorf("events of a panic: %v", s.Events)
			}
		})
	}
}

// What has failed is kept though nothing is sampled, with its errors.
func TestFailuresAreKept(t *testing.T) {
	for _, name := range []string{"after Recovery", "in a wrapped server"} {
		got := start(t, 0)
		for _, path := range []string{"/orders/4711", "/fails", "/panics", "/aborts"} {
			get(t, stacks[name](), path)
		}
		r := got()
		if r.n != 2 || len(r.spans["GET /fails"].GetEvents()) != 2 || len(r.spans["GET /panics"].GetEvents()) != 1 || len(r.spans["GET /fails"].GetAttributes()) < 8 {
			t.Errorf("%s: spans %v, want the two that failed", name, r.spans)
		}
	}
}

// Handlers find the span in the context of the request, and what comes later
// with gin does not move it.
func TestContext(t *testing.T) {
	got := start(t, 1)
	var outer, inner trace.SpanContext
	r := gin.New()
	r.ContextWithFallback = true
	r.Use(func(c *gin.Context) {
		c.Next()
		outer = trace.SpanContextFromContext(c.Request.Context()) // an access log, say
	}, Middleware())
	r.GET("/", func(c *gin.Context) { inner = trace.SpanContextFromContext(c) })
	server := httptest.NewServer(r)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	req.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	server.Close()
	s := got().spans["GET /"]
	if inner.TraceID().String() != "4bf92f3577b34da6a3ce929d0e0e4736" || inner.SpanID() != trace.SpanID(s.GetSpanId()) || outer.SpanID() != inner.SpanID() {
		t.Errorf("span contexts %v, %v, span %v", inner, outer, s)
	}
}

// What lasts as long as the client wants is not slow for being long, and probes
// that gin routes are no requests of the service.
func TestStreamsAndProbes(t *testing.T) {
	stop := start(t, 1)
	var health sdk.Health
	health.Started()
	lasting := map[string]bool{}
	var mu sync.Mutex
	r := shop(Middleware(), func(c *gin.Context) {
		c.Next()
		mu.Lock()
		defer mu.Unlock()
		lasting[c.FullPath()] = lasts(c)
	})
	r.GET("/readyz", gin.WrapH(&health))
	r.GET("/socket", func(c *gin.Context) {
		conn, _, err := c.Writer.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	})
	r.GET("/refused", func(c *gin.Context) { c.String(http.StatusBadRequest, "no") })
	r.GET("/events", func(c *gin.Context) { c.SSEvent("tick", 1); c.Writer.Flush() })
	server := httptest.NewServer(r)
	defer server.Close()
	want := map[string]bool{"/readyz": false, "/orders/:id": false, "/socket": true, "/refused": false, "/events": true}
	for path := range want {
		req, _ := http.NewRequest("GET", server.URL+path, nil)
		if path != "/orders/:id" && path != "/readyz" && path != "/events" {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "websocket")
		}
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	server.Close()
	// Close waits for no connection that was hijacked, nor for what a handler
	// does behind an answer that the client has read.
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		mu.Lock()
		all := len(lasting) == len(want)
		mu.Unlock()
		if all {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !maps.Equal(lasting, want) {
		t.Errorf("lasting: %v, want %v", lasting, want)
	}
	got := stop()
	if got.n != len(want)-1 || got.spans["GET /readyz"] != nil || got.series["/readyz 200"] != 0 || got.series["/events 200"] != 1 {
		t.Errorf("%d spans, series %v", got.n, got.series)
	}
}
