package sdkgrpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	metricscollector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// received is what an SDK has sent.
type received struct {
	mu     sync.Mutex
	spans  []*tracepb.Span
	counts map[string]uint64 // by metric, method, code and what else is there
}

// start starts an SDK. The function that is returned shuts it down and gives
// what it has sent.
func start(t testing.TB, sampled float64) func() *received {
	t.Helper()
	got := &received{counts: map[string]uint64{}}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if err := got.add(r.URL.Path, body); err != nil {
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
				r.spans = append(r.spans, ss.Spans...)
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
						key := strings.Join([]string{metric.Name, a["rpc.method"], a["rpc.response.status_code"], a["error.type"]}, " ")
						r.counts[strings.TrimSpace(key)] = p.Count
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
		if all[kv.Key] = kv.Value.GetStringValue(); all[kv.Key] == "" {
			all[kv.Key] = strings.TrimSpace(kv.Value.String())
		}
	}
	return all
}

// of gives the spans of a kind, in the order of their end.
func (r *received) of(kind tracepb.Span_SpanKind) (spans []*tracepb.Span) {
	for _, s := range r.spans {
		if s.Kind == kind {
			spans = append(spans, s)
		}
	}
	return spans
}

const (
	serverSide = tracepb.Span_SPAN_KIND_SERVER
	clientSide = tracepb.Span_SPAN_KIND_CLIENT
)

// service answers with the status that it is asked for; what it does before that
// tests set.
type service struct {
	testpb.UnimplementedTestServiceServer
	unary  func(context.Context) error
	duplex func(grpc.ServerStream) error
}

func (s *service) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s.unary != nil {
		if err := s.unary(ctx); err != nil {
			return nil, err
		}
	}
	if c := r.GetResponseStatus(); c.GetCode() != 0 {
		return nil, status.Error(codes.Code(c.Code), c.Message)
	}
	return &testpb.SimpleResponse{}, nil
}

func (s *service) StreamingInputCall(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	n := int32(0)
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: n})
		} else if err != nil {
			return err
		}
		n++
	}
}

func (s *service) StreamingOutputCall(r *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for range r.ResponseParameters {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	if s.duplex != nil {
		return s.duplex(stream)
	}
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
}

// serve serves over loopback until the test ends or stop is called, which waits
// for the handlers.
func serve(t testing.TB, s testpb.TestServiceServer, opts ...grpc.ServerOption) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(append(opts, grpc.WaitForHandlers(true))...)
	testpb.RegisterTestServiceServer(g, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	stop = sync.OnceFunc(func() { g.Stop(); <-done })
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func dial(t testing.TB, target string, opts ...grpc.DialOption) (testpb.TestServiceClient, *grpc.ClientConn) {
	t.Helper()
	cc, err := grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return testpb.NewTestServiceClient(cc), cc
}

// pair is a server and a client, both instrumented.
func pair(t testing.TB, s testpb.TestServiceServer) (c testpb.TestServiceClient, cc *grpc.ClientConn, stop func()) {
	addr, stop := serve(t, s, ServerOptions()...)
	c, cc = dial(t, addr, DialOptions()...)
	return c, cc, stop
}
