package stocktest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	stockmetric "go.opentelemetry.io/otel/sdk/metric"
	stock "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
	sdkgin "github.com/guanlan-io/guanlan/sdk/gin"
	sdkgrpc "github.com/guanlan-io/guanlan/sdk/grpc"
)

// ours starts our SDK, with a receiver that takes all.
func ours(t testing.TB, sampled float64) {
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s, err := sdk.Start(context.Background(), sdk.Options{Endpoint: sink.URL, Sampler: core.NewByThreshold(sampled)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown(context.Background()); sink.Close() })
}

// theirs are the providers of OpenTelemetry's SDK; spans that are kept are
// dropped when they end.
func theirs(sampled float64) (*stock.TracerProvider, *stockmetric.MeterProvider, propagation.TextMapPropagator) {
	return stock.NewTracerProvider(stock.WithSampler(stock.ParentBased(stock.TraceIDRatioBased(sampled)))),
		stockmetric.NewMeterProvider(stockmetric.WithReader(stockmetric.NewManualReader())),
		propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

type empty struct {
	testpb.UnimplementedTestServiceServer
}

func (empty) UnaryCall(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{}, nil
}

// unary is a call over loopback. One with a trace has metadata of its own, as
// in life: what is always the same HPACK makes a byte of.
func unary(t testing.TB, server []grpc.ServerOption, client []grpc.DialOption, traced bool) func() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(server...)
	testpb.RegisterTestServiceServer(g, empty{})
	go func() { _ = g.Serve(l) }()
	cc, err := grpc.NewClient(l.Addr().String(), append(client, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close(); g.Stop() })
	c := testpb.NewTestServiceClient(cc)
	var contexts [1024]context.Context
	for i := range contexts {
		if contexts[i] = context.Background(); traced {
			sc := core.SpanContext{TraceID: core.NewTraceID(), SpanID: core.NewSpanID()}
			contexts[i] = metadata.AppendToOutgoingContext(contexts[i], "traceparent", string(core.AppendTraceparent(nil, &sc)))
		}
	}
	n, req := 0, &testpb.SimpleRequest{}
	return func() {
		n++
		if _, err := c.UnaryCall(contexts[n%len(contexts)], req); err != nil {
			t.Fatal(err)
		}
	}
}

// rpcs are a bare call and one that is instrumented at one end by each. All carry
// a traceparent: what its way over the wire costs is not the instrumentation's.
func rpcs(t testing.TB) map[string]func() {
	ours(t, 0.01)
	tp, mp, p := theirs(0.01)
	stockOpts := []otelgrpc.Option{otelgrpc.WithTracerProvider(tp), otelgrpc.WithMeterProvider(mp), otelgrpc.WithPropagators(p)}
	return map[string]func(){
		"server/bare":  unary(t, nil, nil, true),
		"server/ours":  unary(t, sdkgrpc.ServerOptions(), nil, true),
		"server/stock": unary(t, []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(stockOpts...))}, nil, true),
		"client/bare":  unary(t, nil, nil, true),
		"client/ours":  unary(t, nil, sdkgrpc.DialOptions(), false),
		"client/stock": unary(t, nil, []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(stockOpts...))}, false),
	}
}

func gins(t testing.TB) map[string]func() {
	gin.SetMode(gin.TestMode)
	ours(t, 0.01)
	tp, mp, p := theirs(0.01)
	serve := func(use ...gin.HandlerFunc) func() {
		r := gin.New()
		r.Use(use...)
		r.GET("/orders/:id", func(c *gin.Context) { c.Status(http.StatusNoContent) })
		req := httptest.NewRequest("GET", "/orders/4711", nil)
		w := httptest.NewRecorder()
		return func() { r.ServeHTTP(w, req) }
	}
	return map[string]func(){
		"bare": serve(), "ours": serve(sdkgin.Middleware()),
		"stock": serve(otelgin.Middleware("shop", otelgin.WithTracerProvider(tp), otelgin.WithMeterProvider(mp), otelgin.WithPropagators(p))),
	}
}

// Allocations are exact, so they can be promised: what we add is at most a fifth
// of what the stock instrumentation adds.
func TestAllocations(t *testing.T) {
	for name, runs := range map[string]map[string]func(){"gRPC": rpcs(t), "gin": gins(t)} {
		for _, side := range []string{"server/", "client/", ""} {
			if runs[side+"bare"] == nil {
				continue
			}
			n := map[string]float64{}
			for _, who := range []string{"bare", "ours", "stock"} {
				run := runs[side+who]
				for range 100 {
					run()
				}
				n[who] = testing.AllocsPerRun(500, run)
			}
			added, stock := n["ours"]-n["bare"], n["stock"]-n["bare"]
			t.Logf("%s %s: we add %.0f allocations, the stock instrumentation %.0f", name, side, added, stock)
			if added*5 > stock {
				t.Errorf("%s %s: we add %.0f allocations, more than a fifth of %.0f", name, side, added, stock)
			}
		}
	}
}

func benchmark(b *testing.B, runs map[string]func()) {
	for name, run := range runs {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := cpu()
			for b.Loop() {
				run()
			}
			b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op") // of both ends
		})
	}
}

// cpu is what the process has used, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkGRPC(b *testing.B) { benchmark(b, rpcs(b)) }
func BenchmarkGin(b *testing.B)  { benchmark(b, gins(b)) }
