package query

import (
	"context"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	defaultAround = 20
	maxAround     = 500
)

func (e *engine) Logs(ctx context.Context, w Window, page Page) (*LogList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Logs)
	if err != nil {
		return nil, err
	}
	rows, next, err := e.logs.Logs(ctx, sel, clamp(page.Limit, defaultPage, maxPage), store.Cursor(page.Cursor))
	if err != nil {
		return nil, err
	}
	return &LogList{Logs: logs(rows), Next: string(next)}, nil
}

func (e *engine) LogContext(ctx context.Context, id string, n int) (*LogList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	rows, err := e.logs.Around(ctx, TenantOf(ctx), store.Cursor(id), clamp(n, defaultAround, maxAround))
	if err != nil {
		return nil, err
	}
	return &LogList{Logs: logs(rows)}, nil
}

func (e *engine) LogVolume(ctx context.Context, w Window, columns int) (*LogVolume, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Logs)
	if err != nil {
		return nil, err
	}
	v, err := e.logs.Volume(ctx, sel, clamp(columns, defaultColumns, maxColumns))
	if err != nil {
		return nil, err
	}
	out := &LogVolume{Start: v.Start, StepNs: int64(v.Step), Series: make([]VolumeSeries, 0, len(v.Series))}
	for _, s := range v.Series {
		out.Series = append(out.Series, VolumeSeries{Severity: s.Severity, Counts: append([]uint64{}, s.Counts...)})
		out.Columns = max(out.Columns, len(s.Counts))
	}
	return out, nil
}

// countLogs counts matching records.
func (e *engine) countLogs(ctx context.Context, sel store.Select) (uint64, error) {
	v, err := e.logs.Volume(ctx, sel, 1)
	var n uint64
	for _, s := range v.Series {
		for _, c := range s.Counts {
			n += c
		}
	}
	return n, err
}

// Tail has no time limit: it ends with ctx.
func (e *engine) Tail(ctx context.Context, filter string, yield func(TailEvent) bool) error {
	where, err := ParseFilter(filter, Logs)
	if err != nil {
		return err
	}
	return e.logs.Tail(ctx, store.Select{Tenant: TenantOf(ctx), Where: where}, func(row store.LogRow, lost uint64) bool {
		return yield(TailEvent{Log: logOf(row), Lost: lost})
	})
}

func logs(rows []store.LogRow) []Log {
	out := make([]Log, len(rows))
	for i, r := range rows {
		out[i] = logOf(r)
	}
	return out
}

func logOf(r store.LogRow) Log {
	rec := r.Record
	l := Log{
		ID: string(r.ID), Time: r.Time.UTC(),
		Severity: severityName(rec.SeverityNumber()), SeverityText: rec.SeverityText(),
		Body: text(rec.Body()), Service: serviceOf(r.Resource.Attributes()),
		TraceID: traceIDText(rec.TraceID()), SpanID: spanIDText(rec.SpanID()),
		EventName: rec.EventName(), Scope: scopeName(r.Scope),
		Attributes: attributes(rec.Attributes()), Resource: attributes(r.Resource.Attributes()),
	}
	// Records that say nothing of their arrival were seen when they happened.
	if l.Observed = l.Time; rec.ObservedTimestamp() != 0 {
		l.Observed = time.Unix(0, int64(rec.ObservedTimestamp())).UTC()
	}
	return l
}
