package event

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

// Field is a field of a LogsQL result row.
type Field struct{ Name, Value string }

// LogsQuery is a query in LogsQL over the records of one tenant; FORMAT.md says
// which names records have there. Its methods may be called once each, and not
// concurrently with each other.
type LogsQuery struct {
	r      *reader
	tenant store.Tenant
	text   string
	query  *logstorage.Query
}

// maxUserReaders bounds the readers that a query may ask for with options().
const maxUserReaders = 8

var (
	quotedText  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	userReaders = regexp.MustCompile(`concurrency=(\d+)`)
	// block_stats tells where files lie on this machine.
	closedPipes = regexp.MustCompile(`\|\s*(block_stats)\b`)
)

// LogsQL parses a query. rg bounds it in time, in addition to what the query
// itself says.
func (r *reader) LogsQL(tenant store.Tenant, text string, rg store.Range) (*LogsQuery, error) {
	from, to, err := bounds(rg)
	if err != nil {
		return nil, err
	}
	q, err := logstorage.ParseQueryAtTimestamp(text, r.now().UnixNano())
	if err != nil {
		return nil, fmt.Errorf("parse LogsQL: %w: %w", err, store.ErrInvalid)
	}
	plain := quotedText.ReplaceAllString(q.String(), `""`)
	if m := closedPipes.FindStringSubmatch(plain); m != nil {
		return nil, fmt.Errorf("pipe %s is not available: %w", m[1], store.ErrInvalid)
	}
	if strings.Contains(text, "parallel_readers") || q.GetParallelReaders(1) > maxUserReaders {
		return nil, fmt.Errorf("option parallel_readers is not available: %w", store.ErrInvalid)
	}
	for _, m := range userReaders.FindAllStringSubmatch(plain, -1) {
		if n, err := strconv.Atoi(m[1]); err != nil || n > maxUserReaders {
			return nil, fmt.Errorf("option %s: at most %d: %w", m[0], maxUserReaders, store.ErrInvalid)
		}
	}
	q.AddTimeFilter(from, to-1)
	return &LogsQuery{r, tenant, text, q}, nil
}

// Rows runs the query and hands its rows to write; with a limit above zero only
// that many, the newest where the query leaves the order open. Rows and their
// strings are good during the call only; an error of write ends the query and
// is returned.
func (q *LogsQuery) Rows(ctx context.Context, limit int, write func(row []Field) error) error {
	if limit > 0 {
		if q.query.CanReturnLastNResults() {
			q.query.AddPipeSortByTimeDesc()
		}
		q.query.AddPipeOffsetLimit(0, uint64(limit))
	}
	return q.run(ctx, q.query, write)
}

// Hits counts the query's rows by time and, if any, by fields: rows with _time,
// the fields, and hits.
func (q *LogsQuery) Hits(ctx context.Context, step, offset time.Duration, fields []string, write func(row []Field) error) error {
	if step <= 0 {
		return fmt.Errorf("step %v: must be positive: %w", step, store.ErrInvalid)
	}
	q.query.AddCountByTimePipe(int64(step), int64(offset), fields)
	return q.run(ctx, q.query, write)
}

// Stats runs a query that ends in a stats pipe; with a step above zero its
// figures come by time. labels are the fields that tell rows apart, all others
// are figures.
func (q *LogsQuery) Stats(ctx context.Context, step time.Duration, write func(row []Field) error) (labels []string, err error) {
	labels, err = q.query.GetStatsLabelsAddGroupingByTime(int64(step))
	if err != nil {
		return nil, fmt.Errorf("query of figures: %w: %w", err, store.ErrInvalid)
	}
	return labels, q.run(ctx, q.query, write)
}

// FieldNames lists the fields of the rows. A field counts for all rows of a
// block that has it.
func (q *LogsQuery) FieldNames(ctx context.Context) ([]store.Count, error) {
	return q.list(ctx, func(c *logstorage.QueryContext) ([]logstorage.ValueWithHits, error) {
		return q.r.logs.GetFieldNames(c)
	})
}

// FieldValues lists values of a field. With a limit above zero it returns at
// most that many; when there are more, the counts are zero.
func (q *LogsQuery) FieldValues(ctx context.Context, field string, limit int) ([]store.Count, error) {
	return q.list(ctx, func(c *logstorage.QueryContext) ([]logstorage.ValueWithHits, error) {
		return q.r.logs.GetFieldValues(c, field, uint64(max(0, limit)))
	})
}

// StreamFieldNames lists the fields that make streams.
func (q *LogsQuery) StreamFieldNames(ctx context.Context) ([]store.Count, error) {
	return q.list(ctx, q.r.logs.GetStreamFieldNames)
}

// StreamFieldValues lists values of a field that makes streams.
func (q *LogsQuery) StreamFieldValues(ctx context.Context, field string, limit int) ([]store.Count, error) {
	return q.list(ctx, func(c *logstorage.QueryContext) ([]logstorage.ValueWithHits, error) {
		return q.r.logs.GetStreamFieldValues(c, field, uint64(max(0, limit)))
	})
}

// Streams lists streams as {name="value",…}.
func (q *LogsQuery) Streams(ctx context.Context, limit int) ([]store.Count, error) {
	return q.list(ctx, func(c *logstorage.QueryContext) ([]logstorage.ValueWithHits, error) {
		return q.r.logs.GetStreams(c, uint64(max(0, limit)))
	})
}

// StreamIDs lists ids of streams.
func (q *LogsQuery) StreamIDs(ctx context.Context, limit int) ([]store.Count, error) {
	return q.list(ctx, func(c *logstorage.QueryContext) ([]logstorage.ValueWithHits, error) {
		return q.r.logs.GetStreamIDs(c, uint64(max(0, limit)))
	})
}

const (
	// tailDelay is how far Tail stays behind now: records may take as long to
	// be visible to queries.
	tailDelay = 3 * time.Second
	// tailEvery is how often it looks.
	tailEvery = time.Second
)

// Tail hands rows to write as records become visible, from the call on, oldest
// first within each look, until ctx ends or write returns an error. The query
// must not need all rows at once (no stats, sort…). The range does not matter.
func (q *LogsQuery) Tail(ctx context.Context, write func(row []Field) error) error {
	if !q.query.CanLiveTail() {
		return fmt.Errorf("tail of a query with pipes that need all rows: %w", store.ErrInvalid)
	}
	from := q.r.now().Add(-tailDelay).UnixNano()
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		to := q.r.now().Add(-tailDelay).UnixNano()
		if to <= from {
			continue
		}
		next, err := logstorage.ParseQueryAtTimestamp(q.text, to)
		if err != nil {
			return fmt.Errorf("parse LogsQL: %w: %w", err, store.ErrInvalid)
		}
		next.AddTimeFilter(from, to-1)
		if err := q.run(ctx, next, write); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		from = to
	}
}

// hidden is what users do not see.
var hidden = []string{privatePrefix + "*"}

func (q *LogsQuery) run(ctx context.Context, query *logstorage.Query, write func(row []Field) error) error {
	var row []Field
	return q.r.run(ctx, q.r.logs, q.tenant, query, hidden, func(db *logstorage.DataBlock) error {
		for i := range db.RowsCount() {
			row = row[:0]
			for _, c := range db.Columns {
				if v := c.Values[i]; v != "" && !strings.HasPrefix(c.Name, privatePrefix) {
					row = append(row, Field{c.Name, unguarded(v)})
				}
			}
			if err := write(row); err != nil {
				return err
			}
		}
		return nil
	})
}

func (q *LogsQuery) list(ctx context.Context, get func(*logstorage.QueryContext) ([]logstorage.ValueWithHits, error)) ([]store.Count, error) {
	var out []store.Count
	err := q.r.takeTurn(ctx, func(ctx context.Context) error {
		qctx := logstorage.NewQueryContext(ctx, &logstorage.QueryStats{}, []logstorage.TenantID{tenantID(q.tenant)}, q.query, false, hidden)
		values, err := get(qctx)
		for _, v := range values {
			if !strings.HasPrefix(v.Value, privatePrefix) {
				out = append(out, store.Count{Value: unguarded(v.Value), Count: v.Hits})
			}
		}
		return err
	})
	return out, err
}
