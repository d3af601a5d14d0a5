package stocktest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/alicebob/miniredis/v2"
	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/bridges/otelzap"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	_ "modernc.org/sqlite"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// service is an SDK that runs, with instrumentation by others on it, and what a
// receiver gets of it.
type service struct {
	*sdk.SDK
	t    *testing.T
	r    *receiver
	ctx  context.Context // within root
	root trace.Span
}

func newService(t *testing.T) *service {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // when all others are through
	r := newReceiver(t)
	s, err := sdk.Start(t.Context(), sdk.Options{ServiceName: "shop", Endpoint: r.URL, Sampler: core.NewByThreshold(1), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	ctx, root := s.TracerProvider().Tracer("test").Start(context.Background(), "root")
	return &service{SDK: s, t: t, r: r, ctx: ctx, root: root}
}

// end ends the root and shuts down: everything is at the receiver.
func (s *service) end() {
	s.t.Helper()
	s.root.End()
	if err := s.Shutdown(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

// span finds the span of a name and kind that somebody's instrumentation made.
func (s *service) span(name string, kind tracepb.Span_SpanKind) *tracepb.Span {
	s.t.Helper()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	var names []string
	for _, r := range s.r.spans {
		for _, scope := range r.ScopeSpans {
			for _, sp := range scope.Spans {
				if sp.Name == name && sp.Kind == kind {
					return sp
				}
				names = append(names, fmt.Sprint(sp.Name, " ", sp.Kind))
			}
		}
	}
	s.t.Fatalf("no span %s of kind %v among %q", name, kind, names)
	return nil
}

// within checks that a span is a child of another.
func (s *service) within(parent, child *tracepb.Span) {
	s.t.Helper()
	if string(child.TraceId) != string(parent.TraceId) || string(child.ParentSpanId) != string(parent.SpanId) {
		s.t.Errorf("span %s: trace %x, parent %x; want those of %s: %x, %x", child.Name, child.TraceId, child.ParentSpanId, parent.Name, parent.TraceId, parent.SpanId)
	}
}

// metric finds a metric of a scope.
func (s *service) metric(scope, name string) *metricspb.Metric {
	s.t.Helper()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	var names []string
	for _, r := range s.r.metrics {
		for _, sc := range r.ScopeMetrics {
			for _, m := range sc.Metrics {
				if sc.Scope.Name == scope && m.Name == name {
					return m
				}
				names = append(names, sc.Scope.Name+" "+m.Name)
			}
		}
	}
	s.t.Fatalf("no metric %s of %s among %q", name, scope, names)
	return nil
}

// durations checks that a histogram of a scope counted something, with an
// exemplar of the trace, and returns its points.
func (s *service) durations(scope, name string) []*metricspb.HistogramDataPoint {
	s.t.Helper()
	m := s.metric(scope, name)
	points := m.GetHistogram().GetDataPoints()
	if len(points) == 0 || points[0].Count == 0 || points[0].GetSum() <= 0 {
		s.t.Fatalf("metric %s counted nothing: %v", name, m)
	}
	id := s.root.SpanContext().TraceID()
	for _, p := range points {
		for _, x := range p.Exemplars {
			if string(x.TraceId) == string(id[:]) {
				return points
			}
		}
	}
	s.t.Errorf("metric %s has no exemplar of trace %v: %v", name, id, points)
	return points
}

// record finds a log record by its body.
func (s *service) record(body string) (*logspb.LogRecord, string) {
	s.t.Helper()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, r := range s.r.logs {
		for _, scope := range r.ScopeLogs {
			for _, l := range scope.LogRecords {
				if l.Body.GetStringValue() == body {
					return l, scope.Scope.Name
				}
			}
		}
	}
	s.t.Fatalf("no log record %q", body)
	return nil, ""
}

func (s *service) inSpan(l *logspb.LogRecord, sp *tracepb.Span) {
	s.t.Helper()
	if string(l.TraceId) != string(sp.TraceId) || string(l.SpanId) != string(sp.SpanId) || l.Flags&1 == 0 {
		s.t.Errorf("record %v: trace %x, span %x, flags %x; want those of span %s: %x, %x", l.Body, l.TraceId, l.SpanId, l.Flags, sp.Name, sp.TraceId, sp.SpanId)
	}
}

func valueOf(attrs []*commonpb.KeyValue, key string) *commonpb.AnyValue {
	for _, a := range attrs {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}

func TestOtelhttp(t *testing.T) {
	s := newService(t)
	log := otelslog.NewLogger("shop", otelslog.WithLoggerProvider(s.LoggerProvider()))
	opts := []otelhttp.Option{otelhttp.WithTracerProvider(s.TracerProvider()), otelhttp.WithMeterProvider(s.MeterProvider()), otelhttp.WithPropagators(sdk.Propagator{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		log.InfoContext(r.Context(), "order asked for", "id", r.PathValue("id"))
		io.WriteString(w, "one order")
	})
	server := httptest.NewServer(otelhttp.NewHandler(mux, "server", opts...))
	defer server.Close()
	client := &http.Client{Transport: otelhttp.NewTransport(&http.Transport{DisableKeepAlives: true}, opts...)}
	req, _ := http.NewRequestWithContext(s.ctx, "GET", server.URL+"/orders/7", nil)
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "one order" {
		t.Errorf("answer %q, %v", body, err)
	}
	res.Body.Close()
	server.Close() // the handler has returned, and its span has ended
	s.end()

	root := s.span("root", tracepb.Span_SPAN_KIND_INTERNAL)
	call := s.span("HTTP GET", tracepb.Span_SPAN_KIND_CLIENT)
	serve := s.span("GET /orders/{id}", tracepb.Span_SPAN_KIND_SERVER)
	s.within(root, call)
	s.within(call, serve)
	if code := valueOf(serve.Attributes, "http.response.status_code"); code.GetIntValue() != 200 {
		t.Errorf("status %v", code)
	}
	const scope = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	p := s.durations(scope, "http.server.request.duration")
	if route := valueOf(p[0].Attributes, "http.route"); route.GetStringValue() != "/orders/{id}" && route.GetStringValue() != "GET /orders/{id}" {
		t.Errorf("route of the metric %v", p[0].Attributes)
	}
	s.durations(scope, "http.client.request.duration")
	if l, scope := s.record("order asked for"); scope != "shop" || l.SeverityNumber != logspb.SeverityNumber_SEVERITY_NUMBER_INFO || valueOf(l.Attributes, "id").GetStringValue() != "7" {
		t.Errorf("record %v of %s", l, scope)
	} else {
		s.inSpan(l, serve)
	}
}

func TestOtelgrpc(t *testing.T) {
	s := newService(t)
	opts := []otelgrpc.Option{otelgrpc.WithTracerProvider(s.TracerProvider()), otelgrpc.WithMeterProvider(s.MeterProvider()), otelgrpc.WithPropagators(sdk.Propagator{})}
	server := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler(opts...)))
	healthy := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, healthy)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(otelgrpc.NewClientHandler(opts...)))
	if err != nil {
		t.Fatal(err)
	}
	client := grpc_health_v1.NewHealthClient(conn)
	if _, err := client.Check(s.ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := client.Check(s.ctx, &grpc_health_v1.HealthCheckRequest{Service: "unknown"}); err == nil {
		t.Error("an unknown service is healthy")
	}
	conn.Close()
	server.GracefulStop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	s.end()

	const name = "grpc.health.v1.Health/Check"
	root := s.span("root", tracepb.Span_SPAN_KIND_INTERNAL)
	call := s.span(name, tracepb.Span_SPAN_KIND_CLIENT)
	s.within(root, call)
	s.within(call, s.serverOf(call))
	const scope = "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	if p := s.durations(scope, "rpc.server.call.duration"); len(p) != 2 {
		t.Errorf("%d series, want one of each status: %v", len(p), p)
	}
	s.durations(scope, "rpc.client.call.duration")
}

// serverOf finds the span of a server that a client called.
func (s *service) serverOf(call *tracepb.Span) *tracepb.Span {
	s.t.Helper()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, r := range s.r.spans {
		for _, scope := range r.ScopeSpans {
			for _, sp := range scope.Spans {
				if string(sp.ParentSpanId) == string(call.SpanId) && sp.Kind == tracepb.Span_SPAN_KIND_SERVER {
					return sp
				}
			}
		}
	}
	s.t.Fatalf("nobody served the call %v", call)
	return nil
}

func TestOtelgin(t *testing.T) {
	s := newService(t)
	gin.SetMode(gin.ReleaseMode)
	zapper := zap.New(otelzap.NewCore("shop", otelzap.WithLoggerProvider(s.LoggerProvider())))
	e := gin.New()
	e.Use(otelgin.Middleware("shop", otelgin.WithTracerProvider(s.TracerProvider()), otelgin.WithMeterProvider(s.MeterProvider()), otelgin.WithPropagators(sdk.Propagator{})))
	e.GET("/orders/:id", func(c *gin.Context) {
		zapper.Error("no such order", zap.Any("context", c.Request.Context()), zap.String("id", c.Param("id")), zap.Ints("tried", []int{1, 2}), zap.Error(errors.New("not found")))
		c.String(http.StatusNotFound, "none")
	})
	server := httptest.NewServer(e)
	defer server.Close()
	req, _ := http.NewRequest("GET", server.URL+"/orders/7", nil)
	sdk.Propagator{}.Inject(s.ctx, propagation.HeaderCarrier(req.Header))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	server.Close()
	s.end()

	serve := s.span("GET /orders/:id", tracepb.Span_SPAN_KIND_SERVER)
	s.within(s.span("root", tracepb.Span_SPAN_KIND_INTERNAL), serve)
	s.durations("go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin", "http.server.request.duration")
	l, scope := s.record("no such order")
	s.inSpan(l, serve)
	if scope != "shop" || l.SeverityNumber != logspb.SeverityNumber_SEVERITY_NUMBER_ERROR || valueOf(l.Attributes, "id").GetStringValue() != "7" || len(valueOf(l.Attributes, "tried").GetArrayValue().GetValues()) != 2 {
		t.Errorf("record %v of %s", l, scope)
	}
}

func TestOtelsql(t *testing.T) {
	s := newService(t)
	opts := []otelsql.Option{otelsql.WithTracerProvider(s.TracerProvider()), otelsql.WithMeterProvider(s.MeterProvider())}
	db, err := otelsql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "shop.db"), opts...)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := otelsql.RegisterDBStatsMetrics(db, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(s.ctx, "CREATE TABLE orders (id INTEGER)"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(s.ctx, "SELECT count(*) FROM orders").Scan(&n); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil { // while the statistics are observed
		t.Fatal(err)
	}
	const scope = "github.com/XSAM/otelsql"
	if p := s.metric(scope, "db.sql.connection.max_open").GetGauge().GetDataPoints(); len(p) != 1 {
		t.Errorf("statistics of the pool: %v", p)
	}
	s.durations(scope, "db.client.operation.duration")
	if err := stats.Unregister(); err != nil {
		t.Error(err)
	}
	db.Close()
	s.end()
	root := s.span("root", tracepb.Span_SPAN_KIND_INTERNAL)
	s.within(root, s.span("sql.conn.exec", tracepb.Span_SPAN_KIND_CLIENT))
	query := s.span("sql.conn.query", tracepb.Span_SPAN_KIND_CLIENT)
	s.within(root, query)
	if text := valueOf(query.Attributes, "db.query.text"); text.GetStringValue() != "SELECT count(*) FROM orders" {
		t.Errorf("attributes of the query %v", query.Attributes)
	}
	for _, r := range s.r.metrics {
		for _, sc := range r.ScopeMetrics {
			for _, m := range sc.Metrics {
				if m.Name == "db.sql.connection.max_open" {
					t.Errorf("the statistics are sent after they were unregistered: %v", m)
				}
			}
		}
	}
}

func TestRedisotel(t *testing.T) {
	s := newService(t)
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	if err := errors.Join(redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(s.TracerProvider())), redisotel.InstrumentMetrics(client, redisotel.WithMeterProvider(s.MeterProvider()))); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(s.ctx, "order", "7", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	const scope = "github.com/redis/go-redis/extra/redisotel"
	if p := s.metric(scope, "db.client.connections.usage").GetSum(); p.GetIsMonotonic() || len(p.GetDataPoints()) != 2 {
		t.Errorf("connections, used and idle: %v", p)
	}
	s.durations(scope, "db.client.connections.use_time")
	client.Close()
	s.end()
	s.within(s.span("root", tracepb.Span_SPAN_KIND_INTERNAL), s.span("set", tracepb.Span_SPAN_KIND_CLIENT))
}

func TestContribRuntime(t *testing.T) {
	s := newService(t)
	if err := runtime.Start(runtime.WithMeterProvider(s.MeterProvider())); err != nil {
		t.Fatal(err)
	}
	s.end()
	const scope = "go.opentelemetry.io/contrib/instrumentation/runtime"
	if p := s.metric(scope, "go.memory.used").GetSum().GetDataPoints(); len(p) != 2 || p[0].GetAsInt() <= 0 || p[1].GetAsInt() <= 0 {
		t.Errorf("memory, of stacks and other: %v", p)
	}
	if sum := s.metric(scope, "go.memory.allocated").GetSum(); !sum.GetIsMonotonic() || len(sum.DataPoints) != 1 || sum.DataPoints[0].GetAsInt() <= 0 {
		t.Errorf("allocated memory: %v", sum)
	}
	if p := s.metric(scope, "go.goroutine.count").GetSum().GetDataPoints(); len(p) != 1 || p[0].GetAsInt() < 2 {
		t.Errorf("goroutines: %v", p)
	}
}

// What bridges log in the same span has its ids, whatever its form.
func TestLogBridges(t *testing.T) {
	s := newService(t)
	slogger := slog.New(otelslog.NewHandler("slog", otelslog.WithLoggerProvider(s.LoggerProvider()), otelslog.WithVersion("1.2")))
	slogger.WarnContext(s.ctx, "by slog", slog.Group("order", "id", 7, "tags", []string{"a"}), "err", errors.New("no"))
	zapper := zap.New(otelzap.NewCore("zap", otelzap.WithLoggerProvider(s.LoggerProvider())))
	zapper.With(zap.Any("context", s.ctx)).Info("by zap", zap.Namespace("order"), zap.Int("id", 7))
	slogger.Info("outside")
	s.end()
	root := s.span("root", tracepb.Span_SPAN_KIND_INTERNAL)
	l, scope := s.record("by slog")
	s.inSpan(l, root)
	if order := valueOf(l.Attributes, "order").GetKvlistValue().GetValues(); scope != "slog" || valueOf(order, "id").GetIntValue() != 7 || l.SeverityText != "WARN" {
		t.Errorf("record %v of %s", l, scope)
	}
	l, scope = s.record("by zap")
	s.inSpan(l, root)
	if order := valueOf(l.Attributes, "order").GetKvlistValue().GetValues(); scope != "zap" || valueOf(order, "id").GetIntValue() != 7 {
		t.Errorf("record %v of %s", l, scope)
	}
	if l, _ := s.record("outside"); len(l.TraceId)+len(l.SpanId) > 0 {
		t.Errorf("outside of a span: %v", l)
	}
	if slogger.Enabled(s.ctx, slog.LevelError) {
		t.Error("enabled after Shutdown")
	}
}
