package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxOperations bounds the table of a service's operations; span names
	// beyond it are a cardinality mistake that a table cannot show.
	maxOperations = 200
	// maxFailing bounds the operations whose errors are looked at, maxKinds
	// the kinds of error shown: each costs two reads for its example.
	maxFailing, maxKinds = 8, 12
	// maxInstances bounds the list of a service's instances.
	maxInstances = 100
	// maxSteps bounds sparklines.
	maxSteps = 500
)

// entry holds for spans that are requests to a service, so that calls it
// makes and steps inside it are not counted as requests.
var entry = store.Cond{Field: "kind", Op: store.OpRe, Value: "^(server|consumer)$"}

// Services takes a service's figures from its entry spans. A service without
// any (a client, a batch job) is shown by all its spans.
func (e *engine) Services(ctx context.Context, w Window, steps int) (*Services, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Traces)
	if err != nil {
		return nil, err
	}
	steps = min(steps, maxSteps)
	groups, err := e.services(ctx, sel, steps)
	if err != nil {
		return nil, err
	}
	out := &Services{Start: w.Start, StepNs: stepNs(w, steps), Services: make([]Service, 0, len(groups))}
	for _, g := range groups {
		out.Services = append(out.Services, service(g, w))
	}
	return out, nil
}

func (e *engine) services(ctx context.Context, sel store.Select, steps int) ([]store.Group, error) {
	var all, entries []store.Group
	err := together(ctx,
		func(ctx context.Context) (err error) {
			all, err = e.traces.Services(ctx, sel, steps)
			return err
		},
		func(ctx context.Context) (err error) {
			entries, err = e.traces.Services(ctx, and(sel, entry), steps)
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]store.Group, len(entries))
	for _, g := range entries {
		byName[g.Service] = g
	}
	for i, g := range all {
		if entered, ok := byName[g.Service]; ok && entered.Count > 0 {
			all[i] = entered
		}
	}
	return all, nil
}

func stepNs(w Window, steps int) int64 {
	if steps <= 0 {
		return 0
	}
	return int64(w.End.Sub(w.Start)) / int64(steps)
}

func service(g store.Group, w Window) Service {
	return Service{Name: g.Service, RED: red(g, w), Spark: spark(g, w)}
}

func red(g store.Group, w Window) RED {
	r := RED{Count: g.Count, Stored: g.Stored, P50: -1, P95: -1, P99: -1}
	if g.Count > 0 {
		r.Rate = g.Count / w.End.Sub(w.Start).Seconds()
		r.ErrorRate = g.Errors / g.Count
		r.P50, r.P95, r.P99 = float64(g.P50), float64(g.P95), float64(g.P99)
	}
	return r
}

func spark(g store.Group, w Window) Spark {
	n := len(g.Series)
	s := Spark{Rate: make([]float64, n), Errors: make([]float64, n), P95: make([]float64, n)}
	if n == 0 {
		return s
	}
	step := w.End.Sub(w.Start).Seconds() / float64(n)
	for i, p := range g.Series {
		s.Rate[i], s.Errors[i], s.P95[i] = p.Count/step, p.Errors/step, float64(p.P95)
		if p.Count == 0 {
			s.P95[i] = -1
		}
	}
	return s
}

func (e *engine) Service(ctx context.Context, w Window, name string, steps int) (*ServiceDetail, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Traces)
	if err != nil {
		return nil, err
	}
	sel = and(sel, eq("service.name", name))
	steps = min(steps, maxSteps)
	out := &ServiceDetail{Start: w.Start, StepNs: stepNs(w, steps)}
	err = together(ctx,
		func(ctx context.Context) error {
			groups, err := e.services(ctx, sel, steps)
			out.Service = service(store.Group{Service: name}, w)
			for _, g := range groups {
				out.Service = service(g, w)
			}
			return err
		},
		func(ctx context.Context) (err error) {
			out.Operations, err = e.operations(ctx, sel, w, steps)
			return err
		},
		func(ctx context.Context) (err error) {
			out.Instances, err = e.instances(ctx, sel)
			return err
		},
		func(ctx context.Context) (err error) {
			out.Errors, err = e.failures(ctx, sel)
			return err
		},
		func(ctx context.Context) (err error) {
			out.Upstream, err = e.edges(ctx, w, `server=`+quoteLabel(name))
			return err
		},
		func(ctx context.Context) (err error) {
			out.Downstream, err = e.edges(ctx, w, `client=`+quoteLabel(name))
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (e *engine) operations(ctx context.Context, sel store.Select, w Window, steps int) ([]Operation, error) {
	groups, err := e.traces.Operations(ctx, sel, steps, maxOperations)
	if err != nil {
		return nil, err
	}
	ops := make([]Operation, 0, len(groups))
	for _, g := range groups {
		ops = append(ops, Operation{Name: g.Name, Kind: kindName(g.Kind), RED: red(g, w), Spark: spark(g, w)})
	}
	return ops, nil
}

// instances takes the first naming that the service uses.
func (e *engine) instances(ctx context.Context, sel store.Select) ([]Tally, error) {
	for _, field := range []string{"resource.service.instance.id", "resource.host.name", "resource.k8s.pod.name"} {
		counts, err := e.traces.SpanValues(ctx, sel, field, maxInstances)
		if err != nil {
			return nil, err
		}
		if t := tallies(counts, true); len(t) > 0 {
			return t, nil
		}
	}
	return []Tally{}, nil
}

// failure is a kind of error and the spans that are it.
type failure struct {
	ErrorKind
	sel   store.Select
	typed bool // by error.type, which says enough
}

// failures groups failing spans by operation and by error.type, and what is
// left of an operation by the status message, each with its newest example.
// The example's exception.type goes before a message, and stands for one.
func (e *engine) failures(ctx context.Context, sel store.Select) ([]ErrorKind, error) {
	failing := and(sel, eq("status", "error"))
	ops, err := e.traces.Operations(ctx, failing, 0, maxFailing)
	if err != nil {
		return nil, err
	}
	byOp := make([][]failure, len(ops))
	parts := make([]func(context.Context) error, len(ops))
	for i, op := range ops {
		parts[i] = func(ctx context.Context) (err error) {
			byOp[i], err = e.failuresOf(ctx, op, and(failing, eq("name", op.Name), eq("kind", kindName(op.Kind))))
			return err
		}
	}
	if err := together(ctx, parts...); err != nil {
		return nil, err
	}
	all := slices.Concat(byOp...)
	slices.SortStableFunc(all, func(a, b failure) int { return cmp.Compare(b.Count, a.Count) })
	all = all[:min(len(all), maxKinds)]
	parts = parts[:0]
	for i := range all {
		f := &all[i]
		parts = append(parts, func(ctx context.Context) error {
			trace, exception, err := e.newestFailure(ctx, f.sel)
			f.TraceID = trace
			switch {
			case f.typed || exception == "":
			case f.Type == "":
				f.Type = exception
			default:
				f.Type = exception + ": " + f.Type
			}
			return err
		})
	}
	if err := together(ctx, parts...); err != nil {
		return nil, err
	}
	kinds := make([]ErrorKind, len(all))
	for i, f := range all {
		kinds[i] = f.ErrorKind
	}
	return kinds, nil
}

// failuresOf groups the failing spans of one operation.
func (e *engine) failuresOf(ctx context.Context, op store.Group, of store.Select) ([]failure, error) {
	without := func(sel store.Select, field string) store.Select {
		return and(sel, store.Cond{Field: field, Op: store.OpNre, Value: "."})
	}
	untyped := without(of, "span.error.type")
	var out []failure
	left := op.Stored
	for _, by := range []struct {
		field string
		sel   store.Select
	}{{"span.error.type", of}, {"status.message", untyped}} {
		if left == 0 {
			return out, nil
		}
		counts, err := e.traces.SpanValues(ctx, by.sel, by.field, maxKinds)
		if err != nil {
			return nil, err
		}
		for _, c := range counts {
			if c.Value == "" {
				continue
			}
			left = less(left, c.Count)
			kind := ErrorKind{Type: c.Value, Operation: op.Name, Count: c.Count}
			out = append(out, failure{kind, and(by.sel, eq(by.field, c.Value)), by.field == "span.error.type"})
		}
	}
	if left > 0 {
		out = append(out, failure{ErrorKind{Operation: op.Name, Count: left}, without(untyped, "status.message"), false})
	}
	return out, nil
}

// newestFailure returns the trace of the newest matching span, and the type
// of the exception that the span recorded, if any.
func (e *engine) newestFailure(ctx context.Context, sel store.Select) (trace, exception string, err error) {
	rows, _, err := e.traces.Spans(ctx, sel, 1, "")
	if err != nil || len(rows) == 0 {
		return "", "", err
	}
	row := rows[0]
	td, _, err := e.traces.Trace(ctx, sel.Tenant, row.TraceID, store.Range{Start: row.Ended, End: row.Ended.Add(time.Nanosecond)})
	if err != nil {
		// Retention may take the span between the two reads.
		return row.TraceID.String(), "", ignoreMissing(err)
	}
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				if span.SpanID() == row.SpanID {
					return row.TraceID.String(), exceptionType(span), nil
				}
			}
		}
	}
	return row.TraceID.String(), "", nil
}

func exceptionType(span ptrace.Span) string {
	kind := ""
	for _, event := range span.Events().All() {
		if event.Name() != "exception" {
			continue
		}
		if v, ok := event.Attributes().Get("exception.type"); ok {
			kind = v.AsString() // the last is the one that ended the span
		}
	}
	return kind
}
