package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestAccessLog(t *testing.T) {
	out := new(lines)
	spool := core.NewSpool(out, 0)
	defer spool.Close(context.Background())
	var other bytes.Buffer
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // which does not try again
	for name, handler := range map[string]slog.Handler{"own": NewLogHandler(spool, nil, nil), "another": slog.NewJSONHandler(&other, nil)} {
		s, _ := start(t, Options{Sampler: core.NewByThreshold(0), HTTP: HTTPOptions{AccessLog: true, AccessLogHandler: handler, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
		mux := http.NewServeMux()
		mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
		mux.HandleFunc("/fails", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		mux.HandleFunc("/panics", func(http.ResponseWriter, *http.Request) { panic(errors.New("oh")) })
		server := httptest.NewUnstartedServer(s.HTTPServer().Handler(mux))
		server.Config.ErrorLog = discardLog()
		server.Start()
		for _, path := range []string{"/orders/4711?token=hunter2", "/nowhere", "/fails", "/panics"} {
			req, _ := http.NewRequest("GET", server.URL+path, nil)
			req.Header = http.Header{"X-Request-Id": {"r-1"}, "X-Biz-Id": {"b-1"}, "X-Forwarded-For": {"203.0.113.7"}}
			if res, err := client.Do(req); err == nil {
				_ = res.Body.Close()
			}
		}
		server.Close()
		var got []map[string]any
		if name == "own" {
			got = out.logged(t, spool)
		} else {
			for line := range strings.Lines(other.String()) {
				m := map[string]any{}
				if err := json.Unmarshal([]byte(line), &m); err != nil {
					t.Fatal(err)
				}
				got = append(got, m)
			}
		}
		if len(got) != 4 {
			t.Fatalf("%s: %d records, want one for each request: %v", name, len(got), got)
		}
		for i, want := range []map[string]any{
			{"level": "INFO", "url.path": "/orders/4711", "http.route": "/orders/{id}", "http.response.status_code": 200.0, "http.response.body.size": 5.0},
			{"level": "WARN", "url.path": "/nowhere", "http.response.status_code": 404.0},
			{"level": "ERROR", "url.path": "/fails", "http.route": "/fails", "http.response.status_code": 502.0},
			{"level": "ERROR", "url.path": "/panics", "http.response.status_code": 500.0, "error.type": "panic"},
		} {
			want["msg"], want["http.request.method"], want["client.address"] = "request", "GET", "203.0.113.7"
			if name == "own" { // others know contexts as they know them
				want["request_id"], want["biz_id"] = "r-1", "b-1"
				if id, _ := got[i]["trace_id"].(string); len(id) != 32 {
					t.Errorf("%s: record %d has trace id %q", name, i, id)
				}
			}
			for k, v := range want {
				if got[i][k] != v {
					t.Errorf("%s: record %d has %s %v, want %v", name, i, k, got[i][k], v)
				}
			}
			if took, _ := got[i]["http.server.request.duration"].(float64); took <= 0 {
				t.Errorf("%s: record %d has a duration of %v", name, i, took)
			}
			if text := fmt.Sprint(got[i]); strings.Contains(text, "hunter2") || strings.Contains(text, "goroutine") {
				t.Errorf("%s: record %d has a query or a stack: %s", name, i, text)
			}
		}
	}
}

// A log that is broken does not break a response.
func TestAccessLogSurvivesItsHandler(t *testing.T) {
	sink := newSink(t)
	var failed error
	s, err := Start(t.Context(), Options{Endpoint: sink.URL, HTTP: HTTPOptions{AccessLog: true, AccessLogHandler: panicking{}}, Failed: func(err error) { failed = err }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	w := httptest.NewRecorder()
	s.HTTPServer().Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 404 || failed == nil || !strings.Contains(failed.Error(), "oh") {
		t.Errorf("status %d, failure %v", w.Code, failed)
	}
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool { panic("oh") }

func TestAccessLogAllocations(t *testing.T) {
	spool := core.NewSpool(discard{}, 0)
	defer spool.Close(context.Background())
	count := func(opts HTTPOptions) float64 {
		s, _ := start(t, Options{Sampler: core.NewByThreshold(0), HTTP: opts})
		h := s.HTTPServer().Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := httptest.NewRequest("GET", "/", nil)
		w := &answers{http.Header{}}
		return testing.AllocsPerRun(1000, func() {
			clear(w.header)
			h.ServeHTTP(w, r)
		})
	}
	without, with := count(HTTPOptions{}), count(HTTPOptions{AccessLog: true, AccessLogHandler: NewLogHandler(spool, nil, nil)})
	if with != without && !raceDetector {
		t.Errorf("a request takes %v allocations with an access log, %v without", with, without)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	spool := core.NewSpool(discard{}, 0)
	defer spool.Close(context.Background())
	for name, opts := range map[string]HTTPOptions{"off": {}, "on": {AccessLog: true, AccessLogHandler: NewLogHandler(spool, nil, nil)}} {
		b.Run(name, func(b *testing.B) {
			s, _ := start(b, Options{Sampler: core.NewByThreshold(0), HTTP: opts})
			h := s.HTTPServer().Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			r := httptest.NewRequest("GET", "/orders/4711", nil)
			w := &answers{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
}
