//go:build linux

package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// start attaches the feature, or skips where that is not supported.
func start(t testing.TB, o Options) *Feature {
	t.Helper()
	if o.Interval == 0 {
		o.Interval = time.Hour // tests poll by themselves
	}
	f := New(o)
	kerneltest.Start(t, nil, f)
	for _, err := range f.Refused() {
		t.Log("refused:", err)
		if u := (*kernel.Unsupported)(nil); !errors.As(err, &u) {
			t.Errorf("a part: %v", err)
		}
	}
	return f
}

// netns is a network namespace that a poll lists.
type netns struct {
	*kerneltest.Namespace
	path string
}

func newNetns(t testing.TB) *netns {
	t.Helper()
	n := kerneltest.NewNamespace(t)
	return &netns{n, n.Name(t)}
}

// dialUntil gives up when it has waited long enough.
func (n *netns) dialUntil(t testing.TB, addr string, enough func() bool) (c net.Conn, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Do(t, func() error { c, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr); return nil })
	}()
	kerneltest.Until(t, "the dial to be long enough", enough)
	cancel()
	<-done
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// count reads one of the namespace's counters, from a thread of its own.
func (n *netns) count(t testing.TB, name string) uint64 {
	t.Helper()
	counters := map[string]uint64{}
	if err := within(n.path, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/netstat")
		parseCounters(string(text), counters)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return counters[name]
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
	n.Do(t, func() error {
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
		return errors.Join(kerneltest.Up("gl0", netip.MustParsePrefix(addr+"/24")), also("gl0", netip.MustParsePrefix(addr6+"/64")))
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

// fullListener listens with the least backlog, which is 1 waiting connection and one more.
func fullListener(t testing.TB, ns *netns) (string, error) {
	var addr string
	var fd int
	var err error
	ns.Do(t, func() error {
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
