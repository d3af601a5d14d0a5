package metric

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/guanlan-io/guanlan/internal/store"
)

// engine evaluates PromQL for all tenants under one set of limits.
type engine struct {
	*promql.Engine
	parser  parser.Parser
	tracker *tracker
}

// subqueryStep is the step of a subquery that names none: Prometheus' default
// evaluation interval.
const subqueryStep = time.Minute

func newEngine(o *Options) *engine {
	p := parser.NewParser(parser.Options{})
	t := newTracker(o.MaxQueries)
	opts := promql.EngineOpts{
		Logger:                   o.Logger,
		MaxSamples:               int(max(o.QueryMemory/sampleBytes, 1)),
		Timeout:                  o.QueryTimeout,
		ActiveQueryTracker:       t,
		LookbackDelta:            lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnablePerStepStats:       true,
		Parser:                   p,
		Reg:                      o.Registerer,
	}
	return &engine{Engine: promql.NewEngine(opts), parser: p, tracker: t}
}

func (e *engine) close() error { return e.Engine.Close() }

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
		tooMany  promql.ErrTooManySamples
		timeout  promql.ErrQueryTimeout
		canceled promql.ErrQueryCanceled
	)
	kind := store.ErrInvalid // the engine's other errors are about the expression
	switch {
	case ctx.Err() != nil:
		kind = ctx.Err()
	case errors.As(err, &tooMany), errors.As(err, &timeout):
		kind = store.ErrLimit
	case errors.As(err, &canceled), errors.Is(err, store.ErrUnavailable):
		kind = store.ErrUnavailable
	case errors.As(err, new(promql.ErrStorage)):
		kind = store.ErrUnavailable
	}
	if errors.Is(err, kind) {
		return fmt.Errorf("evaluate %q: %w", expr, err)
	}
	return fmt.Errorf("evaluate %q: %w: %w", expr, err, kind)
}

// tracker lets a number of queries run at a time and counts them.
type tracker struct {
	slots chan int

	mu      sync.Mutex
	started []time.Time // by slot
	total   uint64
	busy    time.Duration
	running int
	waiting int
}

func newTracker(n int) *tracker {
	t := &tracker{slots: make(chan int, n), started: make([]time.Time, n)}
	for i := range n {
		t.slots <- i
	}
	return t
}

// GetMaxConcurrent implements promql.QueryTracker, as do the next three.
func (t *tracker) GetMaxConcurrent() int { return cap(t.slots) }

// Insert waits for a slot.
func (t *tracker) Insert(ctx context.Context, _ string) (int, error) {
	t.mu.Lock()
	t.waiting++
	t.mu.Unlock()
	var slot int
	var err error
	select {
	case slot = <-t.slots:
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
	if err == nil {
		t.running++
		t.started[slot] = time.Now()
	}
	return slot, err
}

// Delete gives the slot back.
func (t *tracker) Delete(slot int) {
	t.mu.Lock()
	t.running--
	t.total++
	t.busy += time.Since(t.started[slot])
	t.mu.Unlock()
	t.slots <- slot
}

// Close has nothing to do.
func (t *tracker) Close() error { return nil }
