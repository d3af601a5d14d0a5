package event

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxDiskReserve and diskReserveShare: the engine ends the process when
	// the device is full, so the reserve must hold what is still written
	// after writes are refused: rows in memory and merges in progress.
	// 512 MiB holds them many times over; on a small device a tenth must do.
	maxDiskReserve   = 512 << 20
	diskReserveShare = 10
	// ballastShare: half the reserve keeps merges away, the other half is
	// there at once.
	ballastShare = 2
	// diskPoll is how old the figure for free space may be when a write looks
	// at it. Asking takes about a microsecond; at 1 GB/s of other writers the
	// reserve shrinks by 5 MB meanwhile.
	diskPoll = 5 * time.Millisecond
	// The ballast is tended every ballastPoll, and every ballastPollLow when
	// fewer than diskPlenty reserves are free.
	ballastPoll    = 250 * time.Millisecond
	ballastPollLow = 20 * time.Millisecond
	diskPlenty     = 4

	ballastFile = "ballast"
)

// diskGuard refuses writes while the device is nearly full.
//
// The engine checks for free space before it merges, against a figure that is
// up to two seconds old, and plans with all there is. To keep merges out of the
// reserve, a part of it is a file, the ballast, that is removed when it gets
// tight and put back when there is space again.
type diskGuard struct {
	dir    string
	statfs func(dir string) (free, total uint64, err error)

	mu          sync.Mutex
	reserve     uint64 // 0 until known; ballast included
	ballast     uint64 // size it should have
	held        uint64 // size it has
	free, total uint64
	err         error
	checked     time.Time
}

func newDiskGuard(dir string, reserve uint64) *diskGuard {
	// A ballast of the process before may be what the start lives on.
	_ = os.Remove(filepath.Join(dir, ballastFile))
	return &diskGuard{dir: dir, reserve: reserve, statfs: statfs}
}

func statfs(dir string) (free, total uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), uint64(st.Blocks) * uint64(st.Bsize), nil
}

// look returns the space that is left, the ballast counted as free, and the
// reserve.
func (g *diskGuard) look() (free, reserve uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.checked.IsZero() || now.Sub(g.checked) >= diskPoll {
		g.refresh(now)
	}
	return g.free + g.held, g.reserve, g.err
}

// size is the size of the file system as of the last look.
func (g *diskGuard) size() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

func (g *diskGuard) refresh(now time.Time) {
	g.free, g.total, g.err = g.statfs(g.dir)
	g.checked = now
	if g.reserve == 0 && g.err == nil {
		g.reserve = min(maxDiskReserve, g.total/diskReserveShare)
	}
	g.ballast = g.reserve / ballastShare
}

// check returns an error that wraps store.ErrUnavailable when less is left than
// the reserve and pending, the bytes that were accepted and are not yet in the
// files of the engine.
func (g *diskGuard) check(pending int64) error {
	free, reserve, err := g.look()
	if err != nil {
		return fmt.Errorf("look for free space at %q: %w: %w", g.dir, store.ErrUnavailable, err)
	}
	if need := reserve + uint64(pending); free < need {
		return fmt.Errorf("disk nearly full: %q has %d MiB free, %d MiB are needed; free some space or shorten the retention, writes go on by themselves then: %w",
			g.dir, free>>20, need>>20, store.ErrUnavailable)
	}
	return nil
}

// tend removes the ballast when little else is free, and puts it back when
// there is room for it. It returns how soon it should be called again.
func (g *diskGuard) tend() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh(time.Now())
	path := filepath.Join(g.dir, ballastFile)
	switch {
	case g.err != nil, g.ballast == 0:
	case g.held > 0 && g.free < g.ballast:
		if err := os.Remove(path); err == nil || errors.Is(err, os.ErrNotExist) {
			g.held = 0
			g.refresh(time.Now())
		}
	case g.held == 0 && g.free >= g.reserve+g.ballast:
		if err := allocateFile(path, int64(g.ballast)); err == nil {
			g.held = g.ballast
			g.refresh(time.Now())
		} else {
			_ = os.Remove(path) // not every file system can
		}
	}
	if g.free < diskPlenty*g.reserve {
		return ballastPollLow
	}
	return ballastPoll
}

// tight tells whether less than diskPlenty reserves are left.
func (g *diskGuard) tight() bool {
	free, reserve, err := g.look()
	return err == nil && free < diskPlenty*reserve
}

// watchDisk tends the ballast until the store closes.
func (s *Store) watchDisk() {
	for {
		select {
		case <-s.closed:
			return
		case <-time.After(s.guard.tend()):
		}
	}
}
