package profile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
	"golang.org/x/sync/semaphore"

	"github.com/guanlan-io/guanlan/internal/pprofile"
	"github.com/guanlan-io/guanlan/internal/store"
)

// Limits of reads.
const (
	// MaxSeries bounds the answer of Series: each process that was profiled may
	// be one.
	MaxSeries = 100_000
	// maxMerged bounds the memory of what a read adds up, as builder.size
	// counts: profiles of many programs at once have little in common.
	maxMerged = 512 << 20
	// mergeMemory bounds that of all reads together, with the profiles that are
	// made of it. It leaves some to others beside the largest.
	mergeMemory = 768 << 20
)

// budget is memory for several who count what they take.
type budget struct {
	most int64
	free *semaphore.Weighted
}

func newBudget(most int64) budget { return budget{most, semaphore.NewWeighted(most)} }

// share is what one of them has of a budget.
type share struct {
	of   budget
	held int64
}

// grow makes the share as large as size, unless it is. It fails with
// store.ErrUnavailable while others have too much, and with store.ErrLimit if that
// is no matter.
func (s *share) grow(size int64) error {
	switch more := size - s.held; {
	case more <= 0:
		return nil
	case size > s.of.most:
		return fmt.Errorf("add up profiles: %d MiB of memory, more than %d: %w", size>>20, s.of.most>>20, store.ErrLimit)
	case !s.of.free.TryAcquire(more):
		return fmt.Errorf("add up profiles: other sums that are made now leave less than %d of %d MiB of memory: %w", size>>20, s.of.most>>20, store.ErrUnavailable)
	}
	s.held = size
	return nil
}

func (s *share) end() { s.of.free.Release(s.held) }

// Series is the profiles of one type of one resource.
type Series struct {
	Kind        string
	Resource    map[string]string // the store's own: not to be changed
	Unit        string            // of Total
	Profiles    int
	First, Last time.Time // start of the oldest and of the newest
	Total       int64     // of the values that the kind is named for
}

// source is part of a view: a block, or a series of the head.
type source struct {
	summary
	read func() (*table, []row, error)
	// late, if not nil, is to be read in its place: it waits until the source can
	// be read.
	late func() source
}

// view gives the blocks and the series of the head that want asks for, as they
// are now. release must be called.
func (s *Store) view(r store.Range, want func(*summary) bool) (all []source, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, fmt.Errorf("read profiles: the store is closing: %w", store.ErrUnavailable)
	}
	var held []*segment
	for _, seg := range s.segments {
		if seg.count == 0 || !within(r, seg.first, seg.until) {
			continue
		}
		seg.refs++
		held = append(held, seg)
		for i := range seg.blocks {
			if b := &seg.blocks[i]; want(&b.summary) {
				all = append(all, source{summary: b.summary, read: func() (*table, []row, error) { return seg.read(s.decoder, *b) }})
			}
		}
	}
	for _, h := range []*head{s.sealed, s.head} {
		if h == nil {
			continue
		}
		for _, one := range h.sorted() {
			if src := s.source(h, one); src.count > 0 && want(&src.summary) {
				all = append(all, src)
			}
		}
	}
	return all, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, seg := range held {
			s.release(seg)
		}
	}, nil
}

// source reads what is there now. Rows and tables only grow, so that a copy of
// their headers stays as it is.
func (s *Store) source(h *head, one *headSeries) source {
	one.mu.Lock()
	defer one.mu.Unlock()
	t, rows := one.table.table, one.rows[:len(one.rows):len(one.rows)]
	src := source{
		summary: summary{series: one.series, first: one.first, last: one.last, until: one.until, count: one.count},
		read:    func() (*table, []row, error) { return &t, rows, nil },
	}
	for key := range one.keys {
		src.labels = append(src.labels, key)
	}
	if len(one.waiting) > 0 {
		src.late = func() source {
			s.settle(h, one)
			return s.source(h, one)
		}
	}
	return src
}

// within tells whether a stretch of time meets the range. A profile belongs to
// every range that it was taken in a part of.
func within(r store.Range, first, until int64) bool {
	return first < r.End.UnixNano() && (until > r.Start.UnixNano() || first >= r.Start.UnixNano())
}

// choose gives the sources that can have what is asked for.
func (s *Store) choose(sel store.Select, kind string) (chosen []source, m *matcher, release func(), err error) {
	if m, err = newMatcher(sel.Where); err != nil {
		return nil, nil, nil, err
	}
	chosen, release, err = s.view(sel.Range, func(b *summary) bool {
		if b.series.tenant != sel.Tenant || kind != "" && b.series.kind != kind || !within(sel.Range, b.first, b.until) {
			return false
		}
		_, ok := m.series(b.series, b.has)
		return ok
	})
	return chosen, m, release, err
}

// rows reads the profiles of a source that are meant, with their samples that
// are. A block that cannot be read is counted and skipped.
func (s *Store) rows(src source, m *matcher, within store.Range) (*table, []row) {
	if src.late != nil {
		src = src.late()
	}
	t, all, err := src.read()
	if err != nil {
		s.count(func(st *Stats) { st.Damaged++ })
		s.log.Error("skip profiles", "error", err)
		return nil, nil
	}
	left, _ := m.series(src.series, src.has)
	return t, m.samples(left, src.series, t).rows(t, inRange(all, within))
}

func inRange(all []row, r store.Range) []row {
	whole := func(one row) bool { return within(r, one.time, one.end()) }
	if !slices.ContainsFunc(all, func(one row) bool { return !whole(one) }) {
		return all
	}
	var rows []row
	for _, one := range all {
		if whole(one) {
			rows = append(rows, one)
		}
	}
	return rows
}

// begin waits for its turn to decode blocks, and chooses. end must be called.
func (s *Store) begin(ctx context.Context, sel store.Select, kind string) (chosen []source, m *matcher, end func(), err error) {
	select {
	case s.merges <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, nil, ctx.Err()
	}
	chosen, m, release, err := s.choose(sel, kind)
	if err != nil {
		<-s.merges
		return nil, nil, nil, err
	}
	return chosen, m, func() {
		release()
		<-s.merges
	}, nil
}

// Series lists what has profiles, in order of type and of the attributes of the
// resource; at most MaxSeries, above which it fails with store.ErrLimit.
func (s *Store) Series(ctx context.Context, sel store.Select) ([]Series, error) {
	chosen, m, end, err := s.begin(ctx, sel, "")
	if err != nil {
		return nil, err
	}
	defer end()
	found := map[*series]*Series{}
	add := func(one *series, unit string, n int, first, last, total int64) {
		o := found[one]
		if o == nil {
			o = &Series{Kind: one.kind, Resource: one.resource, Unit: unit, First: time.Unix(0, first).UTC(), Last: time.Unix(0, last).UTC()}
			found[one] = o
		}
		o.Profiles += n
		o.Total = pprofile.Plus(o.Total, total)
		if t := time.Unix(0, first).UTC(); t.Before(o.First) {
			o.First = t
		}
		if t := time.Unix(0, last).UTC(); t.After(o.Last) {
			o.Last = t
		}
	}
	for _, src := range chosen {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		left, _ := m.series(src.series, src.has)
		whole := src.first >= sel.Range.Start.UnixNano() && src.last < sel.Range.End.UnixNano()
		if whole && len(left) == 0 && src.unit != "" { // a block whose summary says it all
			add(src.series, src.unit, src.count, src.first, src.last, src.total)
			continue
		}
		t, rows := s.rows(src, m, sel.Range)
		for _, r := range rows {
			at, unit := t.main(r.schema, src.series.kind)
			add(src.series, unit, 1, r.time, r.time, t.sum(r, at))
		}
	}
	if len(found) > MaxSeries {
		return nil, fmt.Errorf("list profiles: %d series, more than %d: %w", len(found), MaxSeries, store.ErrLimit)
	}
	keys := slices.SortedFunc(maps.Keys(found), func(a, b *series) int { return strings.Compare(a.key, b.key) })
	out := make([]Series, len(keys))
	for i, k := range keys {
		out[i] = *found[k]
	}
	return out, nil
}

// Merged is profiles added up. It is not to be kept.
type Merged struct {
	Profile  *profile.Profile
	Profiles int
	// Main is the place of the value that the kind is named for, -1 when the
	// profile has no values.
	Main int
}

// Merge adds up the profiles of a kind and hands them to use, whose error it
// returns. Values of one type and unit are one; a profile that lacks a type of
// another counts nothing there. Without labels, samples that differ in these only are
// added up, too.
//
// All sums have a common bound on their memory, until use returns. Merge fails with
// store.ErrUnavailable while others take too much of it, with store.ErrLimit when
// this one alone does, and with store.ErrNotFound when no profile matches.
func (s *Store) Merge(ctx context.Context, sel store.Select, kind string, labels bool, use func(*Merged) error) error {
	chosen, m, end, err := s.begin(ctx, sel, kind)
	if err != nil {
		return err
	}
	defer end()
	memory := share{of: s.memory}
	defer memory.end()
	sum := newSum(labels)
	for _, src := range chosen {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, rows := s.rows(src, m, sel.Range)
		if len(rows) == 0 {
			continue
		}
		sum.add(t, rows)
		if sum.size() > maxMerged {
			return fmt.Errorf("add up profiles: more than %d MiB of stacks: %w", maxMerged>>20, store.ErrLimit)
		}
		if err := memory.grow(int64(sum.size())); err != nil {
			return err
		}
	}
	if sum.count == 0 {
		return fmt.Errorf("no profile of type %s matches in this time: %w", kind, store.ErrNotFound)
	}
	locations, size := sum.written()
	if locations > maxLocations {
		return fmt.Errorf("add up profiles: the stacks have %d locations, more than %d: %w", locations, maxLocations, store.ErrLimit)
	}
	if err := memory.grow(int64(sum.size() + size)); err != nil {
		return err
	}
	at, _ := sum.all.main(sum.all.schema(sum.header()), kind)
	return use(&Merged{Profile: sum.profile(), Profiles: sum.count, Main: at})
}
