//go:build linux

package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
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
	kerneltest.Start(t, h, f)
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
		must(os.WriteFile(dir+"/rootkit.ko", nil, 0o600))
		ko, err := os.Open(dir + "/rootkit.ko")
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
	"deep": func(dir string) {
		for range 5 {
			dir = filepath.Join(dir, strings.Repeat("d", 240))
			must(os.Mkdir(dir, 0o755))
		}
		text, err := os.ReadFile("/bin/true")
		must(err)
		must(os.WriteFile(dir+"/xmrig", text, 0o755))
		must(unix.Exec(dir+"/xmrig", []string{"xmrig", strings.Repeat("a", 1500)}, nil))
	},
	"chroot": func(dir string) {
		must(unix.Unshare(unix.CLONE_NEWNS))
		must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
		for _, d := range []string{"/etc", "/old", "/tmp"} {
			must(os.Mkdir(dir+d, 0o755))
		}
		must(unix.PivotRoot(dir, dir+"/old"))
		must(unix.Chdir("/"))
		must(unix.Unmount("/old", unix.MNT_DETACH))
		must(unix.Chroot("/etc"))
		must(unix.Chdir("/"))
		for _, name := range []string{"/passwd", "/of-no-rule/x"} {
			must(os.MkdirAll(filepath.Dir(name), 0o755))
			must(os.WriteFile(name, nil, 0o600))
		}
	},
	"stay": func(string) {
		fmt.Println("in")
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
	"then": func(dir string) {
		fd, err := unix.Open(dir+"/secret", unix.O_RDONLY, 0)
		must(err)
		unix.Close(fd)
		must(unix.Exec("/bin/true", []string{"true"}, nil))
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
