//go:build linux

// Package oom tells whom the kernel killed for want of memory and what led to
// it: the victim and what it held, the limit that was hit, who else used the
// memory of the cgroup, and the minutes before.
//
// The kernel tells at the moment of its choice, before the victim is gone; what
// files say is read at once. Memory over time comes from a small sampler of the
// cgroups that have a limit.
package oom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

const (
	defaultEvery = 5 * time.Second
	defaultKeep  = 60 // five minutes
	// searchEvery is how often new limits are looked for: a walk over all cgroups.
	searchEvery = 30 * time.Second
	// top is how many processes an event lists.
	top = 10
)

// Options of New. The zero value works.
type Options struct {
	Every time.Duration // between samples of memory; default 5 s
	Keep  int           // samples; default 60
	// OnEvent is called from one goroutine. Kills that come meanwhile wait in a ring of 64 KiB.
	OnEvent func(Event)
}

// Event is one victim.
type Event struct {
	Time time.Time     // of the kernel's choice
	Lag  time.Duration // until the event was complete

	PID, Parent int
	Start       time.Duration // since boot; with PID it names the process for good
	UID         uint32        // in the first user namespace
	Comm, Exe   string
	Args        []string
	Service     string // what its environment calls it
	ScoreAdj    int    // oom_score_adj
	By          int    // the process whose request for memory could not be met
	ByComm      string

	// What the victim held, in bytes; a CPU's last few hundred KiB may be missing.
	Anonymous, File, Shared, Swap, PageTables, Virtual uint64

	CgroupID, MemoryCgroupID uint64
	Cgroup                   string // path, of the hierarchy that has the memory controller
	Container, Pod           string
	ContainerName, Image     string // as the runtime has them

	// Host: no limit was hit, the machine has no more memory.
	Host        bool
	LimitCgroup string // where the limit was hit: the victim's cgroup or one above it
	Limit       uint64 // bytes
	Usage       uint64
	SwapLimit   bool   // Limit is that of memory and swap together (cgroup v1)
	PageCache   uint64 // of LimitCgroup, just after the choice

	Top     []Usage  // of LimitCgroup, the victim included, the largest first
	History []Sample // of LimitCgroup, the oldest first
}

// Usage is what a process holds.
type Usage struct {
	PID       int
	Comm, Exe string
	Resident  uint64 // bytes
	Shared    uint64 // of these, file and shared memory
}

// RSS is what the victim held in memory.
func (e *Event) RSS() uint64 { return e.Anonymous + e.File + e.Shared }

// Feature is the watch for kills. It is a kernel.Feature.
type Feature struct {
	o       Options
	host    *kernel.Host
	object  *kernel.Object
	rd      *ringbuf.Reader
	sampler *sampler
	stop    context.CancelFunc
	running sync.WaitGroup

	events, broken atomic.Uint64
	last           victims // of the reading goroutine
	closing        sync.Once
	closed         error
}

// New makes the feature; Start attaches it.
func New(o Options) *Feature {
	if o.Every <= 0 {
		o.Every = defaultEvery
	}
	if o.Keep <= 0 {
		o.Keep = defaultKeep
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	return &Feature{o: o}
}

// Name of the feature.
func (f *Feature) Name() string { return "oom" }

// Start attaches to the kernel's choice of victims and begins to sample.
func (f *Feature) Start(ctx context.Context, h *kernel.Host) error {
	spec, err := loadOom()
	if err != nil {
		return fmt.Errorf("read the object of oom: %w", err)
	}
	f.host = h
	f.sampler = newSampler(h, f.o.Keep)
	var v1 uint8
	if f.sampler.tree.v1 {
		v1 = 1
	}
	if err := spec.Variables["v1"].Set(v1); err != nil {
		return fmt.Errorf("set v1 of oom: %w", err)
	}
	if f.object, err = kernel.LoadPinned("oom", h, spec, _OomBytes, ""); err != nil {
		return err
	}
	if f.rd, err = ringbuf.NewReader(f.object.Map("events")); err != nil {
		return fmt.Errorf("open ring of oom: %w", err)
	}
	if err := f.attach(); err != nil {
		return err
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.running.Add(2)
	go f.read()
	go f.sample(ctx)
	return nil
}

// attach picks the program by what the kernel hands over at mark_victim: the
// victim (6.8 and later) or its id.
func (f *Feature) attach() error {
	byTask, err := handsOverTask()
	if err != nil {
		return kernel.Classify("oom", fmt.Errorf("look for the tracepoint mark_victim: %w", err))
	}
	if byTask {
		return f.object.Tracing("oom_victim")
	}
	return f.attachByID()
}

func (f *Feature) attachByID() error {
	return f.object.Attach("oom_victim_by_id", func(p *ebpf.Program) (link.Link, error) {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: "mark_victim", Program: p})
	})
}

func handsOverTask() (bool, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return false, err
	}
	var t *btf.Typedef
	if err := spec.TypeByName("btf_trace_mark_victim", &t); err != nil {
		return false, err
	}
	p, ok := t.Type.(*btf.Pointer)
	if !ok {
		return false, nil
	}
	// The first parameter is the tracepoint's own.
	proto, ok := p.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) < 2 {
		return false, nil
	}
	_, ok = proto.Params[1].Type.(*btf.Pointer)
	return ok, nil
}

func (f *Feature) read() {
	defer f.running.Done()
	var raw ringbuf.Record
	for {
		// After Flush, Read returns what is left and then ErrFlushed.
		err := f.rd.ReadInto(&raw)
		if err != nil {
			return
		}
		r, err := decode(raw.RawSample)
		if err != nil {
			f.broken.Add(1)
			continue
		}
		if f.last.again(r) {
			continue
		}
		e := f.event(r)
		f.events.Add(1)
		f.o.OnEvent(e)
	}
}

// victims are the last that were told. The kernel marks each thread of a victim
// that asks for memory while it dies, and one that it hands to the next choice.
type victims struct {
	of   [64]victim
	next int
}

type victim struct {
	pid   uint32
	start uint64
}

// again reports whether a victim was told already. Kernels that do not say when it
// began mark it by thread, so that no two are known to be of one.
func (v *victims) again(r record) bool {
	one := victim{r.pid, r.start}
	if r.start == 0 {
		return false
	}
	if slices.Contains(v.of[:], one) {
		return true
	}
	v.of[v.next] = one
	v.next = (v.next + 1) % len(v.of)
	return false
}

func (f *Feature) sample(ctx context.Context) {
	defer f.running.Done()
	samples := time.NewTicker(f.o.Every)
	searches := time.NewTicker(searchEvery)
	defer samples.Stop()
	defer searches.Stop()
	f.sampler.search()
	f.sampler.sample(time.Now())
	for {
		select {
		case <-samples.C:
			f.sampler.sample(time.Now())
		case <-searches.C:
			f.sampler.search()
		case <-ctx.Done():
			return
		}
	}
}

// Close detaches, tells what is left in the ring, and frees.
func (f *Feature) Close() error {
	f.closing.Do(func() {
		if f.object == nil {
			return
		}
		errs := []error{f.object.Detach()}
		if f.stop != nil {
			f.stop()
			errs = append(errs, f.rd.Flush())
			f.running.Wait()
		}
		if f.rd != nil {
			errs = append(errs, f.rd.Close())
		}
		f.closed = errors.Join(append(errs, f.object.Close())...)
	})
	return f.closed
}

// Stats of the programs.
func (f *Feature) Stats() kernel.Stats { return f.object.Stats(f.events.Load(), f.broken.Load()) }

// tick is how finely procfs tells when a process began.
const tick = 10 * time.Millisecond

// event adds what files say. What goes first is asked for first: the victim.
func (f *Feature) event(r record) Event {
	page := uint64(os.Getpagesize())
	e := Event{
		Time: f.host.Wall(r.time),
		PID:  int(r.pid), Parent: int(r.parent), Start: time.Duration(r.start), UID: r.uid, Comm: r.comm, ScoreAdj: int(r.scoreAdj),
		By: int(r.by), ByComm: r.byComm,
		Anonymous: r.anon * page, File: r.file * page, Shared: r.shmem * page, Swap: r.swap * page,
		PageTables: r.pageTables, Virtual: r.virtual * page,
		CgroupID: r.cgroup, MemoryCgroupID: r.memcg,
		Host: r.limitCgroup == 0, Limit: r.limit * page, Usage: r.usage * page, SwapLimit: r.swapLimit,
	}
	if p, ok := f.host.Process(e.PID); ok && (r.start == 0 || p.Start == e.Start.Truncate(tick)) {
		e.Exe, e.Args, e.Service = p.Exe, p.Args, p.Service
		e.Container, e.Pod = p.Container, p.Pod
		if r.start == 0 { // an old kernel, which gave the id only
			e.Comm, e.Parent, e.Start = p.Comm, p.Parent, p.Start
			if resident, shared, ok := statm(f.host.Proc(), e.PID); ok {
				e.Anonymous, e.File = resident-min(shared, resident), shared
			}
			if text, err := readFile(filepath.Join(f.host.Proc(), strconv.Itoa(e.PID), "status")); err == nil {
				e.Virtual, e.PageTables, e.Swap = statusBytes(text, "VmSize"), statusBytes(text, "VmPTE"), statusBytes(text, "VmSwap")
			}
		}
	}
	id, path := r.cgroup, f.host.Cgroup
	limitAt := r.limitCgroup
	if f.sampler.tree.v1 {
		id, path = r.memcg, f.host.MemoryCgroup
	}
	e.Cgroup, _ = path(id)
	if container, pod := kernel.Container(e.Cgroup); container != "" || pod != "" {
		e.Container, e.Pod = container, pod
	}
	if !e.Host {
		e.LimitCgroup, _ = path(limitAt)
		if e.LimitCgroup != "" {
			e.PageCache = f.sampler.tree.cache(e.LimitCgroup)
			e.Top = f.top(e)
			e.History = f.sampler.of(e.LimitCgroup)
		}
	}
	c := f.host.ContainerInfo(e.Container)
	e.ContainerName, e.Image = c.Name, c.Image
	e.Lag = time.Since(e.Time)
	return e
}

// top lists the largest processes below the limit.
func (f *Feature) top(e Event) []Usage {
	victim := Usage{PID: e.PID, Comm: e.Comm, Exe: e.Exe, Resident: e.RSS(), Shared: e.File + e.Shared}
	all := []Usage{victim}
	for _, pid := range f.sampler.tree.processes(e.LimitCgroup, maxListed) {
		if pid == e.PID {
			continue
		}
		if resident, shared, ok := statm(f.host.Proc(), pid); ok {
			all = append(all, Usage{PID: pid, Resident: resident, Shared: shared})
		}
	}
	slices.SortFunc(all, func(a, b Usage) int { return cmp.Compare(b.Resident, a.Resident) })
	all = all[:min(len(all), top)]
	for i := range all {
		if p, ok := f.host.Process(all[i].PID); ok && all[i].PID != e.PID {
			all[i].Comm, all[i].Exe = p.Comm, p.Exe
		}
	}
	return all
}

func statm(proc string, pid int) (resident, shared uint64, ok bool) {
	b, err := readFile(filepath.Join(proc, strconv.Itoa(pid), "statm"))
	if err != nil {
		return 0, 0, false
	}
	return parseStatm(string(b))
}

// parseStatm reads the second and third number of /proc/PID/statm, pages.
func parseStatm(s string) (resident, shared uint64, ok bool) {
	n := strings.Fields(s)
	if len(n) < 3 {
		return 0, 0, false
	}
	r, err1 := strconv.ParseUint(n[1], 10, 64)
	sh, err2 := strconv.ParseUint(n[2], 10, 64)
	page := uint64(os.Getpagesize())
	return r * page, sh * page, err1 == nil && err2 == nil
}
