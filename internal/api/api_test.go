package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// recorder is an engine that notes what it is asked. Each answer is empty.
type recorder struct {
	mu    sync.Mutex
	asked string
	fail  error
	panic any
	tail  chan query.TailEvent // closed: the tail fails with fail
}

func ask[T any](r *recorder, format string, args ...any) (*T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, a := range args {
		switch a := a.(type) {
		case query.Window:
			args[i] = fmt.Sprintf("[%v %v %q]", a.Start.Sub(noon), a.End.Sub(noon), a.Filter)
		case time.Time:
			args[i] = a.Sub(noon)
		}
	}
	r.asked = fmt.Sprintf(format, args...)
	if r.panic != nil {
		panic(r.panic)
	}
	if r.fail != nil {
		return nil, r.fail
	}
	return new(T), nil
}

func (r *recorder) Services(ctx context.Context, w query.Window, steps int) (*query.Services, error) {
	return ask[query.Services](r, "services of %v %v %d", query.TenantOf(ctx), w, steps)
}
func (r *recorder) Service(_ context.Context, w query.Window, s string, steps int) (*query.ServiceDetail, error) {
	return ask[query.ServiceDetail](r, "service %v %q %d", w, s, steps)
}
func (r *recorder) Graph(_ context.Context, w query.Window, focus string) (*query.Graph, error) {
	return ask[query.Graph](r, "graph %v %q", w, focus)
}
func (r *recorder) Traces(_ context.Context, w query.Window, p query.Page) (*query.TraceList, error) {
	return ask[query.TraceList](r, "traces %v %v", w, p)
}
func (r *recorder) Trace(_ context.Context, id string, near time.Time) (*query.Trace, error) {
	if near.IsZero() {
		return ask[query.Trace](r, "trace %q", id)
	}
	return ask[query.Trace](r, "trace %q near %v", id, near)
}
func (r *recorder) Heat(_ context.Context, w query.Window, columns int) (*query.Heat, error) {
	return ask[query.Heat](r, "heat %v %d", w, columns)
}
func (r *recorder) Compare(_ context.Context, w query.Window, b query.Box) (*query.Comparison, error) {
	return ask[query.Comparison](r, "compare %v with %v %v %d %d %q", w, b.Start, b.End, b.MinNs, b.MaxNs, b.Filter)
}
func (r *recorder) Fields(_ context.Context, w query.Window, s query.Signal) (*query.FieldList, error) {
	return ask[query.FieldList](r, "fields %v %s", w, s)
}
func (r *recorder) Values(_ context.Context, w query.Window, s query.Signal, field, prefix string, limit int) (*query.ValueList, error) {
	return ask[query.ValueList](r, "values %v %s %q %q %d", w, s, field, prefix, limit)
}
func (r *recorder) Logs(_ context.Context, w query.Window, p query.Page) (*query.LogList, error) {
	return ask[query.LogList](r, "logs %v %v", w, p)
}
func (r *recorder) LogContext(_ context.Context, id string, n int) (*query.LogList, error) {
	return ask[query.LogList](r, "context %q %d", id, n)
}
func (r *recorder) LogVolume(_ context.Context, w query.Window, columns int) (*query.LogVolume, error) {
	return ask[query.LogVolume](r, "volume %v %d", w, columns)
}
func (r *recorder) LogPatterns(_ context.Context, w query.Window) (*query.PatternList, error) {
	return ask[query.PatternList](r, "patterns %v", w)
}
func (r *recorder) Related(_ context.Context, a query.Anchor) (*query.Related, error) {
	return ask[query.Related](r, "related %q %q %q %v %v", a.Service, a.TraceID, a.SpanID, a.Start, a.End)
}
func (r *recorder) NetworkHealth(_ context.Context, w query.Window) (*query.NetworkHealth, error) {
	return ask[query.NetworkHealth](r, "network %v", w)
}
func (r *recorder) Audit(_ context.Context, w query.Window, atLeast string, p query.Page) (*query.AuditList, error) {
	return ask[query.AuditList](r, "audit %v %q %v", w, atLeast, p)
}
func (r *recorder) AuditRules(_ context.Context, w query.Window) (*query.AuditRules, error) {
	return ask[query.AuditRules](r, "rules %v", w)
}
func (r *recorder) OOM(_ context.Context, w query.Window, p query.Page) (*query.OOMList, error) {
	return ask[query.OOMList](r, "oom %v %v", w, p)
}
func (r *recorder) KernelFacts(_ context.Context, a query.KernelAnchor) (*query.KernelFacts, error) {
	return ask[query.KernelFacts](r, "facts %q %q %v %v", a.TraceID, a.Service, a.Start, a.End)
}
func (r *recorder) Tail(ctx context.Context, filter string, yield func(query.TailEvent) bool) error {
	ask[int](r, "tail %q", filter) // panics when told to
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-r.tail:
			if !ok {
				return r.fail
			}
			if !yield(e) {
				return nil
			}
		}
	}
}

func (r *recorder) handler() http.Handler {
	return New(Options{Engine: r, Now: func() time.Time { return noon }, Logger: quiet})
}

func TestRoutes(t *testing.T) {
	r := &recorder{}
	h := r.handler()
	f := func(path, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", Prefix+path, nil))
		if w.Code != 200 || r.asked != want {
			t.Errorf("%s: got %d, asked %s\nwant %s\n%s", path, w.Code, r.asked, want, w.Body)
		}
		if cc := w.Header().Get("Cache-Control"); cc != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, cc)
		}
	}
	f("/services", `services of 0 [-1h0m0s 0s ""] 30`)
	f("/services?start=now-2h&end=now-1h&filter=a%3D1&steps=0", `services of 0 [-2h0m0s -1h0m0s "a=1"] 0`)
	f("/services?end=now-1h", `services of 0 [-2h0m0s -1h0m0s ""] 30`)
	f("/services/a%2Fb%20c?steps=5", `service [-1h0m0s 0s ""] "a/b c" 5`)
	f("/graph?focus=x", `graph [-1h0m0s 0s ""] "x"`)
	f("/traces", `traces [-1h0m0s 0s ""] {50 }`)
	f("/traces?limit=7&cursor=abc", `traces [-1h0m0s 0s ""] {7 abc}`)
	f("/traces/abc", `trace "abc"`)
	f("/traces/abc?near=1772366400", `trace "abc" near 0s`)
	f("/traces/heatmap", `heat [-1h0m0s 0s ""] 120`)
	f("/traces/heatmap?columns=7", `heat [-1h0m0s 0s ""] 7`)
	f("/traces/compare", `compare [-1h0m0s 0s ""] with -1h0m0s 0s 0 0 ""`)
	f("/traces/compare?selStart=now-20m&selEnd=now-10m&selMinNs=5&selMaxNs=9&selFilter=b", `compare [-1h0m0s 0s ""] with -20m0s -10m0s 5 9 "b"`)
	f("/fields/logs", `fields [-1h0m0s 0s ""] logs`)
	f("/values/traces?field=service.name&prefix=o&limit=3", `values [-1h0m0s 0s ""] traces "service.name" "o" 3`)
	f("/values/traces?field=x", `values [-1h0m0s 0s ""] traces "x" "" 100`)
	f("/logs?limit=1000", `logs [-1h0m0s 0s ""] {1000 }`)
	f("/logs/volume?columns=10", `volume [-1h0m0s 0s ""] 10`)
	f("/logs/patterns", `patterns [-1h0m0s 0s ""]`)
	f("/logs/context?id=xy&n=3", `context "xy" 3`)
	f("/logs/context?id=xy", `context "xy" 20`)
	f("/related?service=s&traceId=t&spanId=p&start=now-5m", `related "s" "t" "p" -5m0s 0s`)
}

// problemOf reads an answer in the form of RFC 9457.
func problemOf(t *testing.T, res *http.Response) huma.ErrorModel {
	t.Helper()
	var p huma.ErrorModel
	if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%s: content type %q", res.Request.URL, ct)
	}
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil || p.Status != res.StatusCode || p.Title == "" || p.Detail == "" {
		t.Errorf("%s: problem %+v, %v", res.Request.URL, p, err)
	}
	return p
}

func TestProblems(t *testing.T) {
	r := &recorder{}
	srv := httptest.NewServer(r.handler())
	defer srv.Close()
	f := func(path string, status int, location, want string) {
		t.Helper()
		res, err := http.Get(srv.URL + Prefix + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%s: got status %d, want %d", path, res.StatusCode, status)
		}
		p := problemOf(t, res)
		all := p.Detail
		where := ""
		for _, e := range p.Errors {
			all += " " + e.Message
			where = e.Location
		}
		if where != location || !strings.Contains(all, want) {
			t.Errorf("%s: got %q at %q, want %q at %q", path, all, where, want, location)
		}
	}
	f("/services?start=soon", 422, "query.start", "not a time; write 2026")
	f("/services?end=now-x", 422, "query.end", "duration")
	f("/services?start=now&end=now-1h", 422, "query.start", "not before end")
	f("/services?steps=501", 422, "query.steps", "<= 500")
	f("/services?steps=x", 422, "query.steps", "invalid integer")
	f("/services?form=now", 422, "query.form", "unknown query parameter")
	f("/services?filter="+strings.Repeat("x", 16385), 422, "query.filter", "16384")
	f("/traces/compare?selStart=now&selEnd=now-5m", 422, "query.selStart", "not before selEnd")
	f("/traces/compare?selMinNs=5&selMaxNs=5", 422, "query.selMaxNs", "not above selMinNs")
	f("/traces/1?near=x", 422, "query.near", "not a time")
	f("/values/traces", 422, "query.field", "required")
	f("/values/metrics?field=a", 422, "path.signal", "one of")
	f("/logs/context", 422, "query.id", "required")
	f("/logs/tail?filter=severity+%3E+loud", 422, "query.filter", "at position 12")
	f("/status", 404, "", "no status")
	f("/nothing", 404, "", "openapi.json lists them")

	fail := func(err error, status int, location, want string) {
		t.Helper()
		r.fail = err
		f("/services", status, location, want)
	}
	_, wrong := query.ParseFilter("a =", query.Traces)
	fail(wrong, 422, "query.filter", "at position 4: want a value")
	fail(fmt.Errorf("cursor: %w", store.ErrInvalid), 422, "", "cursor")
	fail(fmt.Errorf("trace 7: %w", store.ErrNotFound), 404, "", "trace 7")
	fail(fmt.Errorf("scan: %w", store.ErrLimit), 422, "", "shorten the time range")
	fail(fmt.Errorf("read: %w", context.DeadlineExceeded), 504, "", "shorten the time range")
	fail(fmt.Errorf("read: %w", store.ErrUnavailable), 503, "", "try again")
	fail(errors.New("disk on fire"), 500, "", "disk on fire")
	r.fail = fmt.Errorf("read: %w", store.ErrUnavailable)
	res, err := http.Get(srv.URL + Prefix + "/services")
	if err != nil || res.Header.Get("Retry-After") != "1" {
		t.Errorf("unavailable: got %v, %v", res.Header, err)
	}
	res.Body.Close()
}

type statusFunc func() (*Status, error)

func (f statusFunc) Status(context.Context) (*Status, error) { return f() }

func TestStatusAndDocument(t *testing.T) {
	h := New(Options{Engine: &recorder{}, Status: statusFunc(func() (*Status, error) { return &Status{Version: "v9", Drops: []Drop{}}, nil })})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", Prefix+"/status", nil))
	var s Status
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Version != "v9" || strings.Contains(w.Body.String(), "lastCrash") {
		t.Errorf("status: got %s", w.Body)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", Prefix+"/openapi.json", nil))
	_, want := newMux(Options{})
	if diff := cmp.Diff(string(want), w.Body.String()); diff != "" {
		t.Error("the document served is not the golden one")
	}
	req := httptest.NewRequest("GET", Prefix+"/openapi.json", nil)
	req.Header.Set("If-None-Match", w.Header().Get("ETag"))
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, req); w.Code != http.StatusNotModified {
		t.Errorf("the same document again: got %d", w.Code)
	}
	// Every example of the document is accepted by the parsers it is for.
	for _, in := range []string{"now-1h", "now", "now-20m", "now-10m"} {
		if _, err := parseMoment(in, noon); err != nil {
			t.Error(err)
		}
	}
	for signal, in := range map[query.Signal]string{
		query.Traces: "service.name = order and duration > 200ms and status = error",
		query.Logs:   "service.name = order and severity >= warn",
	} {
		if _, err := query.ParseFilter(in, signal); err != nil {
			t.Error(err)
		}
	}
}

// events reads server-sent events; each is "name data", a comment ": text".
func events(t *testing.T, body io.Reader) func() string {
	s := bufio.NewScanner(body)
	return func() string {
		var parts []string
		for s.Scan() {
			line := s.Text()
			if line == "" && len(parts) > 0 {
				return strings.Join(parts, " ")
			}
			line = strings.TrimPrefix(strings.TrimPrefix(line, "event: "), "data: ")
			parts = append(parts, line)
		}
		return "end"
	}
}

func TestTail(t *testing.T) {
	r := &recorder{tail: make(chan query.TailEvent)}
	srv := httptest.NewServer(r.handler())
	defer srv.Close()
	res, err := http.Get(srv.URL + Prefix + "/logs/tail?filter=severity+%3E%3D+warn")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %q", ct)
	}
	next := events(t, res.Body)
	if got := next(); got != ": following" {
		t.Errorf("got %q first", got)
	}
	for i := range 3 {
		r.tail <- query.TailEvent{Log: query.Log{Body: fmt.Sprint("<", i, ">\n")}, Lost: uint64(i)}
		got := next()
		var e query.TailEvent
		if data, ok := strings.CutPrefix(got, "log "); !ok || json.Unmarshal([]byte(data), &e) != nil || e.Log.Body != fmt.Sprint("<", i, ">\n") || e.Lost != uint64(i) {
			t.Errorf("event %d: got %s", i, got)
		}
	}
	r.mu.Lock()
	r.fail = fmt.Errorf("store: %w", store.ErrUnavailable)
	r.mu.Unlock()
	close(r.tail)
	if got := next(); !strings.HasPrefix(got, "problem {") || !strings.Contains(got, `"status":503`) {
		t.Errorf("got %s, want a problem", got)
	}
	if got := next(); got != "end" {
		t.Errorf("got %s after the problem", got)
	}
	if r.asked != `tail "severity >= warn"` {
		t.Errorf("asked %s", r.asked)
	}
}

func TestTailSurvivesPanic(t *testing.T) {
	r := &recorder{panic: "boom"}
	srv := httptest.NewServer(r.handler())
	defer srv.Close()
	res, err := http.Get(srv.URL + Prefix + "/logs/tail")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	next := events(t, res.Body)
	next()
	if got := next(); !strings.HasPrefix(got, "problem {") || !strings.Contains(got, "panic: boom") || strings.Contains(got, "goroutine") {
		t.Errorf("got %s", got)
	}
}

func TestKernelRoutes(t *testing.T) {
	r := &recorder{}
	h := r.handler()
	f := func(path string, status int, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", KernelPath+path, nil))
		got := r.asked
		if status != 200 {
			got = w.Body.String()
		}
		if w.Code != status || !strings.Contains(got, want) {
			t.Errorf("%s: got %d, %s\nwant %d, %s", path, w.Code, got, status, want)
		}
	}
	f("/network?filter=health%3Dbad", 200, `network [-1h0m0s 0s "health=bad"]`)
	f("/network?to=now-1h", 200, `network [-2h0m0s -1h0m0s ""]`)
	f("/audit", 200, `audit [-1h0m0s 0s ""] "none" {50 }`)
	f("/audit?severity=warning&limit=3&cursor=x", 200, `audit [-1h0m0s 0s ""] "warning" {3 x}`)
	f("/oom?from=now-2h", 200, `oom [-2h0m0s 0s ""] {20 }`)
	f("/facts?trace_id=ab&near=now", 200, `facts "ab" "" -1h0m0s 0s`)
	f("/facts?service=order&from=now-5m", 200, `facts "" "order" -5m0s 0s`)
	f("/audit?severity=loud", 422, "one of")
	f("/oom?from=soon", 422, "query.from")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", KernelPath+"/audit/rules", nil))
	var rules query.AuditRules
	if err := json.Unmarshal(w.Body.Bytes(), &rules); err != nil || r.asked != `rules [-1h0m0s 0s ""]` || !rules.Rules[0].Enabled || len(rules.Rules) < 20 || rules.Rules[0].Technique == "" || len(rules.Rules[0].On) == 0 {
		t.Errorf("rules: got %s", w.Body)
	}
}
