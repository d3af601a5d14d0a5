package event

import (
	"context"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/logsql"
)

var (
	_ store.TraceReader = (*Store)(nil)
	_ store.LogReader   = (*Store)(nil)
)

// read runs f while the engines are held open.
func read[T any](ctx context.Context, s *Store, f func(context.Context, *reader) (T, error)) (T, error) {
	ctx, done, err := s.reading(ctx)
	if err != nil {
		var none T
		return none, err
	}
	defer done()
	return f(ctx, s.reader)
}

// page is a slice with its cursor, for read.
type page[T any] struct {
	rows []T
	next store.Cursor
}

// Trace implements store.TraceReader.
func (s *Store) Trace(ctx context.Context, tenant store.Tenant, id pcommon.TraceID, hint store.Range) (td ptrace.Traces, cut bool, err error) {
	td, err = read(ctx, s, func(ctx context.Context, r *reader) (_ ptrace.Traces, err error) {
		td, cut, err = r.Trace(ctx, tenant, id, hint)
		return td, err
	})
	return td, cut, err
}

// Spans implements store.TraceReader.
func (s *Store) Spans(ctx context.Context, sel store.Select, limit int, after store.Cursor) ([]store.SpanRow, store.Cursor, error) {
	p, err := read(ctx, s, func(ctx context.Context, r *reader) (p page[store.SpanRow], err error) {
		p.rows, p.next, err = r.Spans(ctx, sel, limit, after)
		return p, err
	})
	return p.rows, p.next, err
}

// SpansOf implements store.TraceReader.
func (s *Store) SpansOf(ctx context.Context, tenant store.Tenant, within store.Range, ids []pcommon.TraceID) ([]store.SpanRow, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.SpanRow, error) {
		return r.SpansOf(ctx, tenant, within, ids)
	})
}

// Heat implements store.TraceReader.
func (s *Store) Heat(ctx context.Context, sel store.Select, columns int) (store.HeatMap, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) (store.HeatMap, error) { return r.Heat(ctx, sel, columns) })
}

// Services implements store.TraceReader.
func (s *Store) Services(ctx context.Context, sel store.Select, steps int) ([]store.Group, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.Group, error) { return r.Services(ctx, sel, steps) })
}

// Operations implements store.TraceReader.
func (s *Store) Operations(ctx context.Context, sel store.Select, steps, limit int) ([]store.Group, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.Group, error) {
		return r.Operations(ctx, sel, steps, limit)
	})
}

// Compare implements store.TraceReader.
func (s *Store) Compare(ctx context.Context, selection, baseline store.Select, maxFields int) (diffs []store.Difference, selected, base uint64, err error) {
	diffs, err = read(ctx, s, func(ctx context.Context, r *reader) (_ []store.Difference, err error) {
		diffs, selected, base, err = r.Compare(ctx, selection, baseline, maxFields)
		return diffs, err
	})
	return diffs, selected, base, err
}

// SpanFields implements store.TraceReader.
func (s *Store) SpanFields(ctx context.Context, sel store.Select) ([]store.Count, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.Count, error) { return r.SpanFields(ctx, sel) })
}

// SpanValues implements store.TraceReader.
func (s *Store) SpanValues(ctx context.Context, sel store.Select, field string, limit int) ([]store.Count, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.Count, error) {
		return r.SpanValues(ctx, sel, field, limit)
	})
}

// Logs implements store.LogReader.
func (s *Store) Logs(ctx context.Context, sel store.Select, limit int, after store.Cursor) ([]store.LogRow, store.Cursor, error) {
	p, err := read(ctx, s, func(ctx context.Context, r *reader) (p page[store.LogRow], err error) {
		p.rows, p.next, err = r.Logs(ctx, sel, limit, after)
		return p, err
	})
	return p.rows, p.next, err
}

// Around implements store.LogReader.
func (s *Store) Around(ctx context.Context, tenant store.Tenant, id store.Cursor, n int) ([]store.LogRow, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.LogRow, error) { return r.Around(ctx, tenant, id, n) })
}

// Volume implements store.LogReader.
func (s *Store) Volume(ctx context.Context, sel store.Select, columns int) (store.Volume, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) (store.Volume, error) { return r.Volume(ctx, sel, columns) })
}

// LogFields implements store.LogReader.
func (s *Store) LogFields(ctx context.Context, sel store.Select) ([]store.Count, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.Count, error) { return r.LogFields(ctx, sel) })
}

// LogValues implements store.LogReader.
func (s *Store) LogValues(ctx context.Context, sel store.Select, field string, limit int) ([]store.Count, error) {
	return read(ctx, s, func(ctx context.Context, r *reader) ([]store.Count, error) {
		return r.LogValues(ctx, sel, field, limit)
	})
}

// Tail implements store.LogReader.
func (s *Store) Tail(ctx context.Context, sel store.Select, yield func(row store.LogRow, lost uint64) bool) error {
	_, err := read(ctx, s, func(ctx context.Context, r *reader) (struct{}, error) { return struct{}{}, r.Tail(ctx, sel, yield) })
	return err
}

// LogsQL reads the logs by LogsQL.
func (s *Store) LogsQL() *logsql.Reader { return logsql.New(s.logs.db, s.reading, "_g_*") }
