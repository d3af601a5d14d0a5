//go:build linux && (amd64 || arm64)

// Package attach makes spans of running Go programs that know nothing of it: of
// requests that net/http and gRPC serve and send, of SQL and of Redis.
//
// Probes (uprobes) stand in the program's own functions; layout says where, and where
// the fields of its structures are. What a goroutine works for is handed
// down to goroutines that it starts. A span's parent is the span that its goroutine works
// for, else what the request's traceparent header says, else the client span of
// another attached process that sent on the same connection. Nothing is written
// into the process, unless Options.Inject asks for a traceparent in its requests.
package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

const (
	// DefaultSearch is how long a process that matches may run before it is seen.
	DefaultSearch = time.Second
	// DefaultMaxProcesses is also the most that there may be: the kernel's table has one slot each.
	DefaultMaxProcesses = 256
	// DefaultSpansPerTrace bounds what one served request may grow into here.
	DefaultSpansPerTrace = 1000
	// DefaultInherit is how long a goroutine works for the request that started
	// it. What runs on after that is the program's own work.
	DefaultInherit = 5 * time.Minute
)

// Options of New. At least one Target is needed; the rest may be zero.
type Options struct {
	Targets       []Target
	Search        time.Duration // between looks for new and ended processes, default DefaultSearch
	MaxProcesses  int           // at once, default and at most DefaultMaxProcesses
	SpansPerTrace int           // default DefaultSpansPerTrace
	Inherit       time.Duration // default DefaultInherit
	// Inject writes the traceparent of client spans into requests that have none, where the
	// kernel allows it; Feature.Refused says why if not. It changes memory of the program.
	Inject bool
	// InjectHosts are the only hosts whose requests get it, InjectExcept hosts whose requests do not: by the
	// host of the request's URL, of gRPC its authority. A pattern is a name, "*." and the end of
	// names, an address, a network of IPv4, or "*"; of several that fit the longest counts. Default: all hosts.
	InjectHosts, InjectExcept []string

	// OnSpan gets spans one by one from one goroutine. OnProcess gets what became of
	// processes, also one by one. Both may be nil.
	OnSpan    func(Span)
	OnProcess func(Process)
}

// Process says what became of a process that matches a target.
type Process struct {
	kernel.Process
	Attached  bool // false: it ended, or Err
	Took      time.Duration
	Also      int       // another process that is attached to it already and tells the same spans; 0: none; or Unseen
	Libraries []Library // of what is attached, and what hinders the others
	Injects   []Library // kinds of requests that get a traceparent, and what hinders the others
	Err       error     // why nothing could be attached
}

// Feature is the kernel.Feature of this package.
type Feature struct {
	opts   Options
	host   *kernel.Host
	object *kernel.Object
	ring   *kernel.Ring

	programs map[string]*ebpf.Program
	multi    bool // uprobe.multi (Linux 6.6); else one perf event a probe
	single   bool // tests: as before Linux 6.6

	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	attached map[int]*attached      // by pid
	slots    []*attached            // by slot; stays for a while after the end, for what is in the ring
	known    map[int]kernel.Program // what is no business of ours, by pid
	binaries binaries
	symbols  *symbol.Table

	injector *kernel.Object // nil: requests go out unchanged
	injected Injected       // as of the end of injector
	refused  error          // why there is no injector

	spans atomic.Uint64
}

// attached is one process with probes in it.
type attached struct {
	kernel.Process
	slot  uint32
	links []io.Closer
	// enters are the links by which requests come to be written to (injector).
	enters []io.Closer
	also   int        // see Process
	ended  time.Time  // zero while it runs
	names  *typeNames // guarded by Feature.mu
}

// New makes a Feature that nothing is attached of.
func New(o Options) *Feature {
	o.Search = cmp.Or(o.Search, DefaultSearch)
	o.MaxProcesses = min(cmp.Or(o.MaxProcesses, DefaultMaxProcesses), DefaultMaxProcesses)
	o.SpansPerTrace = cmp.Or(o.SpansPerTrace, DefaultSpansPerTrace)
	o.Inherit = cmp.Or(o.Inherit, DefaultInherit)
	return &Feature{opts: o, attached: map[int]*attached{}, symbols: symbol.NewTable(), known: map[int]kernel.Program{}, slots: make([]*attached, o.MaxProcesses)}
}

// Name is "attach".
func (f *Feature) Name() string { return "attach" }

// Start loads the programs, attaches to the processes that there are, and begins
// to look for others. That none matches is no error.
func (f *Feature) Start(ctx context.Context, h *kernel.Host) error {
	if kernel.Lacks(ebpf.Kprobe, asm.FnGetAttachCookie) {
		return &kernel.Unsupported{Feature: "attach", Missing: "cookies of probes", Next: "Linux 5.15 has them"}
	}
	spec, err := loadAttach()
	if err != nil {
		return fmt.Errorf("read object of attach: %w", err)
	}
	for name, v := range map[string]any{"spans_per_trace": uint32(f.opts.SpansPerTrace), "inherit_ns": uint64(f.opts.Inherit)} {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s of attach: %w", name, err)
		}
	}
	f.multi = !f.single && features.HaveBPFLinkUprobeMulti() == nil
	f.prepare(spec)
	f.host = h
	if f.object, err = kernel.Load("attach", h, spec); err != nil {
		return err
	}
	f.programs = map[string]*ebpf.Program{}
	for _, name := range slices.Sorted(maps.Keys(spec.Programs)) { // so that what is missing is said alike each time
		if f.programs[name], err = f.object.Program(name); err != nil {
			return err
		}
	}
	if f.opts.Inject {
		f.refused = f.startInjection()
	}
	if f.ring, err = kernel.Drain(ctx, f.object.Map("events"), 0, f.decode); err != nil {
		return err
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.done = make(chan struct{})
	f.search()
	go f.run(ctx)
	return nil
}

// prepare makes programs fit how probes are set.
func (f *Feature) prepare(spec *ebpf.CollectionSpec) {
	if f.multi {
		return
	}
	for _, p := range spec.Programs {
		p.AttachType = ebpf.AttachNone
	}
}

func (f *Feature) run(ctx context.Context) {
	defer close(f.done)
	kernel.Every(ctx, f.opts.Search, f.search)
}

// attach puts the probes into one process.
func (f *Feature) attach(p kernel.Process) (a *attached, libraries, injects []Library, err error) {
	b, err := f.binaries.open(f.host.Proc(), p)
	if err != nil {
		return nil, nil, nil, err
	}
	plan := b.plan
	if len(plan.sites) == 0 {
		return nil, plan.libraries, nil, errors.New("it has nothing of what is known here")
	}
	slot := f.freeSlot()
	if slot < 0 {
		return nil, plan.libraries, nil, fmt.Errorf("%d processes are attached already", f.opts.MaxProcesses)
	}
	a = &attached{Process: p, slot: uint32(slot), names: newTypeNames(f.symbols, f.host.Proc(), p.PID)}
	off := plan.offsets
	off.Netns = netnsOf(f.host.Proc(), p.PID)
	if err := f.object.Map("slots").Put(a.slot, off); err != nil {
		return nil, plan.libraries, nil, fmt.Errorf("put offsets of process %d: %w", p.PID, err)
	}
	exe, err := link.OpenExecutable(exeOf(f.host.Proc(), p.PID))
	if err != nil {
		return nil, plan.libraries, nil, fmt.Errorf("open executable of process %d: %w", p.PID, err)
	}
	if c, also, err := claim(f.host.Proc(), p.PID); err == nil { // else whoever comes later is not warned
		a.links, a.also = append(a.links, c), also
	}
	for _, s := range plan.sites {
		if err := f.probe(exe, s, a); err != nil {
			_ = a.detach()
			a.names.close()
			return nil, plan.libraries, nil, kernel.Classify("attach", fmt.Errorf("attach %s to process %d: %w", s.program, p.PID, err))
		}
	}
	injects = f.inject(&plan.injection, a, func(s site) error { return f.probe(exe, s, a) })
	f.slots[slot] = a
	return a, plan.libraries, injects, nil
}

func (f *Feature) probe(exe *link.Executable, s site, a *attached) error {
	if f.multi {
		cookies := make([]uint64, len(s.offsets))
		for i := range cookies {
			cookies[i] = uint64(a.slot)
		}
		l, err := exe.UprobeMulti(nil, f.programs[s.program], &link.UprobeMultiOptions{Addresses: s.offsets, Cookies: cookies, PID: uint32(a.PID)})
		if err != nil {
			return err
		}
		a.links = append(a.links, l)
		return nil
	}
	for _, off := range s.offsets {
		l, err := exe.Uprobe(s.program, f.programs[s.program], &link.UprobeOptions{Address: off, PID: a.PID, Cookie: uint64(a.slot)})
		if err != nil {
			return kernel.ParanoidEvents("attach", err)
		}
		a.links = append(a.links, l)
	}
	return nil
}

// detach closes links at once: each waits until the kernel is sure that no
// program runs any more, up to a fifth of a second. A request that is to be written to finds the probes that
// it will pass still there: where one has gone of several at which it could be, what follows would look strange.
func (a *attached) detach() error {
	err := errors.Join(closeAll(a.enters), closeAll(a.links))
	a.enters, a.links = nil, nil
	return err
}

func closeAll(links []io.Closer) error {
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() { errs[i] = l.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lateSpans is how long the slot of an ended process stays: longer than its last
// spans wait in the ring.
const lateSpans = 5 * time.Second

func (f *Feature) freeSlot() int {
	for i, a := range f.slots {
		if a == nil {
			return i
		}
		if !a.ended.IsZero() && time.Since(a.ended) > lateSpans {
			a.names.close()
			f.slots[i] = nil
			return i
		}
	}
	return -1
}

// Close detaches from all processes and hands over the last spans.
func (f *Feature) Close() error {
	if f.object == nil {
		return nil
	}
	if f.stop != nil {
		f.stop()
		<-f.done
	}
	f.mu.Lock()
	var errs []error
	for _, a := range f.attached {
		errs = append(errs, a.detach())
	}
	clear(f.attached)
	f.mu.Unlock()
	if f.ring != nil {
		errs = append(errs, f.ring.Close())
	}
	for i, a := range f.slots {
		if a != nil {
			a.names.close()
			f.slots[i] = nil
		}
	}
	f.symbols.Close()
	return errors.Join(append(errs, f.closeInjection(), f.object.Close())...)
}

// noStart is a reason for a loss that is none: a request began before the probes were there.
const noStart = 4

// Stats counts spans handed over, and those lost for want of room, beyond the bound of a
// trace, or with goroutines that ended in the middle.
func (f *Feature) Stats() kernel.Stats {
	if f.object == nil {
		return kernel.Stats{}
	}
	s := f.object.Stats(f.spans.Load(), 0)
	if l := f.object.Losses(); len(l) > noStart {
		s.Dropped -= min(s.Dropped, l[noStart])
	}
	return s
}

// read takes a record of the ring, which is a span or a brief one.
func read(e *attachSpan, raw []byte) bool {
	var b attachBrief
	switch len(raw) {
	case int(unsafe.Sizeof(*e)):
		copy(unsafe.Slice((*byte)(unsafe.Pointer(e)), unsafe.Sizeof(*e)), raw)
	case int(unsafe.Sizeof(b)):
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&b)), unsafe.Sizeof(b)), raw)
		*e = attachSpan{
			Start: b.Start, End: b.End, Trace: b.Trace, Id: b.Id, Parent: b.Parent, Goroutine: b.Goroutine,
			Slot: b.Slot, Kind: b.Kind, Flags: b.Flags, Status: b.Status, PeerPort: b.PeerPort, PeerIp: b.PeerIp,
			MethodLen: b.MethodLen, HostLen: b.HostLen, RouteLen: b.RouteLen, TextLen: b.TextLen,
		}
		copy(e.Method[:], b.Method[:])
		copy(e.Host[:], b.Host[:])
		copy(e.Route[:], b.Route[:])
		copy(e.Text[:], b.Text[:])
	default:
		return false
	}
	return true
}

func (f *Feature) decode(raw []byte) {
	var e attachSpan
	if !read(&e, raw) {
		return
	}
	f.mu.Lock()
	var a *attached
	if int(e.Slot) < len(f.slots) {
		a = f.slots[e.Slot]
	}
	var out Span
	if a != nil {
		out = f.span(&e, a)
	}
	f.mu.Unlock()
	if a == nil {
		return
	}
	f.spans.Add(1)
	if f.opts.OnSpan != nil {
		f.opts.OnSpan(out)
	}
}
