//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestContainer(t *testing.T) {
	id := strings.Repeat("0a1b2c3d", 8)
	for _, tt := range []struct{ path, container, pod string }{
		{"/docker/" + id, id, ""},
		{"/system.slice/docker-" + id + ".scope", id, ""},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f4f2b3c_1111_2222_3333_444455556666.slice/cri-containerd-" + id + ".scope", id, "0f4f2b3c-1111-2222-3333-444455556666"},
		{"/kubepods/besteffort/pod0f4f2b3c-1111-2222-3333-444455556666/" + id, id, "0f4f2b3c-1111-2222-3333-444455556666"},
		{"/machine.slice/libpod-" + id + ".scope/container", id, ""},
		{"/system.slice/containerd.service/kubepods-pod0f4f2b3c_1111_2222_3333_444455556666.slice:cri-containerd:" + id, id, "0f4f2b3c-1111-2222-3333-444455556666"},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d.slice/cri-containerd-" + id + ".scope", id, "0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d"},
		{"/kubepods/burstable/pod0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d/" + id, id, "0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d"},
		{"/system.slice/containerd.service/kubepods-pod0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d.slice:cri-containerd:" + id, id, "0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d"},
		{"/kubepods/pod0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d", "", "0a1b2c3d0a1b2c3d0a1b2c3d0a1b2c3d"},
		{"/libpod_parent/pod" + id, "", ""}, // longer than a uid
		{"/user.slice/user-0.slice/session-1.scope", "", ""},
		{"/build/" + id + "ff", "", ""}, // longer than an id
	} {
		if c, p := Container(tt.path); c != tt.container || p != tt.pod {
			t.Errorf("Container(%q) = %q, %q, want %q, %q", tt.path, c, p, tt.container, tt.pod)
		}
	}
}

func TestParseStat(t *testing.T) {
	got, ok := parseStat([]byte("42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2 3"))
	if want := (stat{comm: "a) b (c", parent: 7, start: 123450 * time.Millisecond}); !ok || got != want {
		t.Errorf("parseStat = %+v, %v, want %+v", got, ok, want)
	}
	for _, bad := range []string{"", "42", "42 )(", "42 (x) S 1", "42 (x) S p 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
		if _, ok := parseStat([]byte(bad)); ok {
			t.Errorf("parseStat(%q) accepted it", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a b) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2 3"))
	f.Fuzz(func(t *testing.T, b []byte) { parseStat(b); serviceIn(b); cgroupOf(string(b)) })
}

func TestServiceIn(t *testing.T) {
	for env, want := range map[string]string{
		"A=1\x00OTEL_SERVICE_NAME=cart\x00":                                        "cart",
		"OTEL_RESOURCE_ATTRIBUTES=a=b, service.name=my%20cart\x00":                 "my cart",
		"OTEL_SERVICE_NAME=x\x00OTEL_RESOURCE_ATTRIBUTES=service.name=y\x00":       "x",
		"OTEL_SERVICE_NAME=\x00OTEL_RESOURCE_ATTRIBUTES=service.name=y,b=c\x00":    "y",
		"OTEL_RESOURCE_ATTRIBUTES=service.name=%zz\x00NOT_OTEL_SERVICE_NAME=n\x00": "",
	} {
		if got := serviceIn([]byte(env)); got != want {
			t.Errorf("serviceIn(%q) = %q, want %q", env, got, want)
		}
	}
}

func TestCgroupOfPrefersTheContainer(t *testing.T) {
	id := strings.Repeat("0a1b2c3d", 8)
	path, container, _ := cgroupOf("4:memory:/docker/" + id + "\n1:cpu:/x\n0::/\n")
	if path != "/docker/"+id || container != id {
		t.Errorf("hybrid: path %q, container %q", path, container)
	}
	if path, container, _ = cgroupOf("1:cpu:/x\n0::/a/b\n"); path != "/a/b" || container != "" {
		t.Errorf("no container: path %q, container %q", path, container)
	}
}

func TestProcess(t *testing.T) {
	h := NewHost(Options{})
	cmd := exec.Command("sleep", "60")
	cmd.Env = append(os.Environ(), "OTEL_SERVICE_NAME=sleeper")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got, ok := h.Process(cmd.Process.Pid)
	for deadline := time.Now().Add(time.Minute); !cmp.Equal(got.Args, []string{"sleep", "60"}) && time.Now().Before(deadline); {
		if got.Comm != "sleep" {
			h.Forget(cmd.Process.Pid) // it has not called exec yet; within one, the Host looks again by itself
		}
		got, ok = h.Process(cmd.Process.Pid)
	}
	if !ok || got.Service != "sleeper" || filepath.Base(got.Exe) == "" || got.Parent != os.Getpid() ||
		!cmp.Equal(got.Args, []string{"sleep", "60"}) || got.Ended {
		t.Errorf("Process = %+v, %v", got, ok)
	}
	if age := time.Since(h.WallBoot(uint64(got.Start))); age < -time.Second || age > time.Minute {
		t.Errorf("started %v ago", age)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	h.processes.byID[cmd.Process.Pid].Value.(*knownProcess).checked = time.Time{}
	after, ok := h.Process(cmd.Process.Pid)
	if !ok || after.Service != "sleeper" || !after.Ended {
		t.Errorf("after its end: %+v, %v", after, ok)
	}
	if _, ok := h.Process(-1); ok {
		t.Error("Process(-1) is known")
	}
}

// A process that got the id of another is not taken for it.
func TestProcessIDReused(t *testing.T) {
	proc := t.TempDir()
	write := func(start int, comm, args string) {
		dir := filepath.Join(proc, "7")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("7 (%s) S 1 7 7 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 %d 1 2 3", comm, start)
		for name, b := range map[string]string{"stat": text, "cmdline": args} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(b), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := NewHost(Options{Proc: proc})
	write(100, "a", "a\x001\x00")
	if p, _ := h.Process(7); p.Comm != "a" {
		t.Fatalf("first: %+v", p)
	}
	write(200, "a", "b\x002\x00")
	if p, _ := h.Process(7); p.Args[0] != "a" {
		t.Errorf("believed for %v, yet asked again: %+v", recheck, p)
	}
	h.processes.byID[7].Value.(*knownProcess).checked = time.Time{}
	if p, _ := h.Process(7); p.Args[0] != "b" || p.Start != 2*time.Second {
		t.Errorf("second: %+v", p)
	}
}

// An exec of what has the same name makes another program of a process.
func TestProcessExecsItsOwnName(t *testing.T) {
	h := NewHost(Options{})
	cmd := exec.Command("sh", "-c", "read go; exec sh -c 'echo ready; read end'")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	before, ok := h.Process(cmd.Process.Pid)
	for ok && (before.Comm != "sh" || len(before.Args) == 0) { // it has not called its first exec yet
		h.Forget(cmd.Process.Pid)
		before, ok = h.Process(cmd.Process.Pid)
	}
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	h.processes.byID[cmd.Process.Pid].Value.(*knownProcess).checked = time.Time{}
	after, ok := h.Process(cmd.Process.Pid)
	if !ok || len(after.Args) != 3 || after.Args[2] != "echo ready; read end" || after.Program() == before.Program() || after.Start != before.Start {
		t.Errorf("%+v, %v; before: %+v", after, ok, before)
	}
}

func TestProcessesAreBounded(t *testing.T) {
	h := NewHost(Options{})
	p := h.processes
	p.byID[-5] = p.used.PushFront(&knownProcess{Process: Process{PID: -5}})
	for i := range maxProcesses - 1 {
		p.byID[-10-i] = p.used.PushFront(&knownProcess{Process: Process{PID: -10 - i}})
	}
	h.Process(os.Getpid())
	if n := p.used.Len(); n != maxProcesses || len(p.byID) != n || p.byID[-5] != nil {
		t.Errorf("%d in the list, %d in the map, the oldest is there: %v", n, len(p.byID), p.byID[-5] != nil)
	}
}

func TestCgroupByID(t *testing.T) {
	h := NewHost(Options{})
	if h.Cgroup2() == "" {
		t.Skip("no cgroup v2 mounted")
	}
	dir, want := h.Cgroup2(), "/"
	if sub := filepath.Join(dir, fmt.Sprintf("guanlan-test-%d", os.Getpid())); os.Mkdir(sub, 0o755) == nil {
		t.Cleanup(func() { _ = os.Remove(sub) })
		dir, want = sub, "/"+filepath.Base(sub)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := fi.Sys().(*syscall.Stat_t).Ino
	if got, ok := h.Cgroup(id); !ok || got != want {
		t.Errorf("Cgroup(%d) = %q, %v, want %q", id, got, ok, want)
	}
	if p, err := h.cgroups.byWalk(id); err != nil || p != dir {
		t.Errorf("by walking: %q, %v, want %q", p, err, dir)
	}
	if got, ok := h.Cgroup(1 << 60); ok {
		t.Errorf("Cgroup(1<<60) = %q", got)
	}
}

func TestWall(t *testing.T) {
	h := NewHost(Options{})
	var m unix.Timespec
	before := time.Now()
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &m)
	after := time.Now()
	const exact = 100 * time.Millisecond
	if got := h.Wall(uint64(m.Nano())); got.Before(before.Add(-exact)) || got.After(after.Add(exact)) {
		t.Errorf("Wall is %v, want between %v and %v", got, before, after)
	}
}

func TestClassify(t *testing.T) {
	mistake := fmt.Errorf("load: %w", &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"R1 type=scalar expected=fp"}})
	if got := Classify("x", mistake); got != mistake {
		t.Errorf("a rejected program became %v", got)
	}
	if got := Classify("x", errors.New("other")); got.Error() != "other" {
		t.Errorf("another error became %v", got)
	}
	for err, missing := range map[error]string{
		btf.ErrNotFound:      "tracepoint",
		ebpf.ErrNotSupported: "",
		unix.EPERM:           "",
		error(&ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"unknown func bpf_new#300"}}): "bpf_new#300",
	} {
		var u *Unsupported
		if got := Classify("x", fmt.Errorf("load: %w", err)); !errors.As(got, &u) || !errors.Is(got, err) || !strings.Contains(u.Missing, missing) || u.Missing == "" {
			t.Errorf("Classify(%v) = %v", err, got)
		}
	}
	if Classify("x", nil) != nil {
		t.Error("Classify(nil) is an error")
	}
}

func TestRefusedTo(t *testing.T) {
	for _, tt := range []struct{ lockdown, seccomp, want string }{
		{"none integrity [confidentiality]\n", "2", "lockdown"},
		{"none [integrity] confidentiality\n", "2", "seccomp"},
		{"", "0", "leave"},
	} {
		if missing, next := refusedTo(tt.lockdown, tt.seccomp); !strings.Contains(missing, tt.want) || next == "" {
			t.Errorf("refusedTo(%q, %q) = %q, %q", tt.lockdown, tt.seccomp, missing, next)
		}
	}
}

type fake struct {
	name  string
	err   error
	calls *[]string
}

func (f fake) Name() string { return f.name }
func (f fake) Start(context.Context, *Host) error {
	*f.calls = append(*f.calls, "start "+f.name)
	return f.err
}
func (f fake) Close() error { *f.calls = append(*f.calls, "close "+f.name); return nil }
func (f fake) Stats() Stats { return Stats{Events: 1} }

func TestRefusedFeatureDoesNotHinderOthers(t *testing.T) {
	var calls []string
	no := &Unsupported{Feature: "b", Missing: "luck"}
	r := Start(t.Context(), NewHost(Options{}), fake{"a", nil, &calls}, fake{"b", no, &calls}, fake{"c", nil, &calls})
	for i, want := range []error{nil, no, nil} {
		if st := r.Status()[i]; !errors.Is(st.Err, want) || (st.Stats.Events == 1) != (want == nil) {
			t.Errorf("status %d: %+v", i, st)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"start a", "start b", "close b", "start c", "close c", "close a"}
	if d := cmp.Diff(want, calls); d != "" {
		t.Error(d)
	}
}

// What a process says of itself is text of bounded length, and costs no reading for each question.
func TestProcessOfAnyBytes(t *testing.T) {
	proc := t.TempDir()
	dir := filepath.Join(proc, "7")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write("stat", "7 (a\xff) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5 0")
	write("cmdline", "")
	write("environ", "OTEL_SERVICE_NAME=\xfe"+strings.Repeat("x", 1000))
	write("cgroup", "0::/\xfd\n")
	if err := os.Symlink("/bin/\xfcx", filepath.Join(dir, "exe")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("7", filepath.Join(proc, "self")); err != nil {
		t.Fatal(err)
	}
	h := NewHost(Options{Proc: proc})
	start := time.Now()
	p, ok := h.Process(7)
	if !ok || p.Comm != "a\uFFFD" || p.Exe != "/bin/\uFFFDx" || p.Cgroup != "/\uFFFD" || !strings.HasPrefix(p.Service, "\uFFFDxxx") || len(p.Service) > maxService+2 {
		t.Errorf("got %+v", p)
	}
	// Without arguments it may be in the middle of an exec, but not for each of many questions.
	write("environ", "OTEL_SERVICE_NAME=other")
	if p, _ := h.Process(7); p.Service == "other" && time.Since(start) < recheckExec {
		t.Error("asked again at once")
	}
	if got := h.Self(); got != 7 {
		t.Errorf("this process is %d, want 7", got)
	}
}
