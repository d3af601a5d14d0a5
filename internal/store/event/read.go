package event

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxQueries bounds the queries that run at a time; others wait for their
	// turn. One query uses up to two cores and the engine's share of memory.
	maxQueries = 8
	// maxQueryTime ends queries of callers that set no deadline.
	maxQueryTime = time.Minute
)

// reader answers store.TraceReader and store.LogReader from the two storages.
// It is safe for concurrent use, as long as the storages are open.
type reader struct {
	traces, logs *logstorage.Storage
	spanRows     *spanCodec
	logRows      *logCodec
	turns        chan struct{}
	now          func() time.Time
}

func newReader(traces, logs *logstorage.Storage, spans *spanCodec, records *logCodec) *reader {
	return &reader{traces: traces, logs: logs, spanRows: spans, logRows: records, turns: make(chan struct{}, maxQueries), now: time.Now}
}

func tenantID(t store.Tenant) logstorage.TenantID {
	return logstorage.TenantID{AccountID: t.Account, ProjectID: t.Project}
}

// question is one query of the engine.
type question struct {
	storage *logstorage.Storage
	tenant  store.Tenant
	// from and to bound _time, to exclusive, in Unix nanoseconds.
	from, to int64
	filter   string // conditions, "" for none
	pipes    string
}

// ask runs a query and hands result blocks to take, one at a time. An error of
// take ends the query. Blocks belong to the engine after take returns.
func (r *reader) ask(ctx context.Context, q question, take func(db *logstorage.DataBlock) error) error {
	if q.from >= q.to {
		return nil
	}
	query, err := logstorage.ParseQuery("* " + q.pipes)
	if err != nil {
		return fmt.Errorf("parse query: %w: %w", err, store.ErrInvalid)
	}
	query.AddTimeFilter(q.from, q.to-1)
	// Conditions go before time: a block in which nothing fits is then known by
	// its Bloom filters, and its times are not decoded.
	filter, err := logstorage.ParseFilter(cmp.Or(q.filter, "*"))
	if err != nil {
		return fmt.Errorf("parse query: %w: %w", err, store.ErrInvalid)
	}
	query.AddExtraFilters(filter)
	return r.run(ctx, q.storage, q.tenant, query, nil, take)
}

// run is ask for a query that was parsed already; columns that hidden lists
// are out of its sight.
func (r *reader) run(ctx context.Context, s *logstorage.Storage, tenant store.Tenant, query *logstorage.Query, hidden []string, take func(db *logstorage.DataBlock) error) error {
	var failed error // of take
	err := r.takeTurn(ctx, func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		var mu sync.Mutex
		qctx := logstorage.NewQueryContext(ctx, &logstorage.QueryStats{}, []logstorage.TenantID{tenantID(tenant)}, query, false, hidden)
		return s.RunQuery(qctx, func(_ uint, db *logstorage.DataBlock) {
			mu.Lock()
			defer mu.Unlock()
			if failed == nil {
				if failed = take(db); failed != nil {
					stop()
				}
			}
		})
	})
	switch {
	case errors.Is(failed, errEnough):
		return nil
	case failed != nil:
		return failed
	}
	return err
}

// takeTurn waits for a place among the running queries and gives the error of
// do its sentinel. The engine ends a query silently when its context ends, so
// that the context has the last word.
func (r *reader) takeTurn(ctx context.Context, do func(context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxQueryTime)
		defer cancel()
	}
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for other queries: %w: %w", store.ErrLimit, ctx.Err())
	}
	defer func() { <-r.turns }()
	err := do(ctx)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("run query: %w: %w", store.ErrLimit, ctx.Err())
	case err != nil: // what the engine reports while it runs is a lack of memory
		return fmt.Errorf("run query: %w: %w", store.ErrLimit, err)
	}
	return nil
}

// errEnough is returned by a taker that has what it wanted.
var errEnough = errors.New("enough")

// bounds is a range as the engine takes it. Times before 1970 and after 2262
// have no nanoseconds.
func bounds(rg store.Range) (from, to int64, err error) {
	if !rg.Start.Before(rg.End) {
		return 0, 0, fmt.Errorf("range from %v to %v is empty: %w", rg.Start, rg.End, store.ErrInvalid)
	}
	return nanos(rg.Start), nanos(rg.End), nil
}

func nanos(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// noHelpers leaves the rows of the trace index out.
const noHelpers = "(!" + colTraceIndex + ":*)"

// spanQuestion is a query of spans that narrow holds for, too.
func (r *reader) spanQuestion(sel store.Select, narrow, pipes string) (question, error) {
	stream, filter, err := spanDialect.where(sel.Where)
	if err != nil {
		return question{}, err
	}
	from, to, err := bounds(sel.Range)
	return question{r.traces, sel.Tenant, from, to, conditions(stream, noHelpers, filter, narrow), pipes}, err
}

// logQuestion is a query of log records that narrow holds for, too.
func (r *reader) logQuestion(sel store.Select, narrow, pipes string) (question, error) {
	stream, filter, err := logDialect.where(sel.Where)
	if err != nil {
		return question{}, err
	}
	from, to, err := bounds(sel.Range)
	return question{r.logs, sel.Tenant, from, to, conditions(stream, filter, narrow), pipes}, err
}

// conditions joins those that are not empty.
func conditions(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), " ")
}
