//go:build linux

package profile

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// collected keeps the profiles of a feature.
type collected struct {
	mu  sync.Mutex
	all []Profile
}

func (c *collected) add(p Profile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, p)
}

func (c *collected) of(pid int, kind Kind) []*profile.Profile {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*profile.Profile
	for _, p := range c.all {
		if p.Process.PID == pid && p.Kind == kind {
			out = append(out, p.Pprof)
		}
	}
	return out
}

// start runs a feature until the test ends; it skips where the kernel cannot.
func start(t *testing.T, o Options) (*Feature, *collected) {
	t.Helper()
	got := &collected{}
	o.OnProfile = got.add
	f := New(o)
	err := f.Start(context.Background(), kernel.NewHost(kernel.Options{}))
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		t.Skip(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	if o.OffCPU && f.Refused() != nil {
		t.Skip(f.Refused())
	}
	return f, got
}

func buildGo(t *testing.T, src string, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), src)
	cmd := exec.Command("go", append(append([]string{"build", "-o", bin}, flags...), "./testdata/"+src)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", src, err, out)
	}
	return bin
}

// launch starts a program that ends with the test or by the function returned.
func launch(t *testing.T, bin string) (pid int, stdin *os.File, kill func()) {
	t.Helper()
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "OTEL_SERVICE_NAME=burner", "GOMAXPROCS=1")
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = in.Close()
	})
	t.Cleanup(kill)
	return cmd.Process.Pid, in, kill
}

// poll waits for the condition.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in 30 s", what)
		}
	}
}

func merged(t *testing.T, ps []*profile.Profile) *profile.Profile {
	t.Helper()
	for _, p := range ps {
		if err := p.CheckValid(); err != nil {
			t.Fatalf("profile is not valid: %v", err)
		}
	}
	m, err := profile.Merge(ps)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// stackOf lists the functions of a sample, inlined ones too, the innermost first.
func stackOf(s *profile.Sample) (names []string) {
	for _, l := range s.Location {
		for _, line := range l.Line {
			names = append(names, line.Function.Name)
		}
	}
	return names
}

// share is the part of the value, 0 to 1, of samples that match.
func share(p *profile.Profile, match func(stack []string) bool) float64 {
	var in, all int64
	for _, s := range p.Sample {
		all += s.Value[1]
		if match(stackOf(s)) {
			in += s.Value[1]
		}
	}
	return float64(in) / float64(max(all, 1))
}

func samples(ps []*profile.Profile) (n int64) {
	for _, p := range ps {
		for _, s := range p.Sample {
			n += s.Value[0]
		}
	}
	return n
}

func TestBurningGo(t *testing.T) {
	for name, flags := range map[string][]string{
		"plain":        nil,
		"stripped":     {"-ldflags=-s -w"},
		"pie stripped": {"-buildmode=pie", "-ldflags=-s -w"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := buildGo(t, "burn", flags...)
			_, got := start(t, Options{Hz: 97, Interval: 500 * time.Millisecond})
			pid, _, _ := launch(t, bin)
			poll(t, "100 samples", func() bool { return samples(got.of(pid, CPU)) >= 100 })
			p := merged(t, got.of(pid, CPU))
			hot := share(p, func(st []string) bool { return slices.Contains(st, "main.burn") })
			inlined := share(p, func(st []string) bool { return len(st) > 1 && st[0] == "main.mix" && st[1] == "main.burn" })
			whole := share(p, func(st []string) bool {
				return len(st) > 2 && slices.Equal(st[len(st)-2:], []string{"runtime.main", "runtime.goexit"})
			})
			t.Logf("%d samples: main.burn %.3f, main.mix inlined in it %.3f, whole stack %.3f", samples([]*profile.Profile{p}), hot, inlined, whole)
			if hot < 0.9 || inlined < 0.3 || whole < 0.9 {
				t.Errorf("%s", p)
			}
			want := map[string][]string{"process": {"burn"}, "service": {"burner"}}
			if diff := cmp.Diff(want, p.Sample[0].Label); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			for _, l := range p.Sample[0].Location {
				for _, line := range l.Line {
					if line.Function.Name == "main.burn" && (filepath.Base(line.Function.Filename) != "main.go" || line.Line == 0) {
						t.Errorf("main.burn at %s:%d", line.Function.Filename, line.Line)
					}
				}
			}
			var buf bytes.Buffer
			if err := p.Write(&buf); err != nil {
				t.Fatal(err)
			}
			if _, err := profile.Parse(&buf); err != nil {
				t.Errorf("read what was written: %v", err)
			}
		})
	}
}

// The number of samples agrees with the CPU time that the kernel accounts.
func TestSamplesAgreeWithAccounting(t *testing.T) {
	bin := buildGo(t, "burn")
	f, got := start(t, Options{Hz: 199, Interval: time.Second})
	pid, _, kill := launch(t, bin)
	before := cpuTime(t, pid)
	poll(t, "2 s of CPU", func() bool { return cpuTime(t, pid)-before > 2*time.Second })
	used := cpuTime(t, pid)
	kill()
	if err := f.Close(); err != nil { // hands over the rest
		t.Fatal(err)
	}
	counted := time.Duration(samples(got.of(pid, CPU))) * time.Second / 199
	if ratio := counted.Seconds() / used.Seconds(); ratio < 0.9 || ratio > 1.1 {
		t.Errorf("samples of %v, accounted %v: ratio %.3f", counted, used, ratio)
	}
}

// cpuTime is what all threads used.
func cpuTime(t *testing.T, pid int) (sum time.Duration) {
	t.Helper()
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "schedstat"))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

func TestEndedProcessIsNamed(t *testing.T) {
	bin := buildGo(t, "burn", "-ldflags=-s -w")
	f, got := start(t, Options{Hz: 197, Interval: time.Hour})
	pid, _, kill := launch(t, bin)
	poll(t, "CPU time", func() bool { return cpuTime(t, pid) > 300*time.Millisecond })
	kill()
	if err := os.Remove(bin); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ps := got.of(pid, CPU)
	if len(ps) != 1 {
		t.Fatalf("%d profiles", len(ps))
	}
	if hot := share(ps[0], func(st []string) bool { return slices.Contains(st, "main.burn") }); hot < 0.8 {
		t.Errorf("main.burn has %.3f:\n%s", hot, ps[0])
	}
}

// A process that becomes another program by exec has two profiles, each with its own names.
func TestExec(t *testing.T) {
	bin := buildGo(t, "burn", "-ldflags=-s -w")
	script := filepath.Join(t.TempDir(), "before")
	text := "#!/bin/sh\ni=0\nwhile [ $i -lt 400000 ]; do i=$((i+1)); done\nexec " + bin + "\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	f, got := start(t, Options{Hz: 197, Interval: time.Hour})
	pid, _, kill := launch(t, script)
	poll(t, "exec", func() bool {
		exe, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		return exe == bin
	})
	began := cpuTime(t, pid)
	poll(t, "CPU time", func() bool { return cpuTime(t, pid)-began > 300*time.Millisecond })
	kill()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ps := got.of(pid, CPU)
	if len(ps) < 2 {
		t.Fatalf("%d profiles, want those of the shell and of the program", len(ps))
	}
	for _, p := range ps {
		hot := share(p, func(st []string) bool { return slices.Contains(st, "main.burn") })
		if isBurn := p.Sample[0].Label["process"][0] == "burn"; isBurn != (hot > 0.5) {
			t.Errorf("process %v has main.burn %.3f:\n%s", p.Sample[0].Label["process"], hot, p)
		}
	}
}

func TestC(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler")
	}
	for _, flags := range [][]string{{"-static"}, {"-pie", "-fPIE"}} {
		bin := filepath.Join(t.TempDir(), "cburn")
		if out, err := exec.Command(gcc, append([]string{"-O0", "-fno-omit-frame-pointer", "-o", bin, "testdata/cburn/main.c"}, flags...)...).CombinedOutput(); err != nil {
			t.Fatalf("compile: %v\n%s", err, out)
		}
		_, got := start(t, Options{Hz: 97, Interval: 500 * time.Millisecond})
		pid, _, kill := launch(t, bin)
		poll(t, "50 samples", func() bool { return samples(got.of(pid, CPU)) >= 50 })
		kill()
		p := merged(t, got.of(pid, CPU))
		if hot := share(p, func(st []string) bool {
			return len(st) >= 3 && slices.Contains(st, "hot") && slices.Contains(st, "caller") && slices.Contains(st, "main")
		}); hot < 0.9 {
			t.Errorf("%v: hot has %.3f:\n%s", flags, hot, p)
		}
	}
}

func TestOffCPU(t *testing.T) {
	bin := buildGo(t, "block", "-ldflags=-s -w")
	_, got := start(t, Options{Hz: -1, OffCPU: true, WaitStacks: 1_000_000, Interval: 500 * time.Millisecond})
	launched := time.Now()
	pid, in, _ := launch(t, bin)
	began := time.Now()
	const waits = 40
	for range waits {
		time.Sleep(25 * time.Millisecond) // what is measured
		if _, err := in.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		// A program that gets no CPU for a while would find the next byte there,
		// and not wait.
		poll(t, "read", func() bool {
			unread, err := unix.IoctlGetInt(int(in.Fd()), unix.TIOCINQ)
			return err == nil && unread == 0
		})
	}
	took, atMost := time.Since(began), time.Since(launched) // it waits since some moment between
	const slept = waits * 25 * time.Millisecond
	await := func(st []string) bool {
		return slices.Contains(st, "main.await") && slices.Contains(st, "syscall.Read") && slices.Contains(st, "runtime.main")
	}
	sum := func() (n, ns int64) {
		for _, p := range got.of(pid, OffCPU) {
			for _, s := range p.Sample {
				if await(stackOf(s)) {
					n, ns = n+s.Value[0], ns+s.Value[1]
				}
			}
		}
		return n, ns
	}
	poll(t, "waits", func() bool { n, _ := sum(); return n >= waits-1 })
	n, ns := sum()
	t.Logf("%d waits of %v in %v", n, time.Duration(ns), took)
	if n > waits+5 || time.Duration(ns) < slept*8/10 || time.Duration(ns) > atMost*11/10 {
		t.Errorf("%d waits of %v, want about %d of %v to %v", n, time.Duration(ns), waits, slept, atMost)
	}
	p := merged(t, got.of(pid, OffCPU))
	for _, s := range p.Sample {
		if st := stackOf(s); await(st) {
			if diff := cmp.Diff([]string{"sleep"}, s.Label["state"]); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			if !s.Location[0].Mapping.HasFunctions || s.Location[0].Mapping.File != "[kernel]" {
				t.Errorf("the kernel's frames are missing: %v", st)
			}
		}
	}
}

// Waits below the minimum do not come up.
func TestShortWaits(t *testing.T) {
	bin := buildGo(t, "block")
	f, got := start(t, Options{Hz: -1, OffCPU: true, MinWait: 10 * time.Second, Interval: time.Hour})
	pid, in, kill := launch(t, bin)
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		if _, err := in.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if ps := got.of(pid, OffCPU); len(ps) != 0 {
		t.Errorf("profile of short waits:\n%s", ps[0])
	}
}

// Nothing stays behind, and a second start works.
func TestCloseLeavesNothing(t *testing.T) {
	for range 2 {
		f, _ := start(t, Options{OffCPU: true, Interval: 100 * time.Millisecond})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Stats().Programs {
			if p.Name == "" {
				t.Error("program without a name")
			}
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.Contains(to, "perf_event") || strings.Contains(to, "bpf-prog") {
			t.Errorf("still open: %s", to)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	got, err := parseCPUs("0-2,5,8-9")
	if diff := cmp.Diff([]int{0, 1, 2, 5, 8, 9}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "a", "3-1", "0-99999999"} {
		if _, err := parseCPUs(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestMapSize(t *testing.T) {
	for _, tt := range []struct {
		o       Options
		cpus    int
		entries int
		every   time.Duration
	}{
		{Options{Hz: 19, Interval: 10 * time.Second}, 2, 1024, 10 * time.Second},
		{Options{Hz: 19, Interval: 10 * time.Second}, 16, 4096, 10 * time.Second},
		{Options{Hz: 19, Interval: 10 * time.Second}, 128, 8192, 10 * time.Second * 8192 / 24320},
		{Options{Hz: 997, Interval: 10 * time.Second}, 512, 8192, time.Second},
	} {
		entries, every := mapSize(tt.o, tt.cpus)
		if entries != tt.entries || (every-tt.every).Abs() > time.Millisecond {
			t.Errorf("%+v on %d CPUs: %d entries every %v, want %d every %v", tt.o, tt.cpus, entries, every, tt.entries, tt.every)
		}
	}
}
