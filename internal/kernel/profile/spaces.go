//go:build linux

package profile

import (
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/layout"
	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

const (
	// maxSpaces bounds the processes whose mappings and files are kept, some KB
	// each. Those above are profiled without names.
	maxSpaces = 4096
	// keepIntervals is how many profiles without a sample a process stays known.
	keepIntervals = 6
	// startSlack is the resolution of a process's start in /proc.
	startSlack = 10 * time.Millisecond
)

// spaces knows the processes that stacks belong to, from their first stack on.
// Safe for concurrent use.
type spaces struct {
	host     *kernel.Host
	table    *symbol.Table
	programs *ebpf.Map // where labels of goroutines are

	mu      sync.Mutex
	known   map[profileOwner]*space
	age0    uint64 // counts intervals
	kernel  *symbol.Kernel
	asked   bool // for names of the kernel
	refused uint64
}

// space is one process, or what a process was before it called exec.
type space struct {
	process  kernel.Process
	symbols  *symbol.Process // nil: it had ended, or nobody may look
	labelled bool            // the kernel was told where its labels are
	used     uint64
	fresh    bool // its mappings were read in this interval
}

func newSpaces(h *kernel.Host, t *symbol.Table, programs *ebpf.Map) *spaces {
	return &spaces{host: h, table: t, programs: programs, known: map[profileOwner]*space{}}
}

// meet opens what is needed to name a process's addresses.
func (s *spaces) meet(o profileOwner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.get(o)
}

// get returns the space, new if it is not known; mu is held.
func (s *spaces) get(o profileOwner) *space {
	if sp := s.known[o]; sp != nil {
		sp.used = s.age0
		return sp
	}
	sp := &space{used: s.age0, fresh: true, process: kernel.Process{PID: int(o.Tgid), Start: time.Duration(o.Start)}}
	if len(s.known) >= maxSpaces {
		s.refused++
		return sp
	}
	s.known[o] = sp
	if o.Tgid == 0 {
		sp.process.Comm = "kernel"
		return sp
	}
	// What is cached may be from before an exec.
	s.host.Forget(int(o.Tgid))
	p, ok := s.host.Process(int(o.Tgid))
	if !ok || !same(p, o) {
		sp.process.Ended = true // and its id may be another's by now
		return sp
	}
	sp.process = p
	if symbols, err := s.table.Process(s.host.Proc(), int(o.Tgid)); err == nil {
		sp.symbols = symbols
	}
	// Without labels where it is no program of Go, or one that nobody knows.
	if g, err := layout.GoroutinesOf(fmt.Sprintf("%s/%d/exe", s.host.Proc(), o.Tgid)); err == nil {
		at := profileGoroutines{Tls: g.TLS, G_m: g.M, M_curg: g.Curg, G_labels: g.Labels}
		if g.List {
			at.List = 1
		}
		sp.labelled = s.programs.Put(o, at) == nil
	}
	return sp
}

func same(p kernel.Process, o profileOwner) bool {
	d := time.Duration(o.Start) - p.Start
	return d > -startSlack && d < 2*startSlack
}

// frames names an address of a process; mu is held.
func (s *spaces) frames(o profileOwner, sp *space, pc uint64) (*symbol.Mapping, []symbol.Frame) {
	if sp.symbols == nil {
		return nil, nil
	}
	m := sp.symbols.Find(pc)
	if m == nil && !sp.fresh {
		// A library that was loaded since, if the process is still the same.
		sp.fresh = true
		if p, ok := s.host.Process(int(o.Tgid)); ok && !p.Ended && same(p, o) {
			_ = sp.symbols.Refresh() // it ends between: what was known stays
			m = sp.symbols.Find(pc)
		}
	}
	if m == nil {
		return nil, nil
	}
	return m, sp.symbols.Frames(pc)
}

// kernelName names an address of the kernel; mu is held.
func (s *spaces) kernelName(pc uint64) string {
	if !s.asked {
		s.asked = true
		// Hidden addresses leave frames without names, not the profile undone.
		s.kernel, _ = symbol.OpenKernel(s.host.Proc() + "/kallsyms")
	}
	if s.kernel == nil {
		return ""
	}
	return s.kernel.Name(pc)
}

// age ends an interval.
func (s *spaces) age() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age0++
	for o, sp := range s.known {
		sp.fresh = false
		if s.age0-sp.used > keepIntervals {
			s.drop(o, sp)
		}
	}
}

func (s *spaces) drop(o profileOwner, sp *space) {
	if sp.symbols != nil {
		sp.symbols.Close()
	}
	if sp.labelled {
		_ = s.programs.Delete(o) // or the map is closed already
	}
	delete(s.known, o)
}

func (s *spaces) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o, sp := range s.known {
		s.drop(o, sp)
	}
}
