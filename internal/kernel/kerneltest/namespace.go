//go:build linux

package kerneltest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// ownNetwork is the network namespace of the thread that reads it.
const ownNetwork = "/proc/thread-self/ns/net"

// Namespace is a network namespace that ends with the test, and a thread in it.
// No process is in it, so that who looks for namespaces by process does not find it.
type Namespace struct {
	ID   uint32 // as the kernel numbers it
	work chan func()
}

// NewNamespace makes a namespace whose loopback interface is up. It skips where
// that is not allowed.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{work: make(chan func())}
	ready := make(chan error)
	kernel.Alone(func() {
		ready <- n.enter()
		for f := range n.work {
			f()
		}
	})
	t.Cleanup(func() { close(n.work) })
	Need(t, <-ready)
	return n
}

func (n *Namespace) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return &kernel.Unsupported{Feature: "network namespaces", Missing: "CAP_SYS_ADMIN", Err: err}
	}
	var st unix.Stat_t
	if err := unix.Stat(ownNetwork, &st); err != nil {
		return err
	}
	n.ID = uint32(st.Ino)
	return Up("lo", netip.Prefix{})
}

// Name gives the namespace a name below /run/netns, as `ip netns` does, so that it
// is found without a process in it.
func (n *Namespace) Name(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join("/run/netns", fmt.Sprintf("guanlan-%d-%d", os.Getpid(), n.ID))
	n.Do(t, func() error {
		if err := os.MkdirAll("/run/netns", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, nil, 0o444); err != nil {
			return err
		}
		return unix.Mount(ownNetwork, path, "", unix.MS_BIND, "")
	})
	t.Cleanup(func() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = os.Remove(path)
	})
	return path
}

// Do calls f in the namespace; its error ends the test.
func (n *Namespace) Do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	n.work <- func() { done <- f() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Listen listens for TCP connections until the test ends.
func (n *Namespace) Listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	n.Do(t, func() (err error) { l, err = net.Listen("tcp", addr); return err })
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Dial connects by TCP; the connection is closed when the test ends.
func (n *Namespace) Dial(t testing.TB, addr string, timeout time.Duration) (net.Conn, error) {
	t.Helper()
	var c net.Conn
	var err error
	n.Do(t, func() error { c, err = net.DialTimeout("tcp", addr, timeout); return nil })
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// Up sets up an interface of the namespace that the thread is in, with an IPv4
// address where one is given.
func Up(name string, addr netip.Prefix) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if addr.IsValid() {
		if err := ifr.SetInet4Addr(addr.Addr().AsSlice()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr); err != nil {
			return fmt.Errorf("set address of %s: %w", name, err)
		}
		if err := ifr.SetInet4Addr(net.IP(net.CIDRMask(addr.Bits(), 32))); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, ifr); err != nil {
			return fmt.Errorf("set mask of %s: %w", name, err)
		}
	}
	flags, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	flags.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, flags); err != nil {
		return fmt.Errorf("set up %s: %w", name, err)
	}
	return nil
}
