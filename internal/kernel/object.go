//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Object is the compiled object of one feature, in the kernel. Its maps are made
// by Load; its programs one by one, so that one which this kernel refuses leaves
// the others alone. Close takes links, programs and maps away, in that order.
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
}

type loaded struct {
	name string
	*ebpf.Program
}

// Load makes the maps of spec. Sizes of maps and constants in spec.Variables must be set before.
func Load(feature string, h *Host, spec *ebpf.CollectionSpec) (*Object, error) {
	// Kernels before 5.11 count maps against RLIMIT_MEMLOCK; later this does nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, Classify(feature, fmt.Errorf("lift the limit of locked memory: %w", err))
	}
	mapsOnly := spec.Copy()
	mapsOnly.Programs = nil
	coll, err := ebpf.NewCollection(mapsOnly)
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
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		p.Close()
		return nil, fmt.Errorf("load program %s: %s is closed", name, o.feature)
	}
	o.programs = append(o.programs, loaded{name, p})
	return p, nil
}

// Keep hands a link, or anything else that Close shall close before the programs, to the object.
func (o *Object) Keep(c io.Closer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closers = append(o.closers, c)
}

// Tracing loads a program and attaches it to the tracepoint that its section names (tp_btf/…).
func (o *Object) Tracing(name string) error {
	p, err := o.Program(name)
	if err != nil {
		return err
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return Classify(o.feature+": "+name, fmt.Errorf("attach program %s: %w", name, err))
	}
	o.Keep(l)
	return nil
}

// Cgroup loads a program and attaches it to the cgroup v2 directory at path and all below.
func (o *Object) Cgroup(name, path string, at ebpf.AttachType) error {
	if need := lacking(unix.CAP_NET_ADMIN); need != "" {
		return &Unsupported{Feature: o.feature + ": " + name, Missing: need, Next: "grant it, or run as root"}
	}
	p, err := o.Program(name)
	if err != nil {
		return err
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: path, Attach: at, Program: p})
	if err != nil {
		return Classify(o.feature+": "+name, fmt.Errorf("attach program %s to cgroup %q: %w", name, path, err))
	}
	o.Keep(l)
	return nil
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
// "losses". Events is the feature's to count.
func (o *Object) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return o.final
	}
	return o.stats()
}

func (o *Object) stats() Stats {
	var s Stats
	for _, p := range o.programs {
		ps := ProgramStats{Name: p.name}
		if st, err := p.Stats(); err == nil {
			ps.Runs, ps.Time, ps.Missed = st.RunCount, st.Runtime, st.RecursionMisses
			s.Dropped += ps.Missed
		}
		s.Programs = append(s.Programs, ps)
	}
	for _, n := range o.losses() {
		s.Dropped += n
	}
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
// calls it, reads what is left in them, and calls Close.
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
	return err
}
