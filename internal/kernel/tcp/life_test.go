//go:build linux

package tcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// helper is set in processes that a test starts of its own binary.
const helper = "GUANLAN_TCP_HELPER"

func TestMain(m *testing.M) {
	if arguments, ok := strings.CutPrefix(os.Getenv(helper), "connect "); ok {
		var n, port int
		_, _ = fmt.Sscan(arguments, &n, &port)
		if err := connect(n, port); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	if addr, ok := strings.CutPrefix(os.Getenv(helper), "serve "); ok {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		accept(l, echo)
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	if os.Getenv(helper) != "" {
		f := New(Options{})
		err := f.Start(context.Background(), kernel.NewHost(kernel.Options{}))
		var u *kernel.Unsupported
		if errors.As(err, &u) {
			fmt.Println("unsupported:", u.Missing)
			os.Exit(0)
		} else if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		for _, err := range append(f.Refused(), f.Err()) {
			if errors.As(err, &u) {
				fmt.Println("without:", u.Feature, "for", u.Missing)
			} else if err != nil {
				fmt.Println("error:", err)
			}
		}
		if os.Getenv(helper) == "traffic" {
			l, _ := net.Listen("tcp", "127.0.0.1:0")
			accept(l, echo)
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				fmt.Println("error:", err)
			}
			_, _ = c.Write([]byte("ping"))
			_, _ = io.ReadFull(c, make([]byte, 4))
			defer c.Close()
			for _, fl := range f.Poll().Flows {
				if fl.Process.PID == os.Getpid() && fl.Role == Client {
					fmt.Println("flow:", fl.Connects, fl.BytesSent, fl.RTTs > 0)
				}
			}
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = f.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// self is a copy of this binary that any user may run.
func self(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "guanlan-tcp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "tcp.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(name, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	return name
}

// Least capabilities: what runs and what is refused with each set, as nobody.
func TestCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "root"})
	}
	start(t, Options{}) // skips where nothing can be had
	name := self(t)
	for _, tt := range []struct {
		caps []uintptr
		want []string
		not  []string
	}{
		{nil, []string{"unsupported: CAP_BPF, CAP_PERFMON"}, []string{"ready"}},
		{[]uintptr{unix.CAP_BPF}, []string{"unsupported: CAP_PERFMON"}, []string{"ready"}},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, []string{"ready", "without: tcp: on_sockops for CAP_NET_ADMIN", "flow: 1 4 true"}, []string{"error:"}},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}, []string{"ready", "flow: 1 4 true"}, []string{"error:", "on_sockops"}},
	} {
		cmd := exec.Command(name)
		cmd.Env = []string{helper + "=traffic"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: tt.caps}
		cmd.Stdin = strings.NewReader("")
		out, err := cmd.CombinedOutput()
		t.Logf("%v: %s", tt.caps, bytes.ReplaceAll(bytes.TrimSpace(out), []byte("\n"), []byte(" | ")))
		if err != nil {
			t.Errorf("%v: %v", tt.caps, err)
		}
		for _, w := range tt.want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%v: does not say %q", tt.caps, w)
			}
		}
		for _, w := range tt.not {
			if strings.Contains(string(out), w) {
				t.Errorf("%v: says %q", tt.caps, w)
			}
		}
	}
}

// TestCost says what the programs cost; run it with -v. Its limits are loose: it
// shall fail when a program becomes ten times as slow, not when a machine is busy.
func TestCost(t *testing.T) {
	ns := newNetns(t)
	l := ns.Listen(t, "127.0.0.1:0")
	accept(l, echo)
	var long, short time.Duration
	const requests, connections = 20_000, 2_000
	measure := func() {
		c, err := ns.Dial(t, l.Addr().String(), kerneltest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		began := time.Now()
		for range requests {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
		}
		long = time.Since(began)
		began = time.Now()
		ns.Do(t, func() error {
			for range connections {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return err
				}
				_, _ = c.Write(b)
				_, _ = io.ReadFull(c, b)
				_ = c.Close()
			}
			return nil
		})
		short = time.Since(began)
	}
	measure()
	t.Logf("without: request %v, connection with a request %v", long/requests, short/connections)
	for _, probe := range []bool{false, true} {
		f := start(t, Options{NoSockOps: probe})
		measure()
		t.Logf("with (probe %v): request %v, connection with a request %v", probe, long/requests, short/connections)
		st, err := f.host.KeepStatistics()
		if err != nil {
			t.Skip(err)
		}
		total := func() (d time.Duration) {
			for _, p := range f.Stats().Programs {
				d += p.Time
			}
			return d
		}
		// Two connections' worth of requests, so that the shares can be told apart.
		c, _ := ns.Dial(t, l.Addr().String(), kerneltest.Patience)
		b := make([]byte, 100)
		began := total()
		for range requests {
			_, _ = c.Write(b)
			_, _ = io.ReadFull(c, b)
		}
		request := (total() - began) / requests
		before := total()
		ns.Do(t, func() error {
			for range connections {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return err
				}
				_ = c.Close()
			}
			return nil
		})
		connection := (total() - before) / connections
		for _, p := range f.Stats().Programs {
			if p.Runs > 0 {
				t.Logf("%-22s %8d runs %6d ns", p.Name, p.Runs, p.Time.Nanoseconds()/int64(p.Runs))
			}
		}
		pollBegan := time.Now()
		r := f.Poll()
		t.Logf("a request costs %v on both sides together, a connection %v; a poll with %d flows %v; dropped %d", request, connection, len(r.Flows), time.Since(pollBegan), f.Stats().Dropped)
		_ = st.Close()
		if request > 5*time.Microsecond || connection > 50*time.Microsecond {
			t.Errorf("a request costs %v, a connection %v", request, connection)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A socket that was half closed before the agent came, in a namespace that is not
// listed: its FIN was a byte of what was there at first, and is none of what came.
func TestFINBeforeTheAgentIsNoByte(t *testing.T) {
	ns := kerneltest.NewNamespace(t)
	l := ns.Listen(t, "127.0.0.1:7001")
	client, err := ns.Dial(t, "127.0.0.1:7001", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	f := start(t, Options{})
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	got := flow(t, f.Poll(), clientOf(ns.ID, "127.0.0.1:7001"))
	if got.Closed != 1 || got.BytesReceived != 0 || got.BytesSent > 1 {
		t.Errorf("closed %d, %d bytes received, %d sent", got.Closed, got.BytesReceived, got.BytesSent)
	}
}

// A socket that connects again after it failed has counters that begin anew.
func TestSYNsOfASecondAttempt(t *testing.T) {
	link := newLossy(t)
	link.hole.Store(true)
	f := start(t, Options{})
	f.Poll()
	link.a.Do(t, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet4{Port: 7002, Addr: netip.MustParseAddr(addrB).As4()}
		for range 2 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
				return err
			}
			if err := unix.Connect(fd, to); err != unix.ETIMEDOUT {
				return fmt.Errorf("connect into a hole: %w", err)
			}
		}
		return nil
	})
	r := f.Poll()
	got := flow(t, r, clientOf(link.a.ID, addrB+":7002"))
	var again uint64 // as the namespace counts
	for _, ns := range r.Namespaces {
		if ns.ID == link.a.ID {
			again = ns.Retransmits
		}
	}
	if got.Failed[TimedOut] != 2 || again == 0 || uint64(got.SYNsAgain) != again {
		t.Errorf("failed %v, %d of %d SYNs sent again", got.Failed, got.SYNsAgain, again)
	}
}

// What the kernel notes of a process's start wraps after 497 days.
func TestProcessIsFoundAfterALongTime(t *testing.T) {
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "42"), 0o755); err != nil {
		t.Fatal(err)
	}
	ticks := uint64(1)<<32 + 5
	stat := fmt.Sprintf("42 (shop) S 1 %s%d 0", strings.Repeat("0 ", 17), ticks)
	if err := os.WriteFile(filepath.Join(proc, "42/stat"), []byte(stat), 0o644); err != nil {
		t.Fatal(err)
	}
	h := kernel.NewHost(kernel.Options{Proc: proc})
	if p := process(h, 42, uint32(ticks), [16]uint8{'s'}); p.Ended || p.Comm != "shop" {
		t.Errorf("found %+v", p)
	}
	if p := process(h, 42, 6, [16]uint8{'s'}); !p.Ended {
		t.Errorf("another's start gave %+v", p)
	}
}

// What /proc/self says of the network is the process's own, however often the
// sockets of another namespace are listed.
func TestFirstThreadStaysHome(t *testing.T) {
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	ns := newNetns(t) // enters it as within does
	// At once, so that all threads which are there are taken, and the first.
	const calls = 50
	var inside sync.WaitGroup
	inside.Add(calls)
	errs := make(chan error, calls)
	for range calls {
		go func() {
			errs <- within(ns.path, func() error {
				inside.Done()
				inside.Wait()
				if id, err := namespaceID("/proc/thread-self/ns/net"); err != nil || id != ns.ID {
					return fmt.Errorf("in namespace %d, %w", id, err)
				}
				return nil
			})
		}()
	}
	for range calls {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if after, _ := os.Readlink("/proc/self/ns/net"); after != before {
		t.Errorf("the process is in %s, and was in %s", after, before)
	}
}
