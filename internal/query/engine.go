package query

import (
	"context"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// defaultTimeout ends a question that would make the user wait longer than
// anyone does; a narrower question is faster than patience.
const defaultTimeout = 30 * time.Second

// Metrics evaluates PromQL over the metric store.
type Metrics interface {
	// Instant evaluates an expression that yields a vector at one time.
	Instant(ctx context.Context, tenant store.Tenant, expr string, at time.Time) ([]Sample, error)
}

// Sample is one element of a vector. NaN values are left out by Metrics.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Options are what an engine reads from. Traces and Logs must be set.
type Options struct {
	Traces store.TraceReader
	Logs   store.LogReader
	// Metrics gives the edges of the service graph; nil leaves them out.
	Metrics Metrics
	// Profiles lets Related count profiles; nil leaves them out.
	Profiles Profiler
	// Timeout ends a question (not a tail); 0 means 30 s.
	Timeout time.Duration
}

// New returns the engine over o. It keeps no state between questions, so that
// any number may be asked at once; each holds at most the rows that its own
// constants name.
func New(o Options) Engine {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	return &engine{traces: o.Traces, logs: o.Logs, metrics: o.Metrics, profiles: o.Profiles, timeout: o.Timeout}
}

type engine struct {
	traces   store.TraceReader
	logs     store.LogReader
	metrics  Metrics
	profiles Profiler
	timeout  time.Duration
}

// begin puts the time limit on a question.
func (e *engine) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.timeout)
}

// selectOf reads the window and the filter of a question.
func selectOf(ctx context.Context, w Window, signal Signal) (store.Select, error) {
	if !w.Start.Before(w.End) {
		return store.Select{}, &FieldError{Field: "start", Value: w.Start.Format(time.RFC3339Nano), Msg: "not before end", Next: "start is inclusive, end exclusive"}
	}
	where, err := ParseFilter(w.Filter, signal)
	if err != nil {
		return store.Select{}, err
	}
	return store.Select{Tenant: TenantOf(ctx), Range: store.Range{Start: w.Start, End: w.End}, Where: where}, nil
}

// and returns sel with more conditions; sel itself keeps its own.
func and(sel store.Select, more ...store.Cond) store.Select {
	where := make([]store.Cond, 0, len(sel.Where)+len(more))
	sel.Where = append(append(where, sel.Where...), more...)
	return sel
}

func eq(field, value string) store.Cond {
	return store.Cond{Field: field, Op: store.OpEq, Value: value}
}

// clamp bounds n; zero or less asks for the default.
func clamp(n, byDefault, most int) int {
	if n <= 0 {
		return byDefault
	}
	return min(n, most)
}
