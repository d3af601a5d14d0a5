// Package journal is a write-ahead log of opaque records: what was appended is
// read back after a crash, in order, up to the first record that nobody was
// told is safe.
//
// A journal is a folder of segments (see internal/store/FORMAT.md). Records
// carry two checksums, one for the header and one for the payload, so that
// damage costs the damaged record only: a bad payload is skipped by its length,
// a bad header by searching the next good one. A segment's name carries a
// random salt of its header checksums; bytes inside a payload can therefore
// not pose as a record while searching.
//
// A record that was refused never comes back: a failed write is cut off again,
// and where that cannot be done a new segment starts at the refused sequence
// number, which voids everything from that number on in older segments.
//
// Preallocating segments was measured and left out: on ext4 it changed neither
// the latency of appends next to a running fsync nor the time of the fsync.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Limits and defaults.
const (
	// DefaultSegmentBytes is the size after which a new segment is begun.
	// Space returns by whole segments, so it is small against the disk, and
	// large against the cost of creating a file.
	DefaultSegmentBytes = 16 << 20
	// DefaultSyncEvery bounds what a power loss can take under SyncInterval.
	DefaultSyncEvery = 200 * time.Millisecond
	// MaxPayload is well above the largest OTLP request that the receivers
	// let in (32 MiB by default), and keeps a segment readable in one piece.
	MaxPayload = 64 << 20
)

var (
	// ErrFull: no space or quota left on the device. The record was not kept;
	// appending works again once there is space.
	ErrFull = errors.New("journal: no space left")
	// ErrTooLarge: the payload is above MaxPayload.
	ErrTooLarge = errors.New("journal: record too large")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal: closed")
)

// SyncPolicy says when an append is on the disk.
type SyncPolicy int

const (
	// SyncInterval: Append returns when the kernel has the record, which
	// survives the end of the process; a background fsync follows within
	// Options.SyncEvery, so a power loss takes at most that.
	SyncInterval SyncPolicy = iota
	// SyncAlways: Append returns after an fsync that covers the record. All
	// appenders that wait at a time share one fsync.
	SyncAlways
)

// Options of Open. The zero value works.
type Options struct {
	Sync         SyncPolicy
	SyncEvery    time.Duration // default DefaultSyncEvery; SyncInterval only
	SegmentBytes int64         // default DefaultSegmentBytes
	// MinSeq: no sequence number below it is handed out. A reader that
	// remembers how far it got passes that number plus one, so that numbers
	// of records lost in a power failure are not used a second time.
	MinSeq uint64
}

// Tag is what a writer wants to know about a record without decoding the
// payload: kind, tenant, time of acceptance. The journal does not look at it.
type Tag [24]byte

// Journal is an open journal. Its methods are safe for concurrent use. Only
// one Journal may have a folder open; whoever owns the folder sees to it.
type Journal struct {
	dir  string
	opts Options
	disk disk

	mu      sync.Mutex
	closed  bool
	segs    []segment // on disk, oldest first; the last one is written to
	active  file      // nil until the first append, and after a failure
	sealed  []file    // no longer written to, not yet synced and closed
	dirty   bool      // active holds bytes not yet synced
	newName bool      // the folder holds a name not yet synced
	nextSeq uint64
	index   uint64 // of the newest segment

	// safeSeq is the highest sequence number a caller was told is kept:
	// under SyncAlways the last synced one, else the last written one. After
	// a failure everything above it is void.
	safeSeq uint64
	round   *round // the waiters of the next fsync
	stats   Stats

	syncing sync.Mutex // held while the syncer is at the disk
	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
}

// round is the appenders that wait for the same fsync.
type round struct {
	done chan struct{}
	err  error // set before done is closed
}

func newRound() *round { return &round{done: make(chan struct{})} }

// Stats counts since Open, except where a field says otherwise.
type Stats struct {
	Segments int    // now
	Bytes    int64  // now, of all segments
	NextSeq  uint64 // the number that the next record gets

	Records       uint64 // appended
	PayloadBytes  uint64 // appended
	Refused       uint64 // appends that failed
	Syncs         uint64
	SyncErrors    uint64
	SyncTime      time.Duration // sum over Syncs
	SyncMax       time.Duration
	LastSyncError string

	// Damaged counts records that Replay could not read: a checksum did not
	// match, or a whole stretch was unreadable.
	Damaged uint64
	// Torn counts records whose end was missing at the end of the journal,
	// as a kill in the middle of a write leaves them. Open cuts them off.
	Torn uint64
}

// Open opens or creates the journal in dir. It reads the newest segment to
// find where the journal ends; Replay reads the rest.
func Open(dir string, opts Options) (*Journal, error) {
	return open(dir, opts, osDisk{})
}

func open(dir string, opts Options, d disk) (*Journal, error) {
	if opts.SyncEvery <= 0 {
		opts.SyncEvery = DefaultSyncEvery
	}
	if opts.SegmentBytes <= 0 {
		opts.SegmentBytes = DefaultSegmentBytes
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("create journal %q: %w", dir, err)
	}
	j := &Journal{
		dir: dir, opts: opts, disk: d,
		nextSeq: 1,
		round:   newRound(),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if err := j.findEnd(); err != nil {
		return nil, fmt.Errorf("open journal %q: %w", dir, err)
	}
	j.nextSeq = max(j.nextSeq, opts.MinSeq)
	j.safeSeq = j.nextSeq - 1
	// An empty segment is written to, so that restarts without records leave
	// no files behind.
	if n := len(j.segs); n > 0 && j.segs[n-1].size == 0 && j.segs[n-1].first == j.nextSeq {
		f, err := d.open(filepath.Join(dir, j.segs[n-1].name()))
		if err != nil {
			return nil, fmt.Errorf("open journal %q: %w", dir, err)
		}
		j.active, j.newName = f, true
	}
	go j.syncLoop()
	return j, nil
}

// findEnd lists the segments and reads the newest one for the last sequence
// number. It cuts a torn record off.
func (j *Journal) findEnd() error {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // sorted by name, that is by index
		s, ok := parseName(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		s.size = info.Size()
		j.segs = append(j.segs, s)
	}
	if len(j.segs) == 0 {
		return nil
	}
	last := &j.segs[len(j.segs)-1]
	j.index = last.index
	data, err := os.ReadFile(filepath.Join(j.dir, last.name()))
	if err != nil {
		return err
	}
	sc := scanner{data: data, salt: last.salt, next: last.first}
	for sc.scan() {
	}
	j.nextSeq = sc.next
	if sc.end < int64(len(data)) {
		if sc.torn {
			j.stats.Torn++
		}
		if err := os.Truncate(filepath.Join(j.dir, last.name()), sc.end); err != nil {
			return fmt.Errorf("cut torn record: %w", err)
		}
		last.size = sc.end
	}
	return nil
}

// Close syncs and closes the journal. Appends that are waiting get their
// result first.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.mu.Unlock()
	close(j.stop)
	<-j.stopped

	err := j.syncNow()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active != nil {
		err = errors.Join(err, j.active.Close())
		j.active = nil
	}
	if err != nil {
		return fmt.Errorf("close journal %q: %w", j.dir, err)
	}
	return nil
}

// Stats returns the counters.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.NextSeq = j.nextSeq
	s.Segments = len(j.segs)
	for i := range j.segs {
		s.Bytes += j.segs[i].size
	}
	return s
}

// TruncateBefore removes segments that hold only records below seq. When that
// is all of them, a new empty segment takes their place, so that numbers go on
// where they stopped.
func (j *Journal) TruncateBefore(seq uint64) error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	if n := len(j.segs); n > 0 && j.segs[n-1].size > 0 && seq >= j.nextSeq {
		if err := j.beginSegment(j.nextSeq); err != nil {
			j.mu.Unlock()
			return fmt.Errorf("truncate journal %q: %w", j.dir, err)
		}
	}
	var drop []segment
	for len(j.segs) > 1 && j.segs[1].first <= seq {
		drop = append(drop, j.segs[0])
		j.segs = j.segs[1:]
	}
	j.mu.Unlock()

	for i, s := range drop {
		err := os.Remove(filepath.Join(j.dir, s.name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			j.mu.Lock() // try again next time
			j.segs = append(append([]segment(nil), drop[i:]...), j.segs...)
			j.mu.Unlock()
			return fmt.Errorf("truncate journal %q: %w", j.dir, err)
		}
	}
	return nil
}

// newSalt need not be secret from the machine, only from those who send data.
func newSalt() uint32 { return rand.Uint32() }
