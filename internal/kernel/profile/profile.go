//go:build linux

// Package profile says where processes spend their time, on the CPU and
// waiting, by stack, without a change to them.
//
// On the CPU a timer on each takes the stack of what runs, 19 times a second.
// Off the CPU a program notes in each thread when it begins to wait, and counts
// the wait when the thread runs again, if it was long enough. Both count by
// process and stack in the kernel. Every interval the counts come up, addresses
// become names (internal/kernel/symbol), and each process gets a profile in the
// format of pprof.
//
// Stacks are walked by frame pointers. Go has them, and so have distributions
// that build with them; C code without them shows its innermost function, and
// callers that may be missing. Labels of goroutines are read together with the stack, at
// most six of up to 24 and 64 bytes, in programs of Go 1.18 and later. A goroutine that is parked waits nowhere: off the
// CPU are threads, in system calls, page faults and locks of the kernel.
package profile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

const (
	// DefaultHz is prime, so that it does not beat with what programs do at round
	// frequencies, and low enough to run for ever.
	DefaultHz       = 19
	DefaultInterval = 10 * time.Second
	// DefaultMinWait leaves out what a thread waits between two pieces of work.
	DefaultMinWait = time.Millisecond
	// DefaultWaitStacks bounds off-CPU profiling to about 0.2 % of each CPU
	// besides the bookkeeping of switches.
	DefaultWaitStacks = 1000
	// DefaultMaxProfiles is for one interval; what uses least is left out.
	DefaultMaxProfiles = 512

	maxHz = 1000

	// minStacks and maxStacks bound the stacks that the kernel keeps between two
	// drains, twice: 1.5 KB each. With more CPUs the maps are emptied more often.
	minStacks = 1024
	maxStacks = 8192
)

// Options of New. The zero value profiles the CPU alone.
type Options struct {
	Hz       int           // samples of each CPU a second, default DefaultHz, at most 1000; < 0: no profile of the CPU
	Interval time.Duration // between profiles, default DefaultInterval

	OffCPU     bool          // profile waits, too: costs about 1.1 µs a switch of threads
	MinWait    time.Duration // shorter waits do not count, default DefaultMinWait
	WaitStacks int           // taken by one CPU in a second, default DefaultWaitStacks

	MaxProfiles int  // of one interval, default DefaultMaxProfiles
	Self        bool // profile this process, too

	// OnProfile gets each profile, one by one, from one goroutine. It is the
	// receiver's.
	OnProfile func(Profile)
}

// Kind is what a profile counts.
type Kind string

const (
	// CPU profiles count samples and nanoseconds on the CPU.
	CPU Kind = "cpu"
	// OffCPU profiles count waits and nanoseconds waited, by all threads
	// together. Samples carry the label "state": "sleep", or "disk" where
	// nothing but the awaited ends the wait.
	OffCPU Kind = "off_cpu"
)

// Profile is what one process did in one interval.
type Profile struct {
	Kind     Kind
	Process  kernel.Process // PID 0: the kernel's own threads
	Start    time.Time
	Duration time.Duration
	// Pprof holds two values a sample: a count and nanoseconds. Samples are
	// labelled with what is known of the process: pid, process, service,
	// container, pod; and with the labels of the goroutine (runtime/pprof.Do) where
	// the program's layout is known. Those of the process go first.
	Pprof *profile.Profile
}

// Feature is the kernel.Feature of this package.
type Feature struct {
	opts Options

	host   *kernel.Host
	object *kernel.Object
	table  *symbol.Table
	spaces *spaces
	clocks *clocks
	seen   *ringbuf.Reader
	sums   *sums

	stop             context.CancelFunc
	running, meeting sync.WaitGroup

	began        time.Time
	events, left atomic.Uint64
	refused      error
	once         sync.Once
	closeErr     error
	drainErr     atomic.Pointer[error]
	drainEvery   time.Duration
}

// New makes a Feature that nothing is attached of.
func New(o Options) *Feature {
	o.Hz = min(cmp.Or(o.Hz, DefaultHz), maxHz)
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.MinWait = cmp.Or(o.MinWait, DefaultMinWait)
	o.WaitStacks = cmp.Or(o.WaitStacks, DefaultWaitStacks)
	o.MaxProfiles = cmp.Or(o.MaxProfiles, DefaultMaxProfiles)
	return &Feature{opts: o}
}

// Name implements kernel.Feature.
func (f *Feature) Name() string { return "profile" }

// Start attaches. Where only one of the two profiles is possible it runs, and
// Refused says why the other does not.
func (f *Feature) Start(ctx context.Context, h *kernel.Host) error {
	f.host = h
	spec, err := loadProfile()
	if err != nil {
		return fmt.Errorf("read object of profile: %w", err)
	}
	var self uint32
	if !f.opts.Self {
		self = uint32(h.Self())
	}
	for name, v := range map[string]any{
		"min_wait_us": uint32(f.opts.MinWait.Microseconds()), "wait_stacks_per_second": uint32(f.opts.WaitStacks), "self_tgid": self,
	} {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s of profile: %w", name, err)
		}
	}
	cpus, err := onlineCPUs()
	if err != nil {
		return kernel.Classify("profile", err)
	}
	var stacks int
	stacks, f.drainEvery = mapSize(f.opts, len(cpus))
	for _, m := range []string{"counts0", "counts1", "stacks0", "stacks1", "labels0", "labels1"} {
		spec.Maps[m].MaxEntries = uint32(stacks)
	}
	// Without it, the clocks still run.
	old := kernel.Old()
	if old {
		delete(spec.Maps, "waits")
	}
	if f.object, err = kernel.Load("profile", h, spec); err != nil {
		return err
	}
	f.table = symbol.NewTable()
	f.spaces = newSpaces(h, f.table, f.object.Map("programs"))
	f.sums = &sums{object: f.object}
	f.sums.reset()
	if f.seen, err = ringbuf.NewReader(f.object.Map("seen")); err != nil {
		return kernel.Classify("profile", fmt.Errorf("open ring of new processes: %w", err))
	}
	f.began = time.Now()

	var refused []error
	if f.opts.Hz > 0 {
		if err := f.startClocks(cpus); err != nil {
			refused = append(refused, err)
		}
	}
	if f.opts.OffCPU {
		var err error
		if old {
			err = &kernel.Unsupported{Feature: "profile: off_cpu", Missing: "storage of tasks", Next: "Linux 5.11 has it"}
		} else {
			err = f.object.Tracing("off_cpu")
		}
		if err != nil {
			refused = append(refused, err)
		}
	}
	asked := 0
	for _, on := range []bool{f.opts.Hz > 0, f.opts.OffCPU} {
		if on {
			asked++
		}
	}
	f.refused = errors.Join(refused...)
	if len(refused) == asked {
		return f.refused
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.meeting.Go(f.meet)
	f.running.Go(func() { f.run(ctx) })
	return nil
}

// Refused says why one of the profiles asked for does not run; nil if all do.
func (f *Feature) Refused() error { return f.refused }

func (f *Feature) startClocks(cpus []int) error {
	prog, err := f.object.Program("on_cpu")
	if err != nil {
		return err
	}
	f.clocks = &clocks{program: prog.FD(), hz: f.opts.Hz, open: map[int]int{}}
	f.object.Keep(f.clocks)
	return f.clocks.set(cpus)
}

// mapSize finds room for all samples of one interval as if no two had the same
// stack, or an interval of drains that suits the room there is.
func mapSize(o Options, cpus int) (entries int, every time.Duration) {
	perSecond := max(o.Hz, 0) * cpus
	if o.OffCPU {
		perSecond += 100 * cpus // stacks repeat
	}
	every = o.Interval
	need := float64(perSecond) * every.Seconds()
	if need > maxStacks {
		every = max(time.Duration(float64(every)*maxStacks/need), time.Second)
		need = maxStacks
	}
	return min(maxStacks, max(minStacks, 1<<bits.Len(uint(need)))), every
}

// meet looks at processes when their first stack is taken, while they live.
func (f *Feature) meet() {
	var rec ringbuf.Record
	for {
		if err := f.seen.ReadInto(&rec); err != nil {
			return // closed
		}
		if o, ok := decodeOwner(rec.RawSample); ok {
			f.spaces.meet(o)
		}
	}
}

func (f *Feature) run(ctx context.Context) {
	tick := time.NewTicker(f.drainEvery)
	defer tick.Stop()
	start := f.began
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.drain()
		if now := time.Now(); now.Sub(start) >= f.opts.Interval-f.drainEvery/2 {
			f.report(start, now)
			start = now
			f.began = now
		}
		if f.clocks != nil {
			// CPUs come and go. One that cannot be profiled now is tried again.
			if cpus, err := onlineCPUs(); err == nil {
				f.note(f.clocks.set(cpus))
			}
		}
	}
}

func (f *Feature) drain() { f.note(f.sums.drain()) }

// note keeps the last error of the work in the background, for Close.
func (f *Feature) note(err error) {
	if err != nil {
		f.drainErr.Store(&err)
	}
}

func (f *Feature) report(start, end time.Time) {
	profiles, left := f.build(start, end)
	f.left.Add(uint64(left))
	for _, p := range profiles {
		f.events.Add(1)
		if f.opts.OnProfile != nil {
			f.opts.OnProfile(p)
		}
	}
	f.spaces.age()
}

// Close detaches and hands over what was counted since the last profile.
func (f *Feature) Close() error {
	f.once.Do(func() { f.closeErr = f.close() })
	return f.closeErr
}

func (f *Feature) close() error {
	if f.object == nil {
		return nil
	}
	if f.stop != nil {
		f.stop()
		f.running.Wait() // or it would open clocks again
	}
	err := f.object.Detach()
	if f.seen != nil {
		err = errors.Join(err, f.seen.Close())
	}
	f.meeting.Wait()
	if f.stop != nil {
		// What is in the maps was written to both.
		f.drain()
		f.drain()
		f.report(f.began, time.Now())
	}
	if last := f.drainErr.Load(); last != nil {
		err = errors.Join(err, *last)
	}
	f.spaces.close()
	f.table.Close()
	return errors.Join(err, f.object.Close())
}

// Stats implements kernel.Feature. Dropped counts stacks without room in the
// kernel or above the budget of waits, and profiles above MaxProfiles.
func (f *Feature) Stats() kernel.Stats { return f.object.Stats(f.events.Load(), f.left.Load()) }
