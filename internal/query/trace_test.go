package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	client   = ptrace.SpanKindClient
	server   = ptrace.SpanKindServer
	internal = ptrace.SpanKindInternal
)

// outline is the part of a span that the tree decides.
type outline struct {
	Name                    string
	Depth, Children         int
	OffsetNs, DurNs, SelfNs int64
	Skewed                  bool
	Critical                []Interval
}

func outlines(t *Trace) (out []outline) {
	for _, s := range t.SpanList {
		out = append(out, outline{s.Name, s.Depth, s.Children, s.OffsetNs, s.DurationNs, s.SelfNs, s.Skewed, s.Critical})
	}
	return out
}

func iv(pairs ...int64) []Interval {
	out := []Interval{}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Interval{pairs[i], pairs[i+1]})
	}
	return out
}

func TestAssemble(t *testing.T) {
	f := func(name string, td ptrace.Traces, want ...outline) {
		t.Helper()
		got := assemble(td)
		if diff := cmp.Diff(want, outlines(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	f("parallel and sequential children", spans(
		sp{id: 1, name: "root", from: 0, to: 100},
		sp{id: 2, parent: 1, name: "a", from: 10, to: 40},
		sp{id: 3, parent: 1, name: "b", from: 20, to: 60}, // outlives a
		sp{id: 4, parent: 1, name: "c", from: 70, to: 90},
		sp{id: 5, parent: 4, name: "d", from: 75, to: 80},
	),
		outline{"root", 0, 3, 0, 100, 30, false, iv(0, 20, 60, 70, 90, 100)},
		outline{"a", 1, 0, 10, 30, 30, false, iv()},
		outline{"b", 1, 0, 20, 40, 40, false, iv(20, 60)},
		outline{"c", 1, 1, 70, 20, 15, false, iv(70, 75, 80, 90)},
		outline{"d", 2, 0, 75, 5, 5, false, iv(75, 80)},
	)
	f("a child that outlives its parent ends with it on the path", spans(
		sp{id: 1, name: "root", from: 0, to: 50},
		sp{id: 2, parent: 1, name: "late", from: 40, to: 90},
		sp{id: 3, parent: 1, name: "after", from: 60, to: 70},
	),
		outline{"root", 0, 2, 0, 50, 40, false, iv(0, 40)},
		outline{"late", 1, 0, 40, 50, 50, false, iv(40, 50)},
		outline{"after", 1, 0, 60, 10, 10, false, iv()},
	)
	f("orphans stand at depth 0, the earliest is the main root", spans(
		sp{id: 2, parent: 1, name: "first", from: 10, to: 20},
		sp{id: 4, parent: 3, name: "second", from: 15, to: 40},
		sp{id: 5, parent: 4, name: "child", from: 16, to: 20},
	),
		outline{"first", 0, 0, 0, 10, 10, false, iv(0, 10)},
		outline{"second", 0, 1, 5, 25, 21, false, iv()},
		outline{"child", 1, 0, 6, 4, 4, false, iv()},
	)
	f("a true root wins over an earlier orphan", spans(
		sp{id: 2, parent: 9, name: "orphan", from: 0, to: 5},
		sp{id: 1, name: "root", from: 3, to: 9},
	),
		outline{"orphan", 0, 0, 0, 5, 5, false, iv()},
		outline{"root", 0, 0, 3, 6, 6, false, iv(3, 9)},
	)
	f("a cycle is cut above its earliest span", spans(
		sp{id: 1, parent: 3, name: "x", from: 5, to: 10},
		sp{id: 2, parent: 1, name: "y", from: 2, to: 9},
		sp{id: 3, parent: 2, name: "z", from: 4, to: 8},
		sp{id: 4, parent: 3, name: "tail", from: 6, to: 7},
		sp{id: 5, parent: 5, name: "self", from: 8, to: 9},
	),
		outline{"y", 0, 1, 0, 7, 3, false, iv(0, 2, 6, 7)},
		outline{"z", 1, 2, 2, 4, 1, false, iv(2, 3)},
		outline{"x", 2, 0, 3, 5, 5, false, iv(3, 6)},
		outline{"tail", 2, 0, 4, 1, 1, false, iv()},
		outline{"self", 0, 0, 6, 1, 1, false, iv()},
	)
	f("client and server that share an id", spans(
		sp{id: 1, name: "call", service: "a", kind: client, from: 0, to: 20},
		sp{id: 1, name: "serve", service: "b", kind: server, from: 5, to: 15},
		sp{id: 2, parent: 1, name: "in b", service: "b", from: 6, to: 8},
		sp{id: 3, parent: 1, name: "in a", service: "a", from: 1, to: 3},
	),
		outline{"call", 0, 2, 0, 20, 8, false, iv(0, 1, 3, 5, 15, 20)},
		outline{"in a", 1, 0, 1, 2, 2, false, iv(1, 3)},
		outline{"serve", 1, 1, 5, 10, 8, false, iv(5, 6, 8, 15)},
		outline{"in b", 2, 0, 6, 2, 2, false, iv(6, 8)},
	)
	f("parents before children that start at once, negative lengths are none", spans(
		sp{id: 3, parent: 2, name: "c", from: 0, to: 3},
		sp{id: 2, parent: 1, name: "b", from: 0, to: 4},
		sp{id: 1, name: "a", from: 0, to: 5},
		sp{id: 4, parent: 1, name: "back", from: 5, to: 2},
	),
		outline{"a", 0, 2, 0, 5, 1, false, iv(4, 5)},
		outline{"b", 1, 1, 0, 4, 1, false, iv(3, 4)},
		outline{"c", 2, 0, 0, 3, 3, false, iv(0, 3)},
		outline{"back", 1, 0, 5, 0, 0, false, iv()},
	)
}

func TestAssembleSkew(t *testing.T) {
	f := func(name string, parent, child sp, want bool) {
		t.Helper()
		parent.id, child.id, child.parent, child.name = 1, 2, 1, "child"
		for _, s := range assemble(spans(parent, child)).SpanList {
			if s.Name == "child" && s.Skewed != want {
				t.Errorf("%s: got skewed %v, want %v", name, s.Skewed, want)
			}
		}
	}
	f("inside", sp{kind: client, from: 10, to: 50}, sp{kind: server, from: 20, to: 40}, false)
	f("before its parent", sp{kind: client, from: 10, to: 50}, sp{kind: server, from: 9, to: 40}, true)
	f("a step before its parent", sp{kind: internal, from: 10, to: 50}, sp{kind: internal, from: 9, to: 40}, true)
	f("answers after the answer came", sp{kind: client, from: 10, to: 50}, sp{kind: server, from: 20, to: 55}, true)
	f("the client gave up", sp{kind: client, from: 10, to: 50}, sp{kind: server, from: 20, to: 90}, false)
	f("a goroutine outlives its request", sp{kind: server, from: 10, to: 50}, sp{kind: internal, from: 20, to: 55}, false)
	f("a consumer works later", sp{kind: ptrace.SpanKindProducer, from: 10, to: 50}, sp{kind: ptrace.SpanKindConsumer, from: 60, to: 70}, false)
}

// TestPathsOfRandomTraces checks self time and critical path against a count
// of single nanoseconds.
func TestPathsOfRandomTraces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const length = 60
		list := []sp{{id: 1, name: "root", from: 0, to: length}}
		for i := range rapid.IntRange(0, 25).Draw(t, "n") {
			a := rapid.IntRange(-5, length+5).Draw(t, "a")
			b := rapid.IntRange(a, length+10).Draw(t, "b")
			list = append(list, sp{id: i + 2, parent: rapid.IntRange(1, i+2).Draw(t, "parent"), name: fmt.Sprint(i), from: time.Duration(a), to: time.Duration(b)})
		}
		got := assemble(spans(list...))
		offset := int64(0)
		byID := map[string]Span{}
		for _, s := range got.SpanList {
			byID[s.SpanID] = s
			if s.Name == "root" {
				offset = s.OffsetNs
			}
		}
		// Every instant of the root is on the path exactly once, nothing else is.
		on := map[int64]int{}
		for _, s := range got.SpanList {
			var covered int64
			for at := s.OffsetNs; at < s.OffsetNs+s.DurationNs; at++ {
				for _, c := range got.SpanList {
					if c.ParentSpanID == s.SpanID && c.SpanID != s.SpanID && c.OffsetNs <= at && at < c.OffsetNs+c.DurationNs && c.Depth > 0 {
						covered++
						break
					}
				}
			}
			if want := s.DurationNs - covered; s.SelfNs != want {
				t.Fatalf("span %s: got self time %d, want %d", s.Name, s.SelfNs, want)
			}
			for _, x := range s.Critical {
				if x.FromNs >= x.ToNs || x.FromNs < s.OffsetNs || x.ToNs > s.OffsetNs+s.DurationNs {
					t.Fatalf("span %s: interval %v outside of it", s.Name, x)
				}
				for at := x.FromNs; at < x.ToNs; at++ {
					on[at]++
				}
			}
			if !slices.IsSortedFunc(s.Critical, func(a, b Interval) int { return int(a.FromNs - b.FromNs) }) {
				t.Fatalf("span %s: intervals out of order: %v", s.Name, s.Critical)
			}
		}
		for at := offset; at < offset+length; at++ {
			if on[at] != 1 {
				t.Fatalf("instant %d is %d times on the path", at-offset, on[at])
			}
			delete(on, at)
		}
		if len(on) > 0 {
			t.Fatalf("the path leaves the root: %v", on)
		}
		// Whoever is on the path last before the end has no later-ending sibling that fits.
		for _, s := range got.SpanList {
			if p, ok := byID[s.ParentSpanID]; s.Depth > 0 && (!ok || p.Depth != s.Depth-1) {
				t.Fatalf("span %s: depth %d below depth %d", s.Name, s.Depth, p.Depth)
			}
		}
	})
}

func TestTraceContent(t *testing.T) {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "order")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("lib")
	ss.Scope().SetVersion("1.2")
	s := ss.Spans().AppendEmpty()
	s.SetTraceID(traceID(7))
	s.SetSpanID(spanID(1))
	s.SetName("op")
	s.SetKind(server)
	s.SetStartTimestamp(stamp(0))
	s.SetEndTimestamp(stamp(time.Second))
	s.Status().SetCode(ptrace.StatusCodeError)
	s.Status().SetMessage("no")
	s.TraceState().FromRaw("a=b")
	s.SetDroppedEventsCount(3)
	a := s.Attributes()
	a.PutStr("s", "x")
	a.PutInt("i", 1<<53)
	a.PutInt("big", 1<<53+1)
	a.PutDouble("d", 0.5)
	a.PutDouble("nan", math.NaN())
	a.PutBool("b", true)
	a.PutEmptyBytes("raw").FromRaw([]byte{1, 2})
	must(a.PutEmpty("list").FromRaw([]any{int64(1), "two", nil}))
	must(a.PutEmpty("map").FromRaw(map[string]any{"k": []any{true}}))
	a.PutEmpty("empty")
	ev := s.Events().AppendEmpty()
	ev.SetName("e")
	ev.SetTimestamp(stamp(200))
	ev.Attributes().PutInt("n", 1)
	l := s.Links().AppendEmpty()
	l.SetTraceID(traceID(8))
	l.SetSpanID(spanID(9))

	e, _ := ask(td, records(
		rec{service: "order", trace: 7}, rec{service: "order", trace: 7, at: time.Minute}, rec{service: "order", trace: 8},
	))
	got, err := e.Trace(t.Context(), "7", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	want := &Trace{
		TraceSummary: TraceSummary{TraceID: hexTrace(7), Service: "order", Name: "op", Start: noon, DurationNs: 1e9, Spans: 1, Errors: 1, Matched: 1, Weight: 1,
			Services: []TraceService{{"order", 1, 1}}},
		Resources: []Resource{{"order", []Attribute{{"service.name", "string", "order"}}}},
		Logs:      2,
		SpanList: []Span{{
			SpanID: "0000000000000001", Scope: "lib 1.2", Service: "order", Name: "op", Kind: "server", Status: "error", StatusMessage: "no",
			DurationNs: 1e9, SelfNs: 1e9, Critical: []Interval{{0, 1e9}}, TraceState: "a=b", DroppedEvents: 3,
			Attributes: []Attribute{
				{"s", "string", "x"}, {"i", "int", int64(1 << 53)}, {"big", "int", "9007199254740993"}, {"d", "double", 0.5}, {"nan", "double", "NaN"},
				{"b", "bool", true}, {"raw", "bytes", "AQI="}, {"list", "array", []any{int64(1), "two", nil}},
				{"map", "map", map[string]any{"k": []any{true}}}, {"empty", "empty", nil},
			},
			Events: []Event{{"e", 200, []Attribute{{"n", "int", int64(1)}}}},
			Links:  []Link{{hexTrace(8), "0000000000000009", "", []Attribute{}}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}
}

func TestTraceNotFound(t *testing.T) {
	e, _ := ask(spans(sp{trace: 1, id: 1}), plog.NewLogs())
	if _, err := e.Trace(t.Context(), "2", time.Time{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	// A wrong hint costs time, not the answer.
	if _, err := e.Trace(t.Context(), "1", noon.Add(48*time.Hour)); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "0", "xyz", "1 ", "000000000000000000000000000000001"} {
		var field *FieldError
		if _, err := e.Trace(t.Context(), id, time.Time{}); !errors.As(err, &field) || field.Field != "traceId" {
			t.Errorf("%q: got %v, want a FieldError for traceId", id, err)
		}
	}
}

// bigTrace has n spans of ten attributes in a bushy tree of many resources.
func bigTrace(n int) ptrace.Traces {
	list := make([]sp, 0, n)
	for i := range n {
		s := sp{trace: 1, id: i + 1, service: fmt.Sprint("service-", i%40), name: fmt.Sprint("operation ", i%100), kind: server}
		s.from, s.to = time.Duration(i)*time.Microsecond, time.Duration(2*n-i)*time.Microsecond
		if i > 0 {
			s.parent = (i-1)/3 + 1
		}
		s.edit = func(sp ptrace.Span) {
			for k := range 10 {
				sp.Attributes().PutStr(fmt.Sprint("attribute.key.", k), fmt.Sprint("value ", i%7))
			}
		}
		list = append(list, s)
	}
	return spans(list...)
}

// A trace of 10,000 spans must take no more than 30 ms to assemble.
func BenchmarkAssemble10k(b *testing.B) {
	td := bigTrace(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if assemble(td) == nil {
			b.Fatal("no trace")
		}
	}
}

func TestAssembleDeepAndWide(t *testing.T) {
	// Neither depth nor width may cost more than n log n: at 100,000 spans
	// anything quadratic would not end within the test's time.
	const n = store.MaxTraceSpans
	for name, parent := range map[string]func(int) int{
		"deep": func(i int) int { return i },
		"wide": func(int) int { return 1 },
		"ring": func(i int) int { return (i+n-1)%n + 1 },
	} {
		td := ptrace.NewTraces()
		ss := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
		for i := range n {
			s := ss.Spans().AppendEmpty()
			s.SetSpanID(spanID(i + 1))
			if i > 0 || name == "ring" {
				s.SetParentSpanID(spanID(parent(i)))
			}
			s.SetStartTimestamp(pcommon.Timestamp(i))
			s.SetEndTimestamp(pcommon.Timestamp(3*n - i))
		}
		if got := assemble(td); len(got.SpanList) != n {
			t.Errorf("%s: got %d spans", name, len(got.SpanList))
		}
	}
}
