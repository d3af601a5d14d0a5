//go:build linux

package kernel

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Host is what features share: processes, cgroups, the clock. Safe for
// concurrent use.
type Host struct {
	proc    string
	cgroup2 string // "" if there is none
	pins    *Pins  // nil: nothing outlives the process

	processes *processes
	cgroups   *cgroups
	memory    *cgroups // of the memory controller's own hierarchy
	images    *images

	clock struct {
		sync.Mutex
		at   time.Time // when the offsets were taken
		mono int64     // wall clock minus CLOCK_MONOTONIC, ns
		boot int64     // wall clock minus CLOCK_BOOTTIME, ns
	}

	btf struct {
		sync.Mutex
		cache *btf.Cache
	}
}

// Options of NewHost. The zero value works.
type Options struct {
	Proc    string // where the host's procfs is mounted; default /proc
	Cgroup2 string // where the host's cgroup v2 is mounted; default: what Proc/self/mountinfo says
	Root    string // where the host's root is mounted, for the files of container runtimes; default /
	Pins    *Pins  // where objects outlive the process; default: nowhere
}

// NewHost makes a Host. It asks nothing of the kernel that needs privileges.
func NewHost(o Options) *Host {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Cgroup2 == "" {
		o.Cgroup2 = cgroup2Mount(o.Proc)
	}
	return &Host{
		proc: o.Proc, cgroup2: o.Cgroup2, pins: o.Pins,
		processes: newProcesses(o.Proc),
		cgroups:   newCgroups(o.Cgroup2),
		memory:    newCgroups(memoryMount(o.Proc)),
		images:    newImages(cmp.Or(o.Root, "/")),
	}
}

// Proc is where the host's procfs is mounted.
func (h *Host) Proc() string { return h.proc }

// Self is the id of this process as the kernel's programs see it, where procfs is
// the host's: in a container that has ids of its own, os.Getpid is another's.
func (h *Host) Self() int {
	if name, err := os.Readlink(filepath.Join(h.proc, "self")); err == nil {
		if pid, err := strconv.Atoi(name); err == nil {
			return pid
		}
	}
	return os.Getpid()
}

// Cgroup2 is where the host's cgroup v2 is mounted, "" if it is not.
func (h *Host) Cgroup2() string { return h.cgroup2 }

// Pinned reports whether objects may outlive the process (LoadPinned).
func (h *Host) Pinned() bool { return h.pins != nil }

// clockEvery bounds how long timestamps are off after the wall clock was stepped.
const clockEvery = time.Second

// Wall turns a timestamp of bpf_ktime_get_ns (CLOCK_MONOTONIC) into wall time.
func (h *Host) Wall(ktime uint64) time.Time {
	mono, _ := h.offsets()
	return time.Unix(0, mono+int64(ktime))
}

// WallBoot turns a timestamp of CLOCK_BOOTTIME, such as a task's start_boottime, into wall time.
func (h *Host) WallBoot(boottime uint64) time.Time {
	_, boot := h.offsets()
	return time.Unix(0, boot+int64(boottime))
}

func (h *Host) offsets() (mono, boot int64) {
	c := &h.clock
	c.Lock()
	defer c.Unlock()
	if now := time.Now(); c.at.IsZero() || now.Sub(c.at) >= clockEvery {
		c.mono, c.boot = offset(unix.CLOCK_MONOTONIC), offset(unix.CLOCK_BOOTTIME)
		c.at = now
	}
	return c.mono, c.boot
}

// offset is the wall clock minus the given clock. The narrowest of three tries
// counts, because this thread may lose the CPU between two readings.
func offset(clock int32) int64 {
	var best, width int64
	for i := range 3 {
		var a, m, b unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_REALTIME, &a)
		_ = unix.ClockGettime(clock, &m)
		_ = unix.ClockGettime(unix.CLOCK_REALTIME, &b)
		if w := b.Nano() - a.Nano(); i == 0 || w < width {
			best, width = a.Nano()+w/2-m.Nano(), w
		}
	}
	return best
}

// types is the decoded type information of the kernel, shared while features start.
func (h *Host) types() *btf.Cache {
	h.btf.Lock()
	defer h.btf.Unlock()
	if h.btf.cache == nil {
		h.btf.cache = btf.NewCache()
	}
	return h.btf.cache
}

// ForgetTypes frees the kernel's type information, several MB that are needed
// only while programs are loaded. Start calls it when all features run.
func (h *Host) ForgetTypes() {
	h.btf.Lock()
	defer h.btf.Unlock()
	h.btf.cache = nil
}

// KeepStatistics makes the kernel count runs and time of all BPF programs, also
// those of others, until Close. It costs two readings of the clock a run.
func (h *Host) KeepStatistics() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, Classify("statistics of programs", fmt.Errorf("enable statistics of BPF programs: %w", err))
	}
	return c, nil
}
