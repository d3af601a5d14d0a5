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
	// A batch takes rowsPerByte bytes of memory for a byte of OTLP, and
	// rowWeight for a row. Measured as rows: 6,200 bytes for a span of 605
	// bytes, 330 for a log record of 30: buffers grow by doubling.
	rowsPerByte = 9
	rowWeight   = 256
	// minWeight is what a batch takes of the queue at least. It bounds the
	// number of batches in the queue.
	minWeight = 4 << 10
)

// Kinds of journal records.
const (
	kindTraces = 1
	kindLogs   = 2
)

// batch is an acknowledged batch on its way to the engine, as rows or, when lr
// is nil, as OTLP.
type batch struct {
	engine  *engine
	seq     uint64
	weight  int64
	lr      *logstorage.LogRows
	tag     journal.Tag
	payload []byte
}

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
	return s.write(ctx, s.traces, t, payload, n, func(lr *logstorage.LogRows, now time.Time) (int, int) {
		return s.codecs.spans(lr, t, td, now)
	})
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
	return s.write(ctx, s.logs, t, payload, n, func(lr *logstorage.LogRows, now time.Time) (int, int) {
		return s.codecs.logs(lr, t, ld, now)
	})
}

// write journals a batch of n rows and hands it on. Everything that can refuse the batch
// comes before the journal; behind it nothing fails.
func (s *Store) write(ctx context.Context, e *engine, t store.Tenant, payload []byte, n int,
	rows func(*logstorage.LogRows, time.Time) (added, dropped int)) error {
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
	weight := s.queue.weigh(len(payload), n)
	if err := s.queue.reserve(ctx, weight, s.closed); err != nil {
		s.counters.refusedQueue.Add(1)
		return fmt.Errorf("write %s: %w", e.name, err)
	}
	now := s.opts.Now()
	tag := newTag(e.kind, t, now)
	seq, err := e.journal.Append(ctx, tag, payload)
	if err != nil {
		s.queue.release(weight)
		return s.refuse(e, err)
	}
	s.journaled(len(payload), n)

	b := &batch{engine: e, seq: seq, weight: weight, tag: tag, payload: payload}
	if !s.convert.TryRLock() { // a checkpoint is being made; do not wait for it
		b.weight = s.queue.weighEncoded(len(payload))
		s.queue.shrink(weight, b.weight)
		s.late <- b
		return nil
	}
	b.lr, b.payload = logstorage.GetLogRows(nil, nil, nil, nil, ""), nil
	e.count(rows(b.lr, now))
	s.converted.Add(1)
	s.convert.RUnlock()
	s.rows <- b
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

// applyRows gives converted batches to the engine.
func (s *Store) applyRows() {
	for b := range s.rows {
		s.apply(b)
		s.converted.Done()
	}
}

// applyLate converts batches whose writers met a checkpoint, and gives them to
// the engine. It has goroutines of its own: one that waits for the checkpoint
// to end must not keep the checkpoint from getting its converted batches.
func (s *Store) applyLate() {
	for b := range s.late {
		s.convert.RLock()
		b.lr = s.decode(b.engine, b.tag, b.payload)
		b.payload = nil
		s.apply(b)
		s.convert.RUnlock()
	}
}

// decode turns a record of the journal into rows.
func (s *Store) decode(e *engine, tag journal.Tag, payload []byte) *logstorage.LogRows {
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	kind, tenant, now := readTag(tag)
	var err error
	switch kind {
	case kindTraces:
		var td ptrace.Traces
		if td, err = new(ptrace.ProtoUnmarshaler).UnmarshalTraces(payload); err == nil {
			e.count(s.codecs.spans(lr, tenant, td, now))
		}
	case kindLogs:
		var ld plog.Logs
		if ld, err = new(plog.ProtoUnmarshaler).UnmarshalLogs(payload); err == nil {
			e.count(s.codecs.logs(lr, tenant, ld, now))
		}
	default:
		err = fmt.Errorf("unknown kind %d", kind)
	}
	if err != nil { // we wrote it and its checksum holds: only another version can
		e.undecodable.Add(1)
		s.log.Error("skip a journal record that cannot be decoded", "signal", e.name, "error", err)
	}
	return lr
}

// apply gives rows to the engine and marks the batch as applied.
func (s *Store) apply(b *batch) {
	if s.makeWritable(b.engine, b.lr) {
		b.engine.db.MustAddRows(b.lr)
		b.engine.progress.done(b.seq)
	}
	logstorage.PutLogRows(b.lr)
	s.queue.release(b.weight)
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

// weigh estimates the memory of a batch as rows. One that is larger than the
// whole queue is let in when the queue is empty.
func (q *queue) weigh(payload, rows int) int64 {
	return min(q.limit, max(minWeight, int64(payload)*rowsPerByte+int64(rows)*rowWeight))
}

// weighEncoded is the memory of a batch that waits as it was journaled.
func (q *queue) weighEncoded(payload int) int64 {
	return min(q.limit, max(minWeight, int64(payload)))
}

// reserve takes weight, waiting up to queuePatience.
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
	for len(q.waiting) > 0 && q.used+q.waiting[0].weight <= q.limit {
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

// shrink gives back a part of what a batch took.
func (q *queue) shrink(from, to int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used -= from - to
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
