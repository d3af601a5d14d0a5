package query

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

// memory keeps telemetry in slices and reads it by the letter of the treaty in
// store/read.go. It stands in for the event engine until that engine's
// conformance suite covers these reads.
type memory struct {
	spans []memSpan
	logs  []memLog

	mu   sync.Mutex
	subs []chan memLog // open tails
}

type memSpan struct {
	resource pcommon.Resource
	scope    pcommon.InstrumentationScope
	span     ptrace.Span
}

type memLog struct {
	id       int
	resource pcommon.Resource
	scope    pcommon.InstrumentationScope
	record   plog.LogRecord
}

func (m *memory) addTraces(td ptrace.Traces) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				m.spans = append(m.spans, memSpan{rs.Resource(), ss.Scope(), s})
			}
		}
	}
	slices.SortStableFunc(m.spans, func(a, b memSpan) int { return cmp.Compare(b.span.EndTimestamp(), a.span.EndTimestamp()) })
}

func (m *memory) addLogs(ld plog.Logs) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				l := memLog{len(m.logs), rl.Resource(), sl.Scope(), r}
				m.logs = append(m.logs, l)
				for _, sub := range m.subs {
					sub <- l
				}
			}
		}
	}
	slices.SortStableFunc(m.logs, func(a, b memLog) int { return cmp.Compare(b.record.Timestamp(), a.record.Timestamp()) })
}

func holds(c store.Cond, value string, ok bool, rank func(string) (float64, bool)) bool {
	switch c.Op {
	case store.OpExists:
		return ok
	case store.OpEq:
		return ok && value == c.Value
	case store.OpNe:
		return !ok || value != c.Value
	case store.OpRe:
		return ok && regexp.MustCompile(c.Value).MatchString(value)
	case store.OpNre:
		return !ok || !regexp.MustCompile(c.Value).MatchString(value)
	}
	a, okA := rank(value)
	b, okB := rank(c.Value)
	if !ok || !okA || !okB {
		return false
	}
	switch c.Op {
	case store.OpLt:
		return a < b
	case store.OpLe:
		return a <= b
	case store.OpGt:
		return a > b
	}
	return a >= b
}

func number(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func severityRank(s string) (float64, bool) {
	i := slices.Index([]string{"unset", "trace", "debug", "info", "warn", "error", "fatal"}, s)
	return float64(i), i >= 0
}

func attr(m pcommon.Map, key string) (string, bool) {
	v, ok := m.Get(key)
	if !ok {
		return "", false
	}
	return v.AsString(), true
}

func some(s string) (string, bool) { return s, s != "" }

func (s memSpan) field(name string) (string, bool) {
	switch name {
	case "trace_id":
		return s.span.TraceID().String(), true
	case "span_id":
		return s.span.SpanID().String(), true
	case "parent_span_id":
		return some(spanIDText(s.span.ParentSpanID()))
	case "name":
		return some(s.span.Name())
	case "kind":
		return kindName(s.span.Kind()), true
	case "duration":
		return strconv.FormatInt(int64(s.span.EndTimestamp()-s.span.StartTimestamp()), 10), true
	case "status":
		return statusName(s.span.Status().Code()), true
	case "status.message":
		return some(s.span.Status().Message())
	case "scope.name":
		return some(s.scope.Name())
	case "root":
		return "true", s.span.ParentSpanID().IsEmpty()
	case "service.name":
		return attr(s.resource.Attributes(), name)
	}
	if key, ok := strings.CutPrefix(name, "resource."); ok {
		return attr(s.resource.Attributes(), key)
	}
	if key, ok := strings.CutPrefix(name, "span."); ok {
		return attr(s.span.Attributes(), key)
	}
	if v, ok := attr(s.span.Attributes(), name); ok {
		return v, true
	}
	return attr(s.resource.Attributes(), name)
}

func (s memSpan) matches(sel store.Select) bool {
	if t := s.span.EndTimestamp().AsTime(); t.Before(sel.Range.Start) || !t.Before(sel.Range.End) {
		return false
	}
	for _, c := range sel.Where {
		if c.Op == store.OpText {
			if !strings.Contains(s.span.Name(), c.Value) {
				return false
			}
			continue
		}
		if v, ok := s.field(c.Field); !holds(c, v, ok, number) {
			return false
		}
	}
	return true
}

func (s memSpan) row() store.SpanRow {
	return store.SpanRow{
		TraceID: s.span.TraceID(), SpanID: s.span.SpanID(), ParentSpanID: s.span.ParentSpanID(),
		Service: serviceOf(s.resource.Attributes()), Name: s.span.Name(), Kind: s.span.Kind(), Status: s.span.Status().Code(),
		Start: s.span.StartTimestamp().AsTime(), Duration: time.Duration(s.span.EndTimestamp() - s.span.StartTimestamp()),
		Ended: s.span.EndTimestamp().AsTime(), Weight: stateWeight(s.span.TraceState().AsRaw()),
	}
}

func (m *memory) matching(sel store.Select) (out []memSpan) {
	for _, s := range m.spans {
		if s.matches(sel) {
			out = append(out, s)
		}
	}
	return out
}

func (m *memory) Trace(_ context.Context, _ store.Tenant, id pcommon.TraceID, hint store.Range) (ptrace.Traces, bool, error) {
	td := ptrace.NewTraces()
	for _, s := range m.spans {
		end := s.span.EndTimestamp().AsTime()
		if s.span.TraceID() != id || hint != (store.Range{}) && (end.Before(hint.Start) || !end.Before(hint.End)) {
			continue
		}
		rs := td.ResourceSpans().AppendEmpty()
		s.resource.CopyTo(rs.Resource())
		ss := rs.ScopeSpans().AppendEmpty()
		s.scope.CopyTo(ss.Scope())
		s.span.CopyTo(ss.Spans().AppendEmpty())
	}
	if td.SpanCount() == 0 {
		return td, false, fmt.Errorf("trace %s: %w", id, store.ErrNotFound)
	}
	return td, false, nil
}

func page[T any](all []T, limit int, after store.Cursor) ([]T, store.Cursor, error) {
	from := 0
	if after != "" {
		n, err := strconv.Atoi(string(after))
		if err != nil {
			return nil, "", fmt.Errorf("cursor %q: %w", after, store.ErrInvalid)
		}
		from = min(n, len(all))
	}
	to := min(from+min(limit, store.MaxPage), len(all))
	if to == len(all) {
		return all[from:to], "", nil
	}
	return all[from:to], store.Cursor(strconv.Itoa(to)), nil
}

func (m *memory) Spans(_ context.Context, sel store.Select, limit int, after store.Cursor) ([]store.SpanRow, store.Cursor, error) {
	found, next, err := page(m.matching(sel), limit, after)
	rows := make([]store.SpanRow, len(found))
	for i, s := range found {
		rows[i] = s.row()
	}
	return rows, next, err
}

func (m *memory) SpansOf(_ context.Context, tenant store.Tenant, within store.Range, ids []pcommon.TraceID) (rows []store.SpanRow, err error) {
	for _, s := range m.matching(store.Select{Tenant: tenant, Range: within}) {
		if slices.Contains(ids, s.span.TraceID()) && len(rows) < store.MaxPage {
			rows = append(rows, s.row())
		}
	}
	return rows, nil
}

func (m *memory) Heat(_ context.Context, sel store.Select, columns int) (store.HeatMap, error) {
	h := store.HeatMap{Start: sel.Range.Start, Step: sel.Range.End.Sub(sel.Range.Start) / time.Duration(columns), Exact: true}
	for _, s := range m.matching(sel) {
		h.Cells = append(h.Cells, store.HeatCell{X: int(s.span.EndTimestamp().AsTime().Sub(h.Start) / h.Step), Count: 1})
	}
	return h, nil
}

func (m *memory) group(sel store.Select, steps int, key func(store.SpanRow) store.Group) []store.Group {
	groups := map[string]*store.Group{}
	durations := map[string][]time.Duration{}
	for _, s := range m.matching(sel) {
		r := s.row()
		g := key(r)
		id := fmt.Sprint(g.Service, "\x00", g.Name, "\x00", g.Kind)
		if groups[id] == nil {
			groups[id] = &g
			if steps > 0 {
				g.Series = make([]store.GroupPoint, steps)
			}
		}
		to := groups[id]
		to.Count += r.Weight
		to.Stored++
		durations[id] = append(durations[id], r.Duration)
		failed := 0.0
		if r.Status == ptrace.StatusCodeError {
			failed = r.Weight
		}
		to.Errors += failed
		if steps > 0 {
			at := r.Start.Add(r.Duration).Sub(sel.Range.Start) / (sel.Range.End.Sub(sel.Range.Start) / time.Duration(steps))
			to.Series[at].Count += r.Weight
			to.Series[at].Errors += failed
		}
	}
	var out []store.Group
	for id, g := range groups {
		d := durations[id]
		slices.Sort(d)
		at := func(q float64) time.Duration { return d[min(len(d)-1, int(q*float64(len(d))))] }
		g.P50, g.P95, g.P99 = at(0.5), at(0.95), at(0.99)
		out = append(out, *g)
	}
	return out
}

func (m *memory) Services(_ context.Context, sel store.Select, steps int) ([]store.Group, error) {
	out := m.group(sel, steps, func(r store.SpanRow) store.Group { return store.Group{Service: r.Service} })
	slices.SortFunc(out, func(a, b store.Group) int { return strings.Compare(a.Service, b.Service) })
	return out, nil
}

func (m *memory) Operations(_ context.Context, sel store.Select, steps, limit int) ([]store.Group, error) {
	out := m.group(sel, steps, func(r store.SpanRow) store.Group {
		return store.Group{Service: r.Service, Name: r.Name, Kind: r.Kind}
	})
	slices.SortFunc(out, func(a, b store.Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	return out[:min(limit, len(out))], nil
}

func (s memSpan) fields() []string {
	out := []string{"name", "service.name", "kind", "status"}
	for k := range s.span.Attributes().All() {
		out = append(out, "span."+k)
	}
	for k := range s.resource.Attributes().All() {
		if k != "service.name" {
			out = append(out, "resource."+k)
		}
	}
	return out
}

func (m *memory) Compare(_ context.Context, selection, baseline store.Select, _ int) ([]store.Difference, uint64, uint64, error) {
	counts := map[[2]string]*store.Difference{}
	count := func(spans []memSpan, add func(*store.Difference)) {
		for _, s := range spans {
			for _, f := range s.fields() {
				v, _ := s.field(f)
				d := counts[[2]string{f, v}]
				if d == nil {
					d = &store.Difference{Field: f, Value: v}
					counts[[2]string{f, v}] = d
				}
				add(d)
			}
		}
	}
	in, all := m.matching(selection), m.matching(baseline)
	count(in, func(d *store.Difference) { d.Selected++ })
	count(all, func(d *store.Difference) { d.Baseline++ })
	var out []store.Difference
	for _, d := range counts {
		out = append(out, *d)
	}
	return out, uint64(len(in)), uint64(len(all)), nil
}

func tally(values []string, limit int) (out []store.Count) {
	counts := map[string]uint64{}
	for _, v := range values {
		counts[v]++
	}
	for v, n := range counts {
		out = append(out, store.Count{Value: v, Count: n})
	}
	slices.SortFunc(out, func(a, b store.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	return out[:min(limit, len(out))]
}

func (m *memory) SpanFields(_ context.Context, sel store.Select) ([]store.Count, error) {
	var names []string
	for _, s := range m.matching(sel) {
		names = append(names, s.fields()...)
	}
	return tally(names, 1000), nil
}

func (m *memory) SpanValues(_ context.Context, sel store.Select, field string, limit int) ([]store.Count, error) {
	var values []string
	for _, s := range m.matching(sel) {
		if v, ok := s.field(field); ok {
			values = append(values, v)
		}
	}
	return tally(values, limit), nil
}

func (l memLog) field(name string) (string, bool) {
	switch name {
	case "trace_id":
		return some(traceIDText(l.record.TraceID()))
	case "span_id":
		return some(spanIDText(l.record.SpanID()))
	case "severity":
		return severityName(l.record.SeverityNumber()), true
	case "body":
		return some(text(l.record.Body()))
	case "service.name":
		return attr(l.resource.Attributes(), name)
	}
	if v, ok := attr(l.record.Attributes(), strings.TrimPrefix(name, "log.")); ok {
		return v, true
	}
	return attr(l.resource.Attributes(), strings.TrimPrefix(name, "resource."))
}

func (l memLog) meets(where []store.Cond) bool {
	for _, c := range where {
		if c.Op == store.OpText {
			if !strings.Contains(text(l.record.Body()), c.Value) {
				return false
			}
			continue
		}
		rank := number
		if c.Field == "severity" {
			rank = severityRank
		}
		if v, ok := l.field(c.Field); !holds(c, v, ok, rank) {
			return false
		}
	}
	return true
}

func (m *memory) matchingLogs(sel store.Select) (out []memLog) {
	for _, l := range m.logs {
		if t := l.record.Timestamp().AsTime(); !t.Before(sel.Range.Start) && t.Before(sel.Range.End) && l.meets(sel.Where) {
			out = append(out, l)
		}
	}
	return out
}

func (l memLog) row() store.LogRow {
	return store.LogRow{Time: l.record.Timestamp().AsTime(), Resource: l.resource, Scope: l.scope, Record: l.record, ID: store.Cursor(strconv.Itoa(l.id))}
}

func rowsOf(ls []memLog) (out []store.LogRow) {
	for _, l := range ls {
		out = append(out, l.row())
	}
	return out
}

func (m *memory) Logs(_ context.Context, sel store.Select, limit int, after store.Cursor) ([]store.LogRow, store.Cursor, error) {
	found, next, err := page(m.matchingLogs(sel), limit, after)
	return rowsOf(found), next, err
}

func (m *memory) Around(_ context.Context, _ store.Tenant, id store.Cursor, n int) ([]store.LogRow, error) {
	i := slices.IndexFunc(m.logs, func(l memLog) bool { return strconv.Itoa(l.id) == string(id) })
	if i < 0 {
		return nil, fmt.Errorf("record %q: %w", id, store.ErrNotFound)
	}
	rows := rowsOf(m.logs[max(0, i-n):min(len(m.logs), i+n+1)])
	slices.Reverse(rows)
	return rows, nil
}

func (m *memory) Volume(_ context.Context, sel store.Select, columns int) (store.Volume, error) {
	v := store.Volume{Start: sel.Range.Start, Step: sel.Range.End.Sub(sel.Range.Start)/time.Duration(columns) + 1}
	series := map[string][]uint64{}
	for _, l := range m.matchingLogs(sel) {
		name := severityName(l.record.SeverityNumber())
		if series[name] == nil {
			series[name] = make([]uint64, columns)
		}
		series[name][l.record.Timestamp().AsTime().Sub(v.Start)/v.Step]++
	}
	for name, counts := range series {
		v.Series = append(v.Series, store.VolumeSeries{Severity: name, Counts: counts})
	}
	return v, nil
}

func (m *memory) LogFields(_ context.Context, sel store.Select) ([]store.Count, error) {
	var names []string
	for _, l := range m.matchingLogs(sel) {
		for k := range l.record.Attributes().All() {
			names = append(names, "log."+k)
		}
	}
	return tally(names, 1000), nil
}

func (m *memory) LogValues(_ context.Context, sel store.Select, field string, limit int) ([]store.Count, error) {
	var values []string
	for _, l := range m.matchingLogs(sel) {
		if v, ok := l.field(field); ok {
			values = append(values, v)
		}
	}
	return tally(values, limit), nil
}

func (m *memory) Tail(ctx context.Context, sel store.Select, yield func(store.LogRow, uint64) bool) error {
	sub := make(chan memLog, 100)
	m.mu.Lock()
	m.subs = append(m.subs, sub)
	m.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case l := <-sub:
			if l.meets(sel.Where) && !yield(l.row(), 0) {
				return nil
			}
		}
	}
}
