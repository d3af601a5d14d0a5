//go:build linux && (amd64 || arm64)

package attach

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

func TestTraces(t *testing.T) {
	start := time.Unix(1000, 0)
	p := kernel.Process{PID: 7, Exe: "/srv/order (deleted)", Container: "0123456789abcdef"}
	base := Span{Trace: [16]byte{1}, ID: [8]byte{2}, Start: start, End: start.Add(time.Second), Process: p}
	with := func(f func(*Span)) Span { s := base; f(&s); return s }
	spans := []Span{
		with(func(s *Span) {
			s.Kind, s.Method, s.Text, s.Route, s.Host, s.Status = HTTPServer, "GET", "/items/7", "GET /items/{id}", "shop:80", 503
			s.Flags, s.Parent, s.Peer = Remote, [8]byte{3}, netip.MustParseAddrPort("10.0.0.1:99")
		}),
		with(func(s *Span) {
			s.Kind, s.Method, s.Text, s.Host, s.Error, s.Flags = HTTPClient, "POST", "/pay", "[::1]:8443", "*net.OpError", TLS
		}),
		with(func(s *Span) { s.Kind, s.Text, s.Status = GRPCServer, "/shop.Stock/Take", 5 }),
		with(func(s *Span) { s.Kind, s.Text, s.Status, s.Host = GRPCClient, "/shop.Stock/Take", 5, "dns:///stock:90" }),
		with(func(s *Span) {
			s.Kind, s.Text, s.Method, s.System = SQL, "SELECT 'it''s', 42, c7 FROM t WHERE n = $1 AND s = 'cu", "SELECT", "*github.com/lib/pq.Driver"
		}),
		with(func(s *Span) { s.Kind, s.Method, s.Host, s.Batch = Redis, "PIPELINE", "127.0.0.1:6379", 3 }),
		with(func(s *Span) { s.Kind, s.Method, s.Text, s.Flags = HTTPServer, "GET", "/ws", Hijacked }),
	}
	td := Traces(Origin{Host: "h", Version: "1"}, spans)
	if td.ResourceSpans().Len() != 1 {
		t.Fatalf("%d resources of one process", td.ResourceSpans().Len())
	}
	rs := td.ResourceSpans().At(0)
	want := map[string]any{"service.name": "order", "service.instance.id": "h/0123456789ab/order", "host.name": "h",
		"container.id": "0123456789abcdef", "process.executable.name": "order", "telemetry.sdk.language": "go"}
	if diff := cmp.Diff(want, rs.Resource().Attributes().AsRaw()); diff != "" {
		t.Error(diff)
	}
	type said struct {
		Name   string
		Kind   ptrace.SpanKind
		Failed bool
		Attrs  map[string]any
	}
	var got []said
	all := rs.ScopeSpans().At(0).Spans()
	for i := range all.Len() {
		s := all.At(i)
		if s.EndTimestamp()-s.StartTimestamp() != 1e9 || s.TraceID() != base.Trace || s.SpanID() != base.ID {
			t.Errorf("span %d: times or ids", i)
		}
		got = append(got, said{s.Name(), s.Kind(), s.Status().Code() == ptrace.StatusCodeError, s.Attributes().AsRaw()})
	}
	if all.At(0).Flags() != 0x301 || all.At(1).Flags() != 0x101 {
		t.Errorf("flags %x, %x", all.At(0).Flags(), all.At(1).Flags())
	}
	server, clientKind := ptrace.SpanKindServer, ptrace.SpanKindClient
	if diff := cmp.Diff([]said{
		{"GET /items/{id}", server, true, map[string]any{"http.request.method": "GET", "url.path": "/items/7", "url.scheme": "http", "http.route": "/items/{id}",
			"server.address": "shop", "server.port": int64(80), "http.response.status_code": int64(503), "error.type": "503",
			"network.peer.address": "10.0.0.1", "network.peer.port": int64(99)}},
		{"POST", clientKind, true, map[string]any{"http.request.method": "POST", "url.path": "/pay", "url.scheme": "https", "server.address": "::1",
			"server.port": int64(8443), "error.type": "*net.OpError"}},
		{"shop.Stock/Take", server, false, map[string]any{"rpc.system": "grpc", "rpc.service": "shop.Stock", "rpc.method": "Take", "rpc.grpc.status_code": int64(5)}},
		{"shop.Stock/Take", clientKind, true, map[string]any{"rpc.system": "grpc", "rpc.service": "shop.Stock", "rpc.method": "Take", "rpc.grpc.status_code": int64(5),
			"server.address": "stock", "server.port": int64(90), "error.type": "5"}},
		{"SELECT", clientKind, false, map[string]any{"db.system.name": "postgresql", "db.operation.name": "SELECT",
			"db.query.text": "SELECT ?, ?, c7 FROM t WHERE n = $1 AND s = ?"}},
		{"PIPELINE", clientKind, false, map[string]any{"db.system.name": "redis", "db.operation.name": "PIPELINE", "db.operation.batch.size": int64(3),
			"server.address": "127.0.0.1", "server.port": int64(6379)}},
		{"GET", server, false, map[string]any{"http.request.method": "GET", "url.path": "/ws", "url.scheme": "http"}},
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReceiver(t *testing.T) {
	for function, want := range map[string]string{
		"net.(*OpError).Error":                                  "*net.OpError",
		"context.deadlineExceededError.Error":                   "context.deadlineExceededError",
		"google.golang.org/grpc/internal/status.(*Error).Error": "*google.golang.org/grpc/internal/status.Error",
		"github.com/lib/pq.Driver.Open":                         "github.com/lib/pq.Driver",
		"main.f":                                                unknownType,
		"x":                                                     unknownType,
	} {
		if got := receiver(function); got != want {
			t.Errorf("receiver(%q) = %q, want %q", function, got, want)
		}
	}
}

func TestCalls(t *testing.T) {
	code := []byte{0x90, 0xe8, 0x0a, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xe8, 0xf0, 0xff, 0xff, 0xff}
	if diff := cmp.Diff([]uint64{101}, callsTo("amd64", code, 100, 116)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]uint64{111}, callsTo("amd64", code, 100, 100)); diff != "" {
		t.Error(diff)
	}
	// bl +8; bl -4
	code = []byte{2, 0, 0, 0x94, 0xff, 0xff, 0xff, 0x97}
	if diff := cmp.Diff([]uint64{100}, callsTo("arm64", code, 100, 108)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]uint64{104}, callsTo("arm64", code, 100, 100)); diff != "" {
		t.Error(diff)
	}
}
