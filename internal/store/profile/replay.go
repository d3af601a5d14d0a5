package profile

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/guanlan-io/guanlan/internal/journal"
)

// maxWaiting bounds what a replay keeps as it stands in the journal: above it,
// which only a journal reaches whose flushes failed, profiles are worked in before
// Open returns.
const maxWaiting = headRecords + 2*journalSegment

// waiting is a block of the journal that is not in its series' table yet. To
// unpack it and to find its names and stacks among those that are known takes
// hundred times as long as to read it, so that Open does not wait for it: readers
// settle the series that they want, and the rest follows in the background.
type waiting struct {
	frame frame
	body  []byte // part of a segment of the journal
	count int    // profiles
}

// replay takes a record of the journal in. One that cannot be read is counted.
func (s *Store) replay(seq uint64, _ journal.Tag, payload []byte) error {
	now := s.opts.Now()
	limit := now.Add(-s.opts.Retention).UnixNano()
	for len(payload) > 0 {
		f, ok := readFrame(payload, 0)
		if !ok || f.size() > int64(len(payload)) {
			s.stats.Damaged++
			return nil
		}
		body := payload[frameHeader+int(f.summary) : f.size()]
		m, err := f.summaryOf(payload)
		if err == nil {
			err = f.check(body)
		}
		payload = payload[f.size():]
		if err != nil {
			s.stats.Damaged++
			s.log.Error("skip profiles of the journal", "record", seq, "error", err)
			continue
		}
		if m.until < limit {
			continue // deleted once already
		}
		s.head.wait(s.head.at(seq, s.intern(m.series), now), m, waiting{f, body, m.count})
		s.stats.Replayed += uint64(m.count)
		if s.head.size.Load() > maxWaiting {
			s.settleAll(s.head, nil)
		}
	}
	return nil
}

// wait counts the profiles of a block whose summary is m.
func (h *head) wait(one *headSeries, m summary, w waiting) {
	one.mu.Lock()
	defer one.mu.Unlock()
	one.extend(m.count, m.first, m.last, m.until)
	for _, key := range m.labels {
		one.keys[key] = true
	}
	one.waiting = append(one.waiting, w)
	h.size.Add(int64(len(w.body)))
}

// settle works in what of a series waits. It may be called by many at once; all
// return when it is done.
func (s *Store) settle(h *head, one *headSeries) {
	one.settling.Lock()
	defer one.settling.Unlock()
	for s.settleOne(h, one) {
	}
}

// settleOne works in a block of a series; false when none waits. one.settling is held.
func (s *Store) settleOne(h *head, one *headSeries) bool {
	one.mu.Lock()
	if len(one.waiting) == 0 {
		one.waiting = nil
		one.mu.Unlock()
		return false
	}
	w := one.waiting[0]
	one.mu.Unlock()

	t, rows, err := w.frame.open(s.decoder, w.body) // without the lock: writers and lists go on

	if err == nil && len(rows) != w.count {
		err = fmt.Errorf("%d profiles where the summary says %d: %w", len(rows), w.count, errDamaged)
	}
	if err != nil {
		rows = nil
		s.count(func(st *Stats) { st.Damaged++ })
		s.log.Error("skip profiles of the journal", "error", err)
	}
	size := -len(w.body)

	one.mu.Lock()
	defer one.mu.Unlock()
	one.waiting[0], one.waiting = waiting{}, one.waiting[1:]
	one.count -= w.count - len(rows)
	if len(rows) > 0 {
		size += one.take(t, rows)
	}
	h.size.Add(int64(size))
	return true
}

// settleAll works in what of the head waits, until it is done or stop is closed.
func (s *Store) settleAll(h *head, stop <-chan struct{}) {
	all := make(chan *headSeries)
	var workers sync.WaitGroup
	for range min(maxMerges, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for one := range all {
				one.settling.Lock()
				for !isClosed(stop) && s.settleOne(h, one) {
				}
				one.settling.Unlock()
			}
		})
	}
	for _, one := range h.sorted() {
		all <- one
	}
	close(all)
	workers.Wait()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// settled tells whether no profile of the head waits.
func (s *Store) settled() bool {
	s.mu.Lock()
	heads := []*head{s.sealed, s.head}
	s.mu.Unlock()
	for _, h := range heads {
		if h == nil {
			continue
		}
		for _, one := range h.sorted() {
			one.mu.Lock()
			n := len(one.waiting)
			one.mu.Unlock()
			if n > 0 {
				return false
			}
		}
	}
	return true
}
