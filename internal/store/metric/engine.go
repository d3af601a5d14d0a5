package metric

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/guanlan-io/guanlan/internal/store"
)

// engine evaluates PromQL for all tenants under one set of limits. It adds to
// Prometheus' engine that parsing takes no turn, that waiting for one's turn
// ends in a timeout as such, and counts.
type engine struct {
	inner   *promql.Engine
	parser  parser.Parser
	tracker *tracker

	ended, failed atomic.Uint64
	busy          atomic.Int64 // nanoseconds
}

// subqueryStep is the step of a subquery that names none: Prometheus' default
// evaluation interval.
const subqueryStep = time.Minute

func newEngine(o *Options) *engine {
	e := &engine{parser: parser.NewParser(parser.Options{}), tracker: newTracker(o.MaxQueries)}
	e.inner = promql.NewEngine(promql.EngineOpts{
		Logger:                   o.Logger,
		Reg:                      o.Registerer,
		MaxSamples:               int(max(o.QueryMemory/sampleBytes, 1)),
		Timeout:                  o.QueryTimeout,
		ActiveQueryTracker:       e.tracker,
		LookbackDelta:            Lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnablePerStepStats:       true,
		Parser:                   e.parser,
	})
	return e
}

func (e *engine) close() error { return e.inner.Close() }

// NewInstantQuery implements promql.QueryEngine.
func (e *engine) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, expr string, at time.Time) (promql.Query, error) {
	query, err := e.inner.NewInstantQuery(parsing(ctx), q, opts, expr, at)
	if err != nil {
		return nil, err
	}
	return &countedQuery{query, e}, nil
}

// NewRangeQuery implements promql.QueryEngine.
func (e *engine) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, expr string, start, end time.Time, step time.Duration) (promql.Query, error) {
	query, err := e.inner.NewRangeQuery(parsing(ctx), q, opts, expr, start, end, step)
	if err != nil {
		return nil, err
	}
	return &countedQuery{query, e}, nil
}

type countedQuery struct {
	promql.Query
	e *engine
}

func (q *countedQuery) Exec(ctx context.Context) *promql.Result {
	began := time.Now()
	res := q.Query.Exec(ctx)
	q.e.busy.Add(int64(time.Since(began)))
	q.e.ended.Add(1)
	if res.Err != nil {
		q.e.failed.Add(1)
	}
	return res
}

// tracker lets a number of queries run at a time. It implements
// promql.QueryTracker.
type tracker struct {
	slots   chan struct{}
	waiting atomic.Int64
}

type parsingKey struct{}

// parsing marks the context in which the engine parses a query.
func parsing(ctx context.Context) context.Context { return context.WithValue(ctx, parsingKey{}, true) }

const (
	noTurn = iota // of a query that is being parsed
	turn
)

func newTracker(n int) *tracker { return &tracker{slots: make(chan struct{}, n)} }

func (t *tracker) GetMaxConcurrent() int { return cap(t.slots) }

// Insert waits for the query's turn.
func (t *tracker) Insert(ctx context.Context, _ string) (int, error) {
	if ctx.Value(parsingKey{}) != nil {
		return noTurn, nil
	}
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	select {
	case t.slots <- struct{}{}:
		return turn, nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return 0, promql.ErrQueryTimeout("waiting for other queries to end")
		}
		return 0, promql.ErrQueryCanceled("waiting for other queries to end")
	}
}

// Delete ends the query's turn.
func (t *tracker) Delete(id int) {
	if id == turn {
		<-t.slots
	}
}

func (t *tracker) Close() error { return nil }

// Engine evaluates PromQL over a Database, under the limits of the Options.
func (s *Store) Engine() promql.QueryEngine { return s.engine }

// Parser parses what Engine evaluates.
func (s *Store) Parser() parser.Parser { return s.engine.parser }

// Labels name a series; the metric name, if any, is under "__name__".
type Labels map[string]string

// Sample is one value of an instant query.
type Sample struct {
	Labels Labels
	Time   time.Time
	Value  float64
}

// Series is one series of a range query, points in order of time.
type Series struct {
	Labels Labels
	Points []Point
}

// Point is a value at a time.
type Point struct {
	Time  time.Time
	Value float64
}

// MaxPoints bounds the points of one series of Range, as Prometheus bounds
// them over HTTP: a minute's step for a week.
const MaxPoints = 11_000

// Instant evaluates a PromQL expression at a time. A scalar is one sample
// without labels. Errors wrap store.ErrInvalid (the expression, or a result
// that is no vector of numbers), store.ErrLimit, store.ErrUnavailable, or are
// that of ctx.
func (s *Store) Instant(ctx context.Context, t store.Tenant, expr string, at time.Time) ([]Sample, error) {
	q, err := s.engine.NewInstantQuery(ctx, s.Database(t), nil, expr, at)
	if err != nil {
		return nil, fmt.Errorf("parse %q: %w: %w", expr, err, store.ErrInvalid)
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, queryError(ctx, expr, res.Err)
	}
	switch v := res.Value.(type) {
	case promql.Scalar:
		return []Sample{{Time: time.UnixMilli(v.T), Value: v.V}}, nil
	case promql.Vector:
		out := make([]Sample, len(v))
		for i, p := range v {
			if p.H != nil {
				return nil, histogramError(expr)
			}
			out[i] = Sample{p.Metric.Map(), time.UnixMilli(p.T), p.F}
		}
		return out, nil
	}
	return nil, fmt.Errorf("evaluate %q: it yields a %s, not a vector: %w", expr, res.Value.Type(), store.ErrInvalid)
}

// Range evaluates a PromQL expression at every step from r.Start to r.End,
// both included as in Prometheus. Errors are as those of Instant.
func (s *Store) Range(ctx context.Context, t store.Tenant, expr string, r store.Range, step time.Duration) ([]Series, error) {
	switch {
	case step <= 0 || r.End.Before(r.Start):
		return nil, fmt.Errorf("evaluate %q: step %v from %v to %v: %w", expr, step, r.Start, r.End, store.ErrInvalid)
	case r.End.Sub(r.Start)/step > MaxPoints:
		return nil, fmt.Errorf("evaluate %q: more than %d points: choose a step wider than %v: %w", expr, MaxPoints, step, store.ErrLimit)
	}
	q, err := s.engine.NewRangeQuery(ctx, s.Database(t), nil, expr, r.Start, r.End, step)
	if err != nil {
		return nil, fmt.Errorf("parse %q: %w: %w", expr, err, store.ErrInvalid)
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, queryError(ctx, expr, res.Err)
	}
	m, err := res.Matrix()
	if err != nil {
		return nil, fmt.Errorf("evaluate %q: %w: %w", expr, err, store.ErrInvalid)
	}
	out := make([]Series, len(m))
	for i, series := range m {
		if len(series.Histograms) > 0 {
			return nil, histogramError(expr)
		}
		points := make([]Point, len(series.Floats))
		for j, p := range series.Floats {
			points[j] = Point{time.UnixMilli(p.T), p.F}
		}
		out[i] = Series{series.Metric.Map(), points}
	}
	return out, nil
}

func histogramError(expr string) error {
	return fmt.Errorf("evaluate %q: it yields native histograms: wrap it in histogram_quantile, histogram_count or histogram_sum: %w", expr, store.ErrInvalid)
}

// queryError says in the store's words why a query failed.
func queryError(ctx context.Context, expr string, err error) error {
	var (
		tooMany   promql.ErrTooManySamples
		timeout   promql.ErrQueryTimeout
		canceled  promql.ErrQueryCanceled
		inStorage promql.ErrStorage
	)
	kind := store.ErrInvalid // the engine's other errors are about the expression
	switch {
	case ctx.Err() != nil:
		kind = ctx.Err()
	case errors.As(err, &inStorage) && errors.Is(inStorage.Err, store.ErrInvalid):
	case errors.As(err, &tooMany), errors.As(err, &timeout):
		kind = store.ErrLimit
	case errors.As(err, &canceled), errors.Is(err, store.ErrUnavailable):
		kind = store.ErrUnavailable
	case inStorage.Err != nil:
		kind = store.ErrUnavailable
	}
	if errors.Is(err, kind) {
		return fmt.Errorf("evaluate %q: %w", expr, err)
	}
	return fmt.Errorf("evaluate %q: %w: %w", expr, err, kind)
}
