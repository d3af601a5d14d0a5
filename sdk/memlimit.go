package sdk

import (
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryLimit keeps the runtime's soft memory limit at a share of what the
// cgroup allows, so that the collector works harder before the kernel kills. The
// runtime follows a cgroup's processors by itself, but not its memory.
//
// A limit that somebody else has set, by GOMEMLIMIT or debug.SetMemoryLimit, at
// whatever time, is left alone. The cgroup is looked at again now and then,
// because a container may be resized while it runs.
type memoryLimit struct {
	ratio  float64                // 0: switched off
	cgroup func() (uint64, error) // the least limit of the cgroup and those above it

	mu    sync.Mutex
	known int64     // the limit as it was left; math.MaxInt64 is none
	next  time.Time // when to look again
}

const (
	defaultMemoryRatio = 0.9 // the rest is for what the runtime does not count: C, mapped files, the kernel
	memoryLimitEvery   = time.Minute
	// leastMemoryLimit is what no Go service lives in. A limit below would
	// make the collector run all the time.
	leastMemoryLimit = 8 << 20
)

func newMemoryLimit(ratio float64) *memoryLimit {
	return &memoryLimit{ratio: ratio, cgroup: memlimit.FromCgroup, known: math.MaxInt64}
}

// follow sets the limit, when it is time to.
func (m *memoryLimit) follow(now time.Time) {
	if m == nil || m.ratio == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Before(m.next) {
		return
	}
	m.next = now.Add(memoryLimitEvery)
	if debug.SetMemoryLimit(-1) != m.known {
		return // somebody else's
	}
	want := int64(math.MaxInt64)
	switch allowed, err := m.cgroup(); {
	case err == nil:
		want = int64(min(float64(allowed)*m.ratio, 1<<62))
	case !errors.Is(err, memlimit.ErrNoLimit):
		slog.Debug("memory limit of the cgroup is not known", "error", err)
		return
	}
	if want == m.known || want < leastMemoryLimit {
		return
	}
	debug.SetMemoryLimit(want)
	m.known = want
	slog.Debug("memory limit follows the cgroup", "bytes", want, "ratio", m.ratio)
}

// set is the limit that was set; 0 when none was, or somebody else has set one
// since.
func (m *memoryLimit) set() int64 {
	if m == nil {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == math.MaxInt64 || debug.SetMemoryLimit(-1) != m.known {
		return 0
	}
	return m.known
}

// memoryRatio reads what share of the cgroup's memory is the limit; 0 when the
// limit is not ours to set.
func (e *environment) memoryRatio() float64 {
	const name = "AUTOMEMLIMIT" // as the library calls it
	if v, _ := e.text("GOMEMLIMIT"); v != "" {
		return 0
	}
	switch v, _ := e.text(name); v {
	case "":
		return defaultMemoryRatio
	case "off":
		return 0
	}
	return e.share(defaultMemoryRatio, name)
}
