//go:build linux && (amd64 || arm64)

package attach

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// attachedBy starts another process that attaches to a service, and waits until it is.
func attachedBy(t *testing.T, exe string, s *service, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(exe)
	cmd.Env = []string{helper + "=" + strconv.Itoa(s.Process.Pid)}
	cmd.SysProcAttr = attr
	if _, err := cmd.StdinPipe(); err != nil { // it goes on until this is closed
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for r := bufio.NewScanner(out); r.Scan(); {
		if r.Text() == "attached" {
			return cmd
		}
		if r.Text() == "ready" || strings.HasPrefix(r.Text(), "unsupported") {
			break
		}
	}
	t.Fatal("the other process did not attach")
	return nil
}

// claimed says who has a process.
func claimed(t *testing.T, pid int) int {
	t.Helper()
	c, also, err := claim("/proc", pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	return also
}

// Who attaches to what another process is attached to is told, by its id; not once that was
// killed. They need not be of one user or on one network.
func TestAttachedTwice(t *testing.T) {
	s, other := run(t, build(t)), run(t, build(t))
	also := func(s *service) int {
		t.Helper()
		c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
		defer c.f.Close()
		return c.processes()[0].Also
	}
	if got := also(s); got != 0 {
		t.Fatalf("attached by %d, and nobody is", got)
	}
	for _, kind := range []string{"root", "another network", "another user"} {
		t.Run(kind, func(t *testing.T) {
			exe, attr := "/proc/self/exe", &syscall.SysProcAttr{}
			switch {
			case kind != "root" && os.Geteuid() != 0:
				t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "root"})
			case kind == "another network":
				attr.Cloneflags = unix.CLONE_NEWNET
			case kind == "another user":
				exe = readable(t)
				attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
				attr.AmbientCaps = []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE, unix.CAP_SYS_ADMIN} // the last for Debian's before 6.6
			}
			holder := attachedBy(t, exe, s, attr)
			if got := also(s); got != holder.Process.Pid {
				t.Errorf("attached by %d, want %d", got, holder.Process.Pid)
			}
			if got := claimed(t, other.Process.Pid); got != 0 {
				t.Errorf("another process is attached by %d", got)
			}
			_ = holder.Process.Kill()
			_ = holder.Wait()
			if got := claimed(t, s.Process.Pid); got != 0 {
				t.Errorf("who was killed has it still: %d", got)
			}
		})
	}
	t.Run("the same process", func(t *testing.T) {
		first := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
		if got := also(s); got != os.Getpid() {
			t.Errorf("attached by %d, want %d", got, os.Getpid())
		}
		if got := first.processes(); len(got) != 1 || got[0].Also != 0 {
			t.Errorf("the first: %+v", got)
		}
		if err := first.f.Close(); err != nil {
			t.Fatal(err)
		}
		if got := claimed(t, s.Process.Pid); got != 0 {
			t.Errorf("detached, and %d has it still", got)
		}
	})
}

// Processes have a number in each PID namespace: one and the same is found by all of them, and of who
// has it the id is told only where it means something.
func TestClaimAcrossNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "root"})
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{claims + "=" + strconv.Itoa(os.Getpid())}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "1 has us: 0\n" {
		t.Fatalf("the other says %q: %v", line, err)
	}
	if got := claimed(t, os.Getpid()); got != Unseen {
		t.Errorf("claimed by %d, want one that has no id here", got)
	}
	if inner, err := innerPID(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)); err != nil || inner != 1 {
		t.Errorf("the other is %d there: %v", inner, err)
	}
	c, also, err := claim("/proc", cmd.Process.Pid)
	if err != nil || also != 0 {
		t.Fatalf("the other is claimed by %d: %v", also, err)
	}
	defer c.Close()
	if got := claimed(t, cmd.Process.Pid); got != os.Getpid() {
		t.Errorf("the other is claimed by %d, want %d", got, os.Getpid())
	}
	if _, _, err := claim("/proc", 1<<pidBits+1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no process: %v", err)
	}
}

// claims is set in processes that claim the process with this id and wait.
const claims = "GUANLAN_ATTACH_CLAIMS"

func holdClaim(pid int) {
	c, also, err := claim("/proc", pid)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Printf("%d has us: %d\n", os.Getpid(), also)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// readable is a copy of the test binary that other users may run.
func readable(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "guanlan-attach")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "attach.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(name, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	return name
}
