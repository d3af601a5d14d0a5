package logsql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/guanlan-io/guanlan/internal/store"
)

// maxTailed bounds the rows that one look of a tail takes; of a greater burst
// the rest is not shown.
const maxTailed = 10_000

// late is how long after its time a row may arrive and still be seen.
const late = 5 * time.Second

// Tail says how to follow.
type Tail struct {
	Every time.Duration // between two looks; 0: a second
	Delay time.Duration // rows are shown so long after their time, in order
	Since time.Duration // how far back the first look goes
}

// Follow looks for new rows time and again, and calls yield after each look
// with the rows that q selects, in order of time, perhaps none; until ctx ends or
// yield returns false. Because it reads what is stored, unlike a tail of
// accepted records it takes pipes. A row that arrives more than 5 s after rows
// of the same stream with a later time is not seen.
func (r *Reader) Follow(ctx context.Context, q Query, t Tail, yield func(rows [][]Field) bool) error {
	parsed, err := parse(q)
	if err != nil {
		return err
	}
	if !parsed.CanLiveTail() {
		return fmt.Errorf("query [%s] cannot be followed: it has pipes that need all rows: %w", q.Text, store.ErrInvalid)
	}
	if t.Every <= 0 {
		t.Every = time.Second
	}
	ticker := time.NewTicker(t.Every)
	defer ticker.Stop()
	end := time.Now().Add(-t.Delay)
	start := end.Add(-t.Since)
	shown := map[string]int64{} // newest time by stream
	for {
		rows, err := r.look(ctx, q, parsed, start, end, shown)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if !yield(rows) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			start, end = end.Add(-late), time.Now().Add(-t.Delay)
		}
		// A stream that has been silent for long cannot have rows left to skip.
		for stream, at := range shown {
			if at < start.UnixNano() {
				delete(shown, stream)
			}
		}
	}
}

type tailed struct {
	at     int64
	stream string
	fields []Field
}

// look reads the rows between start and end that were not shown before.
func (r *Reader) look(ctx context.Context, q Query, parsed *logstorage.Query, start, end time.Time, shown map[string]int64) ([][]Field, error) {
	var rows []tailed
	var broken error
	part := parsed.CloneWithTimeFilter(end.UnixNano(), start.UnixNano(), end.UnixNano()-1)
	_, err := r.run(ctx, q, part, func(row []Field) bool {
		t := tailed{fields: make([]Field, len(row))}
		ok := false
		for i, f := range row {
			t.fields[i] = Field{strings.Clone(f.Name), strings.Clone(f.Value)}
			switch f.Name {
			case "_time":
				t.at, ok = logstorage.TryParseTimestampRFC3339Nano(f.Value)
			case "_stream_id":
				t.stream = t.fields[i].Value
			}
		}
		if !ok {
			broken = fmt.Errorf("query [%s] cannot be followed: its rows have no _time: %w", q.Text, store.ErrInvalid)
			return false
		}
		if at, seen := shown[t.stream]; !seen || t.at > at {
			rows = append(rows, t)
		}
		return len(rows) < maxTailed
	})
	if broken != nil {
		return nil, broken
	}
	slices.SortStableFunc(rows, func(a, b tailed) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	out := make([][]Field, len(rows))
	for i, t := range rows {
		shown[t.stream] = max(shown[t.stream], t.at)
		out[i] = t.fields
	}
	return out, err
}
