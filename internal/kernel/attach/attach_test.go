//go:build linux

package attach

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// build compiles the program in testdata once a set of flags.
var built sync.Map // flags → func() (string, error)

func build(t *testing.T, flags ...string) string {
	t.Helper()
	once, _ := built.LoadOrStore(strings.Join(flags, " "), sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "attach")
		if err != nil {
			return "", err
		}
		cleanup = append(cleanup, dir)
		exe := filepath.Join(dir, "service")
		cmd := exec.Command("go", append(append([]string{"build", "-o", exe}, flags...), "./testdata/service")...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return exe, err
	}))
	exe, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

var cleanup []string

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range cleanup {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// service is a running program of testdata.
type service struct {
	*exec.Cmd
	addr string // of its HTTP server
}

func run(t *testing.T, exe string, args ...string) *service {
	t.Helper()
	s := &service{Cmd: exec.Command(exe, args...)}
	s.Stderr = os.Stderr
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Process.Kill(); _ = s.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s.addr = strings.TrimSpace(line)
	return s
}

func get(t *testing.T, url string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

var client = &http.Client{Timeout: 20 * time.Second}

// spans collects what comes up.
type spans struct {
	f    *Feature
	mu   sync.Mutex
	all  []Span
	told []Process
}

func attachTo(t *testing.T, o Options) *spans {
	t.Helper()
	c := &spans{}
	o.OnSpan = func(s Span) { c.mu.Lock(); defer c.mu.Unlock(); c.all = append(c.all, s) }
	o.OnProcess = func(p Process) { c.mu.Lock(); defer c.mu.Unlock(); c.told = append(c.told, p) }
	c.f = New(o)
	t.Cleanup(func() {
		if err := c.f.Close(); err != nil {
			t.Error(err)
		}
	})
	err := c.f.Start(context.Background(), kernel.NewHost(kernel.Options{}))
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		t.Skip(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.processes() {
		if u := (*kernel.Unsupported)(nil); errors.As(p.Err, &u) {
			t.Skip(u)
		}
	}
	return c
}

func (c *spans) processes() []Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Process(nil), c.told...)
}

// wait returns the first span that ok accepts.
func (c *spans) wait(t *testing.T, what string, ok func(Span) bool) Span {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; {
		c.mu.Lock()
		for _, s := range c.all {
			if ok(s) {
				c.mu.Unlock()
				return s
			}
		}
		n := len(c.all)
		c.mu.Unlock()
		if time.Now().After(end) {
			t.Fatalf("no span of %s among %d: %+v; losses %v", what, n, c.all, c.f.object.Losses())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *spans) where(ok func(Span) bool) (out []Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.all {
		if ok(s) {
			out = append(out, s)
		}
	}
	return out
}

func at(kind Kind, text string) func(Span) bool {
	return func(s Span) bool { return s.Kind == kind && s.Text == text }
}

func TestHTTPServer(t *testing.T) {
	s := run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	for _, p := range c.processes() {
		t.Logf("%v: attached=%v in %v, err %v", p.Exe, p.Attached, p.Took, p.Err)
		for _, l := range p.Libraries {
			t.Logf("  %+v", l)
		}
	}
	before := time.Now()
	get(t, "http://"+s.addr+"/items/7")
	after := time.Now()
	got := c.wait(t, "the request", at(HTTPServer, "/items/7"))
	if got.Method != "GET" || got.Status != 201 || got.Route != "GET /items/{id}" || got.Host != s.addr || got.Process.PID != s.Process.Pid {
		t.Errorf("got %+v", got)
	}
	if got.Start.Before(before.Add(-time.Millisecond)) || got.End.After(after.Add(time.Millisecond)) || got.End.Sub(got.Start) < 10*time.Millisecond {
		t.Errorf("%v to %v, the client's %v to %v", got.Start, got.End, before, after)
	}
	if got.Parent != [8]byte{} || got.Trace == [16]byte{} || got.ID == [8]byte{} {
		t.Errorf("ids of %+v", got)
	}
	if a := got.Peer.Addr(); !a.IsLoopback() || got.Peer.Port() == 0 {
		t.Errorf("peer %v", got.Peer)
	}
}
