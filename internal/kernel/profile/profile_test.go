//go:build linux

package profile

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
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
	kerneltest.Start(t, nil, f)
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
	cmd, in, kill := command(t, bin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Stdin.(*os.File).Close()
	return cmd.Process.Pid, in, kill
}

// command makes one that is to be started and has the other end of in as its input.
func command(t *testing.T, bin string) (cmd *exec.Cmd, in *os.File, kill func()) {
	t.Helper()
	cmd = exec.Command(bin)
	cmd.Env = append(os.Environ(), "OTEL_SERVICE_NAME=burner", "GOMAXPROCS=1")
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = out
	kill = sync.OnceFunc(func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = in.Close()
	})
	t.Cleanup(kill)
	return cmd, in, kill
}

// burner is a process of testdata/burn, or one that becomes it. How long that takes to
// begin says nothing of a profile, and on an emulated machine it takes as much CPU as a
// test has patience for: so samples are held against what a second clock says from then on.
type burner struct {
	pid   int
	cmd   *exec.Cmd
	kill  func()
	ticks func() time.Duration
}

func burn(t *testing.T, bin string, hz int) *burner {
	t.Helper()
	b := &burner{}
	b.cmd, _, b.kill = command(t, bin)
	said, err := b.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = b.cmd.Stdin.(*os.File).Close()
	b.pid = b.cmd.Process.Pid
	line, err := bufio.NewReader(said).ReadString('\n')
	if line != "begun\n" {
		t.Fatalf("burn says %q: %v", line, err)
	}
	b.ticks = clockOf(t, b.pid, hz)
	return b
}

// burned ends the process when a clock of the same rate found it running for so long, and
// returns how long that was, and what the kernel accounts for its whole life.
func (b *burner) burned(t *testing.T, atLeast time.Duration) (ticked, accounted time.Duration) {
	t.Helper()
	kerneltest.Until(t, "CPU time", func() bool { return b.ticks() > atLeast })
	b.kill()
	return b.ticks(), b.cmd.ProcessState.UserTime() + b.cmd.ProcessState.SystemTime()
}

// clockOf counts how often a clock as the feature's finds a process running. A machine
// whose own CPU is taken away meanwhile accounts that time and has no ticks in it, so
// that only another clock says how many samples there can be.
func clockOf(t *testing.T, pid, hz int) (ticked func() time.Duration) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.PerfEvent, License: "GPL", Instructions: asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.JNE.Imm(asm.R0, int32(pid), "out"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	cpus, err := onlineCPUs()
	if err != nil {
		t.Fatal(err)
	}
	c := &clocks{program: p.FD(), hz: hz, open: map[int]int{}}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.set(cpus); err != nil {
		t.Fatal(err)
	}
	return func() time.Duration {
		var n uint64
		if err := m.Lookup(uint32(0), &n); err != nil {
			t.Fatal(err)
		}
		return time.Duration(n) * time.Second / time.Duration(hz)
	}
}

// burnOf keeps the profiles that are of the program, not of what started it.
func burnOf(ps []*profile.Profile) []*profile.Profile {
	return slices.DeleteFunc(ps, func(p *profile.Profile) bool { return p.Sample[0].Label["process"][0] != "burn" })
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

// inBurn is the time that samples say main.burn took.
func inBurn(ps []*profile.Profile) (d time.Duration) {
	for _, p := range ps {
		for _, s := range p.Sample {
			if slices.Contains(stackOf(s), "main.burn") {
				d += time.Duration(s.Value[1])
			}
		}
	}
	return d
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
			pid, _, kill := launch(t, bin)
			kerneltest.Until(t, "100 samples of main.burn", func() bool { return inBurn(got.of(pid, CPU)) >= 100*time.Second/97 })
			kill()
			p := merged(t, got.of(pid, CPU))
			// What comes before main takes an emulated machine as long as a test has patience for.
			p.Sample = slices.DeleteFunc(p.Sample, func(s *profile.Sample) bool {
				st := stackOf(s) // without main.main, whose frame a leaf has no pointer to
				return !slices.Contains(st, "runtime.main") || slices.Contains(st, "runtime.doInit1")
			})
			hot := share(p, func(st []string) bool { return slices.Contains(st, "main.burn") })
			inlined := share(p, func(st []string) bool { return len(st) > 1 && st[0] == "main.mix" && st[1] == "main.burn" })
			whole := share(p, func(st []string) bool {
				return len(st) > 2 && slices.Equal(st[len(st)-2:], []string{"runtime.main", "runtime.goexit"})
			})
			t.Logf("main.burn %.3f, main.mix inlined in it %.3f, whole stack %.3f", hot, inlined, whole)
			if hot < 0.8 || inlined < 0.3 || whole < 0.9 {
				t.Fatalf("%s", p)
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

// The number of samples agrees with what another clock of the kernel found, as far as a
// thousand of them can, and with the CPU time that the kernel accounts. That leaves out
// what interrupts, and a host of this machine, took while the process was on a CPU.
func TestSamplesAgreeWithAccounting(t *testing.T) {
	bin := buildGo(t, "burn")
	f, got := start(t, Options{Hz: 499, Interval: time.Second})
	b := burn(t, bin, 499)
	ticked, accounted := b.burned(t, 2*time.Second)
	if err := f.Close(); err != nil { // hands over the rest
		t.Fatal(err)
	}
	all := got.of(b.pid, CPU)
	counted := time.Duration(samples(all)) * time.Second / 499
	t.Logf("samples of %v, ticks of %v, accounted %v", counted, ticked, accounted)
	within := func(name string, got, want time.Duration, factor float64) {
		t.Helper()
		if r := got.Seconds() / want.Seconds(); r < 1/factor || r > factor {
			t.Errorf("samples of %v, %s %v: ratio %.3f", got, name, want, r)
		}
	}
	if os.Getenv("GUANLAN_EMULATED") != "" { // no CPU of its own (internal/kernel/vm)
		within("ticks of", inBurn(all), ticked, 2)
		return
	}
	within("ticks of", counted, ticked, 1.15)
	within("accounted", counted, accounted, 1.3)
}

func TestEndedProcessIsNamed(t *testing.T) {
	bin := buildGo(t, "burn", "-ldflags=-s -w")
	f, got := start(t, Options{Hz: 197, Interval: time.Hour})
	b := burn(t, bin, 197)
	ticked, _ := b.burned(t, 300*time.Millisecond)
	if err := os.Remove(bin); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ps := burnOf(got.of(b.pid, CPU))
	if len(ps) == 0 {
		t.Fatal("no profile")
	}
	if hot := inBurn(ps); hot < ticked/4 {
		t.Errorf("main.burn has %v of %v:\n%s", hot, ticked, ps[0])
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
	b := burn(t, script, 197)
	ticked, _ := b.burned(t, 300*time.Millisecond)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	hot := map[bool]time.Duration{} // of the program, and of what was before
	for _, p := range got.of(b.pid, CPU) {
		hot[p.Sample[0].Label["process"][0] == "burn"] += inBurn([]*profile.Profile{p})
	}
	if before, ok := hot[false]; !ok || before > 0 || hot[true] < ticked/4 {
		t.Errorf("main.burn has %v of %v, and %v before the exec (profile: %v)", hot[true], ticked, before, ok)
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
		kerneltest.Until(t, "50 samples", func() bool { return samples(got.of(pid, CPU)) >= 50 })
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
		kerneltest.Until(t, "read", func() bool {
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
	kerneltest.Until(t, "waits", func() bool { n, _ := sum(); return n >= waits-1 })
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
		f, _ := start(t, Options{OffCPU: !kernel.Old(), Interval: 100 * time.Millisecond})
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
