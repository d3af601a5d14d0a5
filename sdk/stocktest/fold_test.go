package stocktest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/alicebob/miniredis/v2"
	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
	sdkgrpc "github.com/guanlan-io/guanlan/sdk/grpc"
	sdkredis "github.com/guanlan-io/guanlan/sdk/redis"
)

// tree is the spans below root, as text: kind, name, scope's last part, and what
// is in them.
func (s *service) tree() []string {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	type node struct{ id, parent, text string }
	var all []node
	for _, r := range s.r.spans {
		for _, scope := range r.ScopeSpans {
			for _, sp := range scope.Spans {
				text := fmt.Sprintf("%s %d %s", filepath.Base(scope.Scope.Name), sp.Kind, sp.Name)
				for _, key := range []string{"http.route", "user"} {
					if v := valueOf(sp.Attributes, key); v != nil {
						text += " " + key + "=" + v.GetStringValue()
					}
				}
				all = append(all, node{string(sp.SpanId), string(sp.ParentSpanId), text})
			}
		}
	}
	var below func(id, indent string) []string
	below = func(id, indent string) (out []string) {
		var here [][]string
		for _, n := range all {
			if n.parent == id {
				here = append(here, append([]string{indent + n.text}, below(n.id, indent+"  ")...))
			}
		}
		slices.SortFunc(here, func(a, b []string) int { return slices.Compare(a, b) })
		return slices.Concat(here...)
	}
	id := s.root.SpanContext().SpanID()
	return below(string(id[:]), "")
}

func (s *service) wantTree(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.tree()); diff != "" {
		s.t.Errorf("-want +got:\n%s", diff)
	}
}

func (s *service) get(client *http.Client, url string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.ctx, "GET", url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
}

// Kinds of spans as they are in tree: 2 is server, 3 client.

func TestFoldOfHTTP(t *testing.T) {
	for _, f := range []struct {
		name  string
		serve func(http.Handler) http.Handler
		call  func(http.RoundTripper) http.RoundTripper
		want  []string
	}{
		{"ours around", func(h http.Handler) http.Handler { return sdk.Handler(otelhttp.NewHandler(h, "theirs")) },
			func(r http.RoundTripper) http.RoundTripper { return sdk.Transport(otelhttp.NewTransport(r)) },
			[]string{"sdk 3 GET", "  sdk 2 GET user=eve", "    test 1 work"}},
		{"theirs around", func(h http.Handler) http.Handler { return otelhttp.NewHandler(sdk.Handler(h), "theirs") },
			func(r http.RoundTripper) http.RoundTripper { return otelhttp.NewTransport(sdk.Transport(r)) },
			[]string{"otelhttp 3 HTTP GET", "  otelhttp 2 GET user=eve", "    test 1 work"}},
		{"theirs twice", func(h http.Handler) http.Handler {
			return sdk.Handler(otelhttp.NewHandler(otelhttp.NewHandler(h, "inner"), "outer"))
		}, sdk.Transport, []string{"sdk 3 GET", "  sdk 2 GET", "    otelhttp 2 GET user=eve", "      test 1 work"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			s := newService(t)
			served := httptest.NewServer(f.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("user", "eve"))
				_, sp := otel.Tracer("test").Start(r.Context(), "work")
				sp.End()
			})))
			s.get(&http.Client{Transport: f.call(&http.Transport{DisableKeepAlives: true})}, served.URL)
			served.Close()
			s.end()
			s.wantTree(f.want...)
			for _, name := range []string{"http.server.request.duration", "http.client.request.duration"} {
				if points := s.durations("github.com/guanlan-io/guanlan/sdk", name); len(points) != 1 || points[0].Count != 1 {
					t.Errorf("%s: %v, want one", name, points)
				}
			}
		})
	}
}

// The name that the program gives wins; that of the instrumentation does not.
func TestFoldKeepsTheNameOfTheProgram(t *testing.T) {
	gin.SetMode(gin.TestMode)
	s := newService(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /named/{id}", func(_ http.ResponseWriter, r *http.Request) {
		trace.SpanFromContext(r.Context()).SetName("by the program")
	})
	served := httptest.NewServer(sdk.Handler(mux))
	engine := gin.New()
	engine.Use(otelgin.Middleware("shop"))
	engine.GET("/gin/:id", func(c *gin.Context) {
		trace.SpanFromContext(c.Request.Context()).SetAttributes(attribute.String("user", "eve"))
	})
	gins := httptest.NewServer(sdk.Handler(engine))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	header := sdk.Transport(client.Transport)
	client.Transport = header
	s.get(client, served.URL+"/orders/7")
	s.get(client, served.URL+"/named/7")
	s.get(client, gins.URL+"/gin/7")
	served.Close()
	gins.Close()
	s.end()
	s.wantTree(
		"sdk 3 GET", "  sdk 2 GET /gin/:id http.route=/gin/:id user=eve",
		"sdk 3 GET", "  sdk 2 GET /orders/{id} http.route=/orders/{id}",
		"sdk 3 GET", "  sdk 2 by the program http.route=/named/{id}",
	)
}

func TestFoldOfSQL(t *testing.T) {
	t.Run("ours around", func(t *testing.T) {
		s := newService(t)
		name, err := otelsql.Register("sqlite", otelsql.WithSpanOptions(otelsql.SpanOptions{OmitConnResetSession: true, OmitRows: true}))
		if err != nil {
			t.Fatal(err)
		}
		db, err := sdk.OpenSQL(name, ":memory:")
		if err != nil {
			t.Fatal(err)
		}
		s.query(db)
		s.wantTree("sdk 3 CONNECT", "sdk 3 SELECT")
	})
	t.Run("theirs twice around", func(t *testing.T) {
		s := newService(t)
		plain, err := sql.Open("sqlite", ":memory:")
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		db := sdk.OpenDB(memory{plain.Driver()})
		ctx, sp := otel.Tracer("gorm.io/plugin/opentelemetry").Start(s.ctx, "gorm.Query", trace.WithSpanKind(trace.SpanKindClient))
		if _, err := db.ExecContext(s.ctx, "SELECT 1"); err != nil { // connects
			t.Fatal(err)
		}
		if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(ctx, "SELECT 2"); err != nil { // a second one is more than what gorm tells of
			t.Fatal(err)
		}
		sp.End()
		db.Close()
		s.end()
		s.wantTree("opentelemetry 3 gorm.Query", "  sdk 3 SELECT", "sdk 3 CONNECT", "sdk 3 SELECT")
		if points := s.durations("github.com/guanlan-io/guanlan/sdk", "db.client.operation.duration"); len(points) != 1 || points[0].Count != 3 {
			t.Errorf("%v, want three", points)
		}
	})
}

// memory is a connector of a driver.
type memory struct{ driver driver.Driver }

func (m memory) Connect(context.Context) (driver.Conn, error) { return m.driver.Open(":memory:") }
func (m memory) Driver() driver.Driver                        { return m.driver }

func (s *service) query(db *sql.DB) {
	s.t.Helper()
	rows, err := db.QueryContext(s.ctx, "SELECT 1")
	if err != nil {
		s.t.Fatal(err)
	}
	rows.Close()
	db.Close()
	s.end()
}

func TestFoldOfRedis(t *testing.T) {
	server := miniredis.RunT(t)
	for _, f := range []struct {
		name string
		hook func(*redis.Client)
		want []string
	}{
		{"ours around", func(c *redis.Client) {
			sdkredis.Instrument(c)
			_ = redisotel.InstrumentTracing(c)
		}, []string{"redis 3 SET"}},
		{"ours twice", func(c *redis.Client) {
			sdkredis.Instrument(c)
			sdkredis.Instrument(c)
		}, []string{"redis 3 SET"}},
		{"theirs around", func(c *redis.Client) {
			_ = redisotel.InstrumentTracing(c)
			sdkredis.Instrument(c)
		}, []string{"redisotel 3 set"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			s := newService(t)
			c := redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: 1})
			if err := c.Ping(context.Background()).Err(); err != nil {
				t.Fatal(err)
			}
			f.hook(c)
			if err := c.Set(s.ctx, "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			c.Close()
			s.end()
			s.wantTree(f.want...)
		})
	}
}

var (
	all       = func(string) bool { return true } // also health checks
	serverAll = sdkgrpc.Server{Trace: all}
	clientAll = sdkgrpc.Client{Trace: all}
)

func TestFoldOfGRPC(t *testing.T) {
	for _, f := range []struct {
		name   string
		server func() []grpc.ServerOption
		client func() []grpc.DialOption
		want   []string
	}{
		// Stats handlers are around interceptors in servers, and within them in clients.
		{"theirs and ours", func() []grpc.ServerOption { return serverAll.Options(grpc.StatsHandler(otelgrpc.NewServerHandler())) },
			func() []grpc.DialOption { return clientAll.Options(grpc.WithStatsHandler(otelgrpc.NewClientHandler())) },
			[]string{"grpc 3 grpc.health.v1.Health/Check", "  otelgrpc 2 grpc.health.v1.Health/Check"}},
		{"ours twice", func() []grpc.ServerOption { return serverAll.Options(serverAll.Options()...) },
			func() []grpc.DialOption { return clientAll.Options(clientAll.Options()...) },
			[]string{"grpc 3 grpc.health.v1.Health/Check", "  grpc 2 grpc.health.v1.Health/Check"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			s := newService(t)
			server := grpc.NewServer(f.server()...)
			grpc_health_v1.RegisterHealthServer(server, health.NewServer())
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go server.Serve(l)
			c, err := grpc.NewClient(l.Addr().String(), append(f.client(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := grpc_health_v1.NewHealthClient(c).Check(s.ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
			c.Close()
			server.GracefulStop()
			s.end()
			s.wantTree(f.want...)
		})
	}
}

// Of traces that are not sampled, a request that fails is kept as one span, too,
// whoever is around whom.
func TestFoldOfWhatIsNotSampled(t *testing.T) {
	for name, serve := range map[string]func(http.Handler) http.Handler{
		"ours around":   func(h http.Handler) http.Handler { return sdk.Handler(otelhttp.NewHandler(h, "theirs")) },
		"theirs around": func(h http.Handler) http.Handler { return otelhttp.NewHandler(sdk.Handler(h), "theirs") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: r.URL, Sampler: core.NewByThreshold(0)})
			if err != nil {
				t.Fatal(err)
			}
			for _, parent := range []string{"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"} {
				req := httptest.NewRequest("GET", "/orders", nil)
				if parent != "" {
					req.Header.Set("traceparent", parent)
				}
				serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					trace.SpanFromContext(r.Context()).RecordError(errors.New("broken"))
					w.WriteHeader(http.StatusInternalServerError)
				})).ServeHTTP(httptest.NewRecorder(), req)
			}
			if err := s.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}
			spans := 0
			for _, r := range r.spans {
				for _, scope := range r.ScopeSpans {
					for _, sp := range scope.Spans {
						if spans++; len(sp.Events) != 1 {
							t.Errorf("%d events, want that of the error", len(sp.Events))
						}
					}
				}
			}
			if spans != 2 {
				t.Errorf("%d spans of 2 requests", spans)
			}
		})
	}
}
