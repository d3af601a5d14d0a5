//go:build linux

package kernel_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

// pinning is set in processes that a test starts of its own binary: they run
// tcp, oom and audit with pins in the folder that it names, and print what they are told.
const pinning = "GUANLAN_KERNEL_PINNING"

// heard is one line of theirs.
type heard struct {
	Ready   bool     `json:",omitempty"`
	Missing string   `json:",omitempty"` // *kernel.Unsupported
	Refused string   `json:",omitempty"`
	Args    []string `json:",omitempty"` // of an exec
	Seq     uint64   `json:",omitempty"`
	Lost    uint64   `json:",omitempty"`
	// Of the test's own flow.
	Connects uint32 `json:",omitempty"`
	Closed   uint32 `json:",omitempty"`
	Sent     uint64 `json:",omitempty"`
	Report   bool   `json:",omitempty"`
}

func runPinning(dir string) error {
	port := os.Getenv(pinning + "_PORT")
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(h heard) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(h)
	}
	pins, err := kernel.OpenPins(dir)
	if err != nil {
		return err
	}
	defer pins.Close()
	if err := pins.Keep("tcp", "oom", "audit"); err != nil {
		return err
	}
	features := []kernel.Feature{
		tcp.New(tcp.Options{Interval: 100 * time.Millisecond, OnReport: func(r tcp.Report) {
			h := heard{Report: true}
			for _, f := range r.Flows {
				if f.Role == tcp.Client && fmt.Sprint(f.Remote.Port()) == port {
					h.Connects += f.Connects
					h.Closed += f.Closed
					h.Sent += f.BytesSent
				}
			}
			say(h)
		}}),
		oom.New(oom.Options{}),
		audit.New(audit.Options{RingSize: 1 << 17, Scopes: onlyExec(), OnEvent: func(e audit.Event) {
			switch {
			case e.Kind == audit.Lost:
				say(heard{Lost: e.Lost, Seq: e.Seq})
			case e.Kind == audit.Exec && len(e.Args) > 1 && strings.HasPrefix(e.Args[1], "pinned-"):
				say(heard{Args: e.Args, Seq: e.Seq})
			}
		}}),
	}
	r := kernel.Start(context.Background(), kernel.NewHost(kernel.Options{Pins: pins}), features...)
	for _, s := range r.Status() {
		if u := (*kernel.Unsupported)(nil); errors.As(s.Err, &u) {
			say(heard{Missing: u.Error()})
		} else if s.Err != nil {
			say(heard{Refused: s.Err.Error()})
		}
	}
	say(heard{Ready: true})
	_, _ = io.Copy(io.Discard, os.Stdin)
	return r.Close()
}

// onlyExec leaves the ring to what the test does, as far as the machine's others let it.
func onlyExec() map[audit.Kind]audit.Scope {
	scopes := map[audit.Kind]audit.Scope{}
	for k := audit.Exec + 1; k < audit.Lost; k++ {
		scopes[k] = audit.Never
	}
	return scopes
}

// pinningAgent is such a process.
type pinningAgent struct {
	cmd   *exec.Cmd
	input io.Closer
	lines chan heard
	heard []heard
}

func startPinning(t *testing.T, dir, port string) *pinningAgent {
	t.Helper()
	a := &pinningAgent{cmd: exec.Command("/proc/self/exe"), lines: make(chan heard, 10_000)}
	a.cmd.Env = append(os.Environ(), pinning+"="+dir, pinning+"_PORT="+port)
	a.cmd.Stderr = os.Stderr
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if a.input, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.cmd.Process.Kill() })
	go func() {
		defer close(a.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			var h heard
			if err := json.Unmarshal(s.Bytes(), &h); err != nil {
				h.Refused = s.Text()
			}
			a.lines <- h
		}
	}()
	a.until(t, "ready", func() bool { return slices.ContainsFunc(a.heard, func(h heard) bool { return h.Ready }) })
	return a
}

// patience is for an emulated machine on a loaded one: who waits in vain waits so long.
const patience = 5 * time.Minute

// until reads lines until what they say is enough.
func (a *pinningAgent) until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !enough() {
		select {
		case h, ok := <-a.lines:
			if !ok {
				t.Fatalf("the agent ended before %s: %+v", what, a.sum())
			}
			if h.Missing != "" {
				t.Skip(h.Missing)
			}
			if h.Refused != "" {
				t.Fatal(h.Refused)
			}
			a.heard = append(a.heard, h)
		case <-deadline:
			t.Fatalf("no %s: %+v", what, a.sum())
		}
	}
}

// sum adds up what was heard.
func (a *pinningAgent) sum() (s heard) {
	for _, h := range a.heard {
		s.Connects += h.Connects
		s.Closed += h.Closed
		s.Sent += h.Sent
		s.Lost += h.Lost
		if h.Args != nil {
			s.Args = append(s.Args, h.Args[1])
		}
	}
	return s
}

func (a *pinningAgent) kill(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for h := range a.lines { // what it said before
		a.heard = append(a.heard, h)
	}
	_ = a.cmd.Wait()
}

// pinnedObjects asks for each pin whether the kernel still has its object; the
// machine's other users of BPF come and go.
func pinnedObjects(t *testing.T, dir string) (links int, exist func() []string) {
	t.Helper()
	find := map[string]func() bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch kind, _, _ := strings.Cut(d.Name(), "_"); kind {
		case "map":
			m, err := ebpf.LoadPinnedMap(path, nil)
			if err != nil {
				return err
			}
			info, err := m.Info()
			if err != nil {
				return err
			}
			id, _ := info.ID()
			find[path] = func() bool { m, err := ebpf.NewMapFromID(id); return err == nil && m.Close() == nil }
			return m.Close()
		case "prog":
			p, err := ebpf.LoadPinnedProgram(path, nil)
			if err != nil {
				return err
			}
			info, err := p.Info()
			if err != nil {
				return err
			}
			id, _ := info.ID()
			find[path] = func() bool { p, err := ebpf.NewProgramFromID(id); return err == nil && p.Close() == nil }
			return p.Close()
		default:
			l, err := link.LoadPinnedLink(path, nil)
			if err != nil {
				return err
			}
			info, err := l.Info()
			if err != nil {
				return err
			}
			links++
			find[path] = func() bool { l, err := link.NewFromID(info.ID); return err == nil && l.Close() == nil }
			return l.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return links, func() (there []string) {
		for path, exists := range find {
			if exists() {
				there = append(there, path)
			}
		}
		return there
	}
}

func openPins(t *testing.T, dir string) *kernel.Pins {
	t.Helper()
	p, err := kernel.OpenPins(dir)
	kerneltest.Need(t, err)
	return p
}

// An agent that is killed loses nothing of what happens until the next one is
// there, and tells nothing twice.
func TestPinsOutliveTheAgent(t *testing.T) {
	dir := filepath.Join(filepath.Dir(kernel.DefaultPins), fmt.Sprintf("guanlan-test-%d", os.Getpid()))
	pins := openPins(t, dir)
	if err := pins.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	write := func(c net.Conn, n int) {
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	call := func(times, bytes int) {
		for range times {
			c := dial()
			write(c, bytes)
			_ = c.Close()
		}
	}
	run := func(round, times int) (names []string) {
		for i := range times {
			name := fmt.Sprintf("pinned-%d-%d", round, i)
			if err := exec.Command("/bin/true", name).Run(); err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		return names
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())

	first := startPinning(t, dir, port)
	long := dial()
	write(long, 5000)
	call(3, 100)
	names := run(1, 3)
	want := heard{Connects: 4, Closed: 3, Sent: 5000 + 3*100}
	told := func(a *pinningAgent) func() bool {
		return func() bool {
			s := a.sum()
			return s.Connects >= want.Connects && s.Closed >= want.Closed && s.Sent >= want.Sent && len(s.Args) >= len(names)
		}
	}
	first.until(t, "the first traffic", told(first))
	if _, err := kernel.OpenPins(dir); !errors.Is(err, kernel.ErrPinsInUse) {
		t.Errorf("pins of a running agent: got %v, want ErrPinsInUse", err)
	}
	first.kill(t)

	write(long, 70_000)
	call(20, 1000)
	names = append(names, run(2, 5)...)

	second := startPinning(t, dir, port)
	write(long, 300)
	_ = long.Close()
	call(2, 10)
	names = append(names, run(3, 2)...)
	want = heard{Connects: 26, Closed: 26, Sent: 5000 + 70_000 + 300 + 3*100 + 20*1000 + 2*10}
	second.heard = append(first.heard, second.heard...)
	second.until(t, "all traffic", told(second))
	reports := len(second.heard)
	second.until(t, "another report", func() bool { return len(second.heard) > reports+2 })
	got := second.sum()
	if got.Connects != want.Connects || got.Closed != want.Closed || got.Sent != want.Sent || got.Lost != 0 {
		t.Errorf("both agents together tell of %d connects, %d closed, %d bytes, %d lost; want %d, %d, %d, 0",
			got.Connects, got.Closed, got.Sent, got.Lost, want.Connects, want.Closed, want.Sent)
	}
	if slices.Sort(got.Args); !slices.Equal(got.Args, names) {
		t.Errorf("execs: got %v, want %v", got.Args, names)
	}
	var seq uint64
	for _, h := range second.heard {
		if h.Seq != 0 && h.Seq <= seq {
			t.Errorf("an event has number %d after %d", h.Seq, seq)
		}
		seq = max(seq, h.Seq)
	}
	second.kill(t)

	// The ring of audit holds some 350 records: what is more is lost, and told.
	const all = 800
	run(4, all)
	third := startPinning(t, dir, port)
	third.until(t, "all execs or that they are lost", func() bool {
		// The next event for which there is room tells of those that are missing before it.
		if n := len(third.heard); n > 0 && third.heard[n-1].Report {
			run(5, 1)
		}
		s := third.sum()
		return s.Lost > 0 && len(s.Args)+int(s.Lost) >= all
	})
	if s := third.sum(); len(s.Args) == 0 {
		t.Errorf("of %d execs %d were told and %d lost, want some of both", all, len(s.Args), s.Lost)
	}
	if s := third.sum(); s.Connects != 0 || s.Sent != 0 {
		t.Errorf("traffic that was told already comes again: %+v", s)
	}
	_ = third.input.Close() // an orderly end leaves the pins as well
	for range third.lines {
	}
	if err := third.cmd.Wait(); err != nil {
		t.Error(err)
	}
	links, exist := pinnedObjects(t, dir)
	if links < 8 {
		t.Errorf("%d pinned links after the end", links)
	}

	if n, err := openPins(t, dir).Remove(); err != nil || n < 20 {
		t.Errorf("removed %d pins, %v", n, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // the kernel frees later
		if left := exist(); len(left) == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the kernel still has %v", left)
		}
	}
}

// Objects of another build or configuration are removed with all their links.
func TestPinsOfOthersAreReplaced(t *testing.T) {
	dir := filepath.Join(filepath.Dir(kernel.DefaultPins), fmt.Sprintf("guanlan-test-other-%d", os.Getpid()))
	pins := openPins(t, dir)
	defer func() { _, _ = pins.Remove() }()
	h := kernel.NewHost(kernel.Options{Pins: pins})
	start := func(flows int) {
		t.Helper()
		f := tcp.New(tcp.Options{MaxFlows: flows})
		kerneltest.Need(t, errors.Join(f.Start(t.Context(), h), f.Close()))
	}
	objects := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	start(100)
	first := objects()
	start(100)
	if again := objects(); !slices.Equal(again, first) || len(first) != 1 {
		t.Errorf("the same object: got %v after %v", again, first)
	}
	start(200)
	if other := objects(); len(other) != 1 || other[0] == first[0] {
		t.Errorf("another object: got %v after %v", other, first)
	}
	other := filepath.Join(dir, "others", "program")
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := pins.Keep("audit"); err != nil || !slices.Equal(objects(), []string{other}) {
		t.Errorf("a feature that is off: %v has pins %v", err, objects())
	}
}

func TestPinsWantABPFFileSystem(t *testing.T) {
	_, err := kernel.OpenPins(filepath.Join(t.TempDir(), "pins"))
	u := (*kernel.Unsupported)(nil)
	if !errors.As(err, &u) || !strings.Contains(u.Next, "mount -t bpf") {
		t.Errorf("got %v, want that no BPF file system is there", err)
	}
}
