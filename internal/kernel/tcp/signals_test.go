//go:build linux

package tcp

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

func TestSignals(t *testing.T) {
	ms := time.Millisecond
	rtt := func(n uint32, at time.Duration) (h RTTHistogram) {
		for i := range h {
			if at <= h.Bound(i) {
				h[i] = n
				return h
			}
		}
		return h
	}
	ns := func(timeWait, established uint32) Namespace {
		n := Namespace{ID: 7}
		n.States[TimeWait], n.States[Established], n.States[Listen], n.States[Close] = timeWait, established, 500, 500
		return n
	}
	for _, tt := range []struct {
		name string
		r    Report
		want string // signal, "" for none
		says string // in its evidence
	}{
		{"TIME_WAIT at the limit", Report{Namespaces: []Namespace{ns(300, 700)}}, "", ""},
		{"TIME_WAIT above", Report{Namespaces: []Namespace{ns(301, 699)},
			Flows: []Flow{{TimeWaits: 3, Identity: Identity{NetNS: 8}}, {TimeWaits: 200, Identity: Identity{NetNS: 7}}}},
			SignalTimeWait, "closed 200 connections first"},
		{"TIME_WAIT of few", Report{Namespaces: []Namespace{ns(99, 1)}}, "", ""},
		{"retransmits at the limit", Report{Flows: []Flow{{DataSegments: 1000, Retransmits: 5}}}, "", ""},
		{"retransmits above", Report{Flows: []Flow{{DataSegments: 1000, Retransmits: 6}}}, SignalRetransmits, "6 of 1000 segments"},
		{"retransmits of few segments", Report{Flows: []Flow{{DataSegments: 199, Retransmits: 50}}}, "", ""},
		{"two retransmits", Report{Flows: []Flow{{DataSegments: 200, Retransmits: 2}}}, "", ""},
		{"P99 below", Report{Flows: []Flow{{RTTs: 1000, RTTOver: 10, RTT: rtt(1000, 199*ms)}}}, "", ""},
		{"P99 above", Report{Flows: []Flow{{RTTs: 1000, RTTOver: 11, RTT: rtt(1000, 300*ms)}}}, SignalRTT, "11 of 1000 samples above 200ms"},
		{"RTT of few samples", Report{Flows: []Flow{{RTTs: 19, RTTOver: 19}}}, "", ""},
		{"SYN-ACK slow", Report{Flows: []Flow{{Identity: Identity{Role: Client}, Connects: 100, ConnectOver: 3, ConnectSum: 10 * time.Second}}},
			SignalSYNACK, "3 of 100 handshakes above 100ms (SYN to SYN-ACK), mean 100ms"},
		{"SYN-ACK slow twice", Report{Flows: []Flow{{Identity: Identity{Role: Client}, Connects: 2, ConnectOver: 2}}}, "", ""},
		{"ACK slow at the server", Report{Flows: []Flow{{Identity: Identity{Role: Server}, Accepts: 100, HandshakeOver: 3}}}, SignalSYNACK, "SYN-ACK to ACK"},
		{"listen overflow", Report{Namespaces: []Namespace{{ListenOverflows: 1, ListenDrops: 2, Listeners: []Listener{{Waiting: 2, Max: 1, Drops: 2}}}}},
			SignalListenOverflow, "2 dropped, 2 of 1 wait"},
		{"listen overflow of a service", Report{Namespaces: []Namespace{{ListenOverflows: 1, ListenDrops: 9, Listeners: []Listener{
			{Process: kernel.Process{PID: 7, Comm: "java", Service: "cart"}, Addr: netip.MustParseAddrPort("[::]:8080"), Waiting: 9, Max: 128, Drops: 2},
			{Process: kernel.Process{PID: 8, Comm: "java", Service: "order"}, Addr: netip.MustParseAddrPort("[::]:8081"), Waiting: 129, Max: 128, Drops: 7}}}}},
			SignalListenOverflow, "order (pid 8) on [::]:8081: 7 dropped, 129 of 128 wait to be accepted\ncart (pid 7) on [::]:8080"},
		{"listen drops for another reason", Report{Namespaces: []Namespace{{ListenDrops: 2}}}, "", ""},
		{"nothing", Report{}, "", ""},
	} {
		got := Signals(tt.r, DefaultLimits())
		if tt.want == "" {
			if len(got) > 0 {
				t.Errorf("%s: found %+v", tt.name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Name != tt.want || !strings.Contains(strings.Join(got[0].Evidence, "\n"), tt.says) {
			t.Errorf("%s: found %+v", tt.name, got)
		}
	}
}

func TestWorstSignalFirst(t *testing.T) {
	got := Signals(Report{Flows: []Flow{{DataSegments: 1000, Retransmits: 6}, {DataSegments: 1000, Retransmits: 60}}}, DefaultLimits())
	if len(got) != 2 || got[0].Flow.Retransmits != 60 {
		t.Errorf("got %+v", got)
	}
}

// Of any samples, the estimate is in the slot of the real quantile.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.SliceOfN(rapid.IntRange(0, rttSlots-2), 1, 200).Draw(t, "slots")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var h RTTHistogram
		for _, s := range slots {
			h[s]++
		}
		rank := int(max(1, math.Ceil(q*float64(len(slots)))))
		slot, seen := 0, 0
		for ; ; slot++ {
			if seen += int(h[slot]); seen >= rank {
				break
			}
		}
		low := time.Duration(0)
		if slot > 0 {
			low = h.Bound(slot - 1)
		}
		if got := h.Quantile(q); got <= low || got > h.Bound(slot) {
			t.Fatalf("Quantile(%v) = %v, want in (%v, %v]", q, got, low, h.Bound(slot))
		}
	})
	if got := (RTTHistogram{}).Quantile(0.99); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestBounds(t *testing.T) {
	var r RTTHistogram
	for i, want := range map[int]time.Duration{0: 64, 1: 96, 2: 128, 23: 196608, 24: 262144} {
		if got := r.Bound(i); got != want*time.Microsecond {
			t.Errorf("Bound(%d) = %v, want %v", i, got, want*time.Microsecond)
		}
	}
	for i := 1; i < rttSlots-1; i++ {
		if r.Bound(i) <= r.Bound(i-1) {
			t.Errorf("Bound(%d) = %v", i, r.Bound(i))
		}
	}
}

func TestParseCounters(t *testing.T) {
	got := map[string]uint64{}
	parseCounters("TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 1 2\nIpExt: A\nIpExt: 3\nTcp: MaxConn OutSegs\nTcp: -1 5\n", got)
	if len(got) != 4 || got["TcpExt.ListenOverflows"] != 2 || got["Tcp.OutSegs"] != 5 || got["IpExt.A"] != 3 {
		t.Errorf("got %v", got)
	}
}

func FuzzParseCounters(f *testing.F) {
	f.Add("TcpExt: A B\nTcpExt: 1 2\n")
	f.Fuzz(func(t *testing.T, s string) { parseCounters(s, map[string]uint64{}) })
}
