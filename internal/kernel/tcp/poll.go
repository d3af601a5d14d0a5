//go:build linux

package tcp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

const (
	// idlePolls is how many intervals a flow without connections and traffic is
	// kept in the kernel; idlePollsFull holds when the table is nearly full.
	idlePolls, idlePollsFull = 30, 2
	// maxNamespaces bounds how many network namespaces one poll goes into; a node has some hundred pods.
	maxNamespaces = 1024
	// maxListing bounds what one namespace may answer: 400,000 listeners.
	maxListing = 32 << 20
	batch      = 256
)

// poller reads sums and sockets, and remembers what it read to tell what is new.
type poller struct {
	host   *kernel.Host
	object *kernel.Object
	tables []table
	snap   *link.Iter // nil: sockets cannot be listed
	enable *link.Iter // nil: nothing to enable

	room       uint32 // live connections to tell of at one poll
	left       uint32 // of it, in the poll that runs
	epoch      uint32
	last       time.Time
	namespaces map[uint32]*namespace
	suppressed uint64
	peers      *peers // never changed once made
	stale      bool   // flows came or went since

	keys   []tcpKey
	values []tcpSum
	told   *told // nil without pins
}

// table is one of the kernel's, with what it held at the last poll.
type table struct {
	*ebpf.Map
	number uint32
	before map[tcpKey]*known
}

type known struct {
	tcpSum
	idle int // polls without change
}

type namespace struct {
	counters map[string]uint64
	drops    map[string]uint32 // of listeners
	seen     uint32            // epoch
}

func newPoller(h *kernel.Host, o *kernel.Object, snap *link.Iter) (*poller, error) {
	p := &poller{host: h, object: o, snap: snap, last: time.Now(),
		tables:     []table{{o.Map("sums"), 0, map[tcpKey]*known{}}, {o.Map("others"), 1, map[tcpKey]*known{}}},
		namespaces: map[uint32]*namespace{},
		keys:       make([]tcpKey, batch), values: make([]tcpSum, batch)}
	if o.Pinned() {
		p.told = &told{Map: o.Map("told")}
	}
	if o.Adopted() {
		if err := p.goOn(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *poller) run() (Report, error) {
	p.epoch++
	p.left = p.room
	var r Report
	errs := []error{p.sockets(&r)}
	for _, t := range p.tables {
		errs = append(errs, p.flows(&r, t))
	}
	errs = append(errs, p.told.flush())
	if p.stale || p.peers == nil {
		p.peers = p.findPeers(r.Namespaces)
		p.stale = false
	}
	for i := range r.Flows {
		r.Flows[i].PeerProcess = p.peers.of(&r.Flows[i].Identity)
	}
	r.To = time.Now()
	// As the clock goes now: it may have been set since, even to before p.last.
	r.From = r.To.Add(-r.To.Sub(p.last))
	p.last = r.To
	var quotas []tcpQuota
	if err := p.object.Map("quotas").Lookup(uint32(0), &quotas); err == nil {
		var n uint64
		for _, q := range quotas {
			n += q.Suppressed
		}
		r.Suppressed += n - p.suppressed
		p.suppressed = n
	}
	p.object.Note(suppressedSlot, p.suppressed)
	p.object.Note(reportedSlot, uint64(r.To.UnixNano()))
	return r, errors.Join(errs...)
}

// flows takes the difference of all sums to the last poll.
func (p *poller) flows(r *Report, t table) error {
	var cursor ebpf.MapBatchCursor
	for {
		n, err := t.BatchLookup(&cursor, p.keys, p.values, nil)
		for i := range n {
			p.flow(r, t, p.keys[i], &p.values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		} else if err != nil {
			return fmt.Errorf("read sums: %w", err)
		}
	}
	limit := idlePolls
	if len(t.before) > int(t.MaxEntries())/10*9 {
		limit = idlePollsFull
	}
	for k, was := range t.before {
		if was.idle < limit {
			continue
		}
		// Between reading and deleting it may have woken up: what it has now is not lost.
		var last tcpSum
		err := t.LookupAndDelete(k, &last)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // before 5.14
			if err = t.Lookup(k, &last); err == nil {
				err = t.Delete(k)
			}
		}
		switch {
		case err == nil:
			p.flow(r, t, k, &last)
		case !errors.Is(err, ebpf.ErrKeyNotExist):
			return fmt.Errorf("delete an idle sum: %w", err)
		}
		delete(t.before, k)
		p.told.forget(t.number, k)
		p.stale = true
	}
	return nil
}

func (p *poller) flow(r *Report, t table, k tcpKey, now *tcpSum) {
	was := t.before[k]
	if was == nil {
		was = &known{}
		t.before[k] = was
		p.stale = true
	}
	was.Comm = now.Comm
	open := now.Open
	if now.OpenEpoch != p.epoch {
		open = 0
	}
	unchanged := was.tcpSum
	unchanged.Open, unchanged.OpenEpoch, unchanged.Comm = now.Open, now.OpenEpoch, now.Comm
	if unchanged == *now && open == 0 {
		was.idle++
		return
	}
	was.idle = 0
	f := difference(&was.tcpSum, now)
	f.Open = open
	f.Identity = identity(p.host, k, now.Comm)
	r.Flows = append(r.Flows, f)
	was.tcpSum = *now
	p.told.put(t.number, k, now)
}

func difference(a, b *tcpSum) Flow {
	us := func(a, b uint64) time.Duration { return time.Duration(b-a) * time.Microsecond }
	f := Flow{
		BytesSent: b.BytesSent - a.BytesSent, BytesReceived: b.BytesReceived - a.BytesReceived,
		DataSegments: b.DataSegs - a.DataSegs, Retransmits: b.Retrans - a.Retrans, OutOfOrder: b.Ooo - a.Ooo,
		ZeroPeer: b.ZeroPeer - a.ZeroPeer, ZeroLocal: b.ZeroLocal - a.ZeroLocal,
		RTTs: b.Rtts - a.Rtts, RTTOver: b.RttOver - a.RttOver, RTTSum: us(a.RttUs, b.RttUs),
		Connects: b.Connects - a.Connects, ConnectOver: b.ConnectOver - a.ConnectOver, ConnectSum: us(a.ConnectUs, b.ConnectUs),
		SYNsAgain: b.SynRetrans - a.SynRetrans, SYNACKsAgain: b.SynackRetrans - a.SynackRetrans,
		Accepts: b.Accepts - a.Accepts, HandshakeOver: b.HandshakeOver - a.HandshakeOver, HandshakeSum: us(a.HandshakeUs, b.HandshakeUs),
		Waits: b.Waits - a.Waits, WaitOver: b.WaitOver - a.WaitOver, WaitSum: us(a.WaitUs, b.WaitUs),
		Closed: b.Closed - a.Closed, TimeWaits: b.TimeWaits - a.TimeWaits,
		ResetsSent: b.ResetsSent - a.ResetsSent, ResetsReceived: b.ResetsReceived - a.ResetsReceived,
	}
	for i := range f.Failed {
		f.Failed[i] = b.Failed[i] - a.Failed[i]
	}
	for i := range f.RTT {
		f.RTT[i] = b.RttHist[i] - a.RttHist[i]
	}
	for i := range f.Connect {
		f.Connect[i] = b.ConnectHist[i] - a.ConnectHist[i]
	}
	return f
}

// sockets lists the sockets of all network namespaces; as a side effect the
// program folds what open connections did into their sums. Where the process may
// not enter other namespaces it lists its own, and says so.
func (p *poller) sockets(r *Report) error {
	if p.snap == nil {
		return nil
	}
	own, err := namespaceID("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("find own network namespace: %w", err)
	}
	var errs []error
	shut := false
	spaces, all := p.list(own)
	if !all {
		errs = append(errs, fmt.Errorf("list sockets: more than %d network namespaces, the rest is left out", maxNamespaces))
	}
	for id, path := range spaces {
		var ns Namespace
		err := within(path, func() error { return p.namespace(id, &ns, &r.Suppressed) })
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL):
			// Gone since it was listed.
		case errors.Is(err, unix.EPERM):
			if !shut { // the same for all others
				errs = append(errs, &kernel.Unsupported{Feature: "tcp: sockets of other network namespaces",
					Missing: "CAP_SYS_ADMIN", Next: "grant it, or live figures and TIME_WAIT are of the own namespace only", Err: err})
			}
			shut = true
		case err != nil:
			errs = append(errs, fmt.Errorf("list sockets of network namespace %d: %w", id, err))
		default:
			r.Namespaces = append(r.Namespaces, ns)
		}
	}
	for id, ns := range p.namespaces {
		if ns.seen != p.epoch {
			delete(p.namespaces, id)
		}
	}
	return errors.Join(errs...)
}

// list finds network namespaces, all or as many as are bearable: of processes, and those that ip-netns and
// container runtimes keep by a mount. The own one has no path.
func (p *poller) list(own uint32) (found map[uint32]string, all bool) {
	found = map[uint32]string{own: ""}
	var paths []string
	if dir, err := os.Open(p.host.Proc()); err == nil {
		names, _ := dir.Readdirnames(-1)
		_ = dir.Close()
		for _, name := range names {
			if name[0] >= '0' && name[0] <= '9' {
				paths = append(paths, p.host.Proc()+"/"+name+"/ns/net")
			}
		}
	}
	// Of the host where this process may look there, else of its own file system.
	for _, root := range []string{filepath.Join(p.host.Proc(), "1/root"), ""} {
		if named, _ := filepath.Glob(root + "/run/netns/*"); len(named) > 0 {
			paths = append(paths, named...)
			break
		}
	}
	for _, path := range paths {
		if id, err := namespaceID(path); err == nil && found[id] == "" && id != own {
			if len(found) >= maxNamespaces {
				return found, false
			}
			found[id] = path
		}
	}
	return found, true
}

func namespaceID(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, err
	}
	return uint32(st.Ino), nil
}

// within calls f in the network namespace at path, "" for the own one.
func within(path string, f func() error) error {
	if path == "" {
		return f()
	}
	done := make(chan error, 1)
	kernel.Alone(func() {
		done <- func() error {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	})
	return <-done
}

// namespace lists the sockets of the namespace that the thread is in.
func (p *poller) namespace(id uint32, out *Namespace, suppressed *uint64) error {
	polls := p.object.Map("polls")
	state := tcpPoll{Epoch: p.epoch, Room: p.left}
	if err := polls.Put(uint32(0), &state); err != nil {
		return fmt.Errorf("begin poll: %w", err)
	}
	if p.enable != nil && p.namespaces[id] == nil {
		if _, err := readIter(p.enable); err != nil {
			return err
		}
	}
	raw, err := readIter(p.snap)
	if err != nil {
		return err
	}
	if err := polls.Lookup(uint32(0), &state); err != nil {
		return fmt.Errorf("read poll: %w", err)
	}
	p.left = state.Room
	*out = Namespace{ID: id}
	*suppressed += uint64(state.Suppressed)
	copy(out.States[:], state.States[:])

	was := p.namespaces[id]
	now := &namespace{counters: map[string]uint64{}, drops: map[string]uint32{}, seen: p.epoch}
	p.namespaces[id] = now
	for _, name := range []string{"/proc/thread-self/net/netstat", "/proc/thread-self/net/snmp"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read counters of TCP: %w", err)
		}
		parseCounters(string(text), now.counters)
	}
	rise := func(name string) uint64 {
		if was == nil {
			return 0
		}
		return now.counters[name] - was.counters[name]
	}
	out.ListenOverflows, out.ListenDrops = rise("TcpExt.ListenOverflows"), rise("TcpExt.ListenDrops")
	out.OutSegments, out.Retransmits = rise("Tcp.OutSegs"), rise("Tcp.RetransSegs")
	out.AttemptFails, out.OutResets = rise("Tcp.AttemptFails"), rise("Tcp.OutRsts")

	for len(raw) >= int(unsafe.Sizeof(tcpListener{})) {
		var l tcpListener
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&l)), unsafe.Sizeof(l)), raw)
		raw = raw[unsafe.Sizeof(l):]
		i := identity(p.host, tcpKey{Cgroup: l.Cgroup, Tgid: l.Tgid, StartCs: l.StartCs, Lport: l.Port, Laddr: l.Addr}, l.Comm)
		row := Listener{Process: i.Process, NetNS: l.Netns, Addr: i.Local, Waiting: l.Backlog, Max: l.MaxBacklog}
		key := fmt.Sprint(i.Local, l.Tgid)
		now.drops[key] += l.Drops // of several sockets with SO_REUSEPORT together
		if was != nil {
			if before, ok := was.drops[key]; ok && now.drops[key] >= before {
				row.Drops = now.drops[key] - before
			}
		}
		out.Listeners = append(out.Listeners, row)
	}
	return nil
}

// parseCounters reads the pairs of lines of /proc/net/netstat and snmp.
func parseCounters(text string, into map[string]uint64) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if names == nil || names[0] != f[0] {
			names = f
			continue
		}
		for i := 1; i < min(len(f), len(names)); i++ {
			if n, err := strconv.ParseUint(f[i], 10, 64); err == nil {
				into[strings.TrimSuffix(f[0], ":")+"."+names[i]] = n
			}
		}
		names = nil
	}
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxListing))
	if err != nil {
		return nil, fmt.Errorf("read iterator: %w", err)
	}
	return b, nil
}
