package storetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

func traceComesBackWhole(t *testing.T, w *world) {
	b := newSpans()
	sp := b.span(w, "order", "GET /orders", 1, 1, time.Minute, 20*time.Millisecond)
	sp.SetParentSpanID(pcommon.SpanID{1})
	sp.SetFlags(0x101)
	sp.TraceState().FromRaw("ot=th:8,vendor=x")
	sp.Status().SetCode(ptrace.StatusCodeError)
	sp.Status().SetMessage("no luck")
	sp.SetDroppedAttributesCount(1)
	sp.SetDroppedEventsCount(2)
	sp.SetDroppedLinksCount(3)
	everyKind(sp.Attributes())
	e := sp.Events().AppendEmpty()
	e.SetName("exception")
	e.SetTimestamp(sp.EndTimestamp() - 5)
	e.SetDroppedAttributesCount(4)
	everyKind(e.Attributes())
	l := sp.Links().AppendEmpty()
	l.SetTraceID(pcommon.TraceID{9})
	l.SetSpanID(pcommon.SpanID{8})
	l.SetFlags(1)
	l.TraceState().FromRaw("a=b")
	l.SetDroppedAttributesCount(5)
	everyKind(l.Attributes())
	rs := b.ResourceSpans().At(0)
	everyKind(rs.Resource().Attributes())
	rs.Resource().SetDroppedAttributesCount(6)
	rs.SetSchemaUrl("https://example.org/r")
	ss := rs.ScopeSpans().At(0)
	ss.Scope().SetName("lib")
	ss.Scope().SetVersion("1.10")
	ss.Scope().SetDroppedAttributesCount(7)
	ss.SetSchemaUrl("https://example.org/s")
	everyKind(ss.Scope().Attributes())
	// A second scope of the same resource, and a span that is all zero but
	// for its ids and times.
	second := rs.ScopeSpans().AppendEmpty()
	bare := second.Spans().AppendEmpty()
	bare.SetTraceID(sp.TraceID())
	bare.SetSpanID(pcommon.SpanID{2})
	bare.SetStartTimestamp(sp.StartTimestamp())
	bare.SetEndTimestamp(sp.EndTimestamp())
	want := Dump(b.Traces)
	w.write(t, b)
	if diff := cmp.Diff(want, Dump(b.Traces)); diff != "" {
		t.Errorf("WriteTraces changed its argument:\n%s", diff)
	}
	for _, hint := range []store.Range{{}, w.lastHour()} {
		got, cut, err := w.Trace(t.Context(), w.tenant, sp.TraceID(), hint)
		if err != nil || cut {
			t.Fatalf("Trace with hint %v: cut %v, error %v", hint, cut, err)
		}
		if diff := cmp.Diff(want, Dump(got)); diff != "" {
			t.Errorf("Trace with hint %v: written (-) and read (+) differ:\n%s", hint, diff)
		}
	}
	other := w.tenant
	other.Account--
	if _, _, err := w.Trace(t.Context(), other, sp.TraceID(), store.Range{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's Trace: error %v, want ErrNotFound", err)
	}
}

// everyKind puts values of all types, among them those that stores of strings
// get wrong.
func everyKind(m pcommon.Map) {
	m.PutStr("s", "text")
	m.PutStr("s.empty", "")
	m.PutStr("s.int", "200")
	m.PutStr("s.zeros", "1.10")
	m.PutStr("s.bool", "true")
	m.PutStr("s.json", `{"a":[1]}`)
	m.PutStr("s.lines", "a\nb \"c\"")
	m.PutStr("s.unicode", "观澜")
	m.PutInt("i", -200)
	m.PutInt("i.big", math.MaxInt64)
	m.PutDouble("d", 0.3)
	m.PutDouble("d.whole", 5)
	m.PutDouble("d.nan", math.NaN())
	m.PutDouble("d.inf", math.Inf(-1))
	m.PutDouble("d.zero", math.Copysign(0, -1))
	m.PutBool("b", true)
	m.PutEmpty("none")
	m.PutEmptyBytes("bytes").FromRaw([]byte{0, 255})
	m.PutEmptyBytes("bytes.empty")
	a := m.PutEmptySlice("array")
	a.AppendEmpty().SetDouble(1)
	a.AppendEmpty().SetStr("1")
	a.AppendEmpty()
	n := m.PutEmptyMap("map")
	n.PutEmptyBytes("deep").FromRaw([]byte{1})
	n.PutEmptySlice("empty")
	m.PutStr(strings.Repeat("long key ", 30), "v")
	m.PutStr("key*", "v")
	m.PutStr("name", "shadow")
	m.PutStr("_time", "shadow")
}

func traceOverHours(t *testing.T, w *world) {
	b := newSpans()
	for i := range byte(6) {
		b.span(w, "batch", "step", 1, i+1, time.Duration(i)*10*time.Minute, time.Minute)
	}
	w.write(t, b)
	poll(t, func() error {
		got, _, err := w.Trace(t.Context(), w.tenant, pcommon.TraceID{1: 7, 15: 1}, store.Range{})
		if err == nil && got.SpanCount() != 6 {
			err = fmt.Errorf("trace has %d spans, want 6", got.SpanCount())
		}
		return err
	})
	hint := store.Range{Start: w.now.Add(-25 * time.Minute), End: w.now.Add(-5 * time.Minute)}
	got, _, err := w.Trace(t.Context(), w.tenant, pcommon.TraceID{1: 7, 15: 1}, hint)
	if err != nil || got.SpanCount() != 2 {
		t.Errorf("Trace with a hint has %d spans, error %v; want the 2 that end in it", got.SpanCount(), err)
	}
}

func traceDeliveredTwice(t *testing.T, w *world) {
	b := newSpans()
	b.span(w, "order", "a", 1, 1, time.Minute, time.Second)
	b.span(w, "order", "b", 1, 2, time.Minute, time.Second)
	w.write(t, b)
	again := newSpans()
	b.CopyTo(again.Traces)
	again.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).SetName("changed")
	again.span(w, "order", "c", 1, 3, time.Minute, time.Second)
	if err := w.WriteTraces(t.Context(), w.tenant, again.Traces); err != nil {
		t.Fatal(err)
	}
	poll(t, func() error {
		got, _, err := w.Trace(t.Context(), w.tenant, pcommon.TraceID{1: 7, 15: 1}, store.Range{})
		if err != nil {
			return err
		}
		var names []string
		for _, rs := range got.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, sp := range ss.Spans().All() {
					names = append(names, sp.Name())
				}
			}
		}
		slices.Sort(names)
		if diff := cmp.Diff([]string{"a", "b", "c", "changed"}, names); diff != "" {
			return fmt.Errorf("spans of a trace delivered twice:\n%s", diff)
		}
		return nil
	})
}

func traceNotFound(t *testing.T, w *world) {
	if _, _, err := w.Trace(t.Context(), w.tenant, pcommon.TraceID{5}, store.Range{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Trace of an unknown id: error %v, want ErrNotFound", err)
	}
}

func spanPages(t *testing.T, w *world) {
	b := newSpans()
	var want []string
	for i := range byte(60) {
		ago := time.Duration(i/4) * 3 * time.Minute // four end at the same instant
		b.span(w, "order", fmt.Sprint("op", i%3), i%7+1, i+1, ago, time.Millisecond)
		want = append(want, pcommon.SpanID{7: i + 1}.String())
	}
	w.write(t, b)
	for _, limit := range []int{1, 7, 60, 1_000_000} {
		var got []store.SpanRow
		var after store.Cursor
		for pages := 0; ; pages++ {
			rows, next, err := w.Spans(t.Context(), w.sel(), limit, after)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) > limit || pages > 100 {
				t.Fatalf("page %d of limit %d has %d rows", pages, limit, len(rows))
			}
			got = append(got, rows...)
			if next == "" {
				break
			}
			after = next
		}
		var ids []string
		for i, r := range got {
			ids = append(ids, r.SpanID.String())
			if i > 0 && r.Start.Add(r.Duration).After(got[i-1].Start.Add(got[i-1].Duration)) {
				t.Errorf("limit %d: row %d ends after the row before it", limit, i)
			}
		}
		slices.Sort(ids)
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("limit %d: pages have these spans, want each once:\n%s", limit, diff)
		}
	}
	rows, _, err := w.Spans(t.Context(), w.sel(store.Cond{Field: "span_id", Op: store.OpEq, Value: "0000000000000006"}), 10, "")
	if err != nil || len(rows) != 1 {
		t.Fatalf("span by id: %d rows, error %v", len(rows), err)
	}
	end := w.now.Add(-3 * time.Minute)
	if diff := cmp.Diff(store.SpanRow{TraceID: pcommon.TraceID{1: 7, 15: 6}, SpanID: pcommon.SpanID{7: 6}, Service: "order", Name: "op2", Kind: ptrace.SpanKindServer,
		Start: end.Add(-time.Millisecond).UTC(), Duration: time.Millisecond, Ended: end.UTC(), Weight: 1}, rows[0]); diff != "" {
		t.Errorf("list row:\n%s", diff)
	}
}

func spanConditions(t *testing.T, w *world) {
	b := newSpans()
	add := func(name, service string, fill func(ptrace.Span)) {
		sp := b.span(w, service, name, byte(b.SpanCount()+1), byte(b.SpanCount()+1), time.Minute, 10*time.Millisecond)
		fill(sp)
	}
	add("a", "order", func(sp ptrace.Span) {
		sp.Attributes().PutInt("http.status", 200)
		sp.Attributes().PutStr("user", "anna")
	})
	add("b", "order", func(sp ptrace.Span) {
		sp.Attributes().PutInt("http.status", 503)
		sp.Attributes().PutStr("user", "")
		sp.Status().SetCode(ptrace.StatusCodeError)
		sp.SetStartTimestamp(sp.EndTimestamp() - pcommon.Timestamp(2*time.Second))
		e := sp.Events().AppendEmpty()
		e.SetName("exception")
		e.Attributes().PutStr("exception.message", "connection refused by peer")
	})
	add("c", "cart", func(sp ptrace.Span) {
		sp.Attributes().PutStr("http.status", "10ms")
		sp.Attributes().PutStr("region", "own")
		sp.SetParentSpanID(pcommon.SpanID{1})
		sp.SetKind(ptrace.SpanKindClient)
	})
	w.write(t, b)
	for _, c := range []struct {
		field string
		op    store.Op
		value string
		want  string
	}{
		{"service.name", "=", "order", "ab"}, {"service.name", "!=", "order", "c"}, {"service.name", "=~", "^or", "ab"},
		{"name", "=", "a", "a"}, {"name", "=~", "a|c", "ac"}, {"name", "!~", "a|c", "b"},
		{"kind", "=", "client", "c"}, {"status", "=", "error", "b"}, {"status", "!=", "error", "ac"}, {"status", "=", "unset", "ac"},
		{"root", "=", "true", "ab"}, {"root", "!=", "true", "c"},
		{"duration", ">", "10000000", "b"}, {"duration", ">=", "1e7", "abc"}, {"duration", "=", "2000000000", "b"},
		{"http.status", "=", "200", "a"}, {"http.status", ">=", "200", "ab"}, {"http.status", "<", "1e300", "ab"}, {"span.http.status", ">", "499.5", "b"}, {"http.status", "!=", "200", "bc"},
		{"user", "exists", "", "ab"}, {"user", "=", "", "b"}, {"user", "!=", "anna", "bc"}, {"nobody", "exists", "", ""}, {"nobody", "!=", "x", "abc"},
		{"region", "=", "of-order", "ab"}, {"region", "=", "of-cart", ""}, {"region", "=", "own", "c"}, {"resource.region", "=", "of-cart", "c"}, {"span.region", "exists", "", "c"},
		{"event.name", "=", "exception", "b"}, {"event.name", "exists", "", "b"},
		{"", "text", "connection refused", "b"}, {"", "text", "refuse", ""}, {"", "text", "a", "a"},
		{"span_id", "=", "0000000000000003", "c"}, {"trace_id", "=", "00070000000000000000000000000002", "b"}, {"parent_span_id", "exists", "", "c"},
	} {
		rows, _, err := w.Spans(t.Context(), w.sel(store.Cond{Field: c.field, Op: c.op, Value: c.value}), 100, "")
		var names []string
		for _, r := range rows {
			names = append(names, r.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, ""); err != nil || got != c.want {
			t.Errorf("%s %s %q: spans %q, error %v; want %q", c.field, c.op, c.value, got, err, c.want)
		}
	}
	rows, _, err := w.Spans(t.Context(), w.sel(store.Cond{Field: "service.name", Op: "=", Value: "order"}, store.Cond{Field: "root", Op: "=", Value: "true"}, store.Cond{Field: "status", Op: "=", Value: "error"}), 100, "")
	if err != nil || len(rows) != 1 || rows[0].Name != "b" {
		t.Errorf("three conditions: rows %v, error %v; want b", rows, err)
	}
}

func spansOfTraces(t *testing.T, w *world) {
	b := newSpans()
	for i := range byte(30) {
		b.span(w, "order", "op", i%10+1, i+1, time.Duration(i)*time.Minute, time.Second)
	}
	w.write(t, b)
	id := func(n byte) pcommon.TraceID { return pcommon.TraceID{1: 7, 15: n} }
	rows, err := w.SpansOf(t.Context(), w.tenant, w.lastHour(), []pcommon.TraceID{id(3), id(7), id(99)})
	var ids []int
	for _, r := range rows {
		ids = append(ids, int(r.SpanID[7]))
	}
	slices.Sort(ids)
	if diff := cmp.Diff([]int{3, 7, 13, 17, 23, 27}, ids); diff != "" || err != nil {
		t.Errorf("SpansOf two traces: error %v, spans:\n%s", err, diff)
	}
	rows, err = w.SpansOf(t.Context(), w.tenant, store.Range{Start: w.now.Add(-15 * time.Minute), End: w.now.Add(time.Minute)}, []pcommon.TraceID{id(3)})
	if err != nil || len(rows) != 2 {
		t.Errorf("SpansOf a trace that is partly within: %d spans, error %v; want 2", len(rows), err)
	}
	if rows, err := w.SpansOf(t.Context(), w.tenant, w.lastHour(), nil); err != nil || len(rows) != 0 {
		t.Errorf("SpansOf nothing: %d spans, error %v", len(rows), err)
	}
}

func heatMap(t *testing.T, w *world) {
	b := newSpans()
	for i := range byte(40) {
		service := "order"
		if i%4 == 0 {
			service = "cart"
		}
		sp := b.span(w, service, "op", i+1, i+1, time.Duration(i)*time.Minute+time.Second, time.Duration(1)<<(10+i%10))
		sp.Attributes().PutStr("tier", "gold")
		if i%5 == 0 {
			sp.Status().SetCode(ptrace.StatusCodeError)
		}
	}
	w.write(t, b)
	for _, where := range [][]store.Cond{nil, {{Field: "service.name", Op: store.OpEq, Value: "cart"}}, {{Field: "tier", Op: store.OpEq, Value: "gold"}}} {
		for _, columns := range []int{5, 60} {
			h, err := w.Heat(t.Context(), w.sel(where...), columns)
			if err != nil {
				t.Fatal(err)
			}
			type key struct{ minute, band int }
			want, got := map[key]store.HeatCell{}, map[key]store.HeatCell{}
			add := func(m map[key]store.HeatCell, at time.Time, band int, count, errors uint64) {
				// Compare in the coarsest steps that both sides can express.
				k := key{int(at.Sub(h.Start) / h.Step), band}
				c := m[k]
				m[k] = store.HeatCell{Count: c.Count + count, Errors: c.Errors + errors}
			}
			for i := range 40 {
				if len(where) > 0 && where[0].Value == "cart" && i%4 != 0 {
					continue
				}
				var failed uint64
				if i%5 == 0 {
					failed = 1
				}
				add(want, w.now.Add(-time.Duration(i)*time.Minute-time.Second), 4*(10+i%10), 1, failed)
			}
			for _, c := range h.Cells {
				add(got, h.Start.Add(time.Duration(c.X)*h.Step), c.Band, c.Count, c.Errors)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("heat map where %v, %d columns, start %v, step %v: want (-) and got (+) differ:\n%s", where, columns, h.Start, h.Step, diff)
			}
		}
	}
}

func servicesAndOperations(t *testing.T, w *world) {
	b := newSpans()
	for i := range byte(100) {
		sp := b.span(w, "order", "slow", i+1, i+1, 10*time.Minute+time.Second, time.Second)
		if i < 90 {
			sp.SetName("fast")
			sp.SetStartTimestamp(sp.EndTimestamp() - pcommon.Timestamp(time.Millisecond))
		}
		if i%10 == 0 {
			sp.Status().SetCode(ptrace.StatusCodeError)
		}
	}
	for i := range byte(10) {
		sp := b.span(w, "cart", "sampled", i+101, i+101, 30*time.Minute+time.Second, time.Second)
		sp.TraceState().FromRaw("ot=th:8") // every second one was kept
		sp.SetKind(ptrace.SpanKindClient)
	}
	w.write(t, b)
	near := func(got, want time.Duration) bool { return math.Abs(math.Log2(float64(got)/float64(want))) <= 0.126 }
	check := func(what string, g store.Group, count, errors float64, stored uint64, p50, p99 time.Duration) {
		t.Helper()
		if math.Abs(g.Count-count) > 0.01 || math.Abs(g.Errors-errors) > 0.01 || g.Stored != stored || !near(g.P50, p50) || !near(g.P99, p99) {
			t.Errorf("%s: %+v; want count %v, errors %v, stored %d, p50 %v, p99 %v", what, g, count, errors, stored, p50, p99)
		}
	}
	for _, where := range [][]store.Cond{nil, {{Field: "duration", Op: store.OpGt, Value: "0"}}} {
		groups, err := w.Services(t.Context(), w.sel(where...), 61)
		if err != nil || len(groups) != 2 || groups[0].Service != "cart" || groups[1].Service != "order" {
			t.Fatalf("Services where %v: %+v, error %v; want cart and order", where, groups, err)
		}
		check("service cart", groups[0], 20, 0, 10, time.Second, time.Second)
		check("service order", groups[1], 100, 10, 100, time.Millisecond, time.Second)
		at := 49 // the minute that ends ten minutes before the world's time
		for i, p := range groups[1].Series {
			if want := i == at; (p.Count > 0) != want {
				t.Errorf("Services where %v: point %d of order is %+v", where, i, p)
			}
		}
		if len(groups[1].Series) != 61 || math.Abs(groups[1].Series[at].Count-100) > 0.01 || math.Abs(groups[1].Series[at].Errors-10) > 0.01 || !near(groups[1].Series[at].P95, time.Second) {
			t.Errorf("Services where %v: series of order: %d points, %+v at %d", where, len(groups[1].Series), groups[1].Series[min(at, len(groups[1].Series)-1)], at)
		}
	}
	only, err := w.Services(t.Context(), w.sel(store.Cond{Field: "service.name", Op: store.OpEq, Value: "cart"}), 0)
	if err != nil || len(only) != 1 || only[0].Service != "cart" || only[0].Series != nil {
		t.Errorf("Services of cart: %+v, error %v", only, err)
	}
	ops, err := w.Operations(t.Context(), w.sel(), 0, 2)
	if err != nil || len(ops) != 2 || ops[0].Name != "fast" || ops[1].Name != "sampled" {
		t.Fatalf("Operations: %+v, error %v; want fast and sampled", ops, err)
	}
	check("operation fast", ops[0], 90, 9, 90, time.Millisecond, time.Millisecond)
	check("operation sampled", ops[1], 20, 0, 10, time.Second, time.Second)
	if ops[1].Kind != ptrace.SpanKindClient || ops[1].Service != "cart" {
		t.Errorf("operation sampled is of %q, kind %v", ops[1].Service, ops[1].Kind)
	}
	ops, err = w.Operations(t.Context(), w.sel(store.Cond{Field: "service.name", Op: store.OpEq, Value: "order"}), 61, 10)
	if err != nil || len(ops) != 2 || len(ops[0].Series) != 61 || math.Abs(ops[0].Series[49].Count-90) > 0.01 {
		t.Errorf("Operations of order with series: %+v, error %v", ops, err)
	}
}

func compare(t *testing.T, w *world) {
	b := newSpans()
	for i := range byte(60) {
		sp := b.span(w, "order", "op", i+1, i+1, time.Minute, time.Second)
		sp.Attributes().PutStr("version", "v1")
		sp.Attributes().PutStr("zone", []string{"x", "y"}[i%2])
		if i < 20 {
			sp.Status().SetCode(ptrace.StatusCodeError)
			sp.Attributes().PutStr("version", "v2")
		}
	}
	w.write(t, b)
	failed := store.Cond{Field: "status", Op: store.OpEq, Value: "error"}
	well := store.Cond{Field: "status", Op: store.OpNe, Value: "error"}
	diffs, selected, base, err := w.Compare(t.Context(), w.sel(failed), w.sel(well), 50)
	if err != nil || selected != 20 || base != 40 {
		t.Fatalf("Compare: selected %d, base %d, error %v; want 20 and 40", selected, base, err)
	}
	got := map[string]store.Difference{}
	for _, d := range diffs {
		got[d.Field+"="+d.Value] = d
	}
	for _, want := range []store.Difference{
		{Field: "span.version", Value: "v2", Selected: 20}, {Field: "span.version", Value: "v1", Baseline: 40},
		{Field: "span.zone", Value: "x", Selected: 10, Baseline: 20}, {Field: "service.name", Value: "order", Selected: 20, Baseline: 40},
		{Field: "name", Value: "op", Selected: 20, Baseline: 40}, {Field: "kind", Value: "server", Selected: 20, Baseline: 40},
		{Field: "status", Value: "error", Selected: 20}, {Field: "status", Value: "unset", Baseline: 40},
		{Field: "resource.region", Value: "of-order", Selected: 20, Baseline: 40},
	} {
		if diff := cmp.Diff(want, got[want.Field+"="+want.Value]); diff != "" {
			t.Errorf("difference in %s = %s of %v:\n%s", want.Field, want.Value, diffs, diff)
		}
	}
}

func spanFieldsAndValues(t *testing.T, w *world) {
	b := newSpans()
	for i := range byte(20) {
		sp := b.span(w, "order", "op", i+1, i+1, time.Minute, time.Second)
		sp.Attributes().PutInt("code", int64(200+i%4))
		if i < 5 {
			sp.Attributes().PutStr("rare", "r")
			sp.Attributes().PutStr("region", "own")
		}
	}
	w.write(t, b)
	fields, err := w.SpanFields(t.Context(), w.sel())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []store.Count{{Value: "span.code", Count: 20}, {Value: "span.rare", Count: 5}, {Value: "resource.region", Count: 20}, {Value: "name", Count: 20}, {Value: "service.name", Count: 20}, {Value: "kind", Count: 20}} {
		if !slices.Contains(fields, want) {
			t.Errorf("SpanFields lacks %v: %v", want, fields)
		}
	}
	values := func(field string, limit int, want ...store.Count) {
		t.Helper()
		got, err := w.SpanValues(t.Context(), w.sel(), field, limit)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("SpanValues of %s: error %v, values:\n%s", field, err, diff)
		}
	}
	values("code", 10, store.Count{Value: "200", Count: 5}, store.Count{Value: "201", Count: 5}, store.Count{Value: "202", Count: 5}, store.Count{Value: "203", Count: 5})
	values("region", 10, store.Count{Value: "of-order", Count: 15}, store.Count{Value: "own", Count: 5})
	values("status", 10, store.Count{Value: "unset", Count: 20})
	values("root", 10, store.Count{Value: "true", Count: 20})
	if got, err := w.SpanValues(t.Context(), w.sel(), "code", 2); err != nil || len(got) != 2 {
		t.Errorf("SpanValues limited to 2: %v, error %v", got, err)
	}
}

// readsWhileWriting runs writers and readers at a time; in the end everything
// is there once.
func readsWhileWriting(t *testing.T, w *world) {
	const writers, batches, size = 3, 8, 50
	var wg sync.WaitGroup
	for i := range byte(writers) {
		wg.Go(func() {
			for k := range byte(batches) {
				b := newSpans()
				for n := range byte(size) {
					b.span(w, "order", "op", i*batches+k+1, n, time.Duration(n)*time.Second, time.Millisecond).SetParentSpanID(pcommon.SpanID{i + 1, k + 1, n + 1})
				}
				if err := w.WriteTraces(t.Context(), w.tenant, b.Traces); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, read := range []func() error{
		func() error { _, _, err := w.Spans(t.Context(), w.sel(), 100, ""); return err },
		func() error { _, err := w.Services(t.Context(), w.sel(), 10); return err },
		func() error { _, err := w.Heat(t.Context(), w.sel(), 30); return err },
		func() error { _, err := w.Operations(t.Context(), w.sel(), 5, 5); return err },
		func() error {
			_, _, err := w.Trace(t.Context(), w.tenant, pcommon.TraceID{1: 7, 15: 3}, store.Range{})
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		},
	} {
		readers.Go(func() {
			for {
				if err := read(); err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	wg.Wait()
	close(done)
	readers.Wait()
	poll(t, func() error {
		rows, _, err := w.Spans(t.Context(), w.sel(), store.MaxPage, "")
		if err == nil && len(rows) != writers*batches*size {
			err = fmt.Errorf("%d spans, want %d", len(rows), writers*batches*size)
		}
		return err
	})
	groups, err := w.Services(t.Context(), w.sel(), 0)
	if err != nil || len(groups) != 1 || groups[0].Stored != writers*batches*size {
		t.Errorf("Services: %+v, error %v; want all spans of one service", groups, err)
	}
}
