package sdk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/errs"
)

// text is a buffer that may be written and read at the same time.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *text) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// logTo makes slog.Default write JSON lines to what it returns.
func logTo(t *testing.T) *text {
	b := new(text)
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(slog.New(slog.NewJSONHandler(b, nil)))
	return b
}

func TestRecover(t *testing.T) {
	for _, sampled := range []float64{0, 1} {
		t.Run(fmt.Sprintf("sampled=%v", sampled), func(t *testing.T) {
			logs := logTo(t)
			s, sink := start(t, Options{Sampler: core.NewByThreshold(sampled)})
			var id trace.TraceID
			mux := http.NewServeMux()
			mux.HandleFunc("/panics/{x}", func(w http.ResponseWriter, r *http.Request) {
				id = trace.SpanContextFromContext(r.Context()).TraceID()
				panic(errors.New("oh no"))
			})
			server := httptest.NewServer(s.HTTPServer().Handler(Recover(mux)))
			defer server.Close()
			req, _ := http.NewRequest("GET", server.URL+"/panics/1", nil)
			req.Header.Set("X-Request-Id", "r-4711")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var p errs.Problem
			if err := json.NewDecoder(res.Body).Decode(&p); err != nil || res.StatusCode != 500 || p.Code != "sdk.1" || p.TraceID != id.String() {
				t.Errorf("answer %s, problem %+v, error %v; want the trace %s", res.Status, p, err, id)
			}
			server.Close()
			var rec map[string]any
			if err := json.Unmarshal([]byte(logs.String()), &rec); err != nil {
				t.Fatalf("want one record, got %q: %v", logs.String(), err)
			}
			for key, want := range map[string]any{"level": "ERROR", "request_id": "r-4711", "trace_id": id.String(), "http.route": "/panics/{x}", "exception.message": "oh no", "exception.type": "*errors.errorString"} {
				if rec[key] != want {
					t.Errorf("logged %s %v, want %v", key, rec[key], want)
				}
			}
			if st, _ := rec["exception.stacktrace"].(string); !strings.Contains(st, "TestRecover") {
				t.Errorf("the stack does not lead to the handler: %s", st)
			}
			got := sent(t, s, sink)
			spans := got["/v1/traces"]
			if n := strings.Count(spans, "exception.stacktrace"); n != 1 {
				t.Errorf("%d exception events, want 1", n)
			}
			if !strings.Contains(spans, "TestRecover") || !strings.Contains(spans, failureOfPanic) || !strings.Contains(got["/v1/metrics"], failureOfPanic) {
				t.Error("the panic is not in the span or the metric")
			}
		})
	}
}

// Half an answer must not look like a whole one, and what others do with
// http.ErrAbortHandler goes on to work.
func TestRecoverBreaksOff(t *testing.T) {
	logs := logTo(t)
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	mux := http.NewServeMux()
	mux.HandleFunc("/half", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic("half way")
	})
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
		panic("hijacked")
	})
	for name, h := range map[string]http.Handler{"inside": s.HTTPServer().Handler(Recover(mux)), "alone": Recover(mux)} {
		own := new(text)
		var handlers sync.WaitGroup // a server does not wait for hijacked ones
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer handlers.Done()
			h.ServeHTTP(w, r)
		}))
		server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(own, nil), slog.LevelError)
		server.Start()
		for _, path := range []string{"/half", "/abort", "/hijack"} {
			handlers.Add(1)
			res, err := http.Get(server.URL + path)
			if err == nil {
				_, err = io.ReadAll(bufio.NewReader(res.Body))
				res.Body.Close()
			}
			if err == nil {
				t.Errorf("%s %s: a whole answer", name, path)
			}
		}
		server.Close()
		handlers.Wait()
		if own.String() != "" {
			t.Errorf("%s: net/http logged %s", name, own)
		}
	}
	if n := strings.Count(logs.String(), "handler panicked"); n != 4 {
		t.Errorf("%d records, want one for each panic but aborts: %s", n, logs)
	}
	if got := sent(t, s, sink)["/v1/traces"]; !strings.Contains(got, "half way") || strings.Count(got, "exception.stacktrace") != 2 {
		t.Errorf("spans %q, want those of two panics", got)
	}
}

// The code of an error is what spans and metrics are grouped by, also of a
// request that was kept only because it failed.
func TestErrorsReachSpans(t *testing.T) {
	logTo(t)
	var table errs.Table
	store := table.Define("inventory", 2001, errs.System, "The inventory is not available")
	stock := table.Define("inventory", 1001, errs.Client, "Out of stock")
	for _, sampled := range []float64{0, 1} {
		t.Run(fmt.Sprintf("sampled=%v", sampled), func(t *testing.T) {
			s, sink := start(t, Options{Sampler: core.NewByThreshold(sampled)})
			h := s.HTTPServer().Handler(errs.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				if r.URL.Path == "/stock" {
					return stock.New(r.Context())
				}
				ctx, span := s.TracerProvider().Tracer("t").Start(r.Context(), "query")
				defer span.End()
				return store.Wrap(ctx, errors.New("connection refused"), slog.Int("shard", 3))
			}))
			for path, want := range map[string]int{"/store": 503, "/stock": 400} {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				if w.Code != want {
					t.Errorf("%s: status %d", path, w.Code)
				}
			}
			got := sent(t, s, sink)
			for _, want := range []string{"inventory.2001", "connection refused", "shard", "system"} {
				if !strings.Contains(got["/v1/traces"], want) {
					t.Errorf("%q is not in the span", want)
				}
			}
			if n := strings.Count(got["/v1/traces"], "exception.message"); n != 1 {
				t.Errorf("%d exception events, want 1", n)
			}
			if m := got["/v1/metrics"]; !strings.Contains(m, "inventory.2001") || strings.Contains(m, "inventory.1001") {
				t.Error("error.type of the metric is not that of the failure alone")
			}
		})
	}
}

// What was coped with is no failure.
func TestRecordedErrorsOfGoodRequestsStayOut(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trace.SpanFromContext(r.Context()).RecordError(errors.New("cache miss"))
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if got := sent(t, s, sink); got["/v1/traces"] != "" {
		t.Errorf("sent %q", got["/v1/traces"])
	}
}

func ExampleRecover() {
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.DiscardHandler))

	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) { panic("index out of range") })
	h := Recover(mux) // in a service: sdk.Handler(sdk.Recover(mux))

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output: 500 {"type":"urn:problem-type:sdk.1","title":"Internal error","status":500,"code":"sdk.1"}
}
