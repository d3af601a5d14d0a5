package event

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxDiskReserve and diskReserveShare: the engine ends the process when
	// the device is full, so the reserve must hold what is still written
	// after writes are refused: the queue, rows in the engine's memory (a
	// checkpoint's worth) and a merge in progress. 512 MiB holds them many
	// times over; on a small device a tenth must do.
	maxDiskReserve   = 512 << 20
	diskReserveShare = 10
	// diskPoll is how old the figure for free space may be. At 200 MB/s of
	// other writers the reserve shrinks by 50 MB meanwhile.
	diskPoll = 250 * time.Millisecond
)

// diskGuard refuses writes while the device is nearly full.
type diskGuard struct {
	dir    string
	statfs func(dir string) (free, total uint64, err error)

	mu      sync.Mutex
	reserve uint64 // 0 until known
	free    uint64
	err     error
	checked time.Time
}

func newDiskGuard(dir string, reserve uint64) *diskGuard {
	return &diskGuard{dir: dir, reserve: reserve, statfs: statfs}
}

func statfs(dir string) (free, total uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

// look returns the free space, at most diskPoll old, and the reserve.
func (g *diskGuard) look() (free, reserve uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); g.checked.IsZero() || now.Sub(g.checked) >= diskPoll {
		var total uint64
		g.free, total, g.err = g.statfs(g.dir)
		g.checked = now
		if g.reserve == 0 && g.err == nil {
			g.reserve = min(maxDiskReserve, total/diskReserveShare)
		}
	}
	return g.free, g.reserve, g.err
}

// check returns an error that wraps store.ErrUnavailable when free space is
// below the reserve.
func (g *diskGuard) check() error {
	free, reserve, err := g.look()
	if err != nil {
		return fmt.Errorf("look for free space at %q: %w: %w", g.dir, store.ErrUnavailable, err)
	}
	if free < reserve {
		return fmt.Errorf("disk nearly full: %q has %d MiB free, %d MiB are needed; free some space or shorten the retention, writes go on by themselves then: %w",
			g.dir, free>>20, reserve>>20, store.ErrUnavailable)
	}
	return nil
}
