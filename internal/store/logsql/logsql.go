// Package logsql runs queries in LogsQL, the language of VictoriaLogs, over an
// embedded log storage. It keeps the storage's types to itself, so that the
// HTTP door above need not know them.
package logsql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/timeutil"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Reader runs queries over one storage. Safe for concurrent use.
type Reader struct {
	storage *logstorage.Storage
	enter   Enter
	hidden  []string
}

// Enter lets a query use the storage: it returns a context that ends with ctx
// and when the storage is about to close, and what to call when the query has
// ended.
type Enter func(ctx context.Context) (_ context.Context, done func(), err error)

// New returns a reader over s. enter guards every query; nil stands for a
// storage that outlives the reader. Columns that match hidden (names, or
// prefixes that end with an asterisk) exist for no query.
func New(s *logstorage.Storage, enter Enter, hidden ...string) *Reader {
	if enter == nil {
		enter = func(ctx context.Context) (context.Context, func(), error) { return ctx, func() {}, nil }
	}
	return &Reader{storage: s, enter: enter, hidden: hidden}
}

// Query is what to run.
type Query struct {
	Tenant store.Tenant
	Text   string
	// Now is what relative times in Text refer to.
	Now time.Time
	// Range narrows Text; a zero bound is open.
	Range store.Range
	// Filters narrow Text further; each is LogsQL without pipes, or a JSON
	// object {"field":"value"} or {"field":["a","b"]}.
	Filters []string
	// StreamFilters are as Filters, but objects name fields of the stream.
	StreamFilters []string
	// Hidden columns, in addition to the Reader's.
	Hidden []string
}

// Field is a column of a row.
type Field struct{ Name, Value string }

// ParseTime reads a time in the forms that VictoriaLogs takes: RFC 3339 or a
// part of it (2026-03), Unix time, or relative to now (-5m, now-1h).
func ParseTime(s string, now time.Time) (time.Time, error) {
	n, err := timeutil.ParseTimeAt(s, now.UnixNano())
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: %w: %w", s, err, store.ErrInvalid)
	}
	return time.Unix(0, n), nil
}

// ParseDuration reads a duration such as 5m, 1d or 1.5h.
func ParseDuration(s string) (time.Duration, error) {
	d, err := timeutil.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("duration %q: %w: %w", s, err, store.ErrInvalid)
	}
	return d, nil
}

// parse makes the engine's query of q.
func parse(q Query) (*logstorage.Query, error) {
	out, err := logstorage.ParseQueryAtTimestamp(q.Text, q.Now.UnixNano())
	if err != nil {
		return nil, fmt.Errorf("parse query [%s]: %w: %w", q.Text, err, store.ErrInvalid)
	}
	if !q.Range.Start.IsZero() || !q.Range.End.IsZero() {
		start, end := int64(math.MinInt64), int64(math.MaxInt64)
		if !q.Range.Start.IsZero() {
			start = q.Range.Start.UnixNano()
		}
		if !q.Range.End.IsZero() {
			end = q.Range.End.UnixNano() - 1 // the engine's is inclusive
		}
		out.AddTimeFilter(start, end)
	}
	for _, f := range q.Filters {
		if err := addFilter(out, f, anyField); err != nil {
			return nil, err
		}
	}
	for _, f := range q.StreamFilters {
		if err := addFilter(out, f, streamField); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func addFilter(q *logstorage.Query, text string, write func(map[string][]string) string) error {
	if text == "" {
		return nil
	}
	// A filter by stream may begin with a brace too, but is no JSON.
	if strings.HasPrefix(text, "{") && json.Valid([]byte(text)) {
		fields, err := objectFilter(text)
		if err != nil {
			return fmt.Errorf("extra filter [%s]: %w: %w", text, err, store.ErrInvalid)
		}
		if len(fields) == 0 {
			return nil
		}
		text = write(fields)
	}
	f, err := logstorage.ParseFilter(text)
	if err != nil {
		return fmt.Errorf("parse extra filter [%s]: %w: %w", text, err, store.ErrInvalid)
	}
	q.AddExtraFilters(f)
	return nil
}

// objectFilter reads {"field":"value","other":["a","b"]}.
func objectFilter(text string) (map[string][]string, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, err
	}
	fields := map[string][]string{}
	for k, v := range raw {
		var one string
		var many []string
		if json.Unmarshal(v, &one) == nil {
			many = []string{one}
		} else if json.Unmarshal(v, &many) != nil {
			return nil, fmt.Errorf("field %q: want a string or a list of strings", k)
		}
		if len(many) > 0 {
			fields[k] = many
		}
	}
	return fields, nil
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// anyField writes exact matches of any field.
func anyField(fields map[string][]string) string {
	var conds []string
	for _, k := range sortedKeys(fields) {
		quoted := make([]string, len(fields[k]))
		for i, v := range fields[k] {
			quoted[i] = fmt.Sprintf("%q", v)
		}
		conds = append(conds, fmt.Sprintf("%q:in(%s)", k, strings.Join(quoted, ",")))
	}
	return strings.Join(conds, " ")
}

// streamField writes exact matches of fields of the stream.
func streamField(fields map[string][]string) string {
	var conds []string
	for _, k := range sortedKeys(fields) {
		quoted := make([]string, len(fields[k]))
		for i, v := range fields[k] {
			quoted[i] = regexp.QuoteMeta(v)
		}
		conds = append(conds, fmt.Sprintf("%q=~%q", k, "^("+strings.Join(quoted, "|")+")$"))
	}
	return "{" + strings.Join(conds, ",") + "}"
}

func (r *Reader) context(ctx context.Context, q Query, parsed *logstorage.Query) *logstorage.QueryContext {
	tenants := []logstorage.TenantID{{AccountID: q.Tenant.Account, ProjectID: q.Tenant.Project}}
	hidden := append(slices.Clone(r.hidden), q.Hidden...)
	return logstorage.NewQueryContext(ctx, new(logstorage.QueryStats), tenants, parsed, false, hidden)
}

// ended turns the outcome of a run into an error. The engine ends in silence
// when ctx does; its own errors are about the memory that pipes need.
func ended(ctx context.Context, text string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("run query [%s]: %w", text, context.Cause(ctx))
	case err != nil && !errors.Is(err, store.ErrLimit):
		return fmt.Errorf("run query [%s]: %w: %w", text, err, store.ErrLimit)
	}
	return err
}

// Kind is a set of names or values that a query has.
type Kind int

// Kinds of Values. Fields of a stream are those that name its source.
const (
	FieldNames Kind = iota
	FieldValues
	StreamFieldNames
	StreamFieldValues
	Streams
	StreamIDs
)

// Values lists names or values with how many rows have them, at most limit
// where that is above zero. field is for kinds of values.
func (r *Reader) Values(ctx context.Context, q Query, kind Kind, field string, limit int) ([]store.Count, error) {
	parsed, err := parse(q)
	if err != nil {
		return nil, err
	}
	if r.hides(q, field) {
		return []store.Count{}, nil
	}
	ctx, done, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	qctx, n := r.context(ctx, q, parsed), uint64(limit)
	var got []logstorage.ValueWithHits
	switch kind {
	case FieldNames:
		got, err = r.storage.GetFieldNames(qctx)
	case FieldValues:
		got, err = r.storage.GetFieldValues(qctx, field, n)
	case StreamFieldNames:
		got, err = r.storage.GetStreamFieldNames(qctx)
	case StreamFieldValues:
		got, err = r.storage.GetStreamFieldValues(qctx, field, n)
	case Streams:
		got, err = r.storage.GetStreams(qctx, n)
	case StreamIDs:
		got, err = r.storage.GetStreamIDs(qctx, n)
	}
	if err := ended(ctx, q.Text, err); err != nil {
		return nil, err
	}
	counts := make([]store.Count, 0, len(got))
	for _, v := range got {
		if kind == FieldNames && r.hides(q, v.Value) {
			continue // the engine lists what it hides
		}
		counts = append(counts, store.Count{Value: v.Value, Count: v.Hits})
	}
	return counts, nil
}

// hides reports whether a column exists for no query.
func (r *Reader) hides(q Query, column string) bool {
	match := func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return column != "" && (column == pattern || open && strings.HasPrefix(column, prefix))
	}
	return slices.ContainsFunc(r.hidden, match) || slices.ContainsFunc(q.Hidden, match)
}
