//go:build linux

package profile

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// clocks are the timers that take samples, one for each CPU. They count time
// (cpu-clock), not the cycles of the hardware: a sample then stands for the same
// time at any frequency, and virtual machines without counters have them, too.
// The price: code that runs with interrupts off is seen where it turns them on.
type clocks struct {
	program int
	hz      int
	open    map[int]int // file descriptors by CPU
}

// set opens clocks for the CPUs that have none and closes those of others.
func (c *clocks) set(cpus []int) error {
	online := map[int]bool{}
	var errs []error
	for _, cpu := range cpus {
		online[cpu] = true
		if _, ok := c.open[cpu]; ok {
			continue
		}
		fd, err := openClock(cpu, c.hz, c.program)
		if errors.Is(err, unix.ENODEV) {
			continue // went offline just now
		}
		if err != nil {
			errs = append(errs, kernel.Classify("profile: on_cpu", err))
			continue
		}
		c.open[cpu] = fd
	}
	for cpu, fd := range c.open {
		if !online[cpu] {
			errs = append(errs, unix.Close(fd))
			delete(c.open, cpu)
		}
	}
	return errors.Join(errs...)
}

// Close takes the timers away.
func (c *clocks) Close() error {
	return c.set(nil)
}

func openClock(cpu, hz, program int) (int, error) {
	attr := &unix.PerfEventAttr{
		Type:   unix.PERF_TYPE_SOFTWARE,
		Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Size:   uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Sample: uint64(hz),
		Bits:   unix.PerfBitFreq | unix.PerfBitDisabled | unix.PerfBitExcludeIdle,
	}
	fd, err := unix.PerfEventOpen(attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return -1, kernel.ParanoidEvents("profile: on_cpu", fmt.Errorf("open clock of CPU %d: %w", cpu, err))
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, program); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("attach to clock of CPU %d: %w", cpu, err)
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("start clock of CPU %d: %w", cpu, err)
	}
	return fd, nil
}

func onlineCPUs() ([]int, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, fmt.Errorf("list CPUs: %w", err)
	}
	return parseCPUs(strings.TrimSpace(string(b)))
}

// parseCPUs reads a list such as "0-3,8".
func parseCPUs(s string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(s, ",") {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > 1<<16 {
			return nil, fmt.Errorf("list CPUs: unexpected %q", s)
		}
		for ; a <= b; a++ {
			out = append(out, a)
		}
	}
	return out, nil
}
