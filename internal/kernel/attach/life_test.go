//go:build linux && (amd64 || arm64)

package attach

import (
	"bufio"
	"bytes"
	"context"
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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach/layout"
)

// helper is set in processes that a test starts of its own binary: the id of the process to attach to.
const helper = "GUANLAN_ATTACH_HELPER"

func help(pid int) {
	f := New(Options{
		Targets: []Target{{PID: pid}},
		OnSpan:  func(s Span) { fmt.Println("span:", s.Text) },
		OnProcess: func(p Process) {
			if p.Err != nil {
				fmt.Println("refused:", p.Err)
			} else if p.Attached {
				fmt.Println("attached")
			}
		},
	})
	err := f.Start(context.Background(), kernel.NewHost(kernel.Options{}))
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		fmt.Println("unsupported:", u.Missing)
	} else if err != nil {
		fmt.Println("error:", err)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := f.Close(); err != nil {
		fmt.Println("error:", err)
	}
}

// code is what stands at the probes in the memory of a process: breakpoints while it is attached.
func code(t *testing.T, pid int) []byte {
	t.Helper()
	b, err := layout.Of(exeOf("/proc", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.PIE {
		t.Fatal("addresses of position-independent code are not those of the file")
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var out []byte
	for _, name := range []string{"net/http.serverHandler.ServeHTTP", "net/http.(*response).finishRequest", "net/http.(*Transport).roundTrip", "runtime.newproc1"} {
		f, ok := b.Func(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		text := make([]byte, f.Size)
		// The text segment is mapped from the beginning of the file to 0x400000.
		if _, err := mem.ReadAt(text, int64(f.Entry)+0x400000); err != nil {
			t.Fatal(err)
		}
		out = append(out, text...)
	}
	return out
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// hammer asks the service all the time and returns how to stop; any answer but 200 fails the test.
func hammer(t *testing.T, s *service) (stop func() int) {
	t.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
			for {
				select {
				case <-done:
					return
				default:
				}
				resp, err := c.Get("http://" + s.addr + "/fast")
				if err != nil {
					t.Errorf("the service is harmed: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("the service answers %s", resp.Status)
				}
				n.Add(1)
			}
		})
	}
	return sync.OnceValue(func() int { close(done); wg.Wait(); return int(n.Load()) })
}

func TestNothingIsLeft(t *testing.T) {
	s := run(t, build(t))
	was := code(t, s.Process.Pid)
	stop := hammer(t, s)
	defer stop()
	for range 5 {
		c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
		if bytes.Equal(code(t, s.Process.Pid), was) {
			t.Fatal("attached, and the code is as before")
		}
		c.wait(t, "a request", at(HTTPServer, "/fast"))
		if err := c.f.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(code(t, s.Process.Pid), was) {
			t.Fatal("detached, and the code is not as before")
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helper+"="+strconv.Itoa(s.Process.Pid))
	stdin, _ := cmd.StdinPipe()
	defer stdin.Close()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewScanner(out); r.Scan() && r.Text() != "span: /fast"; {
	}
	if bytes.Equal(code(t, s.Process.Pid), was) {
		t.Fatal("the other process is not attached")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	until(t, "the code to be as before", func() bool { return bytes.Equal(code(t, s.Process.Pid), was) })
	if n := stop(); n < 10 {
		t.Errorf("only %d requests", n)
	}
}

// A process that ends is let go; another of the same executable is attached to, and so
// is one whose file was replaced while it ran.
func TestProcessesComeAndGo(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "come-and-go")
	b, err := os.ReadFile(build(t))
	if err != nil {
		t.Fatal(err)
	}
	install := func() {
		if err := errors.Join(os.WriteFile(exe+".new", b, 0o755), os.Rename(exe+".new", exe)); err != nil {
			t.Fatal(err)
		}
	}
	install()
	old := run(t, exe)
	install() // another file under the same name
	c := attachTo(t, Options{Targets: []Target{{Exe: "come-and-go"}}, Search: 50 * time.Millisecond})
	get(t, "http://"+old.addr+"/items/old")
	if s := c.wait(t, "the old", at(HTTPServer, "/items/old")); s.Process.PID != old.Process.Pid || s.Process.Exe != exe {
		t.Errorf("old: %+v", s)
	}
	stop := hammer(t, run(t, build(t))) // of no interest
	go func() { _, _ = client.Get("http://" + old.addr + "/items/in-flight") }()
	_ = old.Process.Kill()
	_ = old.Wait()
	until(t, "the end of the old", func() bool {
		for _, p := range c.processes() {
			if p.PID == old.Process.Pid && !p.Attached && p.Err == nil {
				return true
			}
		}
		return false
	})
	young := run(t, exe)
	until(t, "the new to be attached", func() bool {
		for _, p := range c.processes() {
			if p.PID == young.Process.Pid {
				return p.Attached
			}
		}
		return false
	})
	get(t, "http://"+young.addr+"/items/new")
	if s := c.wait(t, "the new", at(HTTPServer, "/items/new")); s.Process.PID != young.Process.Pid {
		t.Errorf("new: %+v", s)
	}
	if n := len(c.where(at(HTTPServer, "/fast"))); n > 0 {
		t.Errorf("%d spans of a program that was not named", n)
	}
	stop()
}

// What is no Go program, or has nothing to attach to, is refused with a reason.
func TestRefused(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	c := attachTo(t, Options{Targets: []Target{{PID: cmd.Process.Pid}}})
	if p := c.processes(); len(p) != 1 || !errors.Is(p[0].Err, layout.ErrNotGo) {
		t.Errorf("sleep: %+v", p)
	}
}

// Least capabilities, as nobody.
func TestCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "root"})
	}
	s := run(t, build(t))
	attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}}) // skips where nothing can be had
	dir, err := os.MkdirTemp("", "guanlan-attach")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "attach.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(name, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		caps []uintptr
		want string
	}{
		{nil, "unsupported: CAP_BPF, CAP_PERFMON"},
		{[]uintptr{unix.CAP_BPF}, "unsupported: CAP_PERFMON"},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE}, "attached"},
	} {
		cmd := exec.Command(name)
		cmd.Env = []string{helper + "=" + strconv.Itoa(s.Process.Pid)}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: tt.caps}
		cmd.Stdin = strings.NewReader("")
		out, err := cmd.CombinedOutput()
		t.Logf("%v: %s", tt.caps, bytes.ReplaceAll(bytes.TrimSpace(out), []byte("\n"), []byte(" | ")))
		if err != nil || !strings.Contains(string(out), tt.want) || strings.Contains(string(out), "error:") {
			t.Errorf("%v: does not say %q: %v", tt.caps, tt.want, err)
		}
	}
}
