package sdk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, for clocks that are not the machine's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (p *pipes) get(path string) (string, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case p.conns <- server:
			return client, nil
		case <-p.closed:
			return nil, syscall.ECONNREFUSED
		}
	}}}
	res, err := c.Get("http://shop" + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(body)), err
}

// story is what happened, in its order, with the seconds since it began.
type story struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

func (s *story) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("%2.0f ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

func (s *story) closing(name string) Part {
	return OnExit(name, func(context.Context) error { s.tell("%s closed", name); return nil })
}

// inMemory makes a life whose servers listen in memory, all at the same place.
func (s *story) inMemory(at net.Listener, parts ...Part) *life {
	s.began = time.Now()
	l := &life{
		drain: defaultDrain, preStop: defaultPreStop,
		listen: func(context.Context, string) (net.Listener, error) { return at, nil },
		flush:  func(context.Context) error { s.tell("telemetry flushed"); return nil },
		die:    func(sig os.Signal) { s.tell("died of %v", sig) },
	}
	for _, p := range parts {
		p.join(l)
	}
	return l
}

func (s *story) want(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.lines, want) {
		t.Errorf("it went\n  %s\nwant\n  %s", strings.Join(s.lines, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestExitHasAnOrder(t *testing.T) {
	logTo(t)
	synctest.Test(t, func(t *testing.T) {
		var s story
		var health Health
		at := newPipes()
		type key struct{}
		root, endRoot := context.WithCancel(context.WithValue(t.Context(), key{}, "value of the root"))
		defer endRoot()
		mux := http.NewServeMux()
		mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second)
			s.tell("slow request ends, its context: %v, %v", r.Context().Err(), r.Context().Value(key{}))
			fmt.Fprint(w, "slow")
		})
		mux.HandleFunc("/quick", func(http.ResponseWriter, *http.Request) {})
		l := s.inMemory(at, &health, s.closing("db"), HTTP(":80", health.Handler(mux)), s.closing("redis"), Worker("mailer", func(ctx context.Context) error {
			<-ctx.Done()
			s.tell("mailer hears of it, %v", ctx.Value(key{}))
			time.Sleep(2 * time.Second)
			s.tell("mailer ends")
			return ctx.Err()
		}))
		if health.Report(t.Context()).Ready() {
			t.Error("ready before the start")
		}
		signals := make(chan os.Signal, 2)
		ended := make(chan error)
		go func() { ended <- l.run(root, signals) }()
		ask := func(path string) {
			answer, err := at.get(path)
			if err != nil {
				answer = errors.Unwrap(err).Error()
			}
			s.tell("%s: %s", path, strings.TrimSpace(answer))
		}
		ask("/readyz")
		go ask("/slow")
		time.Sleep(time.Second)
		s.tell("SIGTERM")
		signals <- syscall.SIGTERM
		endRoot() // changes nothing any more
		synctest.Wait()
		ask("/readyz")
		time.Sleep(4900 * time.Millisecond)
		ask("/quick")
		time.Sleep(200 * time.Millisecond)
		ask("/quick")
		if err := <-ended; err != nil {
			t.Errorf("error %v", err)
		}
		s.want(t,
			" 0 /readyz: 200 ok",
			" 1 SIGTERM",
			" 1 /readyz: 503 readyz check failed: the service is exiting",
			" 6 /quick: 200",
			" 6 /quick: connection refused",
			"10 slow request ends, its context: <nil>, value of the root",
			"10 /slow: 200 slow",
			"10 mailer hears of it, value of the root",
			"12 mailer ends",
			"12 redis closed",
			"12 db closed",
			"12 telemetry flushed",
		)
	})
}

// Whatever hangs is named, and the rest goes on in time.
func TestWhatHangsIsNamed(t *testing.T) {
	logs := logTo(t)
	synctest.Test(t, func(t *testing.T) {
		var s story
		at := newPipes()
		free := make(chan struct{})
		mux := http.NewServeMux()
		mux.HandleFunc("/obeys", func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			s.tell("request ends: %v", context.Cause(r.Context()))
		})
		mux.HandleFunc("/hangs", func(http.ResponseWriter, *http.Request) { <-free })
		hang := func(context.Context) error { <-free; return nil }
		l := s.inMemory(at, PreStop(0), s.closing("db"), OnExit("redis", hang), HTTP(":80", mux), Worker("mailer", hang),
			OnExit("cache", func(context.Context) error { panic("oh") }), OnExit("pool", func(ctx context.Context) error { <-ctx.Done(); return errors.New("is busy") }))
		signals := make(chan os.Signal, 2)
		ended := make(chan error)
		go func() { ended <- l.run(t.Context(), signals) }()
		for _, path := range []string{"/obeys", "/hangs", "/hangs"} {
			go func() { _, _ = at.get(path) }()
		}
		synctest.Wait()
		signals <- os.Interrupt
		err := <-ended
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{
			"drain of HTTP server :80 not done after 30s: 3 requests in flight\n",
			"worker \"mailer\" not done 10s after its context ended\n",
			"closing of \"pool\": is busy\n",
			"closing of \"cache\": panic: oh\n",
			"closing of \"redis\" not done after 5s",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in the error\n%v", want, err)
			}
		}
		for _, want := range []string{"3 requests in flight", "mailer", "redis"} {
			if !strings.Contains(logs.String(), want) {
				t.Errorf("%q was not logged", want)
			}
		}
		s.want(t,
			"30 request ends: the service ends: the time for requests is over",
			// 1 s for requests to hear of it, 10 s for the worker, 5 s for pool,
			// and 6 s for redis, which does not hear of its end.
			"52 db closed",
			"52 telemetry flushed",
		)
		close(free)
	})
}

// What fails first ends the service; what fails on the way is told, too.
func TestFirstFailureEndsTheService(t *testing.T) {
	logTo(t)
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		parts []Part
		want  []string
	}{
		"worker": {[]Part{Worker("mailer", func(context.Context) error { return boom })}, []string{`worker "mailer": boom`}},
		"panic":  {[]Part{Worker("mailer", func(context.Context) error { panic(boom) })}, []string{`worker "mailer": panic: boom`, "TestFirstFailureEndsTheService"}},
		"goexit": {[]Part{Worker("mailer", func(context.Context) error { runtime.Goexit(); return nil })}, []string{`worker "mailer": it ended its goroutine`}},
		"others": {[]Part{Worker("a", func(context.Context) error { return boom }), Worker("b", func(ctx context.Context) error { <-ctx.Done(); return io.ErrShortWrite }),
			OnExit("db", func(context.Context) error { return io.ErrNoProgress })}, []string{`worker "a": boom`, `worker "b": short write`, `closing of "db": multiple Read`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s story
				err := s.inMemory(newPipes(), append(c.parts, HTTP(":80", nil))...).run(t.Context(), nil)
				if err == nil || !errors.Is(err, boom) && name != "goexit" {
					t.Fatalf("error %v", err)
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q is not in %v", want, err)
					}
				}
				s.want(t, " 5 telemetry flushed")
			})
		})
	}
}

func TestServerThatEndsByItself(t *testing.T) {
	logTo(t)
	synctest.Test(t, func(t *testing.T) {
		var s story
		srv := &http.Server{Addr: ":80"}
		ended := make(chan error)
		go func() { ended <- s.inMemory(newPipes(), PreStop(0), Server(srv)).run(t.Context(), nil) }()
		synctest.Wait()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "serve HTTP server :80: somebody else shut it down") {
			t.Errorf("error %v", err)
		}
	})
}

// Without servers, a service of workers is over when they are.
func TestWorkersAlone(t *testing.T) {
	logTo(t)
	synctest.Test(t, func(t *testing.T) {
		var s story
		work := func(d time.Duration) func(context.Context) error {
			return func(context.Context) error { time.Sleep(d); return nil }
		}
		err := s.inMemory(nil, Worker("a", work(time.Second)), Worker("b", work(3*time.Second)), s.closing("db")).run(t.Context(), nil)
		if err != nil {
			t.Error(err)
		}
		s.want(t, " 3 db closed", " 3 telemetry flushed")
	})
}

// The second signal ends the process wherever the exit is; the end of a context
// is no signal.
func TestSecondSignal(t *testing.T) {
	logTo(t)
	for _, first := range []string{"signal", "context"} {
		synctest.Test(t, func(t *testing.T) {
			var s story
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			signals := make(chan os.Signal, 2)
			ended := make(chan error)
			go func() { ended <- s.inMemory(newPipes(), HTTP(":80", nil)).run(ctx, signals) }()
			synctest.Wait()
			want := []string{" 1 died of interrupt", " 5 telemetry flushed"}
			if first == "context" {
				cancel()
				want = []string{" 2 died of interrupt", " 5 telemetry flushed"}
			} else {
				signals <- syscall.SIGTERM
			}
			time.Sleep(time.Second)
			signals <- os.Interrupt
			time.Sleep(time.Second)
			if first == "context" {
				signals <- os.Interrupt
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			s.want(t, want...)
		})
	}
}

// rpc has the shape of a gRPC server; the real one is run in sdk/stocktest.
type rpc struct {
	story            *story
	calls            sync.WaitGroup
	stopped          chan struct{}
	graceful, abrupt sync.Once
}

func (r *rpc) Serve(net.Listener) error { <-r.stopped; return nil }

func (r *rpc) GracefulStop() {
	r.story.tell("graceful stop")
	r.graceful.Do(func() { close(r.stopped) })
	r.calls.Wait()
}

func (r *rpc) Stop() {
	r.abrupt.Do(func() { r.story.tell("stop"); r.calls.Done() })
}

func TestGRPCDrain(t *testing.T) {
	logTo(t)
	synctest.Test(t, func(t *testing.T) {
		var s story
		r := &rpc{story: &s, stopped: make(chan struct{})}
		r.calls.Add(1)
		ctx, cancel := context.WithCancel(t.Context())
		l := s.inMemory(newPipes(), PreStop(0), Drain(7*time.Second), GRPC(":90", r))
		ended := make(chan error)
		go func() { ended <- l.run(ctx, nil) }()
		synctest.Wait()
		cancel()
		if err := <-ended; err == nil || err.Error() != "drain of gRPC server :90 not done after 7s: calls are in flight" {
			t.Errorf("error %v", err)
		}
		s.want(t, " 0 graceful stop", " 7 stop", " 7 telemetry flushed")
	})
}

// A port that is taken is told before anything runs.
func TestPortInUse(t *testing.T) {
	logged := logTo(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var first net.Listener
	opens := func(l *life) {
		l.listen = func(ctx context.Context, addr string) (net.Listener, error) {
			at, err := listen(ctx, addr)
			if first == nil {
				first = at
			}
			return at, err
		}
	}
	var s story
	l := s.inMemory(nil, s.closing("db"), HTTP("127.0.0.1:0", nil), HTTP(taken.Addr().String(), nil), Worker("mailer", func(context.Context) error { s.tell("mailer runs"); return nil }))
	opens(l)
	err = l.run(t.Context(), nil)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "open port of HTTP server "+taken.Addr().String()) || !strings.Contains(err.Error(), "choose another address") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(logged.String(), "open port of HTTP server "+taken.Addr().String()) {
		t.Errorf("log %q does not tell of the port", logged.String())
	}
	s.want(t, " 0 db closed", " 0 telemetry flushed")
	again, err := net.Listen("tcp", first.Addr().String())
	if err != nil {
		t.Fatalf("the other port is still open: %v", err)
	}
	again.Close()
}

func TestPreStopIsForKubernetes(t *testing.T) {
	inCluster := func(string) string { return "10.0.0.1" }
	nowhere := func(string) string { return "" }
	for _, c := range []struct {
		getenv func(string) string
		parts  []Part
		want   time.Duration
	}{
		{nowhere, nil, 0},
		{inCluster, nil, 5 * time.Second},
		{inCluster, []Part{PreStop(0)}, 0},
		{nowhere, []Part{PreStop(time.Second)}, time.Second},
	} {
		if got := newLife(c.getenv, c.parts).preStop; got != c.want {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

// A server of one's own: TLS, contexts of its own that end with the others, and
// nothing left behind.
func TestServerOfOnesOwn(t *testing.T) {
	logTo(t)
	pattern := httptest.NewTLSServer(nil)
	certificates, client := pattern.TLS.Certificates, pattern.Client()
	pattern.Close()
	before := runtime.NumGoroutine()

	type key struct{}
	addr := make(chan string, 1)
	ctx, exit := context.WithCancel(t.Context())
	released := make(chan error, 1)
	srv := &http.Server{Addr: "127.0.0.1:0", TLSConfig: &tls.Config{Certificates: certificates}}
	srv.BaseContext = func(at net.Listener) context.Context {
		addr <- at.Addr().String()
		return context.WithValue(context.Background(), key{}, "mine")
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hijack" { // Run does not wait for these, but tells them
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				released <- err
				return
			}
			c.Close()
			<-r.Context().Done()
			released <- context.Cause(r.Context())
			return
		}
		fmt.Fprintf(w, "%v %v", r.Context().Value(key{}), r.TLS != nil)
	})
	ended := make(chan error, 1)
	go func() { ended <- newLife(func(string) string { return "" }, []Part{Server(srv)}).run(ctx, nil) }()
	at := "https://" + <-addr
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	client.Transport.(*http.Transport).DisableKeepAlives = true
	res, err := client.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "mine true" {
		t.Errorf("answer %q", body)
	}
	res.Body.Close()
	if _, err := client.Get(at + "/hijack"); err == nil {
		t.Error("an answer of a hijacked connection")
	}
	exit()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-released; err != errDrained {
		t.Errorf("the hijacked request hears of %v", err)
	}
	client.CloseIdleConnections()
	for began := time.Now(); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Since(began) > time.Minute {
			buf := make([]byte, 64<<10)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}
