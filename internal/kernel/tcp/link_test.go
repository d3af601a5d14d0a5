//go:build linux

package tcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// start attaches the feature, or skips where that is not supported.
func start(t testing.TB, o Options) *Feature {
	t.Helper()
	if o.Interval == 0 {
		o.Interval = time.Hour // tests poll by themselves
	}
	f := New(o)
	if err := f.Start(t.Context(), kernel.NewHost(kernel.Options{})); err != nil {
		_ = f.Close()
		if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, err := range f.Refused() {
		t.Log("refused:", err)
		if u := (*kernel.Unsupported)(nil); !errors.As(err, &u) {
			t.Errorf("a part: %v", err)
		}
	}
	return f
}

// netns is a network namespace with a name, so that it is found without a process in it.
type netns struct {
	id   uint32
	work chan func()
}

func newNetns(t testing.TB) *netns {
	t.Helper()
	n := &netns{work: make(chan func())}
	ready := make(chan error)
	file := filepath.Join("/run/netns", fmt.Sprintf("guanlan-%d-%d", os.Getpid(), time.Now().UnixNano()))
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		ready <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return &kernel.Unsupported{Feature: "network namespaces", Missing: "CAP_SYS_ADMIN", Err: err}
			}
			if err := os.MkdirAll("/run/netns", 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(file, nil, 0o444); err != nil {
				return err
			}
			if err := unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, ""); err != nil {
				return err
			}
			id, err := namespaceID("/proc/thread-self/ns/net")
			n.id = id
			return err
		}()
		for f := range n.work {
			f()
		}
	}()
	err := <-ready
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(n.work)
		_ = unix.Unmount(file, unix.MNT_DETACH)
		_ = os.Remove(file)
	})
	n.do(t, func() error { return up("lo", netip.Prefix{}) })
	return n
}

func (n *netns) do(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	n.work <- func() { done <- f() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (n *netns) listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	n.do(t, func() (err error) { l, err = net.Listen("tcp", addr); return err })
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (n *netns) dial(t testing.TB, addr string, timeout time.Duration) (net.Conn, error) {
	t.Helper()
	var c net.Conn
	var err error
	n.do(t, func() error { c, err = net.DialTimeout("tcp", addr, timeout); return nil })
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// up gives an interface of the thread's namespace an address.
func up(name string, addr netip.Prefix) error {
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
	flags, _ := unix.NewIfreq(name)
	flags.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, flags); err != nil {
		return fmt.Errorf("set up %s: %w", name, err)
	}
	return nil
}

// also gives an interface an IPv6 address.
func also(name string, addr netip.Prefix) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	at, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	req := struct { // struct in6_ifreq
		addr   [16]byte
		prefix uint32
		index  int32
	}{addr.Addr().As16(), uint32(addr.Bits()), int32(at.Index)}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&req))); e != 0 {
		return fmt.Errorf("set IPv6 address of %s: %w", name, e)
	}
	return nil
}

// lossy is a link of two namespaces by a relay that delays packets and drops
// every nth of those with data from a to b.
type lossy struct {
	a, b    *netns
	delay   atomic.Int64 // each way
	every   atomic.Int64 // 0: drop none
	hole    atomic.Bool  // drop all
	dropped atomic.Int64
	data    atomic.Int64
}

const (
	addrA, addrA6 = "10.94.0.1", "fd94::1"
	addrB, addrB6 = "10.94.0.2", "fd94::2"
)

func newLossy(t testing.TB) *lossy {
	l := &lossy{a: newNetns(t), b: newNetns(t)}
	ta, tb := l.a.tun(t, addrA, addrA6), l.b.tun(t, addrB, addrB6)
	go l.relay(ta, tb, true)
	go l.relay(tb, ta, false)
	return l
}

func (n *netns) tun(t testing.TB, addr, addr6 string) *os.File {
	var f *os.File
	n.do(t, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		ifr, _ := unix.NewIfreq("gl0")
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return fmt.Errorf("make a TUN device: %w", err)
		}
		f = os.NewFile(uintptr(fd), "tun")
		return errors.Join(up("gl0", netip.MustParsePrefix(addr+"/24")), also("gl0", netip.MustParsePrefix(addr6+"/64")))
	})
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func (l *lossy) relay(from, to *os.File, drop bool) {
	type packet struct {
		due time.Time
		b   []byte
	}
	queue := make(chan packet, 1<<14)
	defer close(queue)
	go func() {
		for p := range queue {
			time.Sleep(time.Until(p.due)) // the link's delay
			_, _ = to.Write(p.b)
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		b := append([]byte(nil), buf[:n]...)
		if l.hole.Load() {
			continue
		}
		if drop && hasData(b) && l.every.Load() > 0 && l.data.Add(1)%l.every.Load() == 0 {
			l.dropped.Add(1)
			continue
		}
		queue <- packet{time.Now().Add(time.Duration(l.delay.Load())), b}
	}
}

func hasData(b []byte) bool {
	if len(b) >= 60 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP {
		return len(b) > 40+int(b[40+12]>>4)*4
	}
	if len(b) < 40 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_TCP {
		return false
	}
	ip := int(b[0]&15) * 4
	return len(b) > ip+int(b[ip+12]>>4)*4
}

// info is what ss shows.
func info(t testing.TB, c net.Conn) *unix.TCPInfo {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ti *unix.TCPInfo
	if cerr := raw.Control(func(fd uintptr) { ti, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return ti
}

// accept serves all connections with f until the listener closes.
func accept(l net.Listener, f func(net.Conn)) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// flow returns the only flow of a report that fits.
func flow(t testing.TB, r Report, fits func(*Flow) bool) *Flow {
	t.Helper()
	var found *Flow
	for i := range r.Flows {
		if f := &r.Flows[i]; fits(f) {
			if found != nil {
				t.Fatalf("two flows fit:\n%#v\n%#v", *found, *f)
			}
			found = f
		}
	}
	if found == nil {
		t.Fatalf("no flow fits of %d:\n%+v", len(r.Flows), r.Flows)
	}
	return found
}

func clientOf(ns uint32, remote string) func(*Flow) bool {
	return func(f *Flow) bool { return f.Role == Client && f.NetNS == ns && f.Remote.String() == remote }
}

func serverOf(ns uint32, port int) func(*Flow) bool {
	return func(f *Flow) bool {
		return f.Role == Server && f.NetNS == ns && int(f.Local.Port()) == port && !f.Remote.Addr().IsUnspecified()
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// fullListener listens with the least backlog, which is 1 waiting connection and one more.
func fullListener(t testing.TB, ns *netns) (string, error) {
	var addr string
	var fd int
	var err error
	ns.do(t, func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		if err = unix.Listen(fd, 1); err != nil {
			return err
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		addr = fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
		return nil
	})
	t.Cleanup(func() { _ = unix.Close(fd) })
	return addr, err
}
