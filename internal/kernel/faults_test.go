//go:build linux

package kernel_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/dns"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/profile"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

// agent is set in processes that a test starts of its own binary: they start all
// features, say how each fares, and wait for the end of their input. Its value
// names what is taken from them before.
const agent = "GUANLAN_KERNEL_AGENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(pinning); dir != "" {
		if err := runPinning(dir); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if fault := os.Getenv(agent); fault != "" {
		if err := runAgent(fault); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runAgent(fault string) error {
	if err := take(fault); err != nil {
		return err
	}
	t, p := tcp.New(tcp.Options{}), profile.New(profile.Options{OffCPU: true})
	features := []kernel.Feature{t, oom.New(oom.Options{}), audit.New(audit.Options{}), p, dns.New(dns.Options{})}
	r := kernel.Start(context.Background(), kernel.NewHost(kernel.Options{}), features...)
	for _, s := range r.Status() {
		u := (*kernel.Unsupported)(nil)
		switch {
		case s.Err == nil:
			fmt.Println(s.Name+":", "runs")
		case errors.As(s.Err, &u):
			fmt.Println(s.Name+":", "misses", u.Missing)
		default:
			fmt.Println(s.Name+":", "error", s.Err)
		}
	}
	for _, err := range append(t.Refused(), p.Refused()) {
		if err == nil {
			continue
		}
		if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
			fmt.Println(u.Feature+":", "misses", u.Missing)
		} else {
			fmt.Println("a part: error", err)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return r.Close()
}

// take takes from this process what another machine may not have.
func take(fault string) error {
	hide := func(paths ...string) error {
		for _, p := range paths {
			if _, err := os.Stat(p); err != nil {
				continue
			}
			if err := unix.Mount("none", p, "tmpfs", 0, ""); err != nil {
				return fmt.Errorf("hide %s: %w", p, err)
			}
		}
		return nil
	}
	switch fault {
	case "nothing":
	case "type information":
		return hide("/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/debug")
	case "tracefs":
		return hide("/sys/kernel/tracing", "/sys/kernel/debug")
	case "locked memory":
		// As of a service whose user has not root's limits: hard, so that only CAP_SYS_RESOURCE lifts it.
		return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10})
	case "cgroup file systems":
		if err := unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount cgroup file systems: %w", err)
		}
	case "leave to call bpf":
		return refuse(unix.EPERM)
	case "bpf in the kernel":
		return refuse(unix.ENOSYS)
	default:
		return fmt.Errorf("no such fault: %q", fault)
	}
	return nil
}

// refuse makes bpf(2) fail from now on, as the seccomp profiles of container
// runtimes do, in all threads.
func refuse(errno syscall.Errno) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: unix.SYS_BPF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return fmt.Errorf("refuse bpf: %w", e)
	}
	return nil
}

type running struct {
	cmd  *exec.Cmd
	in   io.Closer
	said string
}

// start runs an agent until it is ready.
func start(t *testing.T, fault string, attr *syscall.SysProcAttr) *running {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "root"})
	}
	r := &running{cmd: exec.Command(program(t))}
	r.cmd.Env = []string{agent + "=" + fault}
	r.cmd.SysProcAttr = attr
	r.cmd.Stderr = os.Stderr
	in, err1 := r.cmd.StdinPipe()
	out, err2 := r.cmd.StdoutPipe()
	if err := errors.Join(err1, err2, r.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	r.in = in
	t.Cleanup(func() { _ = in.Close(); _ = r.cmd.Wait() })
	for s := bufio.NewScanner(out); s.Scan() && s.Text() != "ready"; {
		r.said += s.Text() + "\n"
	}
	t.Logf("without %s: %s", fault, strings.ReplaceAll(strings.TrimSpace(r.said), "\n", " | "))
	return r
}

// program is a copy of this binary that any user may run.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "guanlan-kernel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile("/proc/self/exe")
	name := filepath.Join(dir, "kernel.test")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(name, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	return name
}

func (r *running) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(r.said, w+"\n") {
			t.Errorf("does not say %q", w)
		}
	}
	if strings.Contains(r.said, "error") {
		t.Errorf("an error that is not typed: %s", r.said)
	}
}

// allRun skips the test where the kernel itself refuses a feature; parts it may.
func allRun(t *testing.T) {
	t.Helper()
	r := start(t, "nothing", nil)
	for line := range strings.Lines(r.said) {
		if _, says, _ := strings.Cut(line, ": "); strings.HasPrefix(says, "misses") {
			t.Skip("not all features run here:", r.said)
		}
	}
	r.expect(t, "tcp: runs", "oom: runs", "audit: runs", "profile: runs", "dns: runs")
}

// What is missing is named, and what can do without it runs.
func TestFaults(t *testing.T) {
	allRun(t)
	own := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	for _, tt := range []struct {
		fault string
		want  []string
	}{
		{"type information", []string{"tcp: misses type information (BTF)", "oom: misses type information (BTF)", "audit: misses type information (BTF)", "dns: misses type information (BTF)"}},
		{"tracefs", []string{"tcp: runs", "oom: runs", "audit: runs", "profile: runs", "dns: runs"}},
		{"cgroup file systems", []string{"tcp: runs", "tcp: on_sockops: misses cgroup v2", "oom: runs", "audit: runs", "profile: runs", "dns: misses cgroup v2"}},
		{"leave to call bpf", []string{"tcp: misses the kernel's leave: a seccomp filter holds this process", "oom: misses the kernel's leave: a seccomp filter holds this process", "audit: misses the kernel's leave: a seccomp filter holds this process", "profile: misses the kernel's leave: a seccomp filter holds this process"}},
		{"bpf in the kernel", []string{"tcp: misses a feature of newer or otherwise configured kernels"}},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			start(t, tt.fault, own).expect(t, tt.want...)
		})
	}
}

// Least capabilities, as nobody: what runs with each set.
func TestLeastCapabilities(t *testing.T) {
	allRun(t)
	for _, tt := range []struct {
		name string
		caps []uintptr
		want []string
	}{
		{"none", nil, []string{"tcp: misses CAP_BPF, CAP_PERFMON", "oom: misses CAP_BPF, CAP_PERFMON", "audit: misses CAP_BPF, CAP_PERFMON", "profile: misses CAP_BPF, CAP_PERFMON", "dns: misses CAP_BPF, CAP_PERFMON"}},
		{"CAP_BPF", []uintptr{unix.CAP_BPF}, []string{"tcp: misses CAP_PERFMON", "oom: misses CAP_PERFMON", "audit: misses CAP_PERFMON", "profile: misses CAP_PERFMON"}},
		{"CAP_BPF and CAP_PERFMON", []uintptr{unix.CAP_BPF, unix.CAP_PERFMON},
			[]string{"tcp: runs", "tcp: on_sockops: misses CAP_NET_ADMIN", "oom: runs", "audit: runs", "profile: runs", "dns: misses CAP_NET_ADMIN"}},
		{"with CAP_NET_ADMIN", []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN},
			[]string{"tcp: runs", "oom: runs", "audit: runs", "profile: runs", "dns: runs"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: tt.caps}
			start(t, "nothing", attr).expect(t, tt.want...)
		})
	}
}

// Before Linux 5.11 maps and programs count as locked memory; later the limit says nothing of them.
func TestLimitOfLockedMemory(t *testing.T) {
	allRun(t)
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}}
	want := "runs"
	if kernel.Old() {
		want = "misses CAP_SYS_RESOURCE, or a higher limit of locked memory"
	}
	start(t, "locked memory", attr).expect(t, "tcp: "+want, "oom: "+want, "audit: "+want, "profile: "+want, "dns: "+want)
}

// held is what a process keeps in the kernel by its file descriptors.
type held struct{ programs, links, maps []uint32 }

func heldBy(t *testing.T, pid int) (h held) {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		isLink := bytes.Contains(text, []byte("link_id:"))
		for line := range strings.Lines(string(text)) {
			k, v, _ := strings.Cut(line, ":")
			id, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32)
			switch {
			case err != nil:
			case k == "link_id":
				h.links = append(h.links, uint32(id))
			case k == "prog_id" && !isLink:
				h.programs = append(h.programs, uint32(id))
			case k == "map_id":
				h.maps = append(h.maps, uint32(id))
			}
		}
	}
	return h
}

// left counts those that are still in the kernel.
func (h held) left() (n int) {
	for _, id := range h.programs {
		if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
			p.Close()
			n++
		}
	}
	for _, id := range h.links {
		if l, err := link.NewFromID(link.ID(id)); err == nil {
			l.Close()
			n++
		}
	}
	for _, id := range h.maps {
		if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
			m.Close()
			n++
		}
	}
	return n
}

// Nothing stays in the kernel when an agent ends, however it ends; and two of them
// do not hinder each other.
func TestNothingIsLeft(t *testing.T) {
	allRun(t)
	stays, ends, killed := start(t, "nothing", nil), start(t, "nothing", nil), start(t, "nothing", nil)
	all := map[*running]held{}
	for _, r := range []*running{stays, ends, killed} {
		r.expect(t, "tcp: runs", "oom: runs", "audit: runs", "profile: runs")
		all[r] = heldBy(t, r.cmd.Process.Pid)
		if h := all[r]; len(h.programs) < 15 || len(h.links) < 10 || len(h.maps) < 15 || h.left() != len(h.programs)+len(h.links)+len(h.maps) {
			t.Fatalf("holds %d programs, %d links, %d maps; %d of all are there", len(h.programs), len(h.links), len(h.maps), h.left())
		}
	}
	_ = ends.in.Close()
	if err := ends.cmd.Wait(); err != nil {
		t.Errorf("ends with %v", err)
	}
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.cmd.Wait()
	for how, r := range map[string]*running{"its end": ends, "SIGKILL": killed} {
		n := all[r].left()
		for deadline := time.Now().Add(patience); n > 0 && time.Now().Before(deadline); n = all[r].left() {
			time.Sleep(10 * time.Millisecond) // the kernel frees after grace periods
		}
		if n > 0 {
			t.Errorf("%d are left after %s", n, how)
		}
	}
	if h := all[stays]; h.left() != len(h.programs)+len(h.links)+len(h.maps) {
		t.Error("the agent that stays lost something")
	}
}
