package main

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/internal/footprint"
)

const (
	// restLook is how often CPU time is looked at, restFor over how long.
	restLook = 5 * time.Second
	restFor  = 20 * time.Second
	// restShare of a core is what the process uses at rest, and more: its own
	// metrics and timers take about a hundredth.
	restShare = 0.05
	// restAgain and restGrown keep memory that comes and goes at rest from
	// being given back over and over: each time costs a garbage collection.
	restAgain = 2 * time.Minute
	restGrown = 16 << 20
)

// giveBackAtRest returns until ctx ends, whenever the process has come to rest,
// what it used while it was busy: heap that is free, which the garbage collector
// would hand back minutes later, and the pages of the binary. Both count
// against a container as if they were needed. Under load it does nothing.
func giveBackAtRest(ctx context.Context) {
	ticker := time.NewTicker(restLook)
	defer ticker.Stop()
	var r rest
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if r.due(now, cpuTime(), footprint.Resident()) {
				debug.FreeOSMemory()
				unmapBinary()
				r.gaveBack(now, footprint.Resident())
			}
		}
	}
}

// rest tells when a process is at rest and has something to give back.
type rest struct {
	cpu  []time.Duration // used so far at the last looks, oldest first
	last time.Time       // when something was given back
	left uint64          // resident bytes after that
}

// due takes a look.
func (r *rest) due(now time.Time, cpu time.Duration, resident uint64) bool {
	r.cpu = append(r.cpu, cpu)
	if len(r.cpu) <= int(restFor/restLook) {
		return false
	}
	used := cpu - r.cpu[0]
	r.cpu = append(r.cpu[:0], r.cpu[1:]...)
	return used < time.Duration(restShare*float64(restFor)) &&
		now.Sub(r.last) >= restAgain && resident >= r.left+restGrown
}

func (r *rest) gaveBack(now time.Time, resident uint64) { r.last, r.left = now, resident }

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// unmapBinary gives back the pages of the binary that were touched: after
// start-up some fifty megabytes of initialisers and tables that are not needed
// again soon. The kernel keeps them in its cache; what is needed after all is
// mapped again without reading the disk. Only read-only mappings are given back.
func unmapBinary() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[5] != exe || len(f[1]) < 2 || f[1][1] == 'w' {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		a, errA := strconv.ParseUint(from, 16, 64)
		b, errB := strconv.ParseUint(to, 16, 64)
		if errA != nil || errB != nil || b <= a {
			continue
		}
		// An error only means that the memory stays mapped.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(a), uintptr(b-a), syscall.MADV_DONTNEED)
	}
}
