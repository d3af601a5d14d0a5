//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach"
	"github.com/guanlan-io/guanlan/internal/testkit/otlpsink"
)

// lockedBuffer is written by the command and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A process that executes another program is waited for; it is over when that is
// none to attach to, or when it ends.
func TestAttachOutlivesExec(t *testing.T) {
	host := kernel.NewHost(kernel.Options{})
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	a := &attaching{at: map[int]bool{}, refused: map[int]bool{}, ended: make(chan struct{}, 1), out: io.Discard}
	pid := child.Process.Pid
	targets := []attach.Target{{PID: pid}}
	over := func() bool {
		t.Helper()
		select {
		case <-a.ended:
			return a.over(host, targets)
		default:
			return false
		}
	}
	p := attach.Process{Process: kernel.Process{PID: pid}}
	on := p
	on.Attached = true
	a.tell(on, false)
	a.tell(p, false)
	if over() {
		t.Error("over while the process lives")
	}
	a.tell(on, false)
	a.tell(p, false)
	p.Err = errors.New("no Go program")
	a.tell(p, false)
	if !over() {
		t.Error("nothing comes of it, and it is waited for")
	}
	p.Err = nil
	a.tell(on, false)
	_ = child.Process.Kill()
	_ = child.Wait()
	a.tell(p, false)
	if !over() {
		t.Error("the process ended")
	}
}

// attachee starts a program to attach to.
func attachee(t *testing.T) (service *exec.Cmd, exe, url string) {
	t.Helper()
	exe = filepath.Join(t.TempDir(), "attachee")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, "../../internal/kernel/attach/testdata/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	service = exec.Command(exe)
	service.Env = append(os.Environ(), "OTEL_SERVICE_NAME=attachee-service")
	stdout, _ := service.StdoutPipe()
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Process.Kill(); _ = service.Wait() })
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return service, exe, "http://" + strings.TrimSpace(addr) + "/fast"
}

// Who sends each span a second time is told that, and who does already.
func TestAttachTwice(t *testing.T) {
	_, need := checking(t)
	need(t, "attach")
	service, exe, _ := attachee(t)
	sink := otlpsink.New(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(service.Process.Pid)
	start := func(want string, args ...string) (*exec.Cmd, *output) {
		t.Helper()
		out := &output{}
		c := exec.Command(self)
		c.Args = append([]string{"guanlan"}, args...)
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		says(t, out, want)
		return c, out
	}
	first, out := start("attached in", "attach", pid, "--endpoint", sink.URL)
	by := fmt.Sprintf("process %d", first.Process.Pid)
	second, _ := start(by+" is attached to it already: each span is sent twice", "attach", "--exe", exe, "--endpoint", sink.URL)
	if err := second.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the second ends with %v", err)
	}
	agent, _ := start("another process is attached to a program as well: each span is sent twice", "agent", "--endpoint", sink.URL, "--features", "tcp",
		"--set", "receivers::kernel::attach::enabled=true", "--set", "receivers::kernel::attach::executables=["+exe+"]")
	if strings.Contains(out.String(), "already") {
		t.Errorf("the first says %s", out)
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	_, out = start(fmt.Sprintf(`"also_attached":%d`, agent.Process.Pid), "attach", pid, "--endpoint", sink.URL, "--output", "json")
	says(t, out, fmt.Sprintf("process %d is attached", agent.Process.Pid))
}

// A running program is listed, attached to, its spans arrive by OTLP, and Ctrl-C detaches.
func TestAttach(t *testing.T) {
	service, exe, url := attachee(t)
	var list lockedBuffer
	root := newRoot()
	root.SetArgs([]string{"attach", "--list", "--output", "json"})
	root.SetOut(&list)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var programs []listedProgram
	if err := json.Unmarshal([]byte(list.String()), &programs); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range programs {
		if p.PID == service.Process.Pid {
			found = true
			if p.Exe != exe || p.Service != "attachee-service" || !strings.HasPrefix(p.Go, "go1.") || len(p.Libraries) == 0 {
				t.Errorf("listed as %+v", p)
			}
		}
	}
	if !found {
		t.Errorf("%d is not among %d programs", service.Process.Pid, len(programs))
	}

	sink := otlpsink.New(t)
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errs lockedBuffer
	root = newRoot()
	root.SetArgs([]string{"attach", strconv.Itoa(service.Process.Pid), "--endpoint", sink.URL})
	root.SetOut(&out)
	root.SetErr(&errs)
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	for end := time.Now().Add(startPatience); !strings.Contains(out.String(), "attached in"); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-done:
			interrupt()
			if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
				t.Skip(u)
			}
			t.Fatal(err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("not attached: %s %s", out.String(), errs.String())
		}
	}
	for range 3 {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	interrupt()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "net/http server") || !strings.Contains(errs.String(), "3 spans sent, 0 lost here, 0 lost in the kernel") {
		t.Errorf("said %q and %q", out.String(), errs.String())
	}
	traces := sink.Received().Traces
	if traces.SpanCount() != 3 {
		t.Fatalf("%d spans arrived", traces.SpanCount())
	}
	rs := traces.ResourceSpans().At(0)
	if name, _ := rs.Resource().Attributes().Get("service.name"); name.AsString() != "attachee-service" {
		t.Errorf("service %q", name.AsString())
	}
	if span := rs.ScopeSpans().At(0).Spans().At(0); span.Name() != "GET /fast" {
		t.Errorf("span %q", span.Name())
	}
}
