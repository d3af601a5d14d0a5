// Package profile keeps profiles: where CPU time, memory and waiting go, by
// stack. Profiles come in and go out in the format of pprof.
//
// Profiles of one service say nearly the same every ten seconds: the same
// functions, files and stacks. So they are not kept one by one. The profiles of
// a series (tenant, type, resource) share one table of symbols and stacks, in
// which a profile is a list of places and values. New ones go to the journal
// and to the head, which is such tables in memory; once an hour, or when it is
// large, the head becomes a segment: a file with one block for each series. The
// name of a segment says which records of the journal it holds, so that nothing
// else tells where a restart begins to replay. Adding up an hour of a service
// is adding up one block by place.
package profile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/pprof/profile"
	"github.com/klauspost/compress/zstd"

	"github.com/guanlan-io/guanlan/internal/durable"
	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

// Limits and defaults.
const (
	// DefaultRetention is as long as traces and logs are kept.
	DefaultRetention = 7 * 24 * time.Hour
	// DefaultHead bounds new profiles in memory. Twice as much is taken up
	// while a segment is written.
	DefaultHead = 64 << 20
	// maxWrite bounds the tables of a write, as builder.size counts: a stack is a
	// byte a call in a message and some hundred in memory. 10,000 stacks of 32
	// calls that have nothing in common are 10 MiB.
	maxWrite = 128 << 20
	// headAge is how old the oldest profile of the head gets: the longer, the
	// more profiles share a table, and the longer the replay after a kill.
	headAge = time.Hour
	// headRecords bounds the journal behind the head: what a replay reads, and
	// keeps in memory until it is worked in. An hour of 40 busy services is so much.
	headRecords = 128 << 20
	// journalSegment: space of the journal returns by whole segments.
	journalSegment = 16 << 20
	// journalWindow is how far back the compressor looks in a journal record:
	// most are smaller, and its tables stay in memory.
	journalWindow = 256 << 10
	// flushRetry is how soon a flush that failed is tried again.
	flushRetry = 5 * time.Second
	// expireEvery is how often segments are looked at for their age and size.
	expireEvery = time.Minute
	// future is how far ahead a clock may be; see Write.
	future = 24 * time.Hour
	// longest is how long a profile may have taken; one that says more would be
	// in all that comes after it.
	longest = 24 * time.Hour
	// maxReserve and reserveShare: writes are refused while less is free. The
	// head must still fit, and other stores on the same disk must not starve.
	maxReserve   = 512 << 20
	reserveShare = 10

	formatFile = "FORMAT"
	formatText = "guanlan profiles 1\n"
)

// Options of Open. All but Dir have defaults.
type Options struct {
	Dir       string
	Retention time.Duration // profiles older than this are deleted, by segments; default DefaultRetention
	MaxBytes  int64         // of all segments; above it the oldest is deleted; 0 is no bound
	// Sync and SyncEvery as of journal.Options.
	Sync      journal.SyncPolicy
	SyncEvery time.Duration
	// DiskReserve is the free space below which Write refuses; default the
	// smaller of 512 MiB and a tenth of the file system.
	DiskReserve uint64
	Head        int64            // bytes of new profiles in memory, default DefaultHead
	Now         func() time.Time // default time.Now
	Logger      *slog.Logger     // default slog.Default()
}

// New is a profile to be kept.
type New struct {
	Resource map[string]string
	Kind     string // what it measures; not empty
	Pprof    *profile.Profile
}

// Store is an open folder of profiles. Its methods are safe for concurrent use.
// Only one Store may have a folder open; whoever owns the folder sees to it.
type Store struct {
	opts    Options
	log     *slog.Logger
	journal *journal.Journal
	disk    disk
	decoder *zstd.Decoder
	encoder *zstd.Encoder // of journal records
	merges  chan struct{} // one for each read that decodes blocks
	memory  budget        // of what they add up

	// writing is held for reading from the append to the journal until the
	// head has the profiles, so that a flush, which holds it for writing, knows
	// up to which record the head is complete.
	writing  sync.RWMutex
	flushing sync.Mutex // one flush at a time

	mu       sync.Mutex
	closed   bool
	series   map[string]*series
	segments []*segment
	head     *head
	sealed   *head // being written to a segment
	stats    Stats
	stop     chan struct{}
	stopped  sync.WaitGroup
}

// maxMerges bounds the memory of reads: each holds a decoded block.
const maxMerges = 4

// Stats of a Store. Counters count since Open.
type Stats struct {
	Profiles       uint64 // kept, now
	Series         int    // now
	Bytes          int64  // of segments, now
	Segments       int    // now
	HeadBytes      int64  // new profiles in memory, rough, now
	Oldest, Newest time.Time
	Journal        journal.Stats

	Added        uint64 // profiles acknowledged
	Late         uint64 // older than the retention, not kept
	Replayed     uint64 // profiles that Open found in the journal
	Damaged      uint64 // blocks and records that could not be read, skipped
	Flushes      uint64
	FlushErrors  uint64
	Deleted      uint64 // segments beyond the retention
	RefusedDisk  uint64 // writes, each with any number of profiles
	RefusedQueue uint64 // the head is full, because segments cannot be written
	Refused      uint64 // for other reasons
}

// Open opens or creates the folder. What is in the journal only can be read at
// once; it goes to the head's tables in the background.
func Open(o Options) (*Store, error) { return open(o, osDisk{}) }

func open(o Options, d disk) (*Store, error) {
	s, err := load(o, d)
	if err != nil {
		return nil, err
	}
	replayed := s.head
	s.stopped.Go(func() { s.settleAll(replayed, s.stop) })
	s.stopped.Go(s.tend)
	return s, nil
}

// load opens the folder with nobody who works in the background.
func load(o Options, d disk) (*Store, error) {
	if o.Retention <= 0 {
		o.Retention = DefaultRetention
	}
	if o.Head <= 0 {
		o.Head = DefaultHead
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Store{opts: o, log: o.Logger, disk: d, series: map[string]*series{}, head: newHead(), merges: make(chan struct{}, maxMerges), memory: newBudget(mergeMemory), stop: make(chan struct{})}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open profiles %q: %w", o.Dir, err)
	}
	s.expire()
	return s, nil
}

func (s *Store) segmentsDir() string { return filepath.Join(s.opts.Dir, "segments") }

func (s *Store) recover() error {
	if err := os.MkdirAll(s.segmentsDir(), 0o750); err != nil {
		return err
	}
	if err := checkFormat(filepath.Join(s.opts.Dir, formatFile)); err != nil {
		return err
	}
	var err error
	if s.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(maxMerges), zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderLowmem(true)); err != nil {
		return err
	}
	if s.encoder, err = zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(journalWindow), zstd.WithLowerEncoderMem(true)); err != nil {
		return err
	}
	all, damaged, err := listSegments(s.segmentsDir())
	if err != nil {
		return err
	}
	s.stats.Damaged += uint64(damaged)
	var next uint64 = 1
	for i, seg := range all { // by their first record
		// A flush whose last sync failed is done again, with more.
		if i+1 < len(all) && all[i+1].from <= seg.to {
			_ = seg.file.Close()
			if err := os.Remove(seg.path); err != nil {
				return err
			}
			continue
		}
		s.adopt(seg)
		next = max(next, seg.to+1)
	}
	s.journal, err = journal.Open(filepath.Join(s.opts.Dir, "journal"), journal.Options{
		Sync: s.opts.Sync, SyncEvery: s.opts.SyncEvery, SegmentBytes: journalSegment, MinSeq: next,
	})
	if err != nil {
		return err
	}
	if err := s.journal.Replay(next, s.replay); err != nil {
		return errors.Join(err, s.journal.Close())
	}
	return nil
}

func checkFormat(path string) error {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return durable.Replace(path, []byte(formatText))
	case err != nil:
		return err
	case string(text) != formatText:
		return fmt.Errorf("%q says %q, want %q: a newer version wrote this folder; run that version", path, strings.TrimSpace(string(text)), strings.TrimSpace(formatText))
	}
	return nil
}

// intern returns the one series with the key of n. s.mu is held, or nobody else
// knows the store yet.
func (s *Store) intern(n *series) *series {
	one := s.series[n.key]
	if one == nil {
		one = n
		s.series[n.key] = one
	}
	return one
}

// adopt adds a segment; s.mu as for intern.
func (s *Store) adopt(seg *segment) {
	for i := range seg.blocks {
		b := &seg.blocks[i]
		b.series = s.intern(b.series)
		b.series.refs++
	}
	s.segments = append(s.segments, seg)
}

// leave gives back a series; s.mu is held.
func (s *Store) leave(one *series) {
	if one.refs--; one.refs == 0 {
		delete(s.series, one.key)
	}
}

// Write keeps profiles, all or none of them; they are durable as Options.Sync
// says when it returns nil. The profiles must be valid (profile.CheckValid) and
// are not kept. A profile that tells no time, or one more than a day ahead, gets
// the time of arrival; one that says it took longer than a day took a day; one
// that is older than the retention is counted and left out. id names the write.
//
// The error wraps store.ErrUnavailable when the sender should try again, and
// store.ErrInvalid when that can never help.
func (s *Store) Write(ctx context.Context, tenant store.Tenant, profiles []New) (id string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	batch, added, late, err := s.prepare(tenant, profiles)
	if err != nil {
		s.count(func(st *Stats) { st.Refused++ })
		return "", err
	}
	defer s.count(func(st *Stats) { st.Late += late })
	if len(batch.parts) == 0 {
		return "", nil
	}
	s.writing.RLock()
	defer s.writing.RUnlock()
	if err := s.admit(int64(len(batch.payload))); err != nil {
		return "", err
	}
	seq, err := s.journal.Append(ctx, journal.Tag{}, batch.payload)
	if err != nil {
		return "", s.refuse(err)
	}
	s.mu.Lock()
	h := s.head
	for i := range batch.parts {
		batch.parts[i].series = s.intern(batch.parts[i].series)
		if h.mark(batch.parts[i].series) {
			batch.parts[i].series.refs++
		}
	}
	s.stats.Added += added
	s.mu.Unlock()
	for _, p := range batch.parts {
		h.insert(seq, p.series, &p.table.table, p.rows, s.opts.Now())
	}
	return fmt.Sprintf("%x", seq), nil
}

// batch is a write, encoded.
type batch struct {
	parts   []part
	payload []byte
}

type part struct {
	series *series
	table  *builder
	rows   []row
}

func (s *Store) prepare(tenant store.Tenant, profiles []New) (b batch, added, late uint64, err error) {
	now := s.opts.Now()
	limit := now.Add(-s.opts.Retention).UnixNano()
	at, size := map[string]int{}, 0
	for _, p := range profiles {
		start := p.Pprof.TimeNanos
		if start <= 0 || start > now.Add(future).UnixNano() {
			start = now.UnixNano() - min(max(p.Pprof.DurationNanos, 0), int64(longest))
		}
		if start+min(max(p.Pprof.DurationNanos, 0), int64(longest)) < limit {
			late++
			continue
		}
		one := newSeries(tenant, p.Kind, p.Resource)
		i, ok := at[one.key]
		if !ok {
			i = len(b.parts)
			at[one.key] = i
			b.parts = append(b.parts, part{series: one, table: newBuilder()})
		}
		grown := -b.parts[i].table.size
		b.parts[i].rows = append(b.parts[i].rows, b.parts[i].table.add(p.Pprof, start))
		if grown += b.parts[i].table.size; size+grown > maxWrite {
			return b, 0, 0, fmt.Errorf("write profiles: more than %d MiB of different names and stacks at once: %w", maxWrite>>20, store.ErrInvalid)
		}
		size += grown
		added++
	}
	for _, p := range b.parts {
		t := &p.table.table
		var f frame
		if b.payload, f, err = appendFrame(b.payload, s.encoder, 0, summarize(p.series, t, p.rows), t, p.rows); err != nil {
			return b, 0, 0, err
		}
		if f.summary > maxSummary-summaryRoom {
			return b, 0, 0, tooManyKeys(int(f.summary))
		}
	}
	if len(b.payload) > journal.MaxPayload {
		return b, 0, 0, fmt.Errorf("write profiles: %d MiB at once, more than %d: %w", len(b.payload)>>20, journal.MaxPayload>>20, store.ErrInvalid)
	}
	return b, added, late, nil
}

// admit returns an error when nothing can be taken in now.
func (s *Store) admit(size int64) error {
	s.mu.Lock()
	closed, full := s.closed, s.sealed != nil && s.head.size.Load() > s.opts.Head
	s.mu.Unlock()
	if closed {
		s.count(func(st *Stats) { st.Refused++ })
		return fmt.Errorf("write profiles: the store is closing: %w", store.ErrUnavailable)
	}
	if full {
		s.count(func(st *Stats) { st.RefusedQueue++ })
		return fmt.Errorf("write profiles: the last %d MiB are not written to a segment yet: %w", s.opts.Head>>20, store.ErrUnavailable)
	}
	free, total, err := freeSpace(s.opts.Dir)
	if err != nil {
		return nil // an unknown size is no reason to refuse data
	}
	reserve := s.opts.DiskReserve
	if reserve == 0 {
		reserve = min(maxReserve, total/reserveShare)
	}
	if need := reserve + uint64(size); free < need {
		s.count(func(st *Stats) { st.RefusedDisk++ })
		return fmt.Errorf("write profiles: disk nearly full: %q has %d MiB free, %d MiB are needed; free some space or shorten the retention: %w",
			s.opts.Dir, free>>20, need>>20, store.ErrUnavailable)
	}
	return nil
}

// freeSpace is what an unprivileged process may still fill, and the size, of the
// file system of dir.
func freeSpace(dir string) (free, total uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), uint64(st.Blocks) * uint64(st.Bsize), nil
}

// refuse names why the journal did not take a record.
func (s *Store) refuse(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.count(func(st *Stats) {
		if errors.Is(err, journal.ErrFull) {
			st.RefusedDisk++
		} else {
			st.Refused++
		}
	})
	if errors.Is(err, journal.ErrTooLarge) {
		return fmt.Errorf("write profiles: %w: %w", err, store.ErrInvalid)
	}
	return fmt.Errorf("write profiles: %w: %w", err, store.ErrUnavailable)
}

func (s *Store) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// Stats returns figures about the store.
func (s *Store) Stats() Stats {
	js := s.journal.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Journal = js
	st.Series, st.Segments = len(s.series), len(s.segments)
	var first, last int64
	span := func(from, to int64) {
		if first == 0 || from < first {
			first = from
		}
		last = max(last, to)
	}
	for _, seg := range s.segments {
		st.Bytes += seg.size
		if seg.count > 0 {
			st.Profiles += uint64(seg.count)
			span(seg.first, seg.last)
		}
	}
	for _, h := range []*head{s.sealed, s.head} {
		if h == nil {
			continue
		}
		st.HeadBytes += h.size.Load()
		if n, from, to := h.extent(); n > 0 {
			st.Profiles += uint64(n)
			span(from, to)
		}
	}
	if first != 0 {
		st.Oldest, st.Newest = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
	}
	return st
}

// Close writes the head to a segment and closes the folder. Profiles that could
// not be written are in the journal; so are those of a replay that is not done,
// which the next Open takes up.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.stopped.Wait()
	for s.settled() && s.flush() == nil && s.pending() { // what was being written, and what came since
	}
	err := s.journal.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		s.release(seg)
	}
	s.segments = nil
	// The decoder is left to the collector of garbage: reads that go on have files
	// and blocks of their own, but would find it closed.
	return errors.Join(err, s.encoder.Close())
}
