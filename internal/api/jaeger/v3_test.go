package jaeger

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/guanlan-io/guanlan/internal/api/jaeger/apiv3"
	"github.com/guanlan-io/guanlan/internal/query"
)

func TestV3Answers(t *testing.T) {
	d, b := newDoor(rich())
	h := d.Handler()
	f := func(path string, status int, want string) {
		t.Helper()
		code, body := get(t, h, path)
		if code != status || strings.TrimSpace(body) != want {
			t.Errorf("%s: got %d %s\nwant %d %s", path, code, body, status, want)
		}
	}
	f("/jaeger/api/v3/services", 200, `{"services":["gate","order"]}`)
	f("/jaeger/api/v3/operations?service=order%2F1&span_kind=CLIENT", 200, `{"operations":[{"name":"list","spanKind":"client"}]}`)
	f("/jaeger/api/v3/operations?service=none", 200, `{"operations":[]}`)
	f("/jaeger/api/v3/dependencies?start_time=2026-03-01T11:00:00Z&endTime=2026-03-01T12:00:00Z", 200,
		`{"dependencies":[{"callCount":"4","child":"order","parent":"gate"},{"callCount":"1","child":"mysql","parent":"order"}]}`)
	if w := b.windows[len(b.windows)-1]; !w.Start.Equal(noon.Add(-time.Hour)) || !w.End.Equal(noon) {
		t.Errorf("dependencies: got window %v", w)
	}
	f("/jaeger/api/v3/traces/1", 404, `{"error":{"grpcCode":5,"httpCode":404,"httpStatus":"Not Found","message":"trace 00000000000000000000000000000001: not found"}}`)
	for _, path := range []string{"traces", "traces?query.startTimeMin=x&query.startTimeMax=y", "traces/xyz", "traces/1?end_time=x", "dependencies",
		"traces?query.startTimeMin=2026-01-02T15:04:05Z&query.startTimeMax=2026-01-02T15:04:05Z&query.attributes=x",
		"traces?query.startTimeMin=2026-01-02T15:04:05Z&query.startTimeMax=2026-01-02T15:04:05Z&query.duration_min=x",
		"traces?query.startTimeMin=2026-01-02T15:04:05Z&query.startTimeMax=2026-01-02T15:04:05Z&query.num_traces=x",
		"traces?query.startTimeMin=2026-01-02T15:04:05Z&query.startTimeMax=2026-01-02T15:04:05Z&query.filter={}",
	} {
		if code, body := get(t, h, "/jaeger/api/v3/"+path); code != 400 || !strings.Contains(body, `"grpcCode":3`) {
			t.Errorf("%s: got %d %s", path, code, body)
		}
	}
}

func TestV3Traces(t *testing.T) {
	d, b := newDoor(rich())
	read := func(path string) ptrace.Traces {
		t.Helper()
		code, body := get(t, d.Handler(), path)
		var r struct{ Result json.RawMessage }
		if err := json.Unmarshal([]byte(body), &r); err != nil || code != 200 {
			t.Fatalf("%s: got %d %s", path, code, body)
		}
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(r.Result)
		if err != nil {
			t.Fatal(err)
		}
		return td
	}
	same := func(what string, got ptrace.Traces) {
		t.Helper()
		if diff := cmp.Diff(encode(t, rich()), encode(t, got)); diff != "" {
			t.Errorf("%s is not as stored (-want +got):\n%s", what, diff)
		}
	}
	same("trace", read("/jaeger/api/v3/traces/"+pcommon.TraceID{8: 1, 15: 7}.String()+"?raw_traces=true"))
	for _, path := range []string{
		"/jaeger/api/v3/traces?query.service_name=a&query.operation_name=b&query.start_time_min=2026-03-01T11:00:00Z&query.start_time_max=2026-03-01T12:00:00.5Z" +
			`&query.duration_min=1ms&query.duration_max=1s&query.search_depth=3&query.attributes={"error":"true"}`,
		"/jaeger/api/v3/traces?query.serviceName=a&query.operationName=b&query.startTimeMin=2026-03-01T11:00:00Z&query.startTimeMax=2026-03-01T12:00:00.5Z" +
			`&query.durationMin=1ms&query.durationMax=1s&query.searchDepth=3&query.attributes={"error":"true"}`,
	} {
		same("search", read(path))
		want := query.Window{Start: noon.Add(-time.Hour), End: noon.Add(500 * time.Millisecond), Filter: "service.name = a and name = b and duration >= 1ms and duration <= 1s and status = error"}
		if diff := cmp.Diff(want, b.windows[len(b.windows)-1]); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	empty, _ := newDoor()
	code, body := get(t, empty.Handler(), "/jaeger/api/v3/traces?query.startTimeMin=2026-03-01T11:00:00Z&query.startTimeMax=2026-03-01T12:00:00Z")
	if code != 404 || !strings.Contains(body, "No traces found") {
		t.Errorf("nothing found: got %d %s", code, body)
	}
}

// encode lists spans with their resources in a form to compare.
func encode(t *testing.T, td ptrace.Traces) (out []string) {
	t.Helper()
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				one := ptrace.NewTraces()
				r := one.ResourceSpans().AppendEmpty()
				rs.Resource().CopyTo(r.Resource())
				to := r.ScopeSpans().AppendEmpty()
				ss.Scope().CopyTo(to.Scope())
				s.CopyTo(to.Spans().AppendEmpty())
				b, err := (&ptrace.JSONMarshaler{}).MarshalTraces(one)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, string(b))
			}
		}
	}
	slices.Sort(out)
	return out
}

// dial serves d the way the server does, over HTTP/2 without TLS, and returns
// a client.
func dial(t *testing.T, d *Door) apiv3.QueryServiceClient {
	t.Helper()
	s := grpc.NewServer()
	d.Register(s)
	srv := httptest.NewUnstartedServer(s)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	conn, err := grpc.NewClient(srv.Listener.Addr().(*net.TCPAddr).String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return apiv3.NewQueryServiceClient(conn)
}

// drain reads a stream of parts as one, and counts the parts.
func drain(t *testing.T, stream grpc.ServerStreamingClient[apiv3.TracesData], err error) (ptrace.Traces, int, error) {
	t.Helper()
	all, parts := ptrace.NewTraces(), 0
	if err != nil {
		return all, 0, err
	}
	for {
		msg, err := stream.Recv()
		if err == io.EOF {
			return all, parts, nil
		}
		if err != nil {
			return all, parts, err
		}
		raw, err := proto.Marshal(msg)
		if err != nil {
			t.Fatal(err)
		}
		td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(raw)
		if err != nil {
			t.Fatal(err)
		}
		parts++
		td.ResourceSpans().MoveAndAppendTo(all.ResourceSpans())
	}
}

func TestGRPC(t *testing.T) {
	d, b := newDoor(many(3)...)
	c := dial(t, d)
	services, err := c.GetServices(t.Context(), &apiv3.GetServicesRequest{})
	if err != nil || !slices.Equal(services.Services, []string{"gate", "order"}) {
		t.Errorf("services: got %v, %v", services, err)
	}
	ops, err := c.GetOperations(t.Context(), &apiv3.GetOperationsRequest{Service: "order/1", SpanKind: "server"})
	if err != nil || len(ops.Operations) != 2 || ops.Operations[0].Name != "add" {
		t.Errorf("operations: got %v, %v", ops, err)
	}
	start, end := timestamppb.New(noon.Add(-time.Hour)), timestamppb.New(noon)
	deps, err := c.GetDependencies(t.Context(), &apiv3.GetDependenciesRequest{StartTime: start, EndTime: end})
	if err != nil || len(deps.Dependencies) != 2 || deps.Dependencies[0].CallCount != 4 {
		t.Errorf("dependencies: got %v, %v", deps, err)
	}
	stream, err := c.GetTrace(t.Context(), &apiv3.GetTraceRequest{TraceId: b.order[1].String()})
	td, parts, err := drain(t, stream, err)
	if diff := cmp.Diff(encode(t, b.traces[b.order[1]]), encode(t, td)); diff != "" || err != nil || parts != 1 {
		t.Errorf("trace: %d parts, %v (-want +got):\n%s", parts, err, diff)
	}
	q := &apiv3.TraceQueryParameters{ServiceName: "a", OperationName: "b", Attributes: map[string]string{"k": "v"}, StartTimeMin: start, StartTimeMax: end,
		DurationMin: durationpb.New(time.Millisecond), DurationMax: durationpb.New(time.Second), SearchDepth: 2}
	stream, err = c.FindTraces(t.Context(), &apiv3.FindTracesRequest{Query: q})
	td, parts, err = drain(t, stream, err)
	if err != nil || parts != 2 || td.SpanCount() != 6 {
		t.Errorf("search: got %d parts, %d spans, %v", parts, td.SpanCount(), err)
	}
	want := query.Window{Start: noon.Add(-time.Hour), End: noon, Filter: "service.name = a and name = b and duration >= 1ms and duration <= 1s and k = v"}
	if diff := cmp.Diff(want, b.windows[len(b.windows)-1]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	code := func(stream grpc.ServerStreamingClient[apiv3.TracesData], err error) codes.Code {
		_, _, err = drain(t, stream, err)
		return status.Code(err)
	}
	if got := code(c.GetTrace(t.Context(), &apiv3.GetTraceRequest{TraceId: "1"})); got != codes.NotFound {
		t.Errorf("unknown trace: got %v", got)
	}
	if got := code(c.GetTrace(t.Context(), &apiv3.GetTraceRequest{TraceId: "x"})); got != codes.InvalidArgument {
		t.Errorf("bad trace id: got %v", got)
	}
	if got := code(c.FindTraces(t.Context(), &apiv3.FindTracesRequest{})); got != codes.InvalidArgument {
		t.Errorf("no times: got %v", got)
	}
	q.Filter = []byte{0x0a, 0x02, 'e', 'q'}
	if got := code(c.FindTraces(t.Context(), &apiv3.FindTracesRequest{Query: q})); got != codes.Unimplemented {
		t.Errorf("filter: got %v", got)
	}
	if _, err := c.GetDependencies(t.Context(), &apiv3.GetDependenciesRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("dependencies without times: got %v", err)
	}
	b.fail = context.DeadlineExceeded
	if _, err := c.GetServices(t.Context(), &apiv3.GetServicesRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("timeout: got %v", err)
	}
}

// TestGRPCParts sends a trace that no client would take in one message.
func TestGRPCParts(t *testing.T) {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "big")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("lib")
	for i := range 600 {
		s := ss.Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{0: 9})
		s.SetName(fmt.Sprint(i))
		s.Attributes().PutStr("blob", strings.Repeat("x", 20_000))
	}
	want := ptrace.NewTraces()
	td.CopyTo(want)
	d, _ := newDoor(td)
	stream, err := dial(t, d).GetTrace(t.Context(), &apiv3.GetTraceRequest{TraceId: pcommon.TraceID{0: 9}.String()})
	got, parts, err := drain(t, stream, err)
	if err != nil || parts < 10 {
		t.Fatalf("got %d parts, %v", parts, err)
	}
	if diff := cmp.Diff(encode(t, want), encode(t, got)); diff != "" {
		t.Error("the parts do not make the whole")
	}
}
