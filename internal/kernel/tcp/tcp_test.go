//go:build linux

package tcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Drops of the link, our count, the namespace's counters and the socket's agree.
func TestRetransmitsAreCountedOneByOne(t *testing.T) {
	for name, host := range map[string]string{"IPv4": addrB, "IPv6": addrB6} {
		t.Run(name, func(t *testing.T) { retransmitsAreCounted(t, net.JoinHostPort(host, "7000")) })
	}
}

func retransmitsAreCounted(t *testing.T, addr string) {
	link := newLossy(t)
	link.delay.Store(int64(10 * time.Millisecond))
	link.every.Store(50)
	f := start(t, Options{})
	l := link.b.listen(t, addr)
	accept(l, func(c net.Conn) {
		_, _ = io.CopyN(io.Discard, c, 1<<20)
		_, _ = c.Write([]byte("k"))
		_, _ = io.Copy(io.Discard, c)
	})

	f.Poll()
	c, err := link.a.dial(t, l.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	until(t, "the last acknowledgement", func() bool { return info(t, c).Unacked == 0 })
	ti := info(t, c)
	r := f.Poll()
	got := flow(t, r, clientOf(link.a.id, addr))
	var ns Namespace
	for _, n := range r.Namespaces {
		if n.ID == link.a.id {
			ns = n
		}
	}
	drops := uint32(link.dropped.Load())
	t.Logf("dropped %d, ours %d, namespace %d, socket %d; of %d segments; RTT n=%d p50=%v p99=%v, socket srtt %v; out of order at the server %d",
		drops, got.Retransmits, ns.Retransmits, ti.Total_retrans, got.DataSegments, got.RTTs, got.RTT.Quantile(.5), got.RTT.Quantile(.99),
		time.Duration(ti.Rtt)*time.Microsecond, flow(t, r, serverOf(link.b.id, 7000)).OutOfOrder)
	if drops == 0 || got.Retransmits != drops || ns.Retransmits != uint64(drops) || ti.Total_retrans != drops {
		t.Errorf("dropped %d, counted %d, namespace %d, socket %d", drops, got.Retransmits, ns.Retransmits, ti.Total_retrans)
	}
	if got.BytesSent != 1<<20 || got.BytesReceived != 1 {
		t.Errorf("bytes %d and %d", got.BytesSent, got.BytesReceived)
	}
	if got.DataSegments != ti.Data_segs_out {
		t.Errorf("data segments %d, socket %d", got.DataSegments, ti.Data_segs_out)
	}
	if got.Process.PID != os.Getpid() || got.NetNS != link.a.id || got.Open != 1 {
		t.Errorf("identity %+v, open %d", got.Identity, got.Open)
	}
	if s := flow(t, r, serverOf(link.b.id, 7000)); s.BytesReceived != 1<<20 || s.OutOfOrder == 0 || s.Open != 1 {
		t.Errorf("server: %#v", *s)
	}
	if p50 := got.RTT.Quantile(.5); got.RTTs < 5 || p50 < 20*time.Millisecond || p50 > 70*time.Millisecond {
		t.Errorf("RTT of %d samples: median %v", got.RTTs, p50)
	}
	if got.Connects != 1 || got.ConnectSum < 20*time.Millisecond || got.ConnectSum > time.Second {
		t.Errorf("connects %d in %v", got.Connects, got.ConnectSum)
	}
	want := fmt.Sprintf("%d of %d segments were sent again, %d bytes acknowledged", drops, got.DataSegments, 1<<20)
	for _, s := range Signals(r, DefaultLimits()) {
		if s.Name == SignalRetransmits && s.Flow == got && s.Evidence[0] == want {
			return
		}
	}
	t.Errorf("no signal says %q", want)
}

func TestConnectsThatFail(t *testing.T) {
	link := newLossy(t)
	var mu sync.Mutex
	var events []Event
	f := start(t, Options{OnEvent: func(e Event) { mu.Lock(); events = append(events, e); mu.Unlock() }})
	event := func(k Kind, remote string) (e Event, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			if e.Kind == k && e.Remote.String() == remote {
				return e, true
			}
		}
		return e, false
	}
	l := link.b.listen(t, addrB+":7001")
	accept(l, echo)
	f.Poll()

	if _, err := link.a.dial(t, addrB+":9", time.Second); err == nil {
		t.Fatal("port 9 answers")
	}
	link.hole.Store(true)
	if _, err := link.a.dial(t, addrB+":10", 1300*time.Millisecond); err == nil {
		t.Fatal("a black hole answers")
	}
	link.hole.Store(false)
	link.delay.Store(int64(110 * time.Millisecond))
	for range 3 {
		if _, err := link.a.dial(t, addrB+":7001", 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	r := f.Poll()
	if got := flow(t, r, clientOf(link.a.id, addrB+":9")); got.Failed[Refused] != 1 || got.Connects != 0 || got.ResetsReceived != 0 {
		t.Errorf("refused: %#v", *got)
	}
	if got := flow(t, r, clientOf(link.a.id, addrB+":10")); got.Failed[Canceled] != 1 || got.SYNsAgain == 0 {
		t.Errorf("canceled: %#v", *got)
	}
	slow := flow(t, r, clientOf(link.a.id, addrB+":7001"))
	if slow.Connects != 3 || slow.ConnectOver != 3 {
		t.Errorf("slow: %#v", *slow)
	}
	found := map[string]int{}
	for _, s := range Signals(r, DefaultLimits()) {
		found[s.Name]++
	}
	if found[SignalSYNACK] == 0 {
		t.Errorf("signals %v", found)
	}
	for k, remote := range map[Kind]string{ConnectFailed: addrB + ":9", ConnectSlow: addrB + ":7001"} {
		until(t, k.String(), func() bool { _, ok := event(k, remote); return ok })
	}
	e, _ := event(ConnectFailed, addrB+":9")
	if e.Failure != Refused || e.Process.PID != os.Getpid() || e.Local.Addr().String() != addrA || time.Since(e.Time) > time.Minute {
		t.Errorf("refused: %+v", e)
	}
	e, _ = event(ConnectSlow, addrB+":7001")
	if e.Duration < 220*time.Millisecond || e.Duration > 500*time.Millisecond {
		t.Errorf("slow: took %v", e.Duration)
	}
	t.Logf("slow connect: %v", e.Duration)
}

func TestSlowRTT(t *testing.T) {
	for _, probe := range []bool{false, true} {
		t.Run(fmt.Sprintf("probe=%v", probe), func(t *testing.T) {
			link := newLossy(t)
			link.delay.Store(int64(105 * time.Millisecond))
			f := start(t, Options{NoSockOps: probe})
			l := link.b.listen(t, addrB+":7002")
			accept(l, echo)
			f.Poll()
			var wg sync.WaitGroup
			for range 8 {
				c, err := link.a.dial(t, addrB+":7002", 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					for range 5 {
						_, _ = c.Write([]byte("ping"))
						_, _ = io.ReadFull(c, make([]byte, 4))
					}
				})
			}
			wg.Wait()
			r := f.Poll()
			got := flow(t, r, clientOf(link.a.id, addrB+":7002"))
			t.Logf("n=%d over=%d p99=%v", got.RTTs, got.RTTOver, got.RTT.Quantile(.99))
			if p := got.RTT.Quantile(.99); p < 200*time.Millisecond || p > 2*time.Second || got.Open != 8 {
				t.Errorf("p99 %v, open %d", p, got.Open)
			}
			for _, s := range Signals(r, DefaultLimits()) {
				if s.Name == SignalRTT && s.Flow == got {
					return
				}
			}
			t.Error("no signal")
		})
	}
}

func TestResets(t *testing.T) {
	ns := newNetns(t)
	var mu sync.Mutex
	kinds := map[Kind]int{}
	f := start(t, Options{OnEvent: func(e Event) {
		if e.NetNS == ns.id {
			mu.Lock()
			kinds[e.Kind]++
			mu.Unlock()
		}
	}})
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			l := ns.listen(t, net.JoinHostPort(host, "0"))
			port := l.Addr().(*net.TCPAddr).Port
			f.Poll()
			closed := make(chan struct{})
			accept(l, func(c net.Conn) { defer close(closed); _, _ = io.Copy(io.Discard, c) })
			c, err := ns.dial(t, l.Addr().String(), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("x"))
			until(t, "the acknowledgement", func() bool { return info(t, c).Unacked == 0 })
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			<-closed
			r := f.Poll()
			cl, sv := flow(t, r, clientOf(ns.id, l.Addr().String())), flow(t, r, serverOf(ns.id, port))
			if cl.ResetsSent != 1 || cl.ResetsReceived != 0 || sv.ResetsReceived != 1 || sv.ResetsSent != 0 {
				t.Errorf("client %#v\nserver %#v", *cl, *sv)
			}
			if cl.Closed != 1 || cl.Open != 0 || sv.Accepts != 1 || sv.Process.PID != os.Getpid() || sv.Waits != 1 {
				t.Errorf("client %#v\nserver %#v", *cl, *sv)
			}
		})
	}
	until(t, "events", func() bool { mu.Lock(); defer mu.Unlock(); return kinds[ResetSent] == 2 && kinds[ResetReceived] == 2 })
}

func TestSocketsOlderThanTheAgent(t *testing.T) {
	ns := newNetns(t)
	l := ns.listen(t, "[::]:0")
	port := l.Addr().(*net.TCPAddr).Port
	accept(l, echo)
	remote := fmt.Sprintf("127.0.0.1:%d", port)
	c, err := ns.dial(t, remote, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ping := func(c net.Conn) {
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		ping(c)
	}
	f := start(t, Options{})
	for range 10 {
		ping(c)
	}
	young, err := ns.dial(t, remote, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ping(young)
	r := f.Poll()
	cl, sv := flow(t, r, clientOf(ns.id, remote)), flow(t, r, serverOf(ns.id, port))
	for _, f := range []*Flow{cl, sv} {
		// The last answer may not be acknowledged yet.
		if f.Process.PID != os.Getpid() || f.BytesSent < 40 || f.BytesReceived != 44 || f.Open != 2 || f.DataSegments != 11 {
			t.Errorf("%s: %#v", f.Role, *f)
		}
	}
	if cl.PeerProcess.PID != os.Getpid() || sv.PeerProcess.PID != os.Getpid() {
		t.Errorf("the client's peer is %+v, the server's %+v", cl.PeerProcess, sv.PeerProcess)
	}
	// Samples of the old connection need Linux 6.12; this test knows by its kernel's answer.
	t.Logf("RTT samples %d", cl.RTTs)
	if cl.Connects != 1 || sv.Accepts != 1 || sv.Waits != 1 {
		t.Errorf("connects %d, accepts %d, waits %d", cl.Connects, sv.Accepts, sv.Waits)
	}
}

func TestTimeWait(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{})
	l := ns.listen(t, "127.0.0.1:0")
	accept(l, echo)
	f.Poll()
	for range 150 {
		c, err := ns.dial(t, l.Addr().String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	// A port in TIME_WAIT is taken again after a second, so on a slow machine
	// fewer than 150 wait at the end.
	var r Report
	var closed uint32
	until(t, "the last close", func() bool {
		r = f.Poll()
		for _, fl := range r.Flows {
			if fl.NetNS == ns.id {
				closed += fl.TimeWaits
			}
		}
		return closed >= 150
	})
	r = f.Poll() // sums are read after the sockets: the last may have closed between
	var waiting, want uint32
	for _, n := range r.Namespaces {
		if n.ID == ns.id {
			waiting = n.States[TimeWait]
		}
	}
	ns.do(t, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/sockstat")
		_, after, _ := strings.Cut(string(text), " tw ")
		_, _ = fmt.Sscan(after, &want)
		return err
	})
	if closed != 150 || waiting != want || want == 0 {
		t.Errorf("%d closed first, %d wait, the namespace says %d", closed, waiting, want)
	}
	for _, s := range Signals(r, DefaultLimits()) {
		if s.Name == SignalTimeWait && s.NetNS == ns.id {
			t.Log(s.Value, s.Evidence)
			return
		}
	}
	t.Errorf("no signal in %+v", r.Namespaces)
}

func TestListenOverflow(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{})
	// Nobody accepts; SYN cookies or not, the third connection finds the queue full.
	addr, err := fullListener(t, ns)
	if err != nil {
		t.Fatal(err)
	}
	f.Poll()
	for range 6 {
		c, err := ns.dial(t, addr, 300*time.Millisecond)
		if err == nil {
			defer c.Close()
		}
	}
	r := f.Poll()
	for _, s := range Signals(r, DefaultLimits()) {
		if s.Name == SignalListenOverflow && s.NetNS == ns.id && len(s.Evidence) > 1 {
			t.Log(s.Value, s.Evidence)
			return
		}
	}
	t.Errorf("no signal in %+v", r.Namespaces)
}

// Waiting connections are noticed by the wait for their first read.
func TestWaitForAccept(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{})
	l := ns.listen(t, "127.0.0.1:0")
	f.Poll()
	c, err := ns.dial(t, l.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("x"))
	began := time.Now()
	until(t, "250 ms", func() bool { return time.Since(began) > 250*time.Millisecond })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, _ = s.Read(make([]byte, 1))
	got := flow(t, f.Poll(), serverOf(ns.id, l.Addr().(*net.TCPAddr).Port))
	if got.Waits != 1 || got.WaitOver != 1 || got.WaitSum < 200*time.Millisecond || got.WaitSum > time.Second {
		t.Errorf("waits %d, over %d, %v", got.Waits, got.WaitOver, got.WaitSum)
	}
}

func TestZeroWindow(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{})
	l := ns.listen(t, "127.0.0.1:0")
	f.Poll()
	c, err := ns.dial(t, l.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_ = s.(*net.TCPConn).SetReadBuffer(4096)
	_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	_, err = c.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	_, _ = io.CopyN(io.Discard, s, 64<<10)
	r := f.Poll()
	cl, sv := flow(t, r, clientOf(ns.id, l.Addr().String())), flow(t, r, serverOf(ns.id, l.Addr().(*net.TCPAddr).Port))
	t.Logf("the writer saw the window closed %d times, the reader closed it %d times", cl.ZeroPeer, sv.ZeroLocal)
	if cl.ZeroPeer == 0 || sv.ZeroLocal == 0 {
		t.Errorf("writer %d, reader %d", cl.ZeroPeer, sv.ZeroLocal)
	}
}

// Neither SYN nor FIN is a byte, on neither side, whoever closes first.
func TestBytesAreExact(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{})
	for _, serverFirst := range []bool{false, true} {
		l := ns.listen(t, "127.0.0.1:0")
		served := make(chan struct{})
		accept(l, func(c net.Conn) {
			defer close(served)
			_, _ = io.ReadFull(c, make([]byte, 1000))
			_, _ = c.Write(make([]byte, 300))
			if !serverFirst {
				_, _ = io.Copy(io.Discard, c)
			}
		})
		c, err := ns.dial(t, l.Addr().String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(make([]byte, 1000))
		_, _ = io.ReadFull(c, make([]byte, 300))
		if serverFirst {
			_, _ = io.Copy(io.Discard, c)
		}
		_ = c.Close()
		<-served
		var cl, sv Flow
		until(t, "both to close", func() bool {
			r := f.Poll()
			for _, fl := range r.Flows {
				for into, fits := range map[*Flow]func(*Flow) bool{&cl: clientOf(ns.id, l.Addr().String()), &sv: serverOf(ns.id, l.Addr().(*net.TCPAddr).Port)} {
					if fits(&fl) {
						into.BytesSent += fl.BytesSent
						into.BytesReceived += fl.BytesReceived
						into.Closed += fl.Closed
						into.TimeWaits += fl.TimeWaits
					}
				}
			}
			return cl.Closed == 1 && sv.Closed == 1
		})
		if cl.BytesSent != 1000 || cl.BytesReceived != 300 || sv.BytesSent != 300 || sv.BytesReceived != 1000 {
			t.Errorf("server first %v: client %d and %d, server %d and %d", serverFirst, cl.BytesSent, cl.BytesReceived, sv.BytesSent, sv.BytesReceived)
		}
		if first := map[bool]Flow{false: cl, true: sv}[serverFirst]; first.TimeWaits != 1 || cl.TimeWaits+sv.TimeWaits != 1 {
			t.Errorf("server first %v: TIME_WAIT at the client %d, at the server %d", serverFirst, cl.TimeWaits, sv.TimeWaits)
		}
	}
}

// What finds no room in the table is counted by process, and is not lost.
func TestMorePeersThanRoom(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{MaxFlows: 8})
	f.Poll()
	for port := range 40 {
		_, _ = ns.dial(t, fmt.Sprintf("127.0.0.1:%d", 2000+port), time.Second)
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

// A storm of resets is counted whole and reported in part.
func TestEventsAreBounded(t *testing.T) {
	ns := newNetns(t)
	f := start(t, Options{EventsPerSecond: 5})
	f.Poll()
	for range 500 {
		_, _ = ns.dial(t, "127.0.0.1:9", time.Second)
	}
	r := f.Poll()
	if got := flow(t, r, clientOf(ns.id, "127.0.0.1:9")); got.Failed[Refused] != 500 || r.Suppressed < 300 {
		t.Errorf("refused %d, suppressed %d", got.Failed[Refused], r.Suppressed)
	}
}

// Live connections out of the ordinary are told once an interval, up to a bound.
func TestLiveConnections(t *testing.T) {
	link := newLossy(t)
	link.delay.Store(int64(10 * time.Millisecond))
	link.every.Store(20)
	var mu sync.Mutex
	told := map[uint16][]Event{}
	f := start(t, Options{MaxConnections: 3, SlowRTT: time.Hour, OnEvent: func(e Event) {
		if e.Kind == Connection {
			mu.Lock()
			told[e.Local.Port()] = append(told[e.Local.Port()], e)
			mu.Unlock()
		}
	}})
	l := link.b.listen(t, addrB+":7003")
	accept(l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c, err := link.a.dial(t, l.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(c.LocalAddr().(*net.TCPAddr).Port)
	of := func(port uint16, n int) Event {
		t.Helper()
		until(t, "the event", func() bool { mu.Lock(); defer mu.Unlock(); return len(told[port]) == n })
		return told[port][n-1]
	}
	send := func(c net.Conn) uint32 {
		t.Helper()
		if _, err := c.Write(make([]byte, 256<<10)); err != nil {
			t.Fatal(err)
		}
		until(t, "the last acknowledgement", func() bool { return info(t, c).Unacked == 0 })
		return info(t, c).Total_retrans
	}
	first := send(c)
	f.Poll()
	e := of(port, 1)
	if first == 0 || e.Recent != first || e.Retransmits != first || e.Remote.String() != addrB+":7003" || e.Process.PID != os.Getpid() || e.NetNS != link.a.id ||
		e.SRTT < 15*time.Millisecond || e.MaxRTT < e.SRTT/2 || e.Duration <= 0 || e.PeerProcess.PID != os.Getpid() {
		t.Errorf("after %d retransmits: recent %d, in all %d, srtt %v, worst %v, life %v, peer %d", first, e.Recent, e.Retransmits, e.SRTT, e.MaxRTT, e.Duration, e.PeerProcess.PID)
	}
	f.Poll() // nothing new
	both := send(c)
	f.Poll()
	if e := of(port, 2); e.Recent != both-first || e.Retransmits != both {
		t.Errorf("after %d and %d: recent %d, in all %d", first, both-first, e.Recent, e.Retransmits)
	}
	link.delay.Store(0)
	for range 6 {
		c, err := link.a.dial(t, l.Addr().String(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		send(c)
	}
	r := f.Poll()
	until(t, "three more", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) == 4 })
	if r.Suppressed != 3 {
		t.Errorf("suppressed %d of 6", r.Suppressed)
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
		ns.do(t, cmd.Start)
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
		c, err := link.a.dial(t, addr, 5*time.Second)
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
		{flow(t, r, clientOf(link.a.id, addrB+":7004")), far.Process.Pid, "far"},
		{flow(t, r, clientOf(link.a.id, "127.0.0.1:7005")), near.Process.Pid, "near"},
		{flow(t, r, serverOf(link.b.id, 7004)), os.Getpid(), ""},
		{flow(t, r, serverOf(link.a.id, 7005)), os.Getpid(), ""},
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
