package event

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// queuePatience is how long a write waits for room in the queue. A
	// checkpoint pauses the appliers for a tenth of this.
	queuePatience = 2 * time.Second
	// minWeight is what a batch takes of the queue at least. It bounds the
	// number of batches in the queue.
	minWeight = 4 << 10
	// groupBytes and groupLinger bound what is waited for to be given to the
	// engine at once. Each group becomes a part in memory, with a block for
	// every service: the larger, the less is left to merge. As rows a group
	// takes some ten times its bytes. See ADR 0010.
	groupBytes  = 1 << 20
	groupLinger = 1000 * time.Millisecond
	// largeGroup is the bound when more than largeBacklog waits already: such
	// groups are merged once before a checkpoint, into files, and those of
	// groupBytes in memory first. A steady load has no such backlog, and does
	// not need that memory. See ADR 0025.
	largeGroup   = 2 << 20
	largeBacklog = 4 * largeGroup
)

// Kinds of journal records.
const (
	kindTraces = 1
	kindLogs   = 2
)

// batch is an acknowledged batch on its way to the engine, as it was journaled.
type batch struct {
	seq     uint64
	tag     journal.Tag
	payload []byte
}

func (b *batch) weight() int64 { return max(minWeight, int64(len(b.payload))) }

// tag tells a replay what it needs besides the payload.
func newTag(kind byte, t store.Tenant, now time.Time) (tag journal.Tag) {
	tag[0] = kind
	binary.LittleEndian.PutUint32(tag[4:], t.Account)
	binary.LittleEndian.PutUint32(tag[8:], t.Project)
	binary.LittleEndian.PutUint64(tag[16:], uint64(now.UnixNano()))
	return tag
}

func readTag(tag journal.Tag) (kind byte, t store.Tenant, now time.Time) {
	return tag[0], store.Tenant{
		Account: binary.LittleEndian.Uint32(tag[4:]),
		Project: binary.LittleEndian.Uint32(tag[8:]),
	}, time.Unix(0, int64(binary.LittleEndian.Uint64(tag[16:])))
}

// WriteTraces implements store.Writer.
func (s *Store) WriteTraces(ctx context.Context, t store.Tenant, td ptrace.Traces) error {
	n := td.SpanCount()
	if n == 0 {
		return nil
	}
	payload, err := new(ptrace.ProtoMarshaler).MarshalTraces(td)
	if err != nil {
		return fmt.Errorf("encode traces: %w: %w", store.ErrInvalid, err)
	}
	return s.write(ctx, s.traces, t, payload, n)
}

// WriteLogs implements store.Writer.
func (s *Store) WriteLogs(ctx context.Context, t store.Tenant, ld plog.Logs) error {
	n := ld.LogRecordCount()
	if n == 0 {
		return nil
	}
	payload, err := new(plog.ProtoMarshaler).MarshalLogs(ld)
	if err != nil {
		return fmt.Errorf("encode logs: %w: %w", store.ErrInvalid, err)
	}
	return s.write(ctx, s.logs, t, payload, n)
}

// write journals a batch of n rows and hands it on. Everything that can refuse
// the batch comes before the journal; behind it nothing fails.
func (s *Store) write(ctx context.Context, e *engine, t store.Tenant, payload []byte, n int) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closing.Load() {
		s.counters.refusedClosing.Add(1)
		return fmt.Errorf("write %s: data folder is being closed: %w", e.name, store.ErrUnavailable)
	}
	pending, _ := s.since.size()
	if err := s.guard.check(pending); err != nil {
		s.counters.refusedDisk.Add(1)
		return fmt.Errorf("write %s: %w", e.name, err)
	}
	b := &batch{tag: newTag(e.kind, t, s.opts.Now()), payload: payload}
	if err := s.queue.reserve(ctx, b.weight(), s.closed); err != nil {
		s.counters.refusedQueue.Add(1)
		return fmt.Errorf("write %s: %w", e.name, err)
	}
	var err error
	if b.seq, err = e.journal.Append(ctx, b.tag, payload); err != nil {
		s.queue.release(b.weight())
		return s.refuse(e, err)
	}
	s.journaled(len(payload), n)
	e.backlog.Add(int64(len(payload)))
	e.pending <- b
	return nil
}

// refuse turns an error of the journal into one of package store.
func (s *Store) refuse(e *engine, err error) error {
	switch {
	case errors.Is(err, journal.ErrTooLarge):
		s.counters.refusedSize.Add(1)
		return fmt.Errorf("write %s: %w: %w", e.name, store.ErrInvalid, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("write %s: %w", e.name, err)
	}
	s.counters.refusedJournal.Add(1)
	return fmt.Errorf("write %s: %w: %w", e.name, store.ErrUnavailable, err)
}

// applyLoop gives batches to the engine until the store closes.
func (s *Store) applyLoop(e *engine) {
	var group []*batch
	for {
		if group = e.gather(group[:0], s.timing.linger); len(group) == 0 {
			return
		}
		s.applying <- struct{}{}
		s.convert.RLock()
		s.apply(e, group)
		s.convert.RUnlock()
		<-s.applying
		clear(group)
	}
}

// gather returns the batches to give to the engine at once, none when there
// will be no more. One applier gathers at a time, so that groups become large.
func (e *engine) gather(group []*batch, linger time.Duration) []*batch {
	e.gathering.Lock()
	defer e.gathering.Unlock()
	b, ok := <-e.pending
	if !ok {
		return nil
	}
	limit := int64(groupBytes)
	if e.backlog.Load() >= largeBacklog {
		limit = largeGroup
	}
	group = append(group, b)
	size := int64(len(b.payload))
	defer func() { e.backlog.Add(-size) }()
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for lingering := true; size < limit; {
		select {
		case b, ok = <-e.pending:
		default:
			if !lingering {
				return group
			}
			select {
			case b, ok = <-e.pending:
			case <-timer.C:
				lingering = false
				continue
			case <-e.hurry:
				lingering = false
				continue
			}
		}
		if !ok {
			return group
		}
		group = append(group, b)
		size += int64(len(b.payload))
	}
	return group
}

// apply gives a group to the engine and marks its batches as applied.
func (s *Store) apply(e *engine, group []*batch) {
	added := s.addRows(e, group)
	for _, b := range group {
		if added {
			e.progress.done(b.seq)
		}
		s.queue.release(b.weight())
	}
}

// addRows gives a group to the engine; false when the store closed before it
// could.
func (s *Store) addRows(e *engine, group []*batch) bool {
	lr := s.rows.take()
	defer s.rows.put(lr)
	for _, b := range group {
		s.decode(e, lr, b.tag, b.payload)
	}
	if !s.makeWritable(e, lr) {
		return false
	}
	e.db.MustAddRows(lr)
	e.db.DebugFlush() // the rows have waited for others already
	keepEngineRows()
	return true
}

// decode turns a record of the journal into rows.
func (s *Store) decode(e *engine, lr *logstorage.LogRows, tag journal.Tag, payload []byte) {
	kind, tenant, now := readTag(tag)
	var added, dropped int
	var err error
	switch kind {
	case kindTraces:
		added, dropped, err = s.codecs.spans(lr, tenant, payload, now)
	case kindLogs:
		added, dropped, err = s.codecs.logs(lr, tenant, payload, now)
	default:
		err = fmt.Errorf("unknown kind %d", kind)
	}
	e.count(added, dropped)
	if err != nil { // we wrote it and its checksum holds: only another version can
		e.undecodable.Add(1)
		s.log.Error("skip the rest of a journal record that cannot be decoded", "signal", e.name, "error", err)
	}
}

// queue bounds the memory of batches between journal and engine. Batches
// themselves are in channels; this is only the count of their weights. Writers
// that wait are let in first come, first served, so that large batches get in
// beside small ones.
type queue struct {
	limit int64

	mu      sync.Mutex
	used    int64
	batches int
	waiting []*waiter
}

type waiter struct {
	weight int64
	ready  chan struct{} // closed when it is let in
}

func newQueue(limit int64) *queue { return &queue{limit: limit} }

// reserve takes weight, waiting up to queuePatience. A batch larger than the
// whole queue is let in when the queue is empty.
func (q *queue) reserve(ctx context.Context, weight int64, closed <-chan struct{}) error {
	q.mu.Lock()
	w := &waiter{weight, make(chan struct{})}
	q.waiting = append(q.waiting, w)
	q.admit()
	q.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	default:
	}
	patience := time.NewTimer(queuePatience)
	defer patience.Stop()
	var err error
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-closed:
		err = errors.New("data folder is being closed")
	case <-patience.C:
		err = fmt.Errorf("the engine has not kept up for %v", queuePatience)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return nil // let in just now
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.admit()
	return fmt.Errorf("apply queue is full (%d of %d bytes): %w: %w", q.used, q.limit, store.ErrUnavailable, err)
}

// admit lets in who is next while there is room. q.mu is held.
func (q *queue) admit() {
	for len(q.waiting) > 0 && (q.batches == 0 || q.used+q.waiting[0].weight <= q.limit) {
		w := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		q.used += w.weight
		q.batches++
		close(w.ready)
	}
}

// release gives back what a batch took.
func (q *queue) release(weight int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches--
	q.used -= weight
	q.admit()
}

func (q *queue) size() (bytes int64, batches int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used, q.batches
}

// progress knows which batches of a signal are in the engine. Several appliers
// work at once and writers overtake each other between journal and queue, so
// besides the number up to which all are applied there are some ahead of it.
type progress struct {
	mu      sync.Mutex
	applied uint64
	ahead   map[uint64]struct{}
	moved   chan struct{} // closed and replaced when applied grows; nil while nobody waits
}

func newProgress(applied uint64) *progress {
	return &progress{applied: applied, ahead: map[uint64]struct{}{}}
}

func (p *progress) done(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if seq != p.applied+1 {
		p.ahead[seq] = struct{}{}
		return
	}
	p.applied++
	for len(p.ahead) > 0 {
		if _, ok := p.ahead[p.applied+1]; !ok {
			break
		}
		p.applied++
		delete(p.ahead, p.applied)
	}
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// state returns the number up to which all is applied, and those ahead of it.
func (p *progress) state() (applied uint64, ahead []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq := range p.ahead {
		ahead = append(ahead, seq)
	}
	return p.applied, ahead
}

// wait returns when all up to seq is applied.
func (p *progress) wait(ctx context.Context, seq uint64) error {
	for {
		p.mu.Lock()
		if p.applied >= seq {
			p.mu.Unlock()
			return nil
		}
		if p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// counters are the Store's own; see Stats.
type counters struct {
	refusedClosing, refusedDisk, refusedQueue, refusedJournal, refusedSize atomic.Uint64

	checkpoints, checkpointErrors atomic.Uint64
	checkpointTook, pauseMax      atomic.Int64 // ns
	lastCheckpoint                atomic.Int64 // Unix ns
}
