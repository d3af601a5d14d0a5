package otlpgrpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	logscollector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricscollector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // the receiver's
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector's three services. Traces are answered by what tests
// set.
type receiver struct {
	tracecollector.UnimplementedTraceServiceServer
	answer func(context.Context, *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error)

	mu    sync.Mutex
	names map[string]bool // of spans, metrics and log records
	zips  map[string]bool // compressions seen
}

func (r *receiver) Export(ctx context.Context, req *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error) {
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.saw(s.Name)
			}
		}
	}
	if r.answer != nil {
		return r.answer(ctx, req)
	}
	return &tracecollector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) saw(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[name] = true
}

type metrics struct {
	metricscollector.UnimplementedMetricsServiceServer
	*receiver
}

func (m metrics) Export(_ context.Context, req *metricscollector.ExportMetricsServiceRequest) (*metricscollector.ExportMetricsServiceResponse, error) {
	for _, rm := range req.ResourceMetrics {
		for _, sm := range rm.ScopeMetrics {
			for _, metric := range sm.Metrics {
				m.saw(metric.Name)
			}
		}
	}
	return &metricscollector.ExportMetricsServiceResponse{}, nil
}

type logs struct {
	logscollector.UnimplementedLogsServiceServer
	*receiver
}

func (l logs) Export(_ context.Context, req *logscollector.ExportLogsServiceRequest) (*logscollector.ExportLogsServiceResponse, error) {
	for _, rl := range req.ResourceLogs {
		for _, sl := range rl.ScopeLogs {
			for _, r := range sl.LogRecords {
				l.saw(r.Body.GetStringValue())
			}
		}
	}
	return &logscollector.ExportLogsServiceResponse{}, nil
}

// Compressions are seen by gRPC alone.
func (r *receiver) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (r *receiver) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (r *receiver) HandleConn(context.Context, stats.ConnStats)                       {}
func (r *receiver) HandleRPC(_ context.Context, s stats.RPCStats) {
	if h, ok := s.(*stats.InHeader); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.zips[h.Compression] = true
	}
}

func receive(t *testing.T, opts ...grpc.ServerOption) (*receiver, string) {
	t.Helper()
	r := &receiver{names: map[string]bool{}, zips: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(append(opts, grpc.StatsHandler(r), grpc.WaitForHandlers(true))...)
	tracecollector.RegisterTraceServiceServer(g, r)
	metricscollector.RegisterMetricsServiceServer(g, metrics{receiver: r})
	logscollector.RegisterLogsServiceServer(g, logs{receiver: r})
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return r, l.Addr().String()
}

// All three signals of a running SDK, configured by the environment as services
// are.
func TestSDK(t *testing.T) {
	for _, zip := range []string{"none", "gzip"} {
		t.Run(zip, func(t *testing.T) {
			r, addr := receive(t)
			for k, v := range map[string]string{"PROTOCOL": "grpc", "ENDPOINT": "http://" + addr, "COMPRESSION": zip, "HEADERS": "X-Tenant=7"} {
				t.Setenv("OTEL_EXPORTER_OTLP_"+k, v)
			}
			r.answer = func(ctx context.Context, _ *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error) {
				if md, _ := metadata.FromIncomingContext(ctx); strings.Join(md["x-tenant"], ",") != "7" || !strings.HasPrefix(md["user-agent"][0], "Guanlan-SDK-Go") || md["content-type"][0] != "application/grpc+proto" {
					t.Errorf("metadata %v", map[string][]string(md))
				}
				return &tracecollector.ExportTraceServiceResponse{}, nil
			}
			s, err := sdk.Start(t.Context(), sdk.Options{Sampler: core.NewByThreshold(1), Failed: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, span := s.TracerProvider().Tracer("t").Start(t.Context(), "a span")
			slog.New(s.LogHandler(nil)).InfoContext(ctx, "a record")
			span.End()
			s.HTTPServer().Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			if err := s.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"a span", "GET", "a record", "http.server.request.duration"} {
				if !r.names[want] {
					t.Errorf("%q was not received, but %v", want, r.names)
				}
			}
			if !r.zips[map[string]string{"none": "", "gzip": "gzip"}[zip]] || len(r.zips) != 1 {
				t.Errorf("compressions %v, want %s", r.zips, zip)
			}
			if st := s.Stats(); st.Spans.Sent != 2 || st.Spans.Rejected+st.Spans.Failed+st.Logs.Failed != 0 {
				t.Errorf("stats %+v", st)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func newSender(t *testing.T, opts core.SenderOptions) *Sender {
	t.Helper()
	s, err := NewSender("traces", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestPartialSuccess(t *testing.T) {
	r, addr := receive(t)
	r.answer = func(context.Context, *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error) {
		return &tracecollector.ExportTraceServiceResponse{PartialSuccess: &tracecollector.ExportTracePartialSuccess{RejectedSpans: 3, ErrorMessage: "too old"}}, nil
	}
	if rejected, err := newSender(t, core.SenderOptions{URL: "http://" + addr}).Send(t.Context(), nil, 10); rejected != 3 || err != nil {
		t.Errorf("rejected %d, error %v, want 3", rejected, err)
	}
}

// The policy of OTLP, code by code.
func TestRetries(t *testing.T) {
	again := map[codes.Code]bool{codes.Canceled: true, codes.DeadlineExceeded: true, codes.Aborted: true, codes.OutOfRange: true, codes.Unavailable: true, codes.DataLoss: true}
	s := newSender(t, core.SenderOptions{URL: "http://127.0.0.1:1"})
	var retryable *core.Retryable
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		if got := errors.As(s.refused(status.Error(code, "x")), &retryable); got != again[code] {
			t.Errorf("%v is tried again: %v", code, got)
		}
	}
	with, err := status.New(codes.ResourceExhausted, "x").WithDetails(&errdetails.RequestInfo{}, &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.As(s.refused(with.Err()), &retryable) || retryable.After != 1500*time.Millisecond {
		t.Errorf("with a RetryInfo: %+v", retryable)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if began := time.Now(); second(s.Send(t.Context(), nil, 1)) == nil || time.Since(began) > 5*time.Second {
		t.Error("a closed sender sends or waits")
	}
}

func TestTriesAgain(t *testing.T) {
	r, addr := receive(t)
	body := bytes.Repeat([]byte{0x0a, 0}, 4) // four empty ResourceSpans
	var sizes []int
	r.answer = func(_ context.Context, req *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error) {
		if sizes = append(sizes, len(req.ResourceSpans)); len(sizes) == 1 {
			return nil, status.Error(codes.Unavailable, "starting")
		}
		return &tracecollector.ExportTraceServiceResponse{}, nil
	}
	s := newSender(t, core.SenderOptions{URL: "http://" + addr})
	if _, err := s.Send(t.Context(), body, 4); err != nil || len(sizes) != 2 || sizes[1] != 4 {
		t.Errorf("tries with %v, error %v, want two with 4", sizes, err)
	}
	r.answer = func(context.Context, *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error) {
		return nil, status.Error(codes.InvalidArgument, "no "+strings.Repeat("x", 1000))
	}
	if _, err := s.Send(t.Context(), body, 4); err == nil || !strings.Contains(err.Error(), "InvalidArgument: \"no x") || len(err.Error()) > 400 {
		t.Errorf("error %v", err)
	}
}

// A receiver that does not answer costs a timeout, one that is not there no
// more than the time to give up; and both end with the context.
func TestTimeouts(t *testing.T) {
	r, addr := receive(t)
	r.answer = func(ctx context.Context, _ *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, url := range []string{"http://" + addr, "http://127.0.0.1:1"} {
		s := newSender(t, core.SenderOptions{URL: url, Timeout: 20 * time.Millisecond, GiveUp: time.Millisecond})
		if _, err := s.Send(t.Context(), make([]byte, 1<<20)[:0], 1); err == nil || !strings.Contains(err.Error(), "give up after") {
			t.Errorf("error %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s = newSender(t, core.SenderOptions{URL: url})
		if _, err := s.Send(ctx, nil, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
}

// gRPC may still be writing a body when its call was given up: changing it then
// must not be a race.
func TestBodyIsTheCallersAgain(t *testing.T) {
	_, addr := receive(t)
	s := newSender(t, core.SenderOptions{URL: "http://" + addr})
	body := append([]byte{0x0a, 0x80, 0x80, 0x80, 0x01}, make([]byte, 2<<20)...) // larger than what flows without a window update
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, _ = s.Send(ctx, body, 1)
		cancel()
		for i := range body {
			body[i] = byte(i)
		}
	}
}

func TestTLS(t *testing.T) {
	certs := httptest.NewTLSServer(nil) // for its certificate
	defer certs.Close()
	r, addr := receive(t, grpc.Creds(credentials.NewServerTLSFromCert(&certs.TLS.Certificates[0])))
	secure := false
	r.answer = func(ctx context.Context, _ *tracecollector.ExportTraceServiceRequest) (*tracecollector.ExportTraceServiceResponse, error) {
		p, _ := peer.FromContext(ctx)
		secure = p.AuthInfo.AuthType() == "tls"
		return &tracecollector.ExportTraceServiceResponse{}, nil
	}
	roots := x509.NewCertPool()
	roots.AddCert(certs.Certificate())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	if _, err := newSender(t, core.SenderOptions{URL: "https://" + addr, Client: client}).Send(t.Context(), nil, 1); err != nil || !secure {
		t.Errorf("secure %v, error %v", secure, err)
	}
	secure = false
	if _, err := newSender(t, core.SenderOptions{URL: "https://" + addr, TLS: &tls.Config{RootCAs: roots}}).Send(t.Context(), nil, 1); err != nil || !secure {
		t.Errorf("by TLS of the options: secure %v, error %v", secure, err)
	}
	if _, err := newSender(t, core.SenderOptions{URL: "https://" + addr, GiveUp: 1}).Send(t.Context(), nil, 1); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an authority that nobody knows: error %v", err)
	}
}

func TestNewSender(t *testing.T) {
	for _, url := range []string{"", "nowhere", "ftp://a", "http://", "http://user:hunter2@%zz"} {
		if _, err := NewSender("logs", core.SenderOptions{URL: url}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: error %v", url, err)
		}
	}
	if _, err := NewSender("profiles", core.SenderOptions{URL: "http://a"}); err == nil {
		t.Error("a signal that is none")
	}
	for url, want := range map[string]string{"http://a": "a:4317", "https://a:1/v1/traces": "a:1", "http://[::1]": "[::1]:4317"} {
		s, err := NewSender("logs", core.SenderOptions{URL: url})
		if err != nil {
			t.Error(err)
			continue
		}
		if got := s.conn.Target(); got != want {
			t.Errorf("%s leads to %s, want %s", url, got, want)
		}
		_ = s.Close()
	}
}

func second(_ int, err error) error { return err }
