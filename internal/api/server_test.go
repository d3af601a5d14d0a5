package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

// quiet is for tests that provoke what would be logged.
var quiet = slog.New(slog.DiscardHandler)

// start runs a server on a free port until the end of the test.
func start(t *testing.T, o ServerOptions) *Server {
	t.Helper()
	o.Address, o.Logger = "127.0.0.1:0", quiet
	s := NewServer(o)
	if err := s.Start(func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), time.Minute)
		defer done()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

// call sends a request; edit may change it.
func call(t *testing.T, s *Server, method, path string, edit func(*http.Request)) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, text, " ", r.URL.Path) })
}

func TestServerDoors(t *testing.T) {
	s := start(t, ServerOptions{Doors: Doors{API: says("api"), Prometheus: says("prom"), Jaeger: says("jaeger"), LogsQL: says("logsql"), UI: says("ui")}})
	for path, want := range map[string]string{
		"/": "ui", "/services/x": "ui", "/guanlan/v1/services": "api", "/guanlan/v1/logs/tail": "api", "/api/v1/query": "prom",
		"/jaeger/api/services": "jaeger", "/select/logsql/query": "logsql", "/select/logsql/tail": "logsql",
	} {
		if _, body := call(t, s, "GET", path, nil); body != want+" "+path {
			t.Errorf("%s: got %q", path, body)
		}
	}
	if res, body := call(t, s, "GET", "/-/healthy", nil); res.StatusCode != 200 || body != "healthy\n" {
		t.Errorf("healthy: got %d %q", res.StatusCode, body)
	}
	empty := start(t, ServerOptions{})
	if res, _ := call(t, empty, "GET", "/api/v1/query", nil); res.StatusCode != 404 {
		t.Errorf("a door that is not there: got %d", res.StatusCode)
	}
}

func TestServerReady(t *testing.T) {
	var mu sync.Mutex
	why := errors.New("replaying the journal")
	s := start(t, ServerOptions{Ready: func() error { mu.Lock(); defer mu.Unlock(); return why }})
	if res, body := call(t, s, "GET", "/-/ready", nil); res.StatusCode != 503 || body != "not ready: replaying the journal\n" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	mu.Lock()
	why = nil
	mu.Unlock()
	if res, body := call(t, s, "GET", "/-/ready", nil); res.StatusCode != 200 || body != "ready\n" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestServerHosts(t *testing.T) {
	s := start(t, ServerOptions{Doors: Doors{UI: says("ui")}, Hosts: []string{"Watch.example"}})
	for host, want := range map[string]int{
		"127.0.0.1:4390": 200, "127.9.9.9": 200, "localhost:80": 200, "LOCALHOST": 200, "x.localhost:1": 200, "localhost.": 200, "[::1]:4390": 200, "[::1]": 200,
		"watch.example": 200, "watch.example:9": 200,
		"evil.example": 403, "evil.example:4390": 403, "10.0.0.1:4390": 403, "localhost.evil.example": 403, "notlocalhost": 403,
	} {
		res, body := call(t, s, "GET", "/", func(r *http.Request) { r.Host = host })
		if res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", host, res.StatusCode, want)
		}
		if want == 403 && !strings.Contains(body, "allowed hosts") {
			t.Errorf("%s: the answer does not say what to do: %s", host, body)
		}
	}
	// A server that is open to a network is called by whatever name it has.
	open := NewServer(ServerOptions{Address: "0.0.0.0:0", Doors: Doors{UI: says("ui")}})
	if err := open.Start(func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	defer open.Shutdown(context.Background())
	_, port, _ := net.SplitHostPort(open.Addr().String())
	req, _ := http.NewRequest("GET", "http://127.0.0.1:"+port+"/", nil)
	req.Host = "watch.example"
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("open server: got %v, %v", res, err)
	}
	res.Body.Close()
}

func TestServerHeaders(t *testing.T) {
	s := start(t, ServerOptions{Doors: Doors{UI: says("ui")}})
	res, _ := call(t, s, "GET", "/", nil)
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
	} {
		if got := res.Header.Get(name); !strings.Contains(got, want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got := res.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("CORS is on: %q", got)
	}
}

func TestServerRefusesForeignPosts(t *testing.T) {
	s := start(t, ServerOptions{Doors: Doors{Prometheus: says("prom"), LogsQL: says("logsql")}})
	foreign := func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }
	if res, _ := call(t, s, "POST", "/select/logsql/query", foreign); res.StatusCode != 403 {
		t.Errorf("from a foreign page: got %d", res.StatusCode)
	}
	if res, _ := call(t, s, "POST", "/select/logsql/query", nil); res.StatusCode != 200 {
		t.Errorf("from a program: got %d", res.StatusCode)
	}
	if res, _ := call(t, s, "POST", "/api/v1/query", foreign); res.StatusCode != 200 {
		t.Errorf("the Prometheus door has its own rules: got %d", res.StatusCode)
	}
}

func TestServerTenants(t *testing.T) {
	r := &recorder{}
	s := start(t, ServerOptions{Doors: Doors{API: r.handler()}})
	as := func(tenant string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(TenantHeader, tenant) }
	}
	call(t, s, "GET", Prefix+"/services", as("7:2"))
	if !strings.HasPrefix(r.asked, "services of 7:2") {
		t.Errorf("asked %s", r.asked)
	}
	res, body := call(t, s, "GET", Prefix+"/services", as("bob"))
	if res.StatusCode != 422 || !strings.Contains(body, `"header.X-Scope-OrgID"`) {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

func TestServerCompresses(t *testing.T) {
	long := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		n := 10
		if r.URL.Path == "/jaeger/long" {
			n = 10_000
		}
		fmt.Fprint(w, `"`, strings.Repeat("x", n), `"`)
	})
	s := start(t, ServerOptions{Doors: Doors{Jaeger: long}})
	gz := func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") }
	if res, body := call(t, s, "GET", "/jaeger/long", gz); res.Header.Get("Content-Encoding") != "gzip" || len(body) > 1000 {
		t.Errorf("long: got %d bytes, %v", len(body), res.Header)
	}
	if res, body := call(t, s, "GET", "/jaeger/short", gz); res.Header.Get("Content-Encoding") != "" || len(body) != 12 {
		t.Errorf("short: got %d bytes, %v", len(body), res.Header)
	}
}

func TestServerRecovers(t *testing.T) {
	var log strings.Builder
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/jaeger/late", "/late":
			w.Write([]byte(strings.Repeat("x", 5000)))
			w.(http.Flusher).Flush()
			panic("late")
		case "/jaeger/abort":
			panic(http.ErrAbortHandler)
		}
		panic("early")
	})
	o := ServerOptions{Address: "127.0.0.1:0", Doors: Doors{Jaeger: h, UI: h}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s := NewServer(o)
	if err := s.Start(func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/jaeger/early", "/early"} {
		res, body := call(t, s, "GET", path, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
		_, id, _ := strings.Cut(body, "under id ")
		id, _, _ = strings.Cut(id, `"`)
		if res.StatusCode != 500 || len(id) < 20 {
			t.Errorf("%s: got %d %s", path, res.StatusCode, body)
		}
		if !strings.Contains(log.String(), "id="+id) || !strings.Contains(log.String(), "panic=early") || !strings.Contains(log.String(), "server_test.go") {
			t.Errorf("%s: the log says %s", path, log.String())
		}
	}
	for _, path := range []string{"/jaeger/late", "/late", "/jaeger/abort"} {
		res, err := http.Get("http://" + s.Addr().String() + path)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: an answer that was cut off reads as whole", path)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestServerBoundsBodies(t *testing.T) {
	size := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, " ", err)
	})
	s := start(t, ServerOptions{Doors: Doors{LogsQL: size, Prometheus: size}})
	body := func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 2*maxBody))), 2*maxBody
	}
	if _, got := call(t, s, "POST", "/select/logsql/query", body); !strings.Contains(got, "request body too large") {
		t.Errorf("LogsQL read %s", got)
	}
	// Remote write sends much, and its door bounds it.
	if _, got := call(t, s, "POST", "/api/v1/write", body); got != fmt.Sprint(2*maxBody, " <nil>") {
		t.Errorf("Prometheus read %s", got)
	}
}

// hold is a handler that answers when released.
type hold struct {
	entered chan struct{}
	release chan struct{}
}

func newHold() hold { return hold{make(chan struct{}, 100), make(chan struct{})} }

func (h hold) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.entered <- struct{}{}
	select {
	case <-h.release:
	case <-r.Context().Done():
	}
	fmt.Fprint(w, "done")
}

func TestServerLimitsConcurrency(t *testing.T) {
	h := newHold()
	s := start(t, ServerOptions{Doors: Doors{Jaeger: h, Prometheus: says("prom"), UI: says("ui")}, MaxConcurrent: 2})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if res, body := call(t, s, "GET", "/jaeger/api/traces", nil); res.StatusCode != 200 || body != "done" {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
		})
	}
	<-h.entered
	<-h.entered
	res, _ := call(t, s, "GET", "/jaeger/api/traces", nil)
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the third: got %d %v", res.StatusCode, res.Header)
	}
	// What costs nothing, or has limits of its own, is not held up.
	for _, path := range []string{"/", "/-/healthy", "/api/v1/query"} {
		if res, _ := call(t, s, "GET", path, nil); res.StatusCode != 200 {
			t.Errorf("%s: got %d", path, res.StatusCode)
		}
	}
	close(h.release)
	wg.Wait()
	if res, _ := call(t, s, "GET", "/jaeger/api/traces", nil); res.StatusCode != 200 {
		t.Errorf("after the others: got %d", res.StatusCode)
	}
}

func TestServerShutdown(t *testing.T) {
	question, r := newHold(), &recorder{tail: make(chan query.TailEvent)}
	s := NewServer(ServerOptions{Address: "127.0.0.1:0", Doors: Doors{API: r.handler(), Prometheus: question}, Logger: quiet})
	if err := s.Start(func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	tail, err := http.Get("http://" + s.Addr().String() + Prefix + "/logs/tail")
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Body.Close()
	next := events(t, tail.Body)
	next()
	answered := make(chan string)
	go func() {
		_, body := call(t, s, "GET", "/api/v1/query", nil)
		answered <- body
	}()
	<-question.entered
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	// The tail is told to go; the question is waited for.
	if got := next(); got != "end" {
		t.Errorf("tail: got %s", got)
	}
	select {
	case err := <-stopped:
		t.Errorf("shutdown did not wait: %v", err)
	default:
	}
	close(question.release)
	if got := <-answered; got != "done" {
		t.Errorf("question: got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestServerShutdownCutsOff(t *testing.T) {
	question := newHold()
	s := NewServer(ServerOptions{Address: "127.0.0.1:0", Doors: Doors{Prometheus: question}, Logger: quiet})
	if err := s.Start(func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	go http.Get("http://" + s.Addr().String() + "/api/v1/query")
	<-question.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestServerPortTaken(t *testing.T) {
	s := start(t, ServerOptions{})
	other := NewServer(ServerOptions{Address: s.Addr().String()})
	if err := other.Start(func(error) {}); err == nil || !strings.Contains(err.Error(), "listen for queries") {
		t.Errorf("got %v", err)
	}
}

// TestServerGRPC calls a method over the same port as everything else.
func TestServerGRPC(t *testing.T) {
	var log strings.Builder
	g := NewGRPC(slog.New(slog.NewTextHandler(&log, nil)))
	method := func(name string, f func(context.Context) error) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, _ func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
			return around(ctx, nil, &grpc.UnaryServerInfo{Server: srv, FullMethod: name}, func(ctx context.Context, _ any) (any, error) { return nil, f(ctx) })
		}}
	}
	g.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		method("Tenant", func(ctx context.Context) error {
			return status.Error(codes.AlreadyExists, query.TenantOf(ctx).String())
		}),
		method("Panic", func(context.Context) error { panic("unary") }),
	}, Streams: []grpc.StreamDesc{
		{StreamName: "PanicStream", ServerStreams: true, Handler: func(any, grpc.ServerStream) error { panic("stream") }},
	}}, struct{}{})
	s := start(t, ServerOptions{Doors: Doors{UI: says("ui"), GRPC: g}})
	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), strings.ToLower(TenantHeader), (store.Tenant{Account: 3}).String())
	err = conn.Invoke(ctx, "/test.Echo/Tenant", &emptypb.Empty{}, &emptypb.Empty{})
	if status.Code(err) != codes.AlreadyExists || status.Convert(err).Message() != "3" {
		t.Errorf("got %v", err)
	}
	stream := func() error {
		st, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/PanicStream")
		if err != nil {
			return err
		}
		return st.RecvMsg(&emptypb.Empty{})
	}
	for what, err := range map[string]error{"unary": conn.Invoke(ctx, "/test.Echo/Panic", &emptypb.Empty{}, &emptypb.Empty{}), "stream": stream()} {
		_, id, _ := strings.Cut(status.Convert(err).Message(), "under id ")
		if status.Code(err) != codes.Internal || id == "" || !strings.Contains(log.String(), "id="+id) || !strings.Contains(log.String(), "panic="+what) {
			t.Errorf("%s: got %v, logged %s", what, err, log.String())
		}
	}
	// HTTP/2 that is not gRPC goes to the doors.
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequest("GET", "http://"+s.Addr().String()+"/x", nil)
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.ProtoMajor != 2 || string(body) != "ui /x" {
		t.Errorf("HTTP/%d: got %q", res.ProtoMajor, body)
	}
}
