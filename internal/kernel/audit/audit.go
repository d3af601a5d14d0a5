//go:build linux

// Package audit tells what processes do that an auditor wants to know: which
// programs they start, which files of interest they open, that they change
// namespaces, mount, trace, load BPF programs or kernel modules. It detects and
// never hinders.
//
// The kernel filters: by the system call, by the cgroup (only containers, unless
// asked otherwise) and, for opens, by where the file lies. What passes comes up
// in one ring in the order of the acts; what found no room is counted and told
// at its place. User space adds container, image and service and judges by Rules.
//
// What it does not see: requests through io_uring (setting it up is told), what
// changes files without opening them (rename, link, unlink), and files opened
// before. A name that comes from a refused call is the caller's word; files that
// were opened are named by where they lie.
package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// defaultScopes: what is rare is told everywhere, what is frequent in containers only.
var defaultScopes = [Lost]Scope{
	Exec: Everywhere, Exit: Containers, Fork: Containers, Open: Containers, Connect: Containers, Namespace: Everywhere,
	Mount: Everywhere, Ptrace: Everywhere, BPF: Everywhere, Module: Everywhere, URing: Containers,
}

// ringSize takes 10,000 records, 50,000 a second for 200 ms: four readings.
const ringSize = 4 << 20

// Slots of the object's ledger, for the next process to go on from.
const (
	lostSlot = iota // how many losses were told
	seqSlot         // the last number given
)

// Options of New. The zero value works.
type Options struct {
	Rules  *Rules         // default DefaultRules
	Scopes map[Kind]Scope // default: exec, namespace, mount, ptrace, bpf, module everywhere, the rest in containers
	// Watch adds cgroups, by their path, to those of containers. It is asked once a cgroup.
	Watch    func(cgroup string) bool
	RingSize int           // bytes, a power of two and pages; default 4 MiB
	Every    time.Duration // how often the ring is read; default kernel.RingEvery
	// OnEvent is called from one goroutine, in order. While it runs, the ring is not read.
	OnEvent func(Event)

	notSelf bool // tests: watch this process as any other
}

// Feature is the audit. It is a kernel.Feature.
type Feature struct {
	o      Options
	host   *kernel.Host
	object *kernel.Object
	ring   *kernel.Ring
	rules  atomic.Pointer[Rules]

	events  atomic.Uint64
	broken  atomic.Uint64 // records that did not decode
	closing sync.Once
	closed  error

	// Of the reading goroutine.
	seq, lost uint64
	judged    map[uint64]bool // by cgroup: watched
	services  services
}

// New makes the feature; Start attaches it.
func New(o Options) *Feature {
	if o.Rules == nil {
		o.Rules = DefaultRules()
	}
	if o.RingSize == 0 {
		o.RingSize = ringSize
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	f := &Feature{o: o, judged: map[uint64]bool{}, services: services{map[string]named{}}}
	f.rules.Store(o.Rules)
	return f
}

// Name of the feature.
func (f *Feature) Name() string { return "audit" }

func (f *Feature) scope(k Kind) Scope {
	if s := f.o.Scopes[k]; s != Default {
		return s
	}
	return defaultScopes[k]
}

// Start loads and attaches what the scopes ask for. System calls are not
// touched if no kind wants them: watching any costs all of them some 10 ns.
func (f *Feature) Start(ctx context.Context, h *kernel.Host) error {
	spec, err := loadAudit()
	if err != nil {
		return fmt.Errorf("read the object of audit: %w", err)
	}
	f.host = h
	table, calls := syscallTable(nativeCalls, compatCalls, func(k Kind) bool { return f.scope(k) != Never })
	var scopes [16]uint8
	for k := Exec; k < Lost; k++ {
		scopes[k] = uint8(f.scope(k) - Never)
	}
	var byMemory uint8
	if h.MemoryMount() != "" {
		byMemory = 1
	}
	for name, value := range map[string]any{
		"syscalls": table, "scope": scopes, "by_memory": byMemory,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s of audit: %w", name, err)
		}
	}
	spec.Maps["events"].MaxEntries = uint32(f.o.RingSize)
	if f.object, err = kernel.LoadPinned("audit", h, spec, _AuditBytes, ""); err != nil {
		return err
	}
	f.lost, f.seq = f.object.Ledger(lostSlot), f.object.Ledger(seqSlot)
	if err := f.fillPaths(f.o.Rules.tree); err != nil {
		return err
	}
	f.judgeAll()
	if f.ring, err = kernel.Drain(ctx, f.object.Map("events"), f.o.Every, f.read); err != nil {
		return err
	}
	for _, p := range []struct {
		name   string
		wanted bool
	}{
		{"audit_exec", f.scope(Exec) != Never},
		{"audit_exit", f.scope(Exit) != Never},
		{"audit_fork", f.scope(Fork) != Never || f.scope(Namespace) != Never},
		{"audit_syscall", calls},
	} {
		if p.wanted {
			if err := f.object.Tracing(p.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close detaches, reads what is left, tells what was lost at the end, and frees.
func (f *Feature) Close() error {
	f.closing.Do(func() {
		if f.object == nil {
			return
		}
		errs := []error{f.object.Detach()}
		if f.ring != nil {
			errs = append(errs, f.ring.Close())
			if losses := f.object.Losses(); len(losses) > 0 && losses[0] > f.lost {
				f.tellLost(losses[0], time.Now())
			}
		}
		f.closed = errors.Join(append(errs, f.object.Close())...)
	})
	return f.closed
}

// Stats of the programs; Dropped is what the ring had no room for.
func (f *Feature) Stats() kernel.Stats { return f.object.Stats(f.events.Load(), f.broken.Load()) }

func (f *Feature) read(raw []byte) {
	r, err := decode(raw)
	if err != nil {
		f.broken.Add(1)
		return
	}
	at := f.host.Wall(r.ktime)
	if r.lost > f.lost {
		f.tellLost(r.lost, at)
	}
	e := &r.Event
	e.Time = at
	f.enrich(e)
	if f.scope(e.Kind) == Containers && !f.wanted(e) {
		return
	}
	if (e.Kind == Open || e.Kind == Connect) && !f.rules.Load().interest(e) {
		return
	}
	f.tell(e)
}

func (f *Feature) tell(e *Event) {
	f.seq++
	e.Seq = f.seq
	f.object.Note(seqSlot, f.seq)
	e.Findings = f.rules.Load().Findings(e)
	f.events.Add(1)
	f.o.OnEvent(*e)
}

func (f *Feature) tellLost(total uint64, at time.Time) {
	n := total - f.lost
	f.lost = total
	f.object.Note(lostSlot, total)
	f.seq += n - 1 // the event itself takes the last place of the gap
	f.tell(&Event{Kind: Lost, Time: at, Lost: n})
}

// tick is how finely procfs tells when a process began.
const tick = 10 * time.Millisecond

// enrich says who it was.
func (f *Feature) enrich(e *Event) {
	if e.Kind == Exec {
		f.host.Forget(e.PID)
	}
	id, find := e.CgroupID, f.host.Cgroup
	if f.host.MemoryMount() != "" {
		id, find = e.MemoryCgroupID, f.host.MemoryCgroup
	}
	e.Cgroup, _ = find(id)
	e.Container, e.Pod = kernel.Container(e.Cgroup)
	known := false
	if e.Kind != Fork && e.Kind != Exit {
		// Forks and ends are many and their process is often gone: it is known from its exec.
		if p, ok := f.host.Process(e.PID); ok && p.Start == e.Start.Truncate(tick) {
			// By now it may run another program, whose arguments are not those of the act.
			if e.Kind != Exec && (e.Exe == "" || path.Base(e.Exe) == path.Base(p.Exe)) {
				e.Exe, e.Args = cmp.Or(e.Exe, p.Exe), p.Args
			}
			e.Service, known = p.Service, true
			if e.Container == "" && e.Pod == "" {
				e.Container, e.Pod = p.Container, p.Pod
			}
			f.services.note(e.Container, e.Service)
		}
	}
	if !known {
		e.Service = f.services.of(e.Container, func() []kernel.Process { return f.host.Members(e.Cgroup, maxAsked) })
	}
	c := f.host.ContainerInfo(e.Container)
	e.Image, e.ContainerName = c.Image, c.Name
}

// wanted reports whether an event of a kind that is told for containers only is
// one. The kernel lets cgroups pass that were not judged yet.
func (f *Feature) wanted(e *Event) bool {
	if e.Level > 0 {
		return true
	}
	id := e.CgroupID
	if f.host.MemoryMount() != "" {
		id = e.MemoryCgroupID
	}
	watched, ok := f.judged[id]
	if !ok && e.Cgroup != "" {
		watched = f.judge(id, e.Cgroup)
	}
	return watched || e.InContainer()
}

// maxJudged is the size of the kernel's map.
const maxJudged = 16_384

func (f *Feature) judge(id uint64, path string) bool {
	container, pod := kernel.Container(path)
	watched := container != "" || pod != "" || f.o.Watch != nil && f.o.Watch(path)
	if len(f.judged) >= maxJudged {
		clear(f.judged)
	}
	f.judged[id] = watched
	verdict := uint32(0)
	if watched {
		verdict = 1
	}
	// What the map does not hold is asked for again with its next event.
	_ = f.object.Map("cgroups").Put(id, verdict)
	return watched
}

func (f *Feature) judgeAll() {
	n := 0
	f.host.EachCgroup(func(id uint64, path string) bool {
		f.judge(id, path)
		n++
		return n < maxJudged
	})
}
