//go:build linux

package audit

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

func TestExecOfAShellInAContainer(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add})
	cgroup, id := newContainer(t, h)
	before := time.Now()
	pid := play(t, "shell", "", cgroup, nil)
	after := time.Now()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	var shell, exit Event
	for _, e := range l.of(pid) {
		if e.Container == "" { // before it joined
			continue
		}
		switch e.Kind {
		case Exec:
			shell = e
		case Exit:
			exit = e
		}
		kinds = append(kinds, e.Kind.String())
	}
	if i := slices.Index(kinds, "exec"); i < 0 || kinds[len(kinds)-1] != "exit" {
		t.Fatalf("events %v, want an exec and an exit at the end", kinds)
	}
	exe, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if shell.Exe != exe || shell.Path != "/bin/sh" || !slices.Equal(shell.Args, []string{"sh", "-c", "exit 3"}) {
		t.Errorf("exec of %q as %q with %q", shell.Exe, shell.Path, shell.Args)
	}
	if shell.Container != id || shell.UID != uint32(os.Getuid()) || shell.Level != 0 || shell.Parent != os.Getpid() {
		t.Errorf("exec by %+v", shell)
	}
	if len(shell.Ancestors) < 2 || shell.Ancestors[0].PID != os.Getpid() || shell.Ancestors[1].PID != os.Getppid() || shell.Ancestors[0].Comm == "" {
		t.Errorf("ancestors %v, want %d and %d first", shell.Ancestors, os.Getpid(), os.Getppid())
	}
	if shell.Time.Before(before.Add(-10*time.Millisecond)) || shell.Time.After(after.Add(10*time.Millisecond)) {
		t.Errorf("exec at %v, want within %v and %v", shell.Time, before, after)
	}
	if len(shell.Findings) != 1 || shell.Findings[0].Rule != "shell_in_container" {
		t.Errorf("findings %+v", shell.Findings)
	}
	if ws := syscall.WaitStatus(exit.Result); ws.ExitStatus() != 3 || exit.Start != shell.Start {
		t.Errorf("exit %+v", exit)
	}
}

// A path and arguments that together are longer than a record are cut, and do not
// hide the program.
func TestLongPathAndArgumentsHideNothing(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add})
	dir := t.TempDir()
	pid := play(t, "deep", dir, "", nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	all := l.of(pid)
	i := slices.IndexFunc(all, func(e Event) bool { return e.Kind == Exec && strings.HasPrefix(e.Exe, dir) })
	if i < 0 {
		t.Fatalf("no exec below %s; %d records did not decode", dir, f.broken.Load())
	}
	e := all[i]
	if filepath.Base(e.Exe) != "xmrig" || !e.Truncated || len(e.Findings) == 0 || e.Findings[0].Rule != "crypto_miner" {
		t.Errorf("exec of …%q, truncated %t, findings %v", e.Exe[max(0, len(e.Exe)-20):], e.Truncated, e.Findings)
	}
}

// TestEndedProcessIsNamedByItsContainer: of a process that has ended nothing can be
// read, but what runs beside it in its container can.
func TestEndedProcessIsNamedByItsContainer(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	dir, id := newContainer(t, h)
	// It is asked for before it is ever seen, and stays until the end.
	stays := exec.Command(os.Args[0])
	stays.Env = append(os.Environ(), "OTEL_SERVICE_NAME=cart", "AUDIT_TEST_ACT=stay", "AUDIT_TEST_CGROUP="+dir)
	in, err := stays.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := stays.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = stays.Wait()
	})
	if line := make([]byte, 3); true {
		if _, err := io.ReadFull(out, line); err != nil || string(line) != "in\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	var l log
	f := start(t, h, Options{OnEvent: l.add, Every: time.Hour}) // read when all is over
	pid := play(t, "shell", "", dir, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	events := l.of(pid)
	if len(events) == 0 {
		t.Fatal("nothing was told")
	}
	for _, e := range events {
		if e.Container == id && e.Service != "cart" {
			t.Errorf("%s of an ended process of the container: service %q", e.Kind, e.Service)
		}
	}
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Container == id && e.Kind == Exit }) {
		t.Errorf("no end in %+v", events)
	}
}

func TestProcessOutsideOfContainersIsLeftAlone(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add, Scopes: map[Kind]Scope{Exec: Containers}})
	pid := play(t, "shell", "", "", nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := l.of(pid); len(got) > 0 {
		t.Errorf("got %+v", got)
	}
}

func TestPIDNamespaceMakesAContainer(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add, Scopes: map[Kind]Scope{Exec: Containers}})
	pid := play(t, "nothing", "", "", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWUTS})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(l.of(pid), func(e Event) bool { return e.Kind == Exec })
	if i < 0 {
		t.Fatalf("no exec: %+v", l.of(pid))
	}
	if e := l.of(pid)[i]; e.Level != 1 || e.NamespacePID != 1 || !e.InContainer() || e.Entered {
		t.Errorf("got level %d, pid %d inside, %+v", e.Level, e.NamespacePID, e)
	}
	i = slices.IndexFunc(l.of(os.Getpid()), func(e Event) bool { return e.Kind == Namespace && e.TargetPID == pid })
	if i >= 0 {
		t.Errorf("the audit tells of its own process")
	}
}

func TestTamperingWithTheKernelAndOthers(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add})
	cgroup, _ := newContainer(t, h)
	dir := t.TempDir()
	pid := play(t, "kernel", dir, cgroup, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.of(pid) {
		switch e.Kind {
		case Exec, Exit, Fork:
			continue
		}
		s := []string{e.Kind.String(), e.Call, e.Detail + e.Path}
		if e.Result < 0 && e.Kind != BPF && e.Kind != URing {
			s = append(s, unix.Errno(-e.Result).Error())
		}
		for _, f := range e.Findings {
			s = append(s, "!"+f.Rule)
		}
		got = append(got, strings.Join(append(s, e.Namespaces...), " "))
	}
	create, remove := "invalid argument", "no such file or directory" // the file is empty
	if _, err := os.Stat("/proc/modules"); err != nil {
		create, remove = "function not implemented", "function not implemented" // a kernel without modules
	}
	want := []string{
		"namespace setns  !namespace_entered net",
		"ptrace ptrace seize !ptrace_of_other",
		"ptrace process_vm_readv read bad address !ptrace_of_other",
		"bpf bpf evil !bpf_in_container",
		"module finit_module a=b" + dir + "/rootkit.ko " + create + " !kernel_module_in_container",
		"module delete_module nosuch " + remove + " !kernel_module_in_container",
		"io_uring io_uring_setup  !io_uring_in_container",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestProgramWithoutAFile(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add})
	pid := play(t, "memfd", "", "", nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	events := l.of(pid)
	i := slices.IndexFunc(events, func(e Event) bool { return e.Unlinked })
	if i < 0 {
		t.Fatalf("no exec without a file in %+v", events)
	}
	if e := events[i]; e.Exe != "/memfd:hidden" || !slices.Equal(e.Args, []string{"kworker"}) || len(e.Findings) != 1 || e.Findings[0].Rule != "fileless_program" {
		t.Errorf("got %+v", e)
	}
}

// A 32-bit program has other numbers for its system calls and must not pass unseen.
func TestProgramOf32Bits(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "a 32-bit architecture to build for"})
	}
	dir := t.TempDir()
	c := exec.Command("go", "build", "-o", dir+"/old", "./testdata/old")
	c.Env = append(os.Environ(), "GOARCH=386", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add, Scopes: map[Kind]Scope{Open: Everywhere}, Rules: secretRules(t, dir)})
	c = exec.Command(dir+"/old", dir+"/secret")
	if err := c.Run(); errors.Is(err, unix.ENOEXEC) {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "32-bit programs (CONFIG_IA32_EMULATION)", Err: err})
	} else if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	events := slices.DeleteFunc(l.of(c.Process.Pid), func(e Event) bool { return e.Kind != Open })
	if len(events) != 1 || !events[0].Compat || events[0].Path != dir+"/secret" || !events[0].Write {
		t.Errorf("got %+v", events)
	}
}

func TestLossesAreCountedAtTheirPlace(t *testing.T) {
	const opens = 2000
	h := kernel.NewHost(kernel.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/secret", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var l log
	scopes := map[Kind]Scope{}
	for k := Exec; k < Lost; k++ {
		scopes[k] = Never
	}
	scopes[Open] = Everywhere
	f := start(t, h, Options{
		OnEvent: l.add, Scopes: scopes, Rules: secretRules(t, dir),
		RingSize: os.Getpagesize(), Every: 5 * time.Millisecond,
	})
	play(t, "opens", dir+"/"+strconv.Itoa(opens), "", nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var told, lost, seq uint64
	for i, e := range l.all {
		if e.Kind == Lost {
			lost += e.Lost
			seq += e.Lost
		} else {
			told++
			seq++
		}
		if e.Seq != seq {
			t.Fatalf("event %d has number %d, want %d: %+v", i, e.Seq, seq, e)
		}
	}
	if told+lost != opens || lost == 0 || told == 0 {
		t.Errorf("%d told and %d lost of %d", told, lost, opens)
	}
	if s := f.Stats(); s.Dropped != lost || s.Events < told {
		t.Errorf("stats %+v, want %d dropped", s, lost)
	}
}

// What the audit needs is CAP_BPF and CAP_PERFMON; without them it says so.
func TestLeastCapabilities(t *testing.T) {
	start(t, kernel.NewHost(kernel.Options{}), Options{}) // skips where nobody can
	if os.Getuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "root, to give up all but some capabilities"})
	}
	// The test binary lies where others may not look.
	self := filepath.Join(t.TempDir(), "audit.test")
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(self); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		caps []uintptr
		want string
	}{
		{nil, "unsupported: CAP_BPF, CAP_PERFMON"},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, "exec of /bin/true\n"},
	} {
		c := exec.Command(self)
		c.Dir = "/"
		c.Env = append(os.Environ(), "AUDIT_TEST_ACT=watch")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: tt.caps}
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("with capabilities %v: %v\n%s\nwant %q", tt.caps, err, out, tt.want)
		}
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	f := start(t, h, Options{})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("bpftool", "-j", "prog", "list").Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "bpftool", Err: err})
	} else if err != nil {
		t.Fatal(err)
	}
	var progs []struct {
		Name string
		PIDs []struct{ PID int }
	}
	if err := json.Unmarshal(out, &progs); err != nil {
		t.Fatal(err)
	}
	for _, p := range progs {
		for _, by := range p.PIDs {
			if by.PID == os.Getpid() {
				t.Errorf("program %s is left", p.Name)
			}
		}
	}
}

// BenchmarkOpen is what an open costs: without the audit, in a process that is
// not watched, and with a path of no interest in one that is. The kernel's own
// count of it is probe-ns/open, its two readings of the clock included.
func BenchmarkOpen(b *testing.B) {
	h := kernel.NewHost(kernel.Options{})
	for _, mode := range []struct {
		name string
		o    *Options
	}{
		{"without", nil}, {"cgroup", &Options{}}, {"path", &Options{Scopes: map[Kind]Scope{Open: Everywhere}}},
	} {
		b.Run(mode.name, func(b *testing.B) {
			cost := func() (time.Duration, uint64) { return 0, 0 }
			if mode.o != nil {
				mode.o.notSelf = true
				f := start(b, h, *mode.o)
				c, err := h.KeepStatistics()
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				cost = func() (time.Duration, uint64) {
					for _, p := range f.Stats().Programs {
						if p.Name == "audit_syscall" {
							return p.Time, p.Runs
						}
					}
					b.Fatal("no statistics")
					return 0, 0
				}
			}
			t0, n0 := cost()
			const others = 100_000
			for range others {
				unix.Getppid()
			}
			t1, n1 := cost()
			opens := 0
			for b.Loop() {
				fd, err := unix.Open("/usr/share/doc", unix.O_RDONLY, 0)
				if err != nil {
					b.Fatal(err)
				}
				unix.Close(fd)
				opens++
			}
			t2, n2 := cost()
			if n1 > n0 && opens > 0 {
				other := float64(t1-t0) / float64(n1-n0)
				b.ReportMetric(other, "probe-ns/other")
				b.ReportMetric((float64(t2-t1)-other*float64(n2-n1-uint64(opens)))/float64(opens), "probe-ns/open")
			}
		})
	}
}
