//go:build linux

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// The test binary plays the process that is watched: what it shall do stands in
// the environment.
func TestMain(m *testing.M) {
	if act := os.Getenv("AUDIT_TEST_ACT"); act != "" {
		runtime.LockOSThread()
		join := os.Getenv("AUDIT_TEST_CGROUP")
		if join != "" {
			must(os.WriteFile(filepath.Join(join, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0))
		}
		acts[act](os.Getenv("AUDIT_TEST_DIR"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// play runs an act in a process of its own and returns its id.
func play(t *testing.T, act, dir, cgroup string, attr *syscall.SysProcAttr) int {
	t.Helper()
	c := exec.Command("/proc/self/exe", act)
	c.Env = append(os.Environ(), "AUDIT_TEST_ACT="+act, "AUDIT_TEST_DIR="+dir, "AUDIT_TEST_CGROUP="+cgroup, "OTEL_SERVICE_NAME=cart")
	c.SysProcAttr = attr
	out, err := c.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !(act == "shell" && errors.As(err, &exit) && exit.ExitCode() == 3) {
		t.Fatalf("act %s: %v\n%s", act, err, out)
	}
	return c.Process.Pid
}

// newContainer makes a cgroup as a container runtime does.
func newContainer(t *testing.T, h *kernel.Host) (dir, id string) {
	t.Helper()
	mount := h.MemoryMount()
	if mount == "" {
		mount = h.Cgroup2()
	}
	id = fmt.Sprintf("%064x", time.Now().UnixNano())
	dir = filepath.Join(mount, "guanlan-test-"+strconv.Itoa(os.Getpid()), id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		var unsupported error = &kernel.Unsupported{Feature: "test", Missing: "the right to make cgroups", Err: err}
		t.Skip(unsupported)
	}
	t.Cleanup(func() {
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := os.Remove(d); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a process is left in the cgroup: %v", err)
			}
		}
	})
	return dir, id
}

type log struct {
	mu  sync.Mutex
	all []Event
}

func (l *log) add(e Event) { l.mu.Lock(); l.all = append(l.all, e); l.mu.Unlock() }

func (l *log) of(pids ...int) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Event
	for _, e := range l.all {
		if slices.Contains(pids, e.PID) {
			out = append(out, e)
		}
	}
	return out
}

// start attaches the audit; the test ends if this machine cannot.
func start(t testing.TB, h *kernel.Host, o Options) *Feature {
	t.Helper()
	f := New(o)
	err := f.Start(context.Background(), h)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		t.Skip(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var acts = map[string]func(dir string){
	"shell": func(string) { must(unix.Exec("/bin/sh", []string{"sh", "-c", "exit 3"}, []string{"PATH=/bin"})) },
	"watch": func(string) {
		var l log
		f := New(Options{OnEvent: l.add})
		err := f.Start(context.Background(), kernel.NewHost(kernel.Options{}))
		if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
			fmt.Println("unsupported:", u.Missing)
			must(f.Close())
			return
		}
		must(err)
		c := exec.Command("/bin/true")
		must(c.Run())
		must(f.Close())
		for _, e := range l.of(c.Process.Pid) {
			if e.Kind == Exec {
				fmt.Println("exec of", e.Path)
			}
		}
	},
	"nothing": func(string) {},
	"files": func(dir string) {
		must(unix.Unshare(unix.CLONE_NEWNS))
		must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID, ""))
		for _, d := range []string{"etc/app", "tmp", "ro/etc", "run/secrets/kubernetes.io/serviceaccount/..data"} {
			must(os.MkdirAll(filepath.Join(dir, d), 0o755))
		}
		must(os.WriteFile(dir+"/run/secrets/kubernetes.io/serviceaccount/..data/token", nil, 0o600))
		must(os.Symlink("..data/token", dir+"/run/secrets/kubernetes.io/serviceaccount/token"))
		must(os.Symlink("/etc", dir+"/tmp/innocent"))
		must(unix.Chroot(dir))
		must(unix.Chdir("/tmp"))
		open := func(name string, flags int) error {
			fd, err := unix.Open(name, flags, 0o600)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
		must(open("/etc/passwd", unix.O_RDWR|unix.O_CREAT)) // 1
		must(open("../etc/passwd", unix.O_WRONLY))          // 2: relative
		must(open("innocent/app/conf", unix.O_WRONLY|unix.O_CREAT))
		must(open("/etc/passwd", unix.O_RDONLY)) // of no interest
		must(open("/tmp/x", unix.O_WRONLY|unix.O_CREAT))
		must(open("/etc/passwd", unix.O_PATH))
		must(open("/run/secrets/kubernetes.io/serviceaccount/token", unix.O_RDONLY))
		fd, err := unix.Openat2(unix.AT_FDCWD, "/etc/shadow", &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o600})
		must(err)
		unix.Close(fd)
		must(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		if err := open("/tmp/../etc//passwd", unix.O_WRONLY); err != unix.EROFS {
			must(fmt.Errorf("read-only open: %v", err))
		}
		if err := open("/tmp/x", unix.O_WRONLY); err != unix.EROFS {
			must(fmt.Errorf("read-only open: %v", err))
		}
	},
	"socket": func(dir string) {
		c, err := net.Dial("unix", filepath.Join(dir, "another-name.sock"))
		must(err)
		c.Close()
		c, err = net.Dial("unix", filepath.Join(dir, "other.sock"))
		must(err)
		c.Close()
	},
	"kernel": func(dir string) {
		ns, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
		must(err)
		must(unix.Setns(ns, 0))
		must(unix.Unshare(unix.CLONE_FILES)) // no namespace
		child := exec.Command("/bin/sleep", "60")
		must(child.Start())
		must(unix.PtraceSeize(child.Process.Pid))
		b, rb := make([]byte, 8), []unix.RemoteIovec{{Base: 0x10, Len: 8}}
		_, _ = unix.ProcessVMReadv(child.Process.Pid, []unix.Iovec{{Base: &b[0], Len: 8}}, rb, 0)
		must(child.Process.Kill())
		_, _ = child.Process.Wait()
		// A program of no instructions: refused, but tried.
		attr := [128]byte{0: 1}
		copy(attr[48:], "evil")
		unix.Syscall(unix.SYS_BPF, 5, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		ko, err := os.Create(dir + "/rootkit.ko")
		must(err)
		_ = unix.FinitModule(int(ko.Fd()), "a=b", 0)
		_ = unix.DeleteModule("nosuch", 0)
		var params [120]byte
		unix.Syscall(unix.SYS_IO_URING_SETUP, 0, uintptr(unsafe.Pointer(&params)), 0)
	},
	"memfd": func(string) {
		fd, err := unix.MemfdCreate("hidden", 0)
		must(err)
		text, err := os.ReadFile("/bin/true")
		must(err)
		_, err = unix.Write(fd, text)
		must(err)
		must(unix.Exec("/proc/self/fd/"+strconv.Itoa(fd), []string{"kworker"}, nil))
	},
	"opens": func(dir string) {
		n, err := strconv.Atoi(filepath.Base(dir))
		must(err)
		for range n {
			fd, err := unix.Open(filepath.Dir(dir)+"/secret", unix.O_RDONLY, 0)
			must(err)
			unix.Close(fd)
		}
	},
}

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

func TestFilesAreJudgedByWhereTheyLie(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add})
	cgroup, _ := newContainer(t, h)
	dir := t.TempDir()
	pid := play(t, "files", dir, cgroup, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.of(pid) {
		if e.Kind != Open && e.Kind != Mount && e.Kind != Namespace || e.Container == "" {
			continue
		}
		s := e.Call + " " + e.Source + ":" + e.Path + " " + e.FSType
		for _, b := range []struct {
			on   bool
			name string
		}{{e.Write, "write"}, {e.Created, "created"}, {e.Denied(), "denied"}} {
			if b.on {
				s += " " + b.name
			}
		}
		for _, f := range e.Findings {
			s += " !" + f.Rule
		}
		got = append(got, strings.ReplaceAll(strings.Join(append(strings.Fields(s), e.Namespaces...), " "), dir, "DIR"))
	}
	want := []string{
		"unshare : !namespace_entered mnt",
		"mount :/ !mount_in_container",
		"mount tmpfs:DIR tmpfs !mount_in_container",
		"openat :/etc/passwd write created !write_below_etc !write_accounts",
		"openat :/etc/passwd write !write_below_etc !write_accounts",
		"openat :/etc/app/conf write created !write_below_etc",
		"openat :/run/secrets/kubernetes.io/serviceaccount/..data/token !service_account_token",
		"openat2 :/etc/shadow write created !write_below_etc !write_accounts",
		"mount :/ !mount_in_container",
		"openat :/etc/passwd write denied !write_below_etc !write_accounts",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSocketIsKnownByItsServersName(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	dir, err := os.MkdirTemp("", "kaudit") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"runtime.sock", "other.sock"} {
		s, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	if err := os.Symlink("runtime.sock", filepath.Join(dir, "another-name.sock")); err != nil {
		t.Fatal(err)
	}
	rules, err := ParseRules([]byte("version: 1\nrules: [{id: rt, title: x, severity: critical, attack: T1611, on: connect, path: " + dir + "/runtime.sock}]"))
	if err != nil {
		t.Fatal(err)
	}
	var l log
	f := start(t, h, Options{OnEvent: l.add, Rules: rules})
	cgroup, _ := newContainer(t, h)
	pid := play(t, "socket", dir, cgroup, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.of(pid) {
		if e.Kind == Connect {
			got = append(got, e.Path)
			if len(e.Findings) != 1 {
				t.Errorf("findings %+v", e.Findings)
			}
		}
	}
	if want := []string{dir + "/runtime.sock"}; !slices.Equal(got, want) {
		t.Errorf("connects %q, want %q", got, want)
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
	create, remove := "bad file descriptor", "no such file or directory" // the file is not open for reading alone
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
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(`package main
import "syscall"
func main() { fd, _ := syscall.Open("`+dir+`/secret", syscall.O_WRONLY|syscall.O_CREAT, 0600); syscall.Close(fd) }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", "build", "-o", dir+"/old", source)
	c.Env = append(os.Environ(), "GOARCH=386", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add, Scopes: map[Kind]Scope{Open: Everywhere}, Rules: secretRules(t, dir)})
	c = exec.Command(dir + "/old")
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

func secretRules(t testing.TB, dir string) *Rules {
	t.Helper()
	r, err := ParseRules([]byte("version: 1\nrules: [{id: secret, title: x, severity: info, attack: T1552, on: open, path: " + dir + "/secret}]"))
	if err != nil {
		t.Fatal(err)
	}
	return r
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
