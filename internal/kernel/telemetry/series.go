//go:build linux

package telemetry

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

const (
	// maxSets bounds the sets of series that are told apart: each has up to 25
	// series in the store, which adds up at most 100,000 of all its senders.
	maxSets = 2000
	// heldFor is how long a set keeps its place after it was last seen: longer than
	// the pause between two runs of a job, so that it does not move to others and back.
	heldFor = time.Hour
	// toldFor is how long series are told after their last traffic: as long as
	// Prometheus sees a sample, so that rates end at zero and not in a gap.
	toldFor = 5 * time.Minute
	// others stands for peers, and beyond twice maxSets for services, that found no place.
	others = "other"
)

// setKey is what the series of one set are about: who talks to whom.
type setKey struct {
	who    subject
	role   tcp.Role
	peer   string // address
	port   uint16 // of the peer for clients, of ours for servers
	called peer
}

func (k setKey) compare(o setKey) int {
	return cmp.Or(k.who.compare(o.who), cmp.Compare(k.role, o.role), cmp.Compare(k.peer, o.peer), cmp.Compare(k.port, o.port),
		k.called.compare(o.called))
}

func keyOf(f *tcp.Flow, names *Names) setKey {
	k := setKey{who: subjectOf(f.Process, "", ""), role: f.Role, peer: f.Remote.Addr().String(), port: f.Remote.Port(),
		called: names.of(f.Identity)}
	if f.Role == tcp.Server {
		k.port = f.Local.Port()
	}
	if f.Remote.Addr() == netip.IPv6Unspecified() { // the kernel's table was full
		k.peer = others
	}
	return k
}

// counter numbers what is counted of a set.
type counter int

const (
	bytesOut counter = iota
	bytesIn
	segments
	retransmits
	outOfOrder
	failed                                     // and those that follow, by tcp.Failure
	accepts  counter = iota + tcp.Failures - 1 // and so on: one for each line
	waitTime                                   // nanoseconds
	waits
	closes
	timeWaits
	resetsSent
	resetsReceived
	zeroLocal
	zeroPeer
	counters
)

// sums is what one set did in one interval.
type sums struct {
	n    [counters]uint64
	open uint64

	rtt, connect       []uint32 // by slot; nil without samples
	rttSum, connectSum time.Duration
}

func (s *sums) flow(f *tcp.Flow) {
	s.n[bytesOut] += f.BytesSent
	s.n[bytesIn] += f.BytesReceived
	s.n[segments] += uint64(f.DataSegments)
	s.n[retransmits] += uint64(f.Retransmits)
	s.n[outOfOrder] += uint64(f.OutOfOrder)
	for i, n := range f.Failed {
		s.n[failed+counter(i)] += uint64(n)
	}
	s.n[accepts] += uint64(f.Accepts)
	s.n[waitTime] += uint64(f.WaitSum)
	s.n[waits] += uint64(f.Waits)
	s.n[closes] += uint64(f.Closed)
	s.n[timeWaits] += uint64(f.TimeWaits)
	s.n[resetsSent] += uint64(f.ResetsSent)
	s.n[resetsReceived] += uint64(f.ResetsReceived)
	s.n[zeroLocal] += uint64(f.ZeroLocal)
	s.n[zeroPeer] += uint64(f.ZeroPeer)
	s.open += uint64(f.Open)
	if f.RTTs > 0 {
		s.rtt = plus(s.rtt, f.RTT[:])
		s.rttSum += f.RTTSum
	}
	if f.Connects > 0 {
		s.connect = plus(s.connect, f.Connect[:])
		s.connectSum += f.ConnectSum
	}
}

func (s *sums) merge(o *sums) {
	for i, n := range o.n {
		s.n[i] += n
	}
	s.open += o.open
	s.rtt, s.rttSum = plus(s.rtt, o.rtt), s.rttSum+o.rttSum
	s.connect, s.connectSum = plus(s.connect, o.connect), s.connectSum+o.connectSum
}

// plus adds b to a, which becomes as long.
func plus(a, b []uint32) []uint32 {
	if a == nil {
		return slices.Clone(b)
	}
	for i, n := range b {
		a[i] += n
	}
	return a
}

func (s *sums) bytes() uint64 { return s.n[bytesOut] + s.n[bytesIn] }

// A set is known from report to report.
type set struct {
	key     setKey
	seen    time.Time // end of the last interval that it was in
	touched uint32    // counters that were told since it was silent, by bit
	rtt     bool      // the histograms as well
	connect bool
	now     *sums // of this interval; nil if it is not in it
}

// sets are the sets that have a place.
type sets struct {
	all    map[setKey]*set
	max    int
	folded uint64 // sets of intervals that went to others, since the start
}

// place sums up flows by set and finds a place for each. The largest of the new
// ones come first; what finds none is summed up under others.
func (s *sets) place(r *tcp.Report, names *Names) {
	now := map[setKey]*sums{}
	for i := range r.Flows {
		k := keyOf(&r.Flows[i], names)
		if now[k] == nil {
			now[k] = &sums{}
		}
		now[k].flow(&r.Flows[i])
	}
	var fresh []setKey
	for k, sum := range now {
		if s.all[k] == nil {
			fresh = append(fresh, k)
			continue
		}
		s.all[k].now, s.all[k].seen = sum, r.To
	}
	for k, x := range s.all {
		if r.To.Sub(x.seen) > heldFor {
			delete(s.all, k)
		}
	}
	slices.SortFunc(fresh, func(a, b setKey) int {
		return cmp.Or(cmp.Compare(now[b].bytes(), now[a].bytes()), a.compare(b))
	})
	for _, k := range fresh {
		sum := now[k]
		if len(s.all) >= s.max && k.peer != others {
			s.folded++
			k.peer, k.called = others, peer{}
			if k.role == tcp.Client {
				k.port = 0
			}
		}
		if s.all[k] == nil && len(s.all) >= 2*s.max {
			k = setKey{who: subject{service: others}, role: k.role, peer: others}
		}
		x := s.all[k]
		if x == nil {
			x = &set{key: k}
			s.all[k] = x
		}
		if x.now == nil {
			x.now, x.seen = sum, r.To
		} else {
			x.now.merge(sum)
		}
	}
}

// told lists the sets whose series are told at the end of an interval, in a fixed order.
func (s *sets) told(to time.Time) []*set {
	var out []*set
	for _, x := range s.all {
		if to.Sub(x.seen) <= toldFor {
			out = append(out, x)
		} else {
			x.touched, x.rtt, x.connect = 0, false, false
		}
	}
	slices.SortFunc(out, func(a, b *set) int { return a.key.compare(b.key) })
	return out
}
