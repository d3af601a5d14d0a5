package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// probe asks h and returns status and body.
func probe(h http.Handler, target string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	return w.Code, w.Body.String()
}

func well(context.Context) error { return nil }

func fails(text string) Check {
	return func(context.Context) error { return errors.New(text) }
}

func TestReadiness(t *testing.T) {
	for _, c := range []struct {
		name   string
		setup  func(*Health)
		status int
		plain  string
		report string
	}{
		{"no check", func(*Health) {}, 200, "ok", HealthOK},
		{"all well", func(h *Health) { h.Add("db", well); h.AddOptional("search", well) }, 200, "ok", HealthOK},
		{"optional", func(h *Health) { h.Add("db", well); h.AddOptional("search", fails("at 10.0.0.7")) }, 200, "[-]search failed (optional)\nreadyz check passed: degraded\n", HealthDegraded},
		{"critical", func(h *Health) { h.AddOptional("search", fails("x")); h.Add("db", fails("at 10.0.0.7")) }, 503, "[-]search failed (optional)\n[-]db failed\nreadyz check failed\n", HealthFailed},
		{"panic", func(h *Health) { h.Add("db", func(context.Context) error { panic("oh") }) }, 503, "[-]db failed\nreadyz check failed\n", HealthFailed},
		{"nil", func(h *Health) { h.Add("db", nil) }, 503, "[-]db failed\nreadyz check failed\n", HealthFailed},
		{"ends its goroutine", func(h *Health) { h.Add("db", func(context.Context) error { runtime.Goexit(); return nil }) }, 503, "[-]db failed\nreadyz check failed\n", HealthFailed},
		{"replaced", func(h *Health) { h.Add("db", fails("x")); h.Add("db", well) }, 200, "ok", HealthOK},
		{"exiting", func(h *Health) { h.Exiting(); h.Started() }, 503, "readyz check failed: the service is exiting\n", HealthExiting},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Health
			if status, _ := probe(&h, "/readyz"); status != 503 {
				t.Errorf("before the start: status %d", status)
			}
			h.Started()
			c.setup(&h)
			if status, body := probe(&h, "/readyz"); status != c.status || body != c.plain {
				t.Errorf("got %d %q, want %d %q", status, body, c.status, c.plain)
			}
			status, body := probe(&h, "/readyz?format=json")
			var got HealthReport
			if err := json.Unmarshal([]byte(body), &got); err != nil || status != c.status || got.Status != c.report || len(got.Checks) != len(h.checks) {
				t.Errorf("got %d %s, want %s", status, body, c.report)
			}
			for _, path := range []string{"/livez", "/healthz"} {
				if status, body := probe(&h, path); status != 200 || body != "ok" {
					t.Errorf("%s: %d %q", path, status, body)
				}
			}
		})
	}
}

func TestVerboseAndMethods(t *testing.T) {
	var h Health
	h.Started()
	h.Add("db", well)
	h.Add("redis", fails("refused\nby 10.0.0.7"))
	if _, body := probe(&h, "/readyz?verbose"); !strings.Contains(body, "[+]db ok (") || !strings.Contains(body, "[-]redis failed: refused by 10.0.0.7 (") {
		t.Errorf("verbose: %s", body)
	}
	server := httptest.NewServer(h.Handler(http.NotFoundHandler()))
	defer server.Close()
	for method, want := range map[string]int{"GET": 503, "HEAD": 503, "POST": 405, "DELETE": 405} {
		req, _ := http.NewRequest(method, server.URL+"/readyz", nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want || res.Header.Get("Cache-Control") != "no-store" || (method == "HEAD") != (len(body) == 0) || (want == 405) != (res.Header.Get("Allow") == "GET, HEAD") {
			t.Errorf("%s: %s %q %v", method, res.Status, body, res.Header)
		}
	}
	if status, _ := probe(&h, "/other"); status != 404 {
		t.Errorf("another path: %d", status)
	}
}

// A burst of probes runs each check once, and so do those of the next second.
func TestProbesShareARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		h := &Health{}
		h.Started()
		h.Add("slow", func(context.Context) error {
			runs.Add(1)
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		burst := func() {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if status, body := probe(h, "/readyz"); status != 200 {
						t.Errorf("%d %q", status, body)
					}
				})
			}
			all.Wait()
		}
		burst()
		time.Sleep(999 * time.Millisecond)
		burst()
		if n := runs.Load(); n != 1 {
			t.Errorf("the check ran %d times within a second", n)
		}
		time.Sleep(2 * time.Millisecond)
		burst()
		if n := runs.Load(); n != 2 {
			t.Errorf("after a second it ran %d times", n)
		}
		h.Add("new", well) // what is known does not hold any more
		if _, body := probe(h, "/readyz?verbose"); !strings.Contains(body, "new") || runs.Load() != 3 {
			t.Errorf("with a new check: %s", body)
		}
		h.Exiting() // is not cached
		if status, _ := probe(h, "/readyz"); status != 503 {
			t.Errorf("exiting: %d", status)
		}
	})
}

// A check that hangs costs one goroutine and no more, and the answer comes.
func TestCheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		free := make(chan struct{})
		h := &Health{}
		h.Started()
		h.Add("hangs", func(context.Context) error {
			runs.Add(1)
			<-free
			return nil
		})
		h.Add("polite", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		h.Add("quick", well)
		for i, want := range []string{"[-]hangs failed: no answer after 2s", "[-]hangs failed: an earlier run has not come back", "[-]hangs failed: an earlier run has not come back"} {
			began := time.Now()
			status, body := probe(h, "/readyz?verbose")
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the answer took %v", took)
			}
			if status != 503 || !strings.Contains(body, want) || !strings.Contains(body, "[-]polite failed: context deadline exceeded") || !strings.Contains(body, "[+]quick ok") {
				t.Errorf("probe %d: %d %s, want %s", i, status, body, want)
			}
			time.Sleep(time.Second)
		}
		if n := runs.Load(); n != 1 {
			t.Errorf("the check was started %d times", n)
		}
		close(free)
		synctest.Wait()
		if _, body := probe(h, "/readyz?verbose"); !strings.Contains(body, "[+]hangs ok") || runs.Load() != 2 {
			t.Errorf("after it came back: %s", body)
		}
	})
}

// A prober that goes away does not fail the others.
func TestProberGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Health{}
		h.Started()
		h.Add("slow", func(ctx context.Context) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		var gone HealthReport
		go func() { gone = h.Report(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if gone.Ready() {
			t.Errorf("the one that went away: %+v", gone)
		}
		if r := h.Report(t.Context()); !r.Ready() {
			t.Errorf("the other: %+v", r)
		}
	})
}

// Probes are no requests of the service, however Health is mounted, and clients
// in checks are not traced.
func TestProbesAreQuiet(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	var h Health
	h.Started()
	h.Add("traced", func(ctx context.Context) error {
		_, span := otel.Tracer("t").Start(ctx, "ping of a check")
		span.End()
		return nil
	})
	mux := http.NewServeMux()
	mux.Handle("/readyz", &h)
	mux.HandleFunc("/work", func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(s.HTTPServer().Handler(Recover(mux)))
	defer server.Close()
	for _, path := range []string{"/readyz", "/work"} {
		res, err := http.Get(server.URL + path)
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		res.Body.Close()
	}
	server.Close()
	got := sent(t, s, sink)
	for _, to := range []string{"/v1/traces", "/v1/metrics"} {
		if strings.Contains(got[to], "readyz") || strings.Contains(got[to], "ping of a check") || !strings.Contains(got[to], "/work") {
			t.Errorf("%s: %q", to, got[to])
		}
	}
	if !strings.Contains(got["/v1/metrics"], "guanlan.health.check") || !strings.Contains(got["/v1/metrics"], "traced") {
		t.Error("no gauge of the check")
	}
}

// Health may be mounted in a router that begins requests itself.
func TestProbesOfARouterAreQuiet(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	var h Health
	h.Started()
	for _, path := range []string{"/readyz", "/work"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
		q, r := BeginRequest(r)
		if path == "/readyz" {
			h.ServeHTTP(w, r)
		}
		q.SetRoute(path)
		q.Done(200, 2)
	}
	got := sent(t, s, sink)
	for _, to := range []string{"/v1/traces", "/v1/metrics"} {
		if strings.Contains(got[to], "readyz") || !strings.Contains(got[to], "/work") {
			t.Errorf("%s: %q", to, got[to])
		}
	}
}

// What fails is kept elsewhere, but a check is nothing that was asked for.
func TestFailingChecksAreNotTraced(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	ping := func(ctx context.Context) error {
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:1/ping", nil)
		res, err := (&http.Client{Transport: s.HTTPClient().Transport(failingTransport{})}).Do(req)
		if err == nil {
			res.Body.Close()
		}
		return WrapError(ctx, "task", func(context.Context) error { return errors.New("no") })()
	}
	var h Health
	h.Add("search", ping)
	if r := h.Report(t.Context()); r.Checks[0].Status != HealthFailed {
		t.Errorf("%+v", r)
	}
	if err := WrapError(t.Context(), "not of a check", ping)(); err == nil {
		t.Error("it did not fail")
	}
	got := sent(t, s, sink)
	spans := func(name string) int { return strings.Count(got["/v1/traces"], name) }
	if spans("not of a check") != 1 || spans("127.0.0.1:1/ping") != 1 {
		t.Errorf("want spans of the second time alone: %q", got["/v1/traces"])
	}
}

// Probes are answered with errors: no secret may be in them.
func TestCheckHTTPTellsNoSecrets(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	const secrets = "hunter2"
	f := func(url, want string) {
		t.Helper()
		err := CheckHTTP(url)(t.Context())
		if err == nil || strings.Contains(err.Error(), secrets) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	f("http://u:hunter2@"+host+"/ping?key=hunter2#hunter2", `get "http://u:xxxxx@`+host+`/ping": status 404`)
	f("http://u:hunter2@127.0.0.1:1/ping?key=hunter2", `get "http://u:xxxxx@127.0.0.1:1/ping": dial`)
	f("http://u:hunter2/x@h", "cannot be read")
	f("u:hunter2@h", "cannot be read")
	f("://hunter2", "cannot be read")
}

func TestCheckHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/bad":
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	for path, want := range map[string]string{"/": "", "/bad": "502", "/moved": "302"} {
		err := CheckHTTP(server.URL + path)(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	server.Close()
	var dial *net.OpError
	if err := CheckHTTP(server.URL)(t.Context()); !errors.As(err, &dial) {
		t.Errorf("nobody there: %v", err)
	}
	if CheckHTTP("::")(t.Context()) == nil {
		t.Error("no URL")
	}
}

type command struct{ err error }

func (c *command) Err() error { return c.err }

// state and conn have the shape of gRPC's; the real ones are in the tests of
// the module for gRPC.
type state int

func (s state) String() string {
	return [...]string{"IDLE", "CONNECTING", "READY", "TRANSIENT_FAILURE", "SHUTDOWN"}[s]
}

type conn struct{ states []state }

func (c *conn) GetState() state { return c.states[0] }
func (c *conn) Connect()        {}
func (c *conn) WaitForStateChange(ctx context.Context, _ state) bool {
	if len(c.states) == 1 {
		<-ctx.Done()
		return false
	}
	c.states = c.states[1:]
	return true
}

func TestCheckCommandAndConn(t *testing.T) {
	refused := errors.New("refused")
	if err := CheckCommand(func(context.Context) *command { return &command{refused} })(t.Context()); !errors.Is(err, refused) {
		t.Error(err)
	}
	for _, c := range []struct {
		states []state
		want   string
	}{
		{[]state{2}, ""},
		{[]state{0, 1, 2}, ""},
		{[]state{0, 1, 3}, "TRANSIENT_FAILURE"},
		{[]state{1}, "CONNECTING: context deadline exceeded"},
		{[]state{4}, "SHUTDOWN"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		err := CheckConn(&conn{c.states})(ctx)
		cancel()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.states, err, c.want)
		}
	}
}

func ExampleHealth() {
	var health Health
	health.Add("db", func(ctx context.Context) error { return nil }) // db.PingContext of a *sql.DB
	health.AddOptional("search", func(ctx context.Context) error { return errors.New("connection refused") })
	health.Started() // Run does it

	mux := http.NewServeMux()
	h := health.Handler(Handler(mux))

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Print(w.Code, "\n", w.Body)
	// Output:
	// 200
	// [-]search failed (optional)
	// readyz check passed: degraded
}
