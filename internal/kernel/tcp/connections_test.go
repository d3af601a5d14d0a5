//go:build linux

package tcp

import (
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// retold is what live connections are told of, by local port. Other programs of the
// host may have connections that are out of the ordinary, too.
type retold struct {
	mu sync.Mutex
	of map[uint16][]Event
}

func (r *retold) add(e Event) {
	if e.Kind == Connection {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.of[e.Local.Port()] = append(r.of[e.Local.Port()], e)
	}
}

// since counts all that was told of after a moment.
func (r *retold) since(at time.Time) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, all := range r.of {
		for _, e := range all {
			if e.Time.After(at) {
				n++
			}
		}
	}
	return n
}

// sendAll sends until all is acknowledged, and returns how many packets were sent again.
func sendAll(t *testing.T, c net.Conn) uint32 {
	t.Helper()
	if _, err := c.Write(make([]byte, 256<<10)); err != nil {
		t.Fatal(err)
	}
	kerneltest.Until(t, "the last acknowledgement", func() bool { return info(t, c).Unacked == 0 })
	return info(t, c).Total_retrans
}

// drain serves who sends.
func drain(t *testing.T, ns *netns, addr string) net.Listener {
	t.Helper()
	l := ns.Listen(t, addr)
	accept(l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	return l
}

// Live connections out of the ordinary are told once an interval, up to a bound.
func TestLiveConnections(t *testing.T) {
	link := newLossy(t)
	link.delay.Store(int64(10 * time.Millisecond))
	link.every.Store(20)
	var mu sync.Mutex
	var told []Event
	options := Options{SlowRTT: time.Hour, OnEvent: func(e Event) {
		if e.Kind == Connection {
			mu.Lock()
			told = append(told, e)
			mu.Unlock()
		}
	}}
	f := start(t, options)
	l := link.b.Listen(t, addrB+":7003")
	accept(l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c, err := link.a.Dial(t, l.Addr().String(), kerneltest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(c.LocalAddr().(*net.TCPAddr).Port)
	of := func(port uint16, n int) (e Event) {
		t.Helper()
		kerneltest.Until(t, "the event", func() bool {
			mu.Lock()
			defer mu.Unlock()
			found := 0
			for i := range told {
				if told[i].NetNS == link.a.ID && told[i].Local.Port() == port {
					e, found = told[i], found+1
				}
			}
			return found == n
		})
		return e
	}
	send := func(c net.Conn) uint32 {
		t.Helper()
		if _, err := c.Write(make([]byte, 256<<10)); err != nil {
			t.Fatal(err)
		}
		kerneltest.Until(t, "the last acknowledgement", func() bool { return info(t, c).Unacked == 0 })
		return info(t, c).Total_retrans
	}
	first := send(c)
	f.Poll()
	e := of(port, 1)
	if first == 0 || e.Recent != first || e.Retransmits != first || e.Remote.String() != addrB+":7003" || e.Process.PID != os.Getpid() || e.NetNS != link.a.ID ||
		e.SRTT < 15*time.Millisecond || e.MaxRTT < e.SRTT/2 || e.Duration <= 0 || e.PeerProcess.PID != os.Getpid() {
		t.Errorf("after %d retransmits: recent %d, in all %d, srtt %v, worst %v, life %v, peer %d", first, e.Recent, e.Retransmits, e.SRTT, e.MaxRTT, e.Duration, e.PeerProcess.PID)
	}
	f.Poll() // nothing new
	both := send(c)
	f.Poll()
	if e := of(port, 2); e.Recent != both-first || e.Retransmits != both {
		t.Errorf("after %d and %d: recent %d, in all %d", first, both-first, e.Recent, e.Retransmits)
	}
	// Of others on this machine there may be some as well: the bound holds for all together.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	options.MaxConnections = 3
	f = start(t, options)
	link.delay.Store(0)
	for range 6 {
		c, err := link.a.Dial(t, l.Addr().String(), kerneltest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		send(c)
	}
	began := time.Now()
	r := f.Poll()
	recent := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for i := range told {
			if !told[i].Time.Before(began) {
				n++
			}
		}
		return n
	}
	kerneltest.Until(t, "three more", func() bool { return recent() == 3 })
	if r.Suppressed < 3 {
		t.Errorf("suppressed %d of 6 at the least", r.Suppressed)
	}
}

// Of more live connections than a poll may tell of, the others are counted.
func TestLiveConnectionsAreBounded(t *testing.T) {
	const most, sick = 3, 6
	link := newLossy(t)
	link.every.Store(20)
	told := retold{of: map[uint16][]Event{}}
	f := start(t, Options{MaxConnections: most, SlowRTT: time.Hour, OnEvent: told.add})
	l := drain(t, link.b, addrB+":7003")
	var since time.Time // after the poll that begins, and before the one that is asked for
	for range sick {
		c, err := link.a.Dial(t, l.Addr().String(), kerneltest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		if sendAll(t, c) == 0 {
			t.Fatal("nothing was sent again")
		}
		if since.IsZero() {
			since = time.Now()
		}
	}
	r := f.Poll()
	kerneltest.Until(t, "as many as are told of", func() bool { return told.since(since) == most })
	if r.Suppressed < sick-most {
		t.Errorf("suppressed %d of %d", r.Suppressed, sick)
	}
}
