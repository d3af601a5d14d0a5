//go:build linux

package tcp

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// What finds no room in the table is counted by process, and is not lost.
func TestMorePeersThanRoom(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{MaxFlows: 8})
	f.Poll()
	for port := range 40 {
		_, _ = ns.Dial(t, fmt.Sprintf("127.0.0.1:%d", 2000+port), kerneltest.Patience)
	}
	refused, together := 0, 0
	for _, fl := range f.Poll().Flows {
		if fl.Role == Client && fl.Process.PID == os.Getpid() {
			refused += int(fl.Failed[Refused])
			if fl.Remote.Addr().IsUnspecified() {
				together += int(fl.Failed[Refused])
			}
		}
	}
	t.Logf("%d by peer, %d together", refused-together, together)
	if refused != 40 || together < 32 || f.Stats().Dropped != 0 {
		t.Errorf("%d refused of 40, %d together, dropped %d", refused, together, f.Stats().Dropped)
	}
}

// The process at the other end is found by its own flow, also in another
// namespace, and by a listener.
func TestPeerProcess(t *testing.T) {
	link := newLossy(t)
	f := start(t, Options{})
	serve := func(ns *netns, addr, service string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), helper+"=serve "+addr, "OTEL_SERVICE_NAME="+service)
		out, _ := cmd.StdoutPipe()
		in, _ := cmd.StdinPipe()
		ns.Do(t, cmd.Start)
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
		if s := bufio.NewScanner(out); !s.Scan() || s.Text() != "ready" {
			t.Fatalf("the server says %q", s.Text())
		}
		return cmd
	}
	far := serve(link.b, addrB+":7004", "far")
	near := serve(link.a, "127.0.0.1:7005", "near")
	other := serve(link.b, "127.0.0.1:7005", "other") // the same address in another namespace
	for _, addr := range []string{addrB + ":7004", "127.0.0.1:7005"} {
		c, err := link.a.Dial(t, addr, kerneltest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(c, make([]byte, 1))
	}
	r := f.Poll()
	for _, want := range []struct {
		f       *Flow
		pid     int
		service string
	}{
		{flow(t, r, clientOf(link.a.ID, addrB+":7004")), far.Process.Pid, "far"},
		{flow(t, r, clientOf(link.a.ID, "127.0.0.1:7005")), near.Process.Pid, "near"},
		{flow(t, r, serverOf(link.b.ID, 7004)), os.Getpid(), ""},
		{flow(t, r, serverOf(link.a.ID, 7005)), os.Getpid(), ""},
	} {
		if p := want.f.PeerProcess; p.PID != want.pid || p.Service != want.service {
			t.Errorf("%s: the peer is %d %q, want %d %q (other is %d)", want.f.Identity, p.PID, p.Service, want.pid, want.service, other.Process.Pid)
		}
	}
}

func TestPeersOfSeveralPrograms(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	p := &poller{host: h, tables: []table{{before: map[tcpKey]*known{}}}}
	addr := func(s string) [16]uint8 { return netip.MustParseAddr(s).As16() }
	for pid, from := range map[uint32]string{1 << 30: "10.0.0.1", 1<<30 + 1: "10.0.0.1", 1<<30 + 2: "10.0.0.2"} {
		p.tables[0].before[tcpKey{Tgid: pid, StartCs: pid, Netns: 1, Rport: 80, Laddr: addr(from), Raddr: addr("10.0.0.3"), Role: uint32(Client)}] = &known{}
	}
	peers := p.findPeers(nil)
	for _, pid := range []int{os.Getpid(), os.Getppid()} { // the test and what runs it: two programs
		live, _ := h.Process(pid)
		k := tcpKey{Tgid: uint32(pid), StartCs: uint32(live.Start / (10 * time.Millisecond)), Netns: 1, Rport: 80, Laddr: addr("10.0.0.5"), Raddr: addr("10.0.0.3"), Role: uint32(Client)}
		p.tables[0].before[k] = &known{}
	}
	id := Identity{NetNS: 2, Role: Server, Local: netip.MustParseAddrPort("10.0.0.3:80")}
	for from, want := range map[string]int{"10.0.0.1": 1<<30 + 1, "10.0.0.2": 1<<30 + 2, "10.0.0.4": 0, "10.0.0.5": 0} {
		id.Remote = netip.AddrPortFrom(netip.MustParseAddr(from), 0)
		got := peers.of(&id).PID
		if got != want {
			t.Errorf("from %s: %d, want %d", from, got, want)
		}
	}
}
