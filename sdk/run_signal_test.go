//go:build unix

package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv makes the test binary a service; its value is where telemetry goes.
const childEnv = "SDK_TEST_SERVICE"

// TestServiceOfTheChild is no test but the service that TestSignals sends
// signals to.
func TestServiceOfTheChild(t *testing.T) {
	endpoint := os.Getenv(childEnv)
	if endpoint == "" {
		t.Skip("run by TestSignals")
	}
	os.Exit(childService(endpoint))
}

func childService(endpoint string) int {
	if _, err := Start(context.Background(), Options{Endpoint: endpoint, ServiceName: "child"}); err != nil {
		fmt.Println("start:", err)
		return 3
	}
	var health Health
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("slow request")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent says so
		fmt.Println("slow request ends:", r.Context().Err())
		fmt.Fprint(w, "slow")
	})
	server := &http.Server{Addr: "127.0.0.1:0", Handler: health.Handler(Handler(mux))}
	server.BaseContext = func(at net.Listener) context.Context {
		fmt.Println("address", at.Addr())
		return context.Background()
	}
	err := Run(context.Background(), &health, PreStop(0), Server(server),
		OnExit("db", func(context.Context) error { fmt.Println("db closed"); return nil }),
		Worker("mailer", func(ctx context.Context) error {
			<-ctx.Done()
			fmt.Println("mailer ends")
			return ctx.Err()
		}))
	fmt.Println("run:", err)
	if err != nil {
		return 1
	}
	return 0
}

// child is a service in a process of its own, with one request in flight.
type child struct {
	*exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner
	addr   string
	answer chan string
}

func newChild(t *testing.T, endpoint string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0], "-test.run=^TestServiceOfTheChild$"), answer: make(chan string, 1)}
	c.Env = append(os.Environ(), childEnv+"="+endpoint)
	c.Stderr = os.Stderr
	var err1, err2 error
	var out io.Reader
	c.stdin, err1 = c.StdinPipe()
	out, err2 = c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	// A test that waits for a child that does nothing is to end with it.
	timer := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	c.lines = bufio.NewScanner(out)
	c.addr = strings.TrimPrefix(c.expect(t, "address "), "address ")
	go func() {
		res, err := http.Get("http://" + c.addr + "/slow")
		if err != nil {
			c.answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		c.answer <- string(b)
	}()
	c.expect(t, "slow request")
	return c
}

// expect reads the child's next line.
func (c *child) expect(t *testing.T, prefix string) string {
	t.Helper()
	if !c.lines.Scan() || !strings.HasPrefix(c.lines.Text(), prefix) {
		t.Fatalf("the child says %q, want %q", c.lines.Text(), prefix)
	}
	return c.lines.Text()
}

// signal sends a signal, and waits until the child has closed its port.
func (c *child) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := c.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; {
		conn, err := net.Dial("tcp", c.addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			conn.Close()
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("the port is still open: %v", err)
		}
	}
}

func TestSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			sink := newSink(t)
			c := newChild(t, sink.URL)
			c.signal(t, s)
			fmt.Fprintln(c.stdin, "go on")
			for _, want := range []string{"slow request ends: <nil>", "mailer ends", "db closed", "run: <nil>"} {
				c.expect(t, want)
			}
			if got := <-c.answer; got != "slow" {
				t.Errorf("the request in flight got %q", got)
			}
			if err := c.Wait(); err != nil {
				t.Errorf("the child ends with %v", err)
			}
			var metrics string
			for len(sink.bodies) > 0 {
				if b := <-sink.bodies; b.path == "/v1/metrics" {
					metrics += b.body
				}
			}
			if !strings.Contains(metrics, "/slow") {
				t.Error("telemetry of the last request was not flushed")
			}
		})
	}
}

func TestSecondSignalOfAProcess(t *testing.T) {
	sink := newSink(t)
	c := newChild(t, sink.URL)
	c.signal(t, syscall.SIGTERM)
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGINT) {
		t.Errorf("the child ends with %v, want status %d", err, 128+int(syscall.SIGINT))
	}
	if got := <-c.answer; got == "slow" {
		t.Error("the request in flight was answered")
	}
}
