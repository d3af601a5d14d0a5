package metric

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/guanlan-io/guanlan/internal/store"
)

// space keeps the disk from running full under the engine.
//
// The engine does not survive a full disk: a record that is cut short makes
// the rest of its write-ahead log unreadable, and a head chunk that cannot be
// written ends the process. So writes stop while there is still room, and room
// for what the engine has yet to write is set aside in a reserve file, which
// other programs cannot fill. When space runs low the reserve goes back to the
// disk, the engine brings its pending chunks to it, and from then on has
// nothing more to write.
type space struct {
	dir    string
	log    *slog.Logger
	min    int64         // Options.MinFree
	series func() uint64 // in memory, all tenants

	low       atomic.Bool
	unsettled atomic.Uint64 // samples since full chunks were last written
	wake      chan struct{} // calls the keeper

	mu       sync.Mutex
	reserved int64 // size of the reserve file; 0 when given back
	noFalloc bool  // the file system cannot reserve
}

const (
	reserveFile = "reserve"
	// pendingBytes is what one series may still have to write when writes
	// stop: a full chunk of 120 samples is about 200 bytes.
	pendingBytes = 256
	// sampleChunkBytes is what a sample takes in a chunk if its values do not
	// compress.
	sampleChunkBytes = 8
)

func newSpace(dir string, min int64, log *slog.Logger, series func() uint64) *space {
	return &space{dir: dir, min: min, log: log, series: series, wake: make(chan struct{}, 1)}
}

// need is the free space below which writes stop.
func (s *space) need() int64 { return s.min + s.pending() }

// reserveSize is how much is set aside.
func (s *space) reserveSize() int64 { return s.min/2 + s.pending() }

func (s *space) pending() int64 { return int64(s.series()) * pendingBytes }

// admit returns an error that wraps store.ErrUnavailable when nothing may be
// written now.
func (s *space) admit() error {
	if !s.low.Load() {
		free, err := freeSpace(s.dir)
		if err != nil || free >= s.need() {
			return nil // an unknown size is no reason to refuse data
		}
		if s.low.CompareAndSwap(false, true) {
			s.log.Warn("disk nearly full, metrics are refused", "dir", s.dir, "free_bytes", free, "need_bytes", s.need())
			s.call()
		}
	}
	return fmt.Errorf("write metrics: less than %d MiB free on the disk of %q: delete files there or lower the retention: %w",
		s.need()>>20, s.dir, store.ErrUnavailable)
}

// call has the keeper come by now.
func (s *space) call() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// appended notes samples that will be in chunks to be written.
func (s *space) appended(n uint64) {
	if s.unsettled.Add(n)*sampleChunkBytes > uint64(s.min/4) {
		s.call()
	}
}

// release gives the reserve back to the disk.
func (s *space) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Truncate(filepath.Join(s.dir, reserveFile), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("give back the disk reserve", "err", err)
		return
	}
	s.reserved = 0
}

// refresh brings the reserve to its size where there is room for it, and
// reports whether enough is left for writes.
func (s *space) refresh() bool {
	free, err := freeSpace(s.dir)
	if err != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	want := s.reserveSize()
	missing := want - s.reserved
	if s.noFalloc || (missing <= 0 && -missing < want/2) {
		missing = 0 // a reserve a little too large is not worth the work
	}
	if free-missing < s.need() {
		return false
	}
	if missing == 0 {
		return true
	}
	if err := s.resize(want); errors.Is(err, errors.ErrUnsupported) {
		s.noFalloc = true
		s.log.Info("file system cannot reserve disk space for metrics", "dir", s.dir)
	} else if err != nil {
		s.log.Warn("set disk space aside for metrics", "err", err)
	}
	return true
}

// regain ends the time of low space if there is room for the reserve again,
// and reports whether there is.
func (s *space) regain() bool {
	if !s.refresh() {
		return false
	}
	s.low.Store(false)
	return true
}

// roomFor reports whether bytes can be written and some space remain.
func (s *space) roomFor(bytes int64) bool {
	free, err := freeSpace(s.dir)
	return err != nil || free >= bytes+s.reserveSize()
}

// roomToOpen reports whether a tenant can be opened: replaying its log writes
// the chunks that were pending, and the engine does not survive if it cannot.
func (s *space) roomToOpen() bool {
	free, err := freeSpace(s.dir)
	return err != nil || free >= s.min/2
}

// resize sets the size of the reserve file.
func (s *space) resize(size int64) error {
	f, err := os.OpenFile(filepath.Join(s.dir, reserveFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil { // frees what is beyond
		return err
	}
	if err := allocate(f, size); err != nil {
		_ = f.Truncate(0)
		s.reserved = 0
		return err
	}
	s.reserved = size
	return nil
}
