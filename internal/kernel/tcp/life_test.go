//go:build linux

package tcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
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
	l := ns.listen(t, "127.0.0.1:0")
	accept(l, echo)
	var long, short time.Duration
	const requests, connections = 20_000, 2_000
	measure := func() {
		c, err := ns.dial(t, l.Addr().String(), time.Second)
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
		ns.do(t, func() error {
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
		c, _ := ns.dial(t, l.Addr().String(), time.Second)
		b := make([]byte, 100)
		began := total()
		for range requests {
			_, _ = c.Write(b)
			_, _ = io.ReadFull(c, b)
		}
		request := (total() - began) / requests
		before := total()
		ns.do(t, func() error {
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
