//go:build linux && (amd64 || arm64)

package attach

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
	"github.com/guanlan-io/guanlan/internal/kernel/layout"
)

// helper is set in processes that a test starts of its own binary: the id of the process to attach to.
const helper = "GUANLAN_ATTACH_HELPER"

// execs is set in processes that wait for a line and become the program that it names.
const execs = "GUANLAN_ATTACH_EXECS"

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
	file, err := elf.Open(exeOf("/proc", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text := file.Section(".text")
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
		code := make([]byte, f.Size)
		if _, err := mem.ReadAt(code, int64(f.Entry-text.Offset+text.Addr)); err != nil {
			t.Fatal(err)
		}
		out = append(out, code...)
	}
	return out
}

// hammer asks the service all the time and returns how to stop; any answer but 200 fails the test.
func hammer(t *testing.T, s *service) (stop func() int) {
	t.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	done := make(chan struct{})
	clients := 4
	if os.Getenv("GUANLAN_EMULATED") != "" { // one CPU, which attaching needs, too
		clients = 1
	}
	for range clients {
		wg.Go(func() {
			c := &http.Client{Timeout: patience, Transport: &http.Transport{}}
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
	kerneltest.Until(t, "the code to be as before", func() bool { return bytes.Equal(code(t, s.Process.Pid), was) })
	if n := stop(); n < 10 {
		t.Errorf("only %d requests", n)
	}
}

// closer takes note of when it is closed, and lets the others of its time be closed, too.
type closer func() error

func (c closer) Close() error { return c() }

// Where requests come to be written to, no probe stands any more when the first of those goes that they pass then.
func TestDetachInOrder(t *testing.T) {
	var entered, early atomic.Int32
	a := &attached{}
	for range 3 {
		a.enters = append(a.enters, closer(func() error { time.Sleep(time.Millisecond); entered.Add(1); return nil }))
		a.links = append(a.links, closer(func() error {
			if entered.Load() < 3 {
				early.Add(1)
			}
			return errors.New("kept")
		}))
	}
	if err := a.detach(); err == nil || strings.Count(err.Error(), "kept") != 3 || early.Load() > 0 {
		t.Errorf("%d went early: %v", early.Load(), err)
	}
	if len(a.enters)+len(a.links) > 0 {
		t.Error("links are there still")
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
	kerneltest.Until(t, "the end of the old", func() bool {
		for _, p := range c.processes() {
			if p.PID == old.Process.Pid && !p.Attached && p.Err == nil {
				return true
			}
		}
		return false
	})
	// Who was seen between its fork and its exec, as any process may be, is looked at anew after it.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), execs+"="+exe)
	gate, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	young := begin(t, cmd)
	kerneltest.Until(t, "the new to be seen before its exec", func() bool {
		c.f.mu.Lock()
		defer c.f.mu.Unlock()
		_, ok := c.f.known[young.Process.Pid]
		return ok
	})
	if _, err := gate.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	young.ready(t)
	kerneltest.Until(t, "the new to be attached", func() bool {
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
	// What stands in for sleep in a guest (internal/kernel/vm) is a Go program that does nothing of what is known.
	b, err := layout.Of(exeOf("/proc", cmd.Process.Pid))
	if err == nil {
		_ = b.Close()
	}
	if p := c.processes(); len(p) != 1 || p[0].Attached || p[0].Err == nil || errors.Is(p[0].Err, layout.ErrNotGo) != errors.Is(err, layout.ErrNotGo) {
		t.Errorf("sleep: %+v", p)
	}
}

// lines keeps what a process says and calls then once it said until.
type lines struct {
	all   bytes.Buffer
	until string
	then  func()
}

func (l *lines) Write(b []byte) (int, error) {
	if n, err := l.all.Write(b); err != nil {
		return n, err
	}
	if l.then != nil && bytes.Contains(l.all.Bytes(), []byte(l.until+"\n")) {
		l.then()
		l.then = nil
	}
	return len(b), nil
}

// Least capabilities, as nobody: it comes to spans with all, and says what it lacks with less.
func TestCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "root"})
	}
	s := run(t, build(t))
	attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}}) // skips where nothing can be had
	name := readable(t)
	defer hammer(t, s)()
	want, last := "attached", "span: /fast"
	if level, _ := os.ReadFile("/proc/sys/kernel/perf_event_paranoid"); len(level) > 0 && level[0] > '2' && features.HaveBPFLinkUprobeMulti() != nil {
		want, last = "missing CAP_SYS_ADMIN, for perf_event_paranoid is above 2", "ready" // Debian's, before 6.6
	}
	for _, tt := range []struct {
		caps []uintptr
		want string
		last string // then it may end
	}{
		{nil, "unsupported: CAP_BPF, CAP_PERFMON", "ready"},
		{[]uintptr{unix.CAP_BPF}, "unsupported: CAP_PERFMON", "ready"},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE}, want, last},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, name)
		cmd.Env = []string{helper + "=" + strconv.Itoa(s.Process.Pid)}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: tt.caps}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		said := &lines{until: tt.last, then: func() { _ = stdin.Close() }}
		cmd.Stdout, cmd.Stderr = said, said
		err = cmd.Run()
		out := said.all.Bytes()
		t.Logf("%v: %s", tt.caps, bytes.ReplaceAll(bytes.TrimSpace(out[:min(len(out), 200)]), []byte("\n"), []byte(" | ")))
		if err != nil || !strings.Contains(string(out), tt.want) || strings.Contains(string(out), "error:") {
			t.Errorf("%v: does not say %q: %v", tt.caps, tt.want, err)
		}
	}
}

// Another program under the number of an ended one is another process: what was of the first
// is not said of it, though nobody looked in between.
func TestProcessIDReused(t *testing.T) {
	last, err := os.OpenFile("/proc/sys/kernel/ns_last_pid", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "CONFIG_CHECKPOINT_RESTORE, or root", Err: err})
	}
	defer last.Close()
	first, other := run(t, build(t)), build(t, "-ldflags=-s -w")
	pid := first.Process.Pid
	c := attachTo(t, Options{Targets: []Target{{PID: pid}}, Search: time.Second})
	get(t, "http://"+first.addr+"/items/first")
	c.wait(t, "the first", at(HTTPServer, "/items/first"))
	_ = first.Process.Kill()
	_ = first.Wait()
	var second *service
	for range 200 { // others start processes, too
		if _, err := last.WriteAt([]byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		if second = run(t, other); second.Process.Pid == pid {
			break
		}
		_ = second.Process.Kill()
		_ = second.Wait()
	}
	if second.Process.Pid != pid {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "a process id that nobody takes"})
	}
	kerneltest.Until(t, "the second to be attached", func() bool {
		return slices.ContainsFunc(c.processes(), func(p Process) bool { return p.Attached && p.Exe == other })
	})
	get(t, "http://"+second.addr+"/items/second")
	s := c.wait(t, "the second", at(HTTPServer, "/items/second"))
	if before := c.wait(t, "the first", at(HTTPServer, "/items/first")); s.Process.Start == before.Process.Start || s.Route != "GET /items/{id}" {
		t.Errorf("the second %+v, the first %+v", s, before)
	}
}

// More than the ring holds while nobody reads it is lost, and counted: none is lost twice
// and none in silence.
func TestRingOverflow(t *testing.T) {
	s := run(t, buildProgram(t, "server"))
	held, release := make(chan struct{}), make(chan struct{})
	var told atomic.Int64
	var hold sync.Once
	f := New(Options{Targets: []Target{{PID: s.Process.Pid}}, OnSpan: func(Span) {
		hold.Do(func() { close(held); <-release })
		told.Add(1)
	}})
	closing := sync.OnceValue(f.Close)
	t.Cleanup(func() { _ = closing() })
	kerneltest.Need(t, f.Start(context.Background(), kernel.NewHost(kernel.Options{})))
	get(t, "http://"+s.addr+"/fast")
	<-held
	// A short span takes 256 bytes with its header.
	asked := 1
	for full := int(f.object.Map("events").MaxEntries())/256 + 1000; asked < full; {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					get(t, "http://"+s.addr+"/fast")
				}
			})
		}
		wg.Wait()
		asked += 800
	}
	lost := f.Stats().Dropped
	close(release)
	kerneltest.Until(t, "what was kept", func() bool { return uint64(told.Load())+lost >= uint64(asked) })
	get(t, "http://"+s.addr+"/fast") // there is room again
	kerneltest.Until(t, "one more", func() bool { return uint64(told.Load())+lost >= uint64(asked)+1 })
	if err := closing(); err != nil {
		t.Fatal(err)
	}
	if got := f.Stats(); lost == 0 || got.Dropped != lost || got.Events+lost != uint64(asked)+1 || uint64(told.Load()) != got.Events {
		t.Errorf("asked %d times: %d spans, %d told, %d lost, %d as of then", asked+1, got.Events, told.Load(), got.Dropped, lost)
	}
}
