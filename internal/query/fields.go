package query

import (
	"context"
	"regexp"
	"strings"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	defaultValues = 100
	maxValues     = 1000
)

func signalError(s Signal) error {
	return &FieldError{Field: "signal", Value: string(s), Msg: "no such signal", Next: "one of traces, logs, profiles"}
}

func (e *engine) Fields(ctx context.Context, w Window, signal Signal) (*FieldList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	if signal == Profiles && e.profiles != nil {
		return e.profiles.Fields(ctx, w)
	}
	sel, err := selectOf(ctx, w, signal)
	if err != nil {
		return nil, err
	}
	var counts []store.Count
	switch signal {
	case Traces:
		counts, err = e.traces.SpanFields(ctx, sel)
	case Logs:
		counts, err = e.logs.LogFields(ctx, sel)
	case Profiles: // there are none
	default:
		err = signalError(signal)
	}
	if err != nil {
		return nil, err
	}
	return &FieldList{Fields: tallies(counts, true)}, nil
}

func (e *engine) Values(ctx context.Context, w Window, signal Signal, field, prefix string, limit int) (*ValueList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	if signal == Profiles && e.profiles != nil {
		return e.profiles.Values(ctx, w, field, prefix, limit)
	}
	sel, limit, err := selectValues(ctx, w, signal, field, prefix, limit)
	if err != nil {
		return nil, err
	}
	var counts []store.Count
	switch signal {
	case Traces:
		counts, err = e.traces.SpanValues(ctx, sel, field, limit)
	case Logs:
		counts, err = e.logs.LogValues(ctx, sel, field, limit)
	case Profiles: // there are none
	default:
		err = signalError(signal)
	}
	if err != nil {
		return nil, err
	}
	return &ValueList{Values: tallies(counts, true)}, nil
}

// selectValues reads a question about the values of a field. It finds prefix in
// any case: it serves completion.
func selectValues(ctx context.Context, w Window, signal Signal, field, prefix string, limit int) (store.Select, int, error) {
	sel, err := selectOf(ctx, w, signal)
	if err != nil {
		return sel, 0, err
	}
	if strings.TrimSpace(field) == "" {
		return sel, 0, &FieldError{Field: "field", Value: field, Msg: "empty", Next: "for example service.name; /fields lists them"}
	}
	if prefix != "" {
		sel = and(sel, store.Cond{Field: field, Op: store.OpRe, Value: "(?i)^" + regexp.QuoteMeta(prefix)})
	}
	return sel, clamp(limit, defaultValues, maxValues), nil
}
