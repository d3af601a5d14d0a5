//go:build linux

// Package tcp reports what the kernel knows about TCP connections: how long they
// take to come about and why they do not, what is sent again, round-trip times
// while they live, windows that close, resets, by process and peer.
//
// A program notes in each socket what happens there and folds it into one sum a
// flow (Identity), in the kernel. Every interval the sums and the sockets
// themselves are read, in each network namespace, into a Report. Only connections
// out of the ordinary come up one by one, as an Event, and at a bounded rate.
package tcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

const (
	DefaultInterval    = 10 * time.Second
	DefaultSlowConnect = 100 * time.Millisecond
	DefaultSlowRTT     = 200 * time.Millisecond
	DefaultSlowAccept  = 100 * time.Millisecond
	// DefaultMaxFlows takes 4 MB in the kernel and as much here when it is full.
	DefaultMaxFlows = 8192
	// DefaultEventsPerSecond of one CPU keeps a storm of resets below 0.1 % of it.
	DefaultEventsPerSecond = 200
	// DefaultMaxConnections fills a quarter of the ring at once.
	DefaultMaxConnections = 500
)

const (
	// maxOldConns bounds the connections that are known before Linux 5.11, in 12 MB; of
	// more, those are forgotten of which nothing was heard for longest.
	maxOldConns     = 1 << 16
	maxOldListeners = 4096
)

// Options of New. The zero value works.
type Options struct {
	Interval    time.Duration // between reports, default DefaultInterval
	SlowConnect time.Duration // a handshake above is an event, default DefaultSlowConnect
	SlowRTT     time.Duration // a sample above counts as over, default DefaultSlowRTT
	SlowAccept  time.Duration // a wait for the first read above counts as over, default DefaultSlowAccept
	MaxFlows    int           // default DefaultMaxFlows; what finds no room is counted by process alone
	// EventsPerSecond bounds the events of one CPU, default DefaultEventsPerSecond.
	EventsPerSecond int
	// MaxConnections bounds the live connections told of (kind Connection) at one
	// report, default DefaultMaxConnections.
	MaxConnections int
	// NoSockOps takes round-trip times without CAP_NET_ADMIN even where it is
	// there: the mean at each incoming segment in place of each sample.
	NoSockOps bool

	// Reports and events are handed over one by one, each from one goroutine;
	// both may be nil. A Report is the receiver's.
	OnReport func(Report)
	OnEvent  func(Event)
}

// Feature is the kernel.Feature of this package.
type Feature struct {
	opts Options

	host    *kernel.Host
	object  *kernel.Object
	ring    *kernel.Ring
	refused []error

	stop context.CancelFunc
	done chan struct{}

	poll    *poller
	events  atomic.Uint64
	mu      sync.Mutex // of polls: the ticker's and Poll's
	pollErr error
}

// New makes a Feature that nothing is attached of.
func New(o Options) *Feature {
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.SlowConnect = cmp.Or(o.SlowConnect, DefaultSlowConnect)
	o.SlowRTT = cmp.Or(o.SlowRTT, DefaultSlowRTT)
	o.SlowAccept = cmp.Or(o.SlowAccept, DefaultSlowAccept)
	o.MaxFlows = cmp.Or(o.MaxFlows, DefaultMaxFlows)
	o.EventsPerSecond = cmp.Or(o.EventsPerSecond, DefaultEventsPerSecond)
	o.MaxConnections = cmp.Or(o.MaxConnections, DefaultMaxConnections)
	return &Feature{opts: o}
}

// Name is "tcp".
func (f *Feature) Name() string { return "tcp" }

// Start attaches, looks for sockets that are there already, and begins to report.
// It is refused only without connects, accepts and closes; for other parts see Refused.
func (f *Feature) Start(ctx context.Context, h *kernel.Host) (err error) {
	spec, err := loadTcp()
	if err != nil {
		return fmt.Errorf("read object of tcp: %w", err)
	}
	spec.Maps["sums"].MaxEntries = uint32(f.opts.MaxFlows)
	for name, v := range map[string]uint32{
		"connect_over_us":   uint32(f.opts.SlowConnect.Microseconds()),
		"rtt_over_us":       uint32(f.opts.SlowRTT.Microseconds()),
		"wait_over_us":      uint32(f.opts.SlowAccept.Microseconds()),
		"events_per_second": uint32(f.opts.EventsPerSecond),
	} {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s of tcp: %w", name, err)
		}
	}
	old := ""
	if kernel.Old() {
		old = "old_"
		spec.Maps["old_conns"].MaxEntries = maxOldConns
		spec.Maps["old_listeners"].MaxEntries = maxOldListeners
	}
	f.host = h
	if h.Pinned() {
		spec.Maps["told"] = toldSpec(spec)
	}
	// Of on_sockops and on_probe one runs.
	if f.object, err = kernel.LoadPinned("tcp", h, spec, _TcpBytes, fmt.Sprint(f.opts.NoSockOps, h.Cgroup2())); err != nil {
		return err
	}
	// Listeners first: what they accept from now on knows its process.
	f.seed(old + "seed_listeners")
	if err := f.object.Tracing("on_state"); err != nil {
		return err
	}
	for _, name := range []string{"on_retransmit", "on_retransmit_synack", "on_send_reset", "on_receive_reset", "on_read"} {
		f.part(f.object.Tracing(name))
	}
	f.seed(old + "seed_conns")
	sampled := f.attachRTT()
	snap, err := f.object.Iter("snap")
	f.part(err)
	if f.poll, err = newPoller(h, f.object, snap); err != nil {
		return err
	}
	f.poll.room = uint32(f.opts.MaxConnections)
	if sampled && snap != nil {
		if it, err := f.object.Iter("enable_rtt"); err != nil {
			f.part(err)
		} else {
			f.poll.enable = it
		}
	}
	if f.ring, err = kernel.Drain(ctx, f.object.Map("events"), 0, f.decode); err != nil {
		return err
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.done = make(chan struct{})
	if f.object.Adopted() {
		f.report() // what was since the last process's
	} else {
		f.Poll() // what was before is no part of the first report
	}
	f.forgetSubflows()
	go f.run(ctx)
	return nil
}

func (f *Feature) part(err error) {
	if err != nil {
		f.refused = append(f.refused, err)
	}
}

// forgetSubflows: what was noted by address is for sockets that were there at the
// start; later another may have the address.
func (f *Feature) forgetSubflows() {
	m := f.object.Map("subflows")
	var at uint64
	for m.NextKey(nil, &at) == nil && m.Delete(at) == nil {
	}
}

// Refused says which parts this kernel or process cannot do, most as
// *kernel.Unsupported. Call it after Start.
func (f *Feature) Refused() []error { return f.refused }

// attachRTT reports whether each sample can be had.
func (f *Feature) attachRTT() bool {
	if !f.opts.NoSockOps {
		err := error(&kernel.Unsupported{Feature: "tcp: on_sockops", Missing: "cgroup v2", Next: "mount it"})
		if at := f.host.Cgroup2(); at != "" {
			err = f.object.Cgroup("on_sockops", at, ebpf.AttachCGroupSockOps)
		}
		if err == nil {
			return true
		}
		f.part(err)
	}
	f.part(f.object.Tracing("on_probe"))
	return false
}

// seed runs one of the iterators over the files of all processes.
func (f *Feature) seed(name string) {
	it, err := f.object.Iter(name)
	if err == nil {
		_, err = readIter(it)
	}
	f.part(err)
}

func (f *Feature) run(ctx context.Context) {
	defer close(f.done)
	kernel.Every(ctx, f.opts.Interval, f.report)
}

func (f *Feature) report() {
	if r := f.Poll(); f.opts.OnReport != nil {
		f.opts.OnReport(r)
	}
}

// Poll reads all now and begins a new interval: the next report is without it.
func (f *Feature) Poll() Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.poll.run()
	f.pollErr = err
	return r
}

// Err is what went wrong at the last poll, for the operator; its report has the rest.
func (f *Feature) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pollErr
}

// Close reports what the last interval had so far, hands over the last events,
// and detaches.
func (f *Feature) Close() error {
	if f.object == nil {
		return nil
	}
	if f.stop != nil {
		f.stop()
		<-f.done
		f.report()
	}
	err := f.object.Detach()
	if f.ring != nil {
		err = errors.Join(err, f.ring.Close())
	}
	return errors.Join(err, f.object.Close())
}

// Stats counts events handed over and those lost for want of room, with flows
// that found none in the kernel's table.
func (f *Feature) Stats() kernel.Stats { return f.object.Stats(f.events.Load(), 0) }

func (f *Feature) decode(raw []byte) {
	var e tcpEvent
	if len(raw) < int(unsafe.Sizeof(e)) || f.opts.OnEvent == nil {
		return
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e)), raw)
	f.events.Add(1)
	out := Event{
		Kind: Kind(e.Kind), Time: f.host.Wall(e.TimeNs),
		Identity: identity(f.host, tcpKey{Cgroup: e.Cgroup, Tgid: e.Tgid, StartCs: e.StartCs, Netns: e.Netns,
			Lport: e.Lport, Rport: e.Rport, Laddr: e.Laddr, Raddr: e.Raddr, Role: e.Role}, e.Comm),
		Duration:    time.Duration(e.DurNs),
		SRTT:        time.Duration(e.SrttUs) * time.Microsecond,
		MaxRTT:      time.Duration(e.RttMaxUs) * time.Microsecond,
		Retransmits: e.Retrans, Recent: e.RetransRecent,
		BytesSent: e.BytesSent, BytesReceived: e.BytesReceived,
	}
	switch out.Kind {
	case ConnectFailed:
		out.Failure = Failure(min(e.Detail, uint32(Other)))
	case ResetSent, ResetReceived:
		out.State = State(e.Detail)
	}
	f.mu.Lock() // during a poll, until it is known who is there
	peers := f.poll.peers
	f.mu.Unlock()
	out.PeerProcess = peers.of(&out.Identity)
	f.opts.OnEvent(out)
}

// identity names what the kernel numbered.
func identity(h *kernel.Host, k tcpKey, comm [16]uint8) Identity {
	id := Identity{
		Process: process(h, k.Tgid, k.StartCs, comm), NetNS: k.Netns, Role: Role(k.Role),
		Local:  netip.AddrPortFrom(netip.AddrFrom16(k.Laddr).Unmap(), k.Lport),
		Remote: netip.AddrPortFrom(netip.AddrFrom16(k.Raddr).Unmap(), k.Rport),
	}
	id.Cgroup, _ = h.Cgroup(k.Cgroup)
	if id.Process.Container == "" && id.Process.Pod == "" {
		id.Process.Container, id.Process.Pod = kernel.Container(id.Cgroup)
	}
	return id
}

// startUnit is how finely the kernel's side and procfs tell when a process began.
const startUnit = 10 * time.Millisecond

// process finds the one that the kernel noted, not the one that has its id now.
func process(h *kernel.Host, tgid, startCS uint32, comm [16]uint8) kernel.Process {
	if tgid == 0 {
		return kernel.Process{}
	}
	start := time.Duration(startCS) * startUnit
	// Of 32 bits: what the kernel notes starts anew after 497 days.
	p, ok := h.Process(int(tgid))
	if ok && uint32(p.Start/startUnit) == startCS {
		return p
	}
	n := 0
	for n < len(comm) && comm[n] != 0 {
		n++
	}
	return kernel.Process{PID: int(tgid), Start: start, Comm: kernel.Text(string(comm[:n])), Ended: true}
}

func readIter(it *link.Iter) ([]byte, error) {
	r, err := it.Open()
	if err != nil {
		return nil, fmt.Errorf("open iterator: %w", err)
	}
	defer r.Close()
	return readAll(r)
}
