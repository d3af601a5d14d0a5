//go:build linux

package tcp

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// The names of what Signals finds.
const (
	SignalTimeWait       = "tcp.time_wait"
	SignalRetransmits    = "tcp.retransmits"
	SignalRTT            = "tcp.rtt_p99"
	SignalSYNACK         = "tcp.syn_ack"
	SignalListenOverflow = "tcp.listen_overflow"
)

// Limits say what counts as a signal. Each share comes with the least that must
// have been seen: of three sockets, one in TIME_WAIT is no finding.
type Limits struct {
	TimeWaitShare      float64 // of a namespace's sockets, default 0.30
	TimeWaitSockets    uint32  // at least, default 100
	RetransmitShare    float64 // of segments sent with data, default 0.005
	RetransmitSegments uint32  // at least sent, default 200
	Retransmits        uint32  // at least, default 3
	RTTShare           float64 // of samples above Options.SlowRTT, default 0.01: its P99 is above
	RTTs               uint32  // samples at least, default 20
	RTTsOver           uint32  // of them above at least, default 3
	ConnectShare       float64 // of handshakes above Options.SlowConnect, default 0.01
	ConnectsOver       uint32  // at least, default 3

	SlowRTT, SlowConnect time.Duration // as in Options; for the text alone
}

// DefaultLimits are the limits that the defaults of Options go with.
func DefaultLimits() Limits {
	return Limits{
		TimeWaitShare: 0.30, TimeWaitSockets: 100,
		RetransmitShare: 0.005, RetransmitSegments: 200, Retransmits: 3,
		RTTShare: 0.01, RTTs: 20, RTTsOver: 3,
		ConnectShare: 0.01, ConnectsOver: 3,
		SlowRTT: DefaultSlowRTT, SlowConnect: DefaultSlowConnect,
	}
}

// Signal is a finding with what it stands on.
type Signal struct {
	Name         string
	Value, Limit float64 // shares of 1; SignalRTT, SignalSYNACK: seconds; SignalListenOverflow: connections
	NetNS        uint32
	Flow         *Flow     // of the report; nil where the finding is a namespace's
	Listener     *Listener // of SignalListenOverflow: the worst; nil if none is seen to be full
	Evidence     []string
}

// evidenceRows bounds what is named as the cause of a namespace's finding.
const evidenceRows = 3

// Signals finds what is wrong in a report, the worst of each kind first.
func Signals(r Report, l Limits) []Signal {
	var out []Signal
	for _, ns := range r.Namespaces {
		if s, ok := timeWait(r, ns, l); ok {
			out = append(out, s)
		}
		if s, ok := listenOverflow(ns); ok {
			out = append(out, s)
		}
	}
	for i := range r.Flows {
		f := &r.Flows[i]
		for _, find := range []func(*Flow, Limits) (Signal, bool){retransmits, slowRTT, slowSYNACK} {
			if s, ok := find(f, l); ok {
				s.Flow, s.NetNS = f, f.NetNS
				out = append(out, s)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Signal) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Value, a.Value))
	})
	return out
}

func timeWait(r Report, ns Namespace, l Limits) (Signal, bool) {
	var all uint32
	for s, n := range ns.States {
		if State(s) != Listen && State(s) != Close {
			all += n
		}
	}
	waiting := ns.States[TimeWait]
	if waiting < max(1, l.TimeWaitSockets) || share(waiting, all) <= l.TimeWaitShare {
		return Signal{}, false
	}
	s := Signal{Name: SignalTimeWait, Value: share(waiting, all), Limit: l.TimeWaitShare, NetNS: ns.ID,
		Evidence: []string{fmt.Sprintf("%d of %d sockets are in TIME_WAIT, %d are established", waiting, all, ns.States[Established])}}
	// Sockets in TIME_WAIT belong to nobody any more; who closed first put them there.
	var by []*Flow
	for i := range r.Flows {
		if f := &r.Flows[i]; f.NetNS == ns.ID && f.TimeWaits > 0 {
			by = append(by, f)
		}
	}
	slices.SortStableFunc(by, func(a, b *Flow) int { return cmp.Compare(b.TimeWaits, a.TimeWaits) })
	for _, f := range by[:min(len(by), evidenceRows)] {
		s.Evidence = append(s.Evidence, fmt.Sprintf("%s closed %d connections first in this interval", f.Identity, f.TimeWaits))
	}
	return s, true
}

func listenOverflow(ns Namespace) (Signal, bool) {
	n := ns.ListenOverflows
	if n == 0 {
		return Signal{}, false
	}
	s := Signal{Name: SignalListenOverflow, Value: float64(n), NetNS: ns.ID,
		Evidence: []string{fmt.Sprintf("%d connections found a full accept queue, %d dropped in all", n, ns.ListenDrops)}}
	var full []Listener
	for _, l := range ns.Listeners {
		if l.Drops > 0 || l.Max > 0 && l.Waiting > l.Max {
			full = append(full, l)
		}
	}
	slices.SortStableFunc(full, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(b.Drops, a.Drops), cmp.Compare(b.Waiting, a.Waiting))
	})
	for _, l := range full[:min(len(full), evidenceRows)] {
		s.Evidence = append(s.Evidence, fmt.Sprintf("%s (pid %d) on %s: %d dropped, %d of %d wait to be accepted",
			called(l.Process), l.Process.PID, l.Addr, l.Drops, l.Waiting, l.Max))
	}
	if len(full) > 0 {
		s.Listener = &full[0]
	}
	return s, true
}

func retransmits(f *Flow, l Limits) (Signal, bool) {
	v := share(f.Retransmits, f.DataSegments)
	if f.Retransmits < max(1, l.Retransmits) || f.DataSegments < l.RetransmitSegments || v <= l.RetransmitShare {
		return Signal{}, false
	}
	return Signal{Name: SignalRetransmits, Value: v, Limit: l.RetransmitShare, Evidence: []string{
		fmt.Sprintf("%d of %d segments were sent again, %d bytes acknowledged", f.Retransmits, f.DataSegments, f.BytesSent)}}, true
}

func slowRTT(f *Flow, l Limits) (Signal, bool) {
	if f.RTTs < max(1, l.RTTs) || f.RTTOver < max(1, l.RTTsOver) || share(f.RTTOver, f.RTTs) <= l.RTTShare {
		return Signal{}, false
	}
	return Signal{Name: SignalRTT, Value: f.RTT.Quantile(0.99).Seconds(), Limit: l.SlowRTT.Seconds(), Evidence: []string{
		fmt.Sprintf("%d of %d samples above %v, mean %v", f.RTTOver, f.RTTs, l.SlowRTT, mean(f.RTTSum, f.RTTs))}}, true
}

func slowSYNACK(f *Flow, l Limits) (Signal, bool) {
	over, all, sum, side := f.ConnectOver, f.Connects, f.ConnectSum, "SYN to SYN-ACK"
	if f.Role == Server {
		over, all, sum, side = f.HandshakeOver, f.Accepts, f.HandshakeSum, "SYN-ACK to ACK"
	}
	if over < max(1, l.ConnectsOver) || share(over, all) <= l.ConnectShare {
		return Signal{}, false
	}
	v := mean(sum, all)
	if f.Role == Client {
		v = f.Connect.Quantile(0.99)
	}
	return Signal{Name: SignalSYNACK, Value: v.Seconds(), Limit: l.SlowConnect.Seconds(), Evidence: []string{
		fmt.Sprintf("%d of %d handshakes above %v (%s), mean %v, %d SYNs sent again",
			over, all, l.SlowConnect, side, mean(sum, all), f.SYNsAgain)}}, true
}

func share(part, all uint32) float64 {
	if all == 0 {
		return 0
	}
	return float64(part) / float64(all)
}

func mean(sum time.Duration, n uint32) time.Duration {
	if n == 0 {
		return 0
	}
	return (sum / time.Duration(n)).Round(time.Microsecond)
}

// called is the name of a process in evidence: its service, else its program.
func called(p kernel.Process) string { return cmp.Or(p.Service, p.Comm, "unknown process") }

func (i Identity) String() string {
	who := called(i.Process)
	if i.Role == Server {
		return fmt.Sprintf("%s (pid %d) on port %d for %s", who, i.Process.PID, i.Local.Port(), i.Remote.Addr())
	}
	return fmt.Sprintf("%s (pid %d) to %s", who, i.Process.PID, i.Remote)
}
