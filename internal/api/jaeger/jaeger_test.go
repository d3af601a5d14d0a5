package jaeger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jaegertracing/jaeger-idl/model/v1"
	translator "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// backend stands in for engine and store until their conformance suite covers
// these reads: it holds traces by id and records what is asked.
type backend struct {
	traces  map[pcommon.TraceID]ptrace.Traces
	order   []pcommon.TraceID
	windows []query.Window
	fail    error
}

type (
	engine struct {
		query.Engine
		*backend
	}
	reader struct {
		store.TraceReader
		*backend
	}
)

func (b engine) Services(ctx context.Context, w query.Window, _ int) (*query.Services, error) {
	b.windows = append(b.windows, w)
	s := &query.Services{}
	for _, n := range []string{"gate", "order"} {
		s.Services = append(s.Services, query.Service{Name: n})
	}
	return s, b.fail
}

func (b reader) Operations(_ context.Context, sel store.Select, _, _ int) ([]store.Group, error) {
	if sel.Where[0].Value != "order/1" {
		return nil, b.fail
	}
	return []store.Group{{Name: "list", Kind: ptrace.SpanKindServer}, {Name: "add", Kind: ptrace.SpanKindServer}, {Name: "list", Kind: ptrace.SpanKindClient}, {Name: "x"}}, b.fail
}

func (b engine) Graph(_ context.Context, w query.Window, _ string) (*query.Graph, error) {
	b.windows = append(b.windows, w)
	return &query.Graph{Edges: []query.Edge{
		{From: "gate", To: "order", RED: query.RED{Count: 2.6}}, {From: "order", To: "mysql", Kind: "database", RED: query.RED{Count: 1}},
		{From: "gate", To: "order", Kind: "messaging", RED: query.RED{Count: 1}},
	}}, b.fail
}

// Traces pages two at a time.
func (b engine) Traces(_ context.Context, w query.Window, p query.Page) (*query.TraceList, error) {
	b.windows = append(b.windows, w)
	l := &query.TraceList{}
	at := 0
	if p.Cursor != "" {
		fmt.Sscan(p.Cursor, &at)
	}
	for ; at < len(b.order) && len(l.Traces) < min(p.Limit, 2); at++ {
		l.Traces = append(l.Traces, query.TraceSummary{TraceID: b.order[at].String(), Start: noon, DurationNs: 1e9})
	}
	if at < len(b.order) {
		l.Next = fmt.Sprint(at)
	}
	return l, b.fail
}

func (b reader) Trace(_ context.Context, _ store.Tenant, id pcommon.TraceID, hint store.Range) (ptrace.Traces, bool, error) {
	td, ok := b.traces[id]
	if !ok {
		return ptrace.NewTraces(), false, fmt.Errorf("trace %s: %w", id, store.ErrNotFound)
	}
	out := ptrace.NewTraces()
	td.CopyTo(out)
	return out, id[0] == 0xff, b.fail
}

func (b *backend) add(td ptrace.Traces) {
	id := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).TraceID()
	b.traces[id] = td
	b.order = append(b.order, id)
}

func newDoor(traces ...ptrace.Traces) (*Door, *backend) {
	b := &backend{traces: map[pcommon.TraceID]ptrace.Traces{}}
	for _, td := range traces {
		b.add(td)
	}
	return New(Options{Engine: engine{backend: b}, Traces: reader{backend: b}, Now: func() time.Time { return noon }}), b
}

// rich is a trace that uses all that OTLP has.
func rich() ptrace.Traces {
	td := ptrace.NewTraces()
	for i, service := range []string{"gate", "order", "gate"} {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", service)
		rs.Resource().Attributes().PutStr("host.name", "h-"+service)
		ss := rs.ScopeSpans().AppendEmpty()
		ss.Scope().SetName("lib")
		ss.Scope().SetVersion("1.2")
		s := ss.Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{8: 1, 15: 7})
		s.SetSpanID(pcommon.SpanID{7: byte(i + 1)})
		s.SetName(fmt.Sprint("op ", i))
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(noon.Add(time.Duration(i) * time.Millisecond)))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(noon.Add(time.Second)))
		s.SetKind(ptrace.SpanKind(i + 1))
		s.SetFlags(1)
		if i == 0 {
			continue
		}
		s.SetParentSpanID(pcommon.SpanID{7: byte(i)})
		s.Status().SetCode(ptrace.StatusCode(i))
		s.Status().SetMessage("why")
		s.TraceState().FromRaw("ot=th:8")
		a := s.Attributes()
		a.PutStr("s", "x")
		a.PutInt("i", 42)
		a.PutInt("big", 1<<60)
		a.PutDouble("d", 0.5)
		a.PutBool("b", false)
		a.PutEmptyBytes("raw").FromRaw([]byte{1, 2, 255})
		a.PutEmptySlice("list").AppendEmpty().SetInt(1)
		a.PutEmptyMap("map").PutStr("k", "v")
		e := s.Events().AppendEmpty()
		e.SetName("exception")
		e.SetTimestamp(pcommon.NewTimestampFromTime(noon.Add(5 * time.Millisecond)))
		e.Attributes().PutStr("exception.type", "E")
		e2 := s.Events().AppendEmpty()
		e2.SetName("hidden")
		e2.Attributes().PutStr("event", "shown")
		l := s.Links().AppendEmpty()
		l.SetTraceID(pcommon.TraceID{0: 1})
		l.SetSpanID(pcommon.SpanID{1})
		l2 := s.Links().AppendEmpty()
		l2.SetTraceID(s.TraceID())
		l2.SetSpanID(s.ParentSpanID())
		l2.Attributes().PutStr("opentracing.ref_type", []string{"", "child_of", "follows_from"}[i])
	}
	return td
}

// TestTraceV1 compares with the collector's own translation to Jaeger's model.
func TestTraceV1(t *testing.T) {
	td := rich()
	got := traceV1(td, false)
	if len(got.Processes) != 2 {
		t.Errorf("got %d processes, want 2", len(got.Processes))
	}
	byID := map[string]uiSpan{}
	for _, s := range got.Spans {
		byID[s.SpanID] = s
	}
	n := 0
	for _, batch := range translator.ProtoFromTraces(td) {
		for _, want := range batch.Spans {
			n++
			s := byID[want.SpanID.String()]
			check := func(what string, want, got any) {
				t.Helper()
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("span %s: %s (-want +got):\n%s", s.SpanID, what, diff)
				}
			}
			check("trace id", want.TraceID.String(), s.TraceID)
			check("name", want.OperationName, s.OperationName)
			check("start", int64(model.TimeAsEpochMicroseconds(want.StartTime)), s.StartTime)
			check("duration", int64(model.DurationAsMicroseconds(want.Duration)), s.Duration)
			check("flags", uint32(want.Flags), s.Flags)
			check("tags", tagsOf(want.Tags), s.Tags)
			process := got.Processes[s.ProcessID]
			check("service", batch.Process.ServiceName, process.ServiceName)
			check("process", tagsOf(batch.Process.Tags), process.Tags)
			refs := []uiReference{}
			for _, r := range want.References {
				refs = append(refs, uiReference{r.RefType.String(), r.TraceID.String(), r.SpanID.String()})
			}
			check("references", refs, s.References)
			logs := []uiLog{}
			for _, l := range want.Logs {
				logs = append(logs, uiLog{int64(model.TimeAsEpochMicroseconds(l.Timestamp)), tagsOf(l.Fields)})
			}
			check("logs", logs, s.Logs)
		}
	}
	if n != len(got.Spans) {
		t.Errorf("got %d spans, want %d", len(got.Spans), n)
	}
}

// tagsOf writes tags of Jaeger's model as its UI has them.
func tagsOf(kvs []model.KeyValue) []uiTag {
	out := []uiTag{}
	for _, kv := range kvs {
		t := uiTag{Key: kv.Key, Type: strings.ToLower(kv.VType.String()), Value: kv.Value()}
		if n, ok := t.Value.(int64); ok && (n > maxExact || n < -maxExact) {
			t.Value = fmt.Sprint(n)
		}
		if raw, ok := t.Value.([]byte); ok {
			b, _ := json.Marshal(raw)
			t.Value = strings.Trim(string(b), `"`)
		}
		out = append(out, t)
	}
	return out
}

func TestTraceV1EdgeCases(t *testing.T) {
	td := ptrace.NewTraces()
	s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	s.SetTraceID(pcommon.TraceID{15: 7})
	s.SetStartTimestamp(2000)
	s.SetEndTimestamp(1000)
	s.Attributes().PutDouble("nan", math.NaN())
	got := traceV1(td, true)
	if got.TraceID != "0000000000000007" || got.Spans[0].Duration != 0 || got.Spans[0].Tags[0].Value != "NaN" || len(got.Warnings) != 1 {
		t.Errorf("got %+v", got)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil).WithContext(t.Context()))
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("%s: content type %q", path, ct)
	}
	return w.Code, w.Body.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(got), "", "  "); err != nil {
		t.Fatalf("%s: %v in %s", name, err, got)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestV1Answers(t *testing.T) {
	d, _ := newDoor(rich())
	h := d.Handler()
	f := func(path string, status int, want string) {
		t.Helper()
		code, body := get(t, h, path)
		if code != status || strings.TrimSpace(body) != want {
			t.Errorf("%s: got %d %s\nwant %d %s", path, code, body, status, want)
		}
	}
	f("/jaeger/api/services", 200, `{"data":["gate","order"],"total":2,"limit":0,"offset":0,"errors":null}`)
	f("/jaeger/api/services/order%2F1/operations", 200, `{"data":["add","list","x"],"total":3,"limit":0,"offset":0,"errors":null}`)
	f("/jaeger/api/services/none/operations", 200, `{"data":[],"total":0,"limit":0,"offset":0,"errors":null}`)
	f("/jaeger/api/operations?service=order%2F1&spanKind=server", 200,
		`{"data":[{"name":"add","spanKind":"server"},{"name":"list","spanKind":"server"}],"total":2,"limit":0,"offset":0,"errors":null}`)
	f("/jaeger/api/dependencies?endTs=1772366400000&lookback=3600000", 200,
		`{"data":[{"parent":"gate","child":"order","callCount":4},{"parent":"order","child":"mysql","callCount":1}],"total":0,"limit":0,"offset":0,"errors":null}`)
	f("/jaeger/api/dependencies?service=mysql", 200, `{"data":[{"parent":"order","child":"mysql","callCount":1}],"total":0,"limit":0,"offset":0,"errors":null}`)
	f("/jaeger/api/traces/abc", 404, `{"data":null,"total":0,"limit":0,"offset":0,"errors":[{"code":404,"msg":"trace not found"}]}`)
	f("/jaeger/api/traces?traceID=abc", 200, `{"data":[],"total":0,"limit":0,"offset":0,"errors":[{"msg":"trace not found","traceID":"abc"}]}`)
	f("/jaeger/api/nothing", 404, `{"data":null,"total":0,"limit":0,"offset":0,"errors":[{"code":404,"msg":"no route GET /jaeger/api/nothing"}]}`)
	for _, path := range []string{
		"/jaeger/api/operations", "/jaeger/api/traces/xyz", "/jaeger/api/traces?start=x", "/jaeger/api/traces?end=now", "/jaeger/api/traces?limit=0",
		"/jaeger/api/traces?minDuration=5", "/jaeger/api/traces?tags=x", `/jaeger/api/traces?tags={"a":[1]}`, "/jaeger/api/traces?tag=x", "/jaeger/api/traces?traceID=-",
		"/jaeger/api/dependencies?endTs=x", "/jaeger/api/dependencies?lookback=-1", "/jaeger/api/traces/1?start=x",
	} {
		if code, body := get(t, h, path); code != 400 || !strings.Contains(body, "malformed parameter") {
			t.Errorf("%s: got %d %s", path, code, body)
		}
	}
	_, body := get(t, h, "/jaeger/api/traces/"+pcommon.TraceID{8: 1, 15: 7}.String())
	golden(t, "v1_trace.json", body)
	_, search := get(t, h, "/jaeger/api/traces?service=gate")
	if search != body {
		t.Error("a search and a read of the same trace differ")
	}
}

func TestV1Search(t *testing.T) {
	d, b := newDoor(rich())
	q := url.Values{
		"service": {"order"}, "operation": {"GET /a b"}, "start": {"1772366400000000"}, "end": {"1772370000000001"}, "lookback": {"custom"},
		"minDuration": {"1.5ms"}, "maxDuration": {"2s"}, "limit": {"20"}, "tag": {"k:v:w"},
		"tags": {`{"error":"true","span.kind":"Server","otel.status_description":"no \"x\"","otel.scope.name":"lib","http.status_code":500,"cached":true}`},
	}
	if code, body := get(t, d.Handler(), "/jaeger/api/traces?"+q.Encode()); code != 200 {
		t.Fatalf("got %d %s", code, body)
	}
	want := query.Window{Start: time.UnixMicro(1772366400000000), End: time.UnixMicro(1772370000000001),
		Filter: `service.name = order and name = "GET /a b" and duration >= 1500us and duration <= 2s and cached = true and status = error and ` +
			`http.status_code = 500 and k = v:w and scope.name = lib and status.message = "no \"x\"" and kind = server`}
	if diff := cmp.Diff(want, b.windows[0]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := query.ParseFilter(b.windows[0].Filter, query.Traces); err != nil {
		t.Error(err)
	}
	// Without times: the last 48 hours, or the lookback.
	get(t, d.Handler(), "/jaeger/api/traces?service=a")
	get(t, d.Handler(), "/jaeger/api/traces?service=a&lookback=1h&tag=error:false")
	for i, want := range []query.Window{
		{Start: noon.Add(-48 * time.Hour), End: noon, Filter: "service.name = a"},
		{Start: noon.Add(-time.Hour), End: noon, Filter: "service.name = a and status != error"},
	} {
		if diff := cmp.Diff(want, b.windows[i+1]); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func many(n int) (out []ptrace.Traces) {
	for i := range n {
		td := rich()
		for _, rs := range td.ResourceSpans().All() {
			rs.ScopeSpans().At(0).Spans().At(0).SetTraceID(pcommon.TraceID{0: 1, 15: byte(i)})
		}
		out = append(out, td)
	}
	return out
}

func TestSearchPagesAndLimits(t *testing.T) {
	d, b := newDoor(many(11)...)
	delete(b.traces, b.order[3]) // gone between the two reads
	count := func(query string) int {
		t.Helper()
		code, body := get(t, d.Handler(), "/jaeger/api/traces"+query)
		var e struct {
			Data []struct{ TraceID string }
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil || code != 200 {
			t.Fatalf("got %d %s", code, body)
		}
		for i, d := range e.Data { // in the order of the list
			if i > 0 && e.Data[i-1].TraceID >= d.TraceID {
				t.Errorf("%s: out of order", query)
			}
		}
		return len(e.Data)
	}
	if got := count(""); got != 10 {
		t.Errorf("got %d traces, want 10", got)
	}
	if got := count("?limit=7"); got != 6 {
		t.Errorf("limit 7: got %d traces, want the 6 that are left of them", got)
	}
}

func TestFailures(t *testing.T) {
	d, b := newDoor(rich())
	for err, want := range map[error]int{
		fmt.Errorf("x: %w", store.ErrInvalid): 400, fmt.Errorf("x: %w", store.ErrLimit): 400, fmt.Errorf("x: %w", store.ErrUnavailable): 503,
		context.DeadlineExceeded: 504, errors.New("disk"): 500,
	} {
		b.fail = err
		for _, path := range []string{"services", "services/order%2F1/operations", "operations?service=a", "traces", "dependencies",
			"v3/services", "v3/operations", "v3/traces?query.startTimeMin=2026-01-02T15:04:05Z&query.startTimeMax=2026-01-02T15:04:06Z",
			"v3/dependencies?startTime=2026-01-02T15:04:05Z&endTime=2026-01-02T15:04:06Z"} {
			code, body := get(t, d.Handler(), "/jaeger/api/"+path)
			if code != want || !strings.Contains(body, err.Error()) {
				t.Errorf("%s with %v: got %d %s", path, err, code, body)
			}
		}
	}
}
