//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Object is the compiled object of one feature, in the kernel. Its maps are made
// by Load; its programs one by one, so that one which this kernel refuses leaves
// the others alone. Close takes links, programs and maps away, in that order, but
// for what is pinned (LoadPinned).
// Safe for concurrent use once Load returned.
type Object struct {
	feature string
	host    *Host
	spec    *ebpf.CollectionSpec

	mu       sync.Mutex
	maps     map[string]*ebpf.Map
	programs []loaded
	closers  []io.Closer // links and what Keep was given, closed the last first
	closed   bool
	final    Stats // as of Close

	// Of LoadPinned; the zero values without pins.
	pins    string // folder
	adopted bool
	ledger  *ebpf.Memory
	known   uint64 // losses that a former process knew of
}

type loaded struct {
	name string
	*ebpf.Program
	before ebpf.ProgramStats // when it was taken over
}

// Old says whether this kernel is one before Linux 5.11, in which programs read
// tasks by helpers and have no storage in sockets and tasks (see bpf/old.h).
func Old() bool { return Lacks(ebpf.RawTracepoint, asm.FnGetCurrentTaskBtf) }

// Lacks says whether programs of a type cannot call a helper on this kernel. It is
// asked by loading one. Before 5.11 all that a user has loaded and pinned, by whatever
// process, counts against the limit of locked memory, and a kernel that refuses for
// that has said nothing: so the limit is lifted first. Load tells if it could not be.
func Lacks(t ebpf.ProgramType, helper asm.BuiltinFunc) bool {
	_ = rlimit.RemoveMemlock()
	return errors.Is(features.HaveProgramHelper(t, helper), ebpf.ErrNotSupported)
}

// Load makes the maps of spec, and tells the programs of what they have to do without
// (see bpf/old.h). Sizes of maps and constants in spec.Variables must be set before.
func Load(feature string, h *Host, spec *ebpf.CollectionSpec) (*Object, error) {
	return load(feature, h, spec, nil)
}

// Share loads a second object, with those maps of o that both have by name. Each keeps
// its own constants and variables, and may be closed before the other.
func (o *Object) Share(feature string, spec *ebpf.CollectionSpec) (*Object, error) {
	shared := map[string]*ebpf.Map{}
	for name, m := range o.maps {
		if spec.Maps[name] != nil && !strings.HasPrefix(name, ".") { // .rodata, .bss
			shared[name] = m
		}
	}
	return load(feature, o.host, spec, shared)
}

// load makes the maps but those that are held already.
func load(feature string, h *Host, spec *ebpf.CollectionSpec, held map[string]*ebpf.Map) (*Object, error) {
	// Kernels before 5.11 count maps against RLIMIT_MEMLOCK; later this does nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		err = fmt.Errorf("lift the limit of locked memory: %w", err)
		if need := lacking(unix.CAP_BPF, unix.CAP_PERFMON); need == "" && errors.Is(err, unix.EPERM) {
			return nil, &Unsupported{Feature: feature, Missing: "CAP_SYS_RESOURCE, or a higher limit of locked memory",
				Next: "grant it, or set LimitMEMLOCK=infinity (ulimit -l unlimited)", Err: err}
		}
		return nil, Classify(feature, err)
	}
	if v := spec.Variables["old_tasks"]; v != nil && Old() {
		if err := v.Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("set old_tasks of %s: %w", feature, err)
		}
	}
	mapsOnly := spec.Copy()
	mapsOnly.Programs = nil
	coll, err := ebpf.NewCollectionWithOptions(mapsOnly, ebpf.CollectionOptions{MapReplacements: held})
	if err != nil {
		return nil, Classify(feature, fmt.Errorf("make maps of %s: %w", feature, err))
	}
	return &Object{feature: feature, host: h, spec: spec, maps: coll.Maps}, nil
}

// Map returns a map of the object; it panics if the object has none of that name.
func (o *Object) Map(name string) *ebpf.Map {
	m := o.maps[name]
	if m == nil {
		panic("BUG: object " + o.feature + " has no map " + name)
	}
	return m
}

// Program loads one program. The Object closes it.
func (o *Object) Program(name string) (*ebpf.Program, error) {
	ps := o.spec.Programs[name]
	if ps == nil {
		panic("BUG: object " + o.feature + " has no program " + name)
	}
	one := o.spec.Copy()
	one.Programs = map[string]*ebpf.ProgramSpec{name: one.Programs[name]}
	coll, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: o.maps, Cache: o.host.types()})
	if err != nil {
		return nil, Classify(o.feature+": "+name, fmt.Errorf("load program %s: %w", name, err))
	}
	p := coll.DetachProgram(name)
	coll.Close()
	return p, o.own(name, p)
}

// own hands a program to the object.
func (o *Object) own(name string, p *ebpf.Program) error {
	before := ebpf.ProgramStats{}
	if st, err := p.Stats(); err == nil {
		before = *st
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		_ = p.Close()
		return fmt.Errorf("load program %s: %s is closed", name, o.feature)
	}
	o.programs = append(o.programs, loaded{name, p, before})
	return nil
}

// Keep hands a link, or anything else that Close shall close before the programs, to the object.
func (o *Object) Keep(c io.Closer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closers = append(o.closers, c)
}

// Tracing loads a program and attaches it to the tracepoint that its section names (tp_btf/…).
func (o *Object) Tracing(name string) error {
	return o.Attach(name, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: p})
	})
}

// Cgroup loads a program and attaches it to the cgroup v2 directory at path and all below.
func (o *Object) Cgroup(name, path string, at ebpf.AttachType) error {
	if need := lacking(unix.CAP_NET_ADMIN); need != "" && !o.adopted {
		return &Unsupported{Feature: o.feature + ": " + name, Missing: need, Next: "grant it, or run as root"}
	}
	return o.Attach(name, func(p *ebpf.Program) (link.Link, error) {
		return link.AttachCgroup(link.CgroupOptions{Path: path, Attach: at, Program: p})
	})
}

// Attach loads a program and attaches it as to does, or takes over the one that
// is attached since a former process (LoadPinned).
func (o *Object) Attach(name string, to func(*ebpf.Program) (link.Link, error)) error {
	if done, err := o.adoptLink(name); done || err != nil {
		return err
	}
	p, err := o.Program(name)
	if err != nil {
		return err
	}
	l, err := to(p)
	if err != nil {
		return Classify(o.feature+": "+name, fmt.Errorf("attach program %s: %w", name, err))
	}
	o.Keep(l)
	return o.pinLink(name, p, l)
}

// Iter loads an iterator. Each Open of it runs over all that there is at that time.
func (o *Object) Iter(name string) (*link.Iter, error) {
	p, err := o.Program(name)
	if err != nil {
		return nil, err
	}
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return nil, Classify(o.feature+": "+name, fmt.Errorf("attach iterator %s: %w", name, err))
	}
	o.Keep(it)
	return it, nil
}

// Stats counts runs of the programs and the losses that they noted in the map
// "losses", and what the feature counted itself: events that it handed over, and those that it
// dropped. They are zero of an object that is nil, as of a feature that was not started.
func (o *Object) Stats(events, dropped uint64) Stats {
	if o == nil {
		return Stats{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.final
	if !o.closed {
		s = o.stats()
	}
	s.Events = events
	s.Dropped += dropped
	return s
}

func (o *Object) stats() Stats {
	var s Stats
	for _, p := range o.programs {
		ps := ProgramStats{Name: p.name}
		if st, err := p.Stats(); err == nil {
			ps.Runs, ps.Time, ps.Missed = st.RunCount-p.before.RunCount, st.Runtime-p.before.Runtime, st.RecursionMisses-p.before.RecursionMisses
			s.Dropped += ps.Missed
		}
		s.Programs = append(s.Programs, ps)
	}
	var lost uint64
	for _, n := range o.losses() {
		lost += n
	}
	o.Note(lossSlot, lost)
	s.Dropped += lost - o.known
	return s
}

// Losses counts what the programs noted as lost, by reason (see bpf/core.h).
func (o *Object) Losses() []uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.losses()
}

func (o *Object) losses() []uint64 {
	m := o.maps["losses"]
	if m == nil || o.closed {
		return nil
	}
	out := make([]uint64, m.MaxEntries())
	for k := range out {
		var perCPU []uint64
		if m.Lookup(uint32(k), &perCPU) == nil {
			for _, n := range perCPU {
				out[k] += n
			}
		}
	}
	return out
}

// Detach closes links and what Keep was given, and leaves the maps: a feature
// calls it, reads what is left in them, and calls Close. Links that are pinned stay attached.
func (o *Object) Detach() error {
	o.mu.Lock()
	closers := o.closers
	o.closers = nil
	o.mu.Unlock()
	var errs []error
	for _, c := range slices.Backward(closers) {
		if err := c.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach %s: %w", o.feature, err))
		}
	}
	return errors.Join(errs...)
}

// Close detaches and frees all. Later calls do nothing.
func (o *Object) Close() error {
	err := o.Detach()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return err
	}
	o.final = o.stats()
	o.closed = true
	for _, p := range o.programs {
		err = errors.Join(err, p.Close())
	}
	for _, m := range o.maps {
		err = errors.Join(err, m.Close())
	}
	o.ledger = nil // unmapped when nothing refers to it any more
	return err
}
