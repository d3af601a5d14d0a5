package query

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

func TestTraceSummary(t *testing.T) {
	e, _ := ask(spans(
		sp{trace: 1, id: 1, service: "gate", name: "GET /", kind: ptrace.SpanKindServer, from: 0, to: 90 * time.Millisecond,
			edit: func(s ptrace.Span) { s.TraceState().FromRaw("ot=th:8") }},
		sp{trace: 1, id: 2, parent: 1, service: "order", name: "list", from: 10, to: 80 * time.Millisecond, failed: true},
		sp{trace: 1, id: 3, parent: 2, service: "order", name: "select", from: 20, to: 30},
		sp{trace: 2, id: 4, parent: 99, service: "stock", name: "take", from: time.Second, to: 2 * time.Second},
	), plog.NewLogs())
	got, err := e.Traces(t.Context(), hour, Page{})
	if err != nil {
		t.Fatal(err)
	}
	want := &TraceList{Traces: []TraceSummary{
		{TraceID: hexTrace(2), Service: "stock", Name: "take", Start: noon.Add(time.Second), DurationNs: 1e9, Spans: 1, Matched: 1,
			RootMissing: true, Weight: 1, Services: []TraceService{{"stock", 1, 0}}},
		{TraceID: hexTrace(1), Service: "gate", Name: "GET /", Start: noon, DurationNs: 9e7, Spans: 3, Errors: 1, Matched: 3,
			Weight: 2, Services: []TraceService{{"order", 2, 1}, {"gate", 1, 0}}},
	}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// The summary is of the whole trace, Matched of the filter.
	w := hour
	w.Filter = "name = select"
	got, err = e.Traces(t.Context(), w, Page{})
	if err != nil {
		t.Fatal(err)
	}
	want = &TraceList{Traces: []TraceSummary{want.Traces[1]}}
	want.Traces[0].Matched = 1
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("filtered: -want +got:\n%s", diff)
	}
}

// TestTracesPages reads random traces page by page: each appears once, on the
// page of its newest matching span.
func TestTracesPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []sp
		newest := map[int]time.Duration{}
		matching := rapid.SampledFrom([]string{"", "name = a"}).Draw(t, "filter")
		for i := range rapid.IntRange(0, 300).Draw(t, "spans") {
			s := sp{
				trace: rapid.IntRange(1, 60).Draw(t, "trace"), id: i + 1, service: "s",
				name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"),
				// Few distinct ends, so that many are equal.
				to: time.Duration(rapid.IntRange(0, 40).Draw(t, "end")) * time.Second,
			}
			s.from = s.to - time.Duration(rapid.IntRange(0, 5).Draw(t, "length"))*time.Second
			list = append(list, s)
			if matching == "" || s.name == "a" {
				newest[s.trace] = max(newest[s.trace], s.to)
			}
		}
		e, _ := ask(spans(list...), plog.NewLogs())
		w := hour
		w.Filter = matching
		limit := rapid.IntRange(1, 70).Draw(t, "limit")
		var got []string
		for p := (Page{Limit: limit}); ; {
			l, err := e.Traces(t.Context(), w, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range l.Traces {
				got = append(got, s.TraceID)
			}
			if p.Cursor = l.Next; l.Next == "" {
				break
			}
			if len(l.Traces) == 0 {
				t.Fatal("an empty page has a next one")
			}
		}
		var ids []int
		for id := range newest {
			ids = append(ids, id)
		}
		if len(got) != len(ids) {
			t.Fatalf("got %d traces on all pages, want %d", len(got), len(ids))
		}
		at := func(s string) time.Duration {
			var id int
			if _, err := fmt.Sscanf(s, "%x", &id); err != nil {
				t.Fatal(err)
			}
			end, ok := newest[id]
			if !ok {
				t.Fatalf("trace %s has no matching span", s)
			}
			return end
		}
		if !slices.IsSortedFunc(got, func(a, b string) int { return cmp.Compare(at(b), at(a)) }) {
			t.Fatalf("not newest first: %v", got)
		}
		slices.Sort(got)
		if c := slices.Compact(slices.Clone(got)); len(c) != len(got) {
			t.Fatalf("a trace appears twice: %v", got)
		}
	})
}

func TestTracesOfLargeTraces(t *testing.T) {
	// Three traces that together exceed one page of the store.
	var list []sp
	for i := range 3 * 2500 {
		list = append(list, sp{trace: 1 + i%3, id: i + 1, service: "s", name: "n", to: time.Duration(i) * time.Millisecond, from: time.Duration(i) * time.Millisecond})
	}
	e, _ := ask(spans(list...), plog.NewLogs())
	got, err := e.Traces(t.Context(), hour, Page{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Traces) != 3 {
		t.Fatalf("got %d traces", len(got.Traces))
	}
	for _, s := range got.Traces {
		if s.Spans != 2500 {
			t.Errorf("trace %s: got %d spans, want 2500", s.TraceID, s.Spans)
		}
	}
}

func TestTracesRejectsCursor(t *testing.T) {
	e, _ := ask(ptrace.NewTraces(), plog.NewLogs())
	for _, c := range []string{"x", "1", "1.", ".1", "2.1", "1.2.3"} {
		var field *FieldError
		if _, err := e.Traces(t.Context(), hour, Page{Cursor: c}); !errors.As(err, &field) || field.Field != "cursor" || !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%q: got %v, want a FieldError for cursor", c, err)
		}
	}
}

func TestStateWeight(t *testing.T) {
	f := func(state string, want float64) {
		t.Helper()
		if got := stateWeight(state); got != want {
			t.Errorf("%q: got %v, want %v", state, got, want)
		}
	}
	f("", 1)
	f("ot=th:0", 1)
	f("ot=th:8", 2)
	f("ot=th:c", 4)
	f("a=b, ot=rv:00000000000001;th:fc", 64)
	f("ot=th:ff8", 512)
	f("ot=th:ffffffffffffff", 1<<56)
	f("ot=th:fffffffffffffff", 1) // 15 digits
	f("ot=th:xyz", 1)
	f("ot=th:", 1)
	f("other=th:8", 1)
}
