//go:build linux

package auto

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/internal/exit"
)

// TestMain is the service under test when it is told to be, in a process of its
// own: what the package does, it does to a whole process.
func TestMain(m *testing.M) {
	if mode := os.Getenv("SERVICE_UNDER_TEST"); mode != "" {
		os.Exit(service(mode))
	}
	os.Exit(m.Run())
}

func work(name string) {
	ctx, sp := otel.Tracer("test").Start(context.Background(), name)
	slog.InfoContext(ctx, "log of "+name)
	sp.End()
}

func service(mode string) int {
	switch mode {
	case "calls":
		for _, client := range []*http.Client{http.DefaultClient, {}, {Transport: http.DefaultTransport.(*http.Transport).Clone()}} {
			res, err := client.Get(os.Getenv("PEER"))
			if err != nil {
				fmt.Println(err)
				return 1
			}
			io.Copy(os.Stdout, res.Body)
			res.Body.Close()
			fmt.Println()
		}
		return 0
	case "disabled":
		work("nothing")
		_, ours := slog.Default().Handler().(*sdk.LogHandler)
		fmt.Println(ours, http.DefaultClient.Transport == nil)
		return 0
	}
	var signals chan os.Signal
	ctx := context.Background()
	switch mode {
	case "listens":
		signals = make(chan os.Signal, 2)
		signal.Notify(signals, syscall.SIGTERM)
	case "listens by a context":
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
		// The usual way: once the signal has come, a second one is to end it.
		go func() { <-ctx.Done(); stop() }()
	}
	work("at work")
	for mode != "plain" && exit.Looked.Load() == 0 { // after a second
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	select {
	case <-signals:
	case <-ctx.Done():
	}
	work("while draining")
	fmt.Println("draining")
	stdin := make(chan error, 1)
	go func() {
		in := bufio.NewReader(os.Stdin)
		_, _ = in.ReadString('\n')
		work("while still draining")
		_, err := io.ReadAll(in)
		stdin <- err
	}()
	select {
	case <-signals:
		fmt.Println("a second signal")
		return 3
	case <-stdin:
		return 0
	}
}

// receiver keeps what services send.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return // the process has ended meanwhile
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got += string(body)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.got, text)
}

// eventually polls, as another process has its own pace.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen in 20 s: " + what)
		}
	}
}

type child struct {
	*exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

func run(t *testing.T, mode string, env ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "SERVICE_UNDER_TEST="+mode, "OTEL_TRACES_SAMPLER=always_on", "OTEL_BSP_SCHEDULE_DELAY=60000", "OTEL_BLRP_SCHEDULE_DELAY=60000")...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &child{cmd, stdin, bufio.NewReader(out)}
}

// until reads lines up to one.
func (c *child) until(t *testing.T, want string) {
	t.Helper()
	for {
		line, err := c.out.ReadString('\n')
		if strings.TrimSpace(line) == want {
			return
		}
		if err != nil {
			t.Fatalf("the service did not say %q: %v", want, err)
		}
	}
}

func TestSignals(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			r := newReceiver(t)
			c := run(t, "plain", "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL)
			c.until(t, "ready")
			_ = c.Process.Signal(sig)
			var exit *exec.ExitError
			if err := c.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig {
				t.Errorf("ended with %v, want by %v", err, sig)
			}
			if !r.has("at work") || !r.has("log of at work") {
				t.Errorf("%v: the last span or log record did not arrive", sig)
			}
		}
	})
	t.Run("no receiver", func(t *testing.T) {
		c := run(t, "plain", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1")
		c.until(t, "ready")
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
			t.Errorf("ended with %v", err)
		}
	})
	for _, mode := range []string{"listens", "listens by a context"} {
		t.Run(mode, func(t *testing.T) {
			r := newReceiver(t)
			c := run(t, mode, "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL)
			c.until(t, "ready")
			_ = c.Process.Signal(syscall.SIGTERM)
			c.until(t, "draining")
			// Batches wait for a minute: this one comes by the haste after a
			// signal only.
			eventually(t, "a span of the draining arrives", func() bool { return r.has("while draining") })
			// What is done after that one has come is sent by the haste
			// that follows the decision not to end the process.
			fmt.Fprintln(c.stdin)
			eventually(t, "one more span of the draining arrives", func() bool { return r.has("while still draining") })
			_ = c.stdin.Close()
			rest, _ := io.ReadAll(c.out)
			if err := c.Wait(); err != nil {
				t.Errorf("ended with %v, said %q", err, rest)
			}
		})
	}
}

func TestCalls(t *testing.T) {
	r := newReceiver(t)
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, len(q.Header["Traceparent"]))
	}))
	defer peer.Close()
	c := run(t, "calls", "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL, "PEER="+peer.URL)
	out, _ := io.ReadAll(c.out)
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The clone of the default transport is the program's own.
	if got := strings.Fields(string(out)); len(got) != 3 || got[0] != "1" || got[1] != "1" || got[2] != "0" {
		t.Errorf("requests with a context: %q, want those of the default client and of the default transport", got)
	}
}

// http.Client finds it, and must reach what is the default by then.
func TestCloseIdleConnections(t *testing.T) {
	was := http.DefaultTransport
	defer func() { http.DefaultTransport = was }()
	fake := &idleCloser{RoundTripper: was}
	http.DefaultTransport = fake
	client := &http.Client{Transport: sdk.Transport(latest{})}
	client.CloseIdleConnections()
	if fake.closed != 1 {
		t.Errorf("closed %d times, want once", fake.closed)
	}
	http.DefaultTransport = struct{ http.RoundTripper }{was}
	client.CloseIdleConnections() // has none
}

type idleCloser struct {
	http.RoundTripper
	closed int
}

func (c *idleCloser) CloseIdleConnections() { c.closed++ }

func TestDisabled(t *testing.T) {
	c := run(t, "disabled", "OTEL_SDK_DISABLED=true")
	out, _ := io.ReadAll(c.out)
	if err := c.Wait(); err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "false true") {
		t.Errorf("%v, said %q", err, out)
	}
}
