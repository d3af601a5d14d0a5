package event

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxTails bounds the readers of the live tail: every accepted record is
	// held against each one's conditions.
	maxTails = 64
	// maxTailRows and maxTailBytes bound what waits for a slow reader.
	maxTailRows  = 1024
	maxTailBytes = 16 << 20
)

// tail hands accepted records to those who watch. The writer never waits: what
// a reader has no room for is dropped, oldest first, and counted.
type tail struct {
	watching atomic.Int32 // readers; spares the lock while there are none

	mu      sync.Mutex
	readers map[*tailReader]struct{}
}

type tailReader struct {
	tenant store.Tenant
	filter *logstorage.Filter

	mu    sync.Mutex
	rows  []tailRow // oldest first
	bytes int
	lost  uint64
	wake  chan struct{} // one signal: there are rows
}

type tailRow struct {
	at     int64
	fields []logstorage.Field
	bytes  int
}

func newTail() *tail { return &tail{readers: make(map[*tailReader]struct{})} }

// offer shows a row to the readers; fields belong to the caller.
func (t *tail) offer(tenant store.Tenant, at int64, fields []logstorage.Field) {
	if t.watching.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for r := range t.readers {
		if r.tenant == tenant && r.filter.MatchRow(fields) {
			r.push(newTailRow(at, fields))
		}
	}
}

func newTailRow(at int64, fields []logstorage.Field) tailRow {
	size := 0
	for _, f := range fields {
		size += len(f.Name) + len(f.Value)
	}
	var text strings.Builder // one allocation for all
	text.Grow(size)
	for _, f := range fields {
		text.WriteString(f.Name)
		text.WriteString(f.Value)
	}
	rest := text.String()
	row := tailRow{at: at, fields: make([]logstorage.Field, len(fields)), bytes: size}
	for i, f := range fields {
		row.fields[i].Name, rest = rest[:len(f.Name)], rest[len(f.Name):]
		row.fields[i].Value, rest = rest[:len(f.Value)], rest[len(f.Value):]
	}
	return row
}

func (r *tailReader) push(row tailRow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.rows) > 0 && (len(r.rows) >= maxTailRows || r.bytes+row.bytes > maxTailBytes) {
		r.bytes -= r.rows[0].bytes
		r.rows[0] = tailRow{}
		r.rows = r.rows[1:]
		r.lost++
	}
	r.rows = append(r.rows, row)
	r.bytes += row.bytes
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns what waits and how many rows were lost before it.
func (r *tailReader) take() (rows []tailRow, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows, lost = r.rows, r.lost
	r.rows, r.bytes, r.lost = nil, 0, 0
	return rows, lost
}

func (t *tail) watch(tenant store.Tenant, filter *logstorage.Filter) (*tailReader, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.readers) >= maxTails {
		return nil, fmt.Errorf("%d readers watch the tail already: %w", maxTails, store.ErrLimit)
	}
	r := &tailReader{tenant: tenant, filter: filter, wake: make(chan struct{}, 1)}
	t.readers[r] = struct{}{}
	t.watching.Add(1)
	return r, nil
}

func (t *tail) leave(r *tailReader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.readers, r)
	t.watching.Add(-1)
}

// Tail implements store.LogReader. The range of sel does not matter.
func (r *reader) Tail(ctx context.Context, sel store.Select, yield func(row store.LogRow, lost uint64) bool) error {
	_, text, err := logDialect.where(sel.Where)
	if err != nil {
		return err
	}
	if text == "" {
		text = always
	}
	filter, err := logstorage.ParseFilter(text)
	if err != nil {
		return fmt.Errorf("parse filter: %w: %w", err, store.ErrInvalid)
	}
	t := r.logRows.tail
	w, err := t.watch(sel.Tenant, filter)
	if err != nil {
		return err
	}
	defer t.leave(w)
	d := newLogDecoder()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		rows, lost := w.take()
		for _, tr := range rows {
			if ctx.Err() != nil {
				return nil
			}
			d.load(tr.fields)
			row, err := d.record(tr.at)
			if err != nil {
				return err
			}
			row.ID = place{at: tr.at, hash: d.content}.cursor()
			if !yield(row, lost) {
				return nil
			}
			lost = 0
		}
	}
}
