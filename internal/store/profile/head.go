package profile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// head is the profiles that no segment holds yet.
type head struct {
	size atomic.Int64 // rough bytes

	mu       sync.Mutex
	from, to uint64    // records of the journal
	began    time.Time // when the first came in
	series   map[string]*headSeries
}

// headSeries is a block that grows.
type headSeries struct {
	series *series

	mu          sync.Mutex
	table       *builder
	rows        []row
	count       int // of rows and of waiting
	first, last int64
	until       int64
	keys        map[string]bool // of labels

	waiting  []waiting  // see settle
	settling sync.Mutex // held before mu
}

func newHead() *head { return &head{series: map[string]*headSeries{}} }

// mark makes room for a series; true when it is new.
func (h *head) mark(s *series) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.series[s.key] != nil {
		return false
	}
	h.series[s.key] = &headSeries{series: s, table: newBuilder(), keys: map[string]bool{}}
	h.size.Add(int64(entrySize + 2*len(s.key)))
	return true
}

// at gives the place of a series for the profiles of a record.
func (h *head) at(seq uint64, s *series, now time.Time) *headSeries {
	if h.mark(s) { // a replay
		s.refs++
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.from == 0 {
		h.from, h.began = seq, now
	}
	h.from, h.to = min(h.from, seq), max(h.to, seq)
	return h.series[s.key]
}

// insert adds the profiles of a record.
func (h *head) insert(seq uint64, s *series, t *table, rows []row, now time.Time) {
	one := h.at(seq, s, now)
	one.mu.Lock()
	defer one.mu.Unlock()
	for _, r := range rows {
		one.extend(1, r.time, r.time, r.end())
	}
	h.size.Add(int64(one.take(t, rows)))
}

// extend counts profiles; h.mu is held.
func (h *headSeries) extend(n int, first, last, until int64) {
	if h.count == 0 || first < h.first {
		h.first = first
	}
	h.count, h.last, h.until = h.count+n, max(h.last, last), max(h.until, until)
}

// take puts profiles that are counted into the table and says how much it grew;
// h.mu is held.
func (h *headSeries) take(t *table, rows []row) (size int) {
	before, known := h.table.size, len(h.table.labels)
	taken := h.table.take(t, rows)
	for _, set := range h.table.labels[known:] {
		for _, l := range set {
			h.keys[h.table.strings[l.key]] = true
		}
	}
	size = h.table.size - before
	for _, r := range taken {
		size += r.size()
	}
	h.rows = append(h.rows, taken...)
	return size
}

// sorted lists the series by key, so that those of a tenant and type stand
// together.
func (h *head) sorted() []*headSeries {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*headSeries, 0, len(h.series))
	for _, one := range h.series {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *headSeries) int { return strings.Compare(a.series.key, b.series.key) })
	return all
}

// extent is how many profiles there are, and when they began.
func (h *head) extent() (n int, first, last int64) {
	for _, one := range h.sorted() {
		one.mu.Lock()
		if one.count > 0 {
			if n == 0 || one.first < first {
				first = one.first
			}
			last = max(last, one.last)
			n += one.count
		}
		one.mu.Unlock()
	}
	return n, first, last
}

// due tells whether the head should become a segment.
func (h *head) due(limit int64, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.from != 0 && (h.size.Load() >= limit || now.Sub(h.began) >= headAge)
}

func (h *head) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.from == 0
}

// tend flushes and deletes in the background until the store closes.
func (s *Store) tend() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var retry, expired time.Time
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.After(retry) && s.due() {
			if err := s.flush(); err != nil {
				s.log.Error("write profiles to a segment; they stay in the journal", "error", err)
				retry = now.Add(flushRetry)
			}
		}
		if now.Sub(expired) >= expireEvery {
			s.expire()
			expired = now
		}
	}
}

func (s *Store) due() bool {
	s.mu.Lock()
	sealed, h := s.sealed, s.head
	s.mu.Unlock()
	return sealed != nil || h.due(s.opts.Head, s.opts.Now()) || s.journal.Stats().Bytes >= headRecords && !h.empty()
}

// pending tells whether profiles are in the journal only.
func (s *Store) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealed != nil || !s.head.empty()
}

// flush makes a segment of the head. After an error the profiles can still be
// read; the next flush tries again.
func (s *Store) flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.writing.Lock() // the head has all records up to its last
	s.mu.Lock()
	if s.sealed == nil && !s.head.empty() {
		s.sealed, s.head = s.head, newHead()
	}
	h := s.sealed
	s.mu.Unlock()
	s.writing.Unlock()
	if h == nil {
		return nil
	}
	s.settleAll(h, nil)
	seg, err := writeSegment(s.disk, s.segmentsDir(), h)
	if err != nil {
		s.count(func(st *Stats) { st.FlushErrors++ })
		return err
	}
	s.mu.Lock()
	s.adopt(seg)
	for _, one := range h.sorted() {
		s.leave(one.series)
	}
	s.sealed = nil
	s.stats.Flushes++
	s.mu.Unlock()
	if err := s.journal.TruncateBefore(seg.to + 1); err != nil {
		return fmt.Errorf("profiles are written: %w", err)
	}
	return nil
}

// expire deletes segments whose profiles are all beyond the retention, and the
// oldest while there are too many bytes.
func (s *Store) expire() {
	s.mu.Lock()
	limit := s.opts.Now().Add(-s.opts.Retention).UnixNano()
	total := int64(0)
	for _, seg := range s.segments {
		total += seg.size
	}
	slices.SortStableFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.last, b.last) })
	newest := s.newest()
	var gone, kept []*segment
	for _, seg := range s.segments {
		// The newest tells where the journal begins. Too old it may go: what the
		// journal still has of it is too old as well.
		if seg.last < limit || s.opts.MaxBytes > 0 && total > s.opts.MaxBytes && seg != newest {
			gone = append(gone, seg)
			total -= seg.size
			continue
		}
		kept = append(kept, seg)
	}
	s.segments = kept
	s.mu.Unlock()
	for _, seg := range gone {
		if err := os.Remove(seg.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Error("delete profiles beyond the retention", "error", err)
		}
		s.mu.Lock()
		for _, b := range seg.blocks {
			s.leave(b.series)
		}
		s.stats.Deleted++
		s.release(seg)
		s.mu.Unlock()
	}
}

// newest is the segment with the last record; s.mu is held.
func (s *Store) newest() *segment {
	var last *segment
	for _, seg := range s.segments {
		if last == nil || seg.to > last.to {
			last = seg
		}
	}
	return last
}

// release ends the use of a segment; s.mu is held.
func (s *Store) release(seg *segment) {
	if seg.refs--; seg.refs == 0 {
		if err := seg.file.Close(); err != nil {
			s.log.Warn("close a segment", "error", err)
		}
	}
}
