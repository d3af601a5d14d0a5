package query

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

func TestLogs(t *testing.T) {
	e, _ := ask(ptrace.NewTraces(), records(
		rec{at: 0, service: "order", severity: plog.SeverityNumberInfo2, body: "first", trace: 3, attrs: map[string]any{"n": int64(1)}},
		rec{at: time.Second, service: "stock", body: map[string]any{"a": int64(1)}},
		rec{at: 2 * time.Second, service: "order", severity: plog.SeverityNumberFatal4, body: "third"},
	))
	w := hour
	w.Filter = "service.name = order"
	got, err := e.Logs(t.Context(), w, Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Logs) != 1 || got.Logs[0].Body != "third" || got.Logs[0].Severity != "fatal" || got.Next == "" {
		t.Fatalf("first page: got %+v", got)
	}
	got, err = e.Logs(t.Context(), w, Page{Limit: 1, Cursor: got.Next})
	if err != nil {
		t.Fatal(err)
	}
	want := &LogList{Logs: []Log{{ID: "0", Time: noon, Observed: noon, Severity: "info", Body: "first", Service: "order", TraceID: hexTrace(3),
		Attributes: []Attribute{{"n", "int", int64(1)}}, Resource: []Attribute{{"service.name", "string", "order"}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("second page (-want +got):\n%s", diff)
	}
	around, err := e.LogContext(t.Context(), "0", 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(around.Logs) != 2 || around.Logs[0].Body != "first" || around.Logs[1].Body != `{"a":1}` || around.Logs[1].Severity != "unset" {
		t.Errorf("context: got %+v", around.Logs)
	}
	v, err := e.LogVolume(t.Context(), w, 10)
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	for _, s := range v.Series {
		for _, c := range s.Counts {
			n += c
		}
	}
	if v.Columns != 10 || len(v.Series) != 2 || n != 2 {
		t.Errorf("volume: got %+v", v)
	}
	w.Filter = "severity > loud"
	var field *FieldError
	if _, err := e.Logs(t.Context(), w, Page{}); !errors.As(err, &field) || field.Field != "filter" {
		t.Errorf("got %v, want a FieldError for filter", err)
	}
}

func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, m := ask(ptrace.NewTraces(), plog.NewLogs())
		ctx, stop := context.WithCancel(t.Context())
		var got []string
		ended := make(chan error)
		go func() {
			ended <- e.Tail(ctx, "severity >= warn", func(ev TailEvent) bool {
				got = append(got, ev.Log.Body)
				return true
			})
		}()
		synctest.Wait()
		m.addLogs(records(
			rec{body: "quiet", severity: plog.SeverityNumberInfo}, rec{body: "loud", severity: plog.SeverityNumberError},
			rec{body: "warm", severity: plog.SeverityNumberWarn},
		))
		synctest.Wait()
		// A tail outlives the time limit of questions.
		time.Sleep(2 * defaultTimeout)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff([]string{"loud", "warm"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestMask(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := strings.Join(mask(in), ""); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("  ready  ", "ready")
	f("order 4711 took 12.5ms", "order <*> took <*>")
	f("GET /api/v1/orders/1f0e-22 HTTP/1.1 200", "GET /api/v1/orders/<*> HTTP/<*> <*>")
	f("2026-03-01T12:00:00.123Z start", "<*> start")
	f("dial tcp 10.0.0.1:5432: refused", "dial tcp <*>: refused")
	f("user=alice id=550e8400-e29b-41d4-a716-446655440000", "user=alice id=<*>")
	f("key deadbeefdeadbeefdead lost.", "key <*> lost.")
	f("utf8 s3 sha256 ok", "utf8 s3 <*> ok")
	f("订单 42 超时", "订单 <*> 超时")
	f("first line\nsecond 1", "first line")
	f("... a .5 ...", "... a <*> ...")
	f(strings.Repeat("x", maxShape-1)+"界", strings.Repeat("x", maxShape-1))
}

func TestLogPatterns(t *testing.T) {
	var list []rec
	for i := range 50 {
		list = append(list,
			rec{at: time.Duration(i), body: fmt.Sprintf("order %d took %dms for user %s", i, i*3, []string{"alice", "bob", "carol"}[i%3]), severity: plog.SeverityNumberInfo},
			rec{at: time.Duration(i), body: "cache miss", severity: plog.SeverityNumberDebug},
		)
	}
	list = append(list, rec{body: "cache miss", severity: plog.SeverityNumberError}, rec{body: map[string]any{"event": "x"}})
	e, _ := ask(ptrace.NewTraces(), records(list...))
	got, err := e.LogPatterns(t.Context(), hour)
	if err != nil {
		t.Fatal(err)
	}
	var shapes []string
	sum := 0
	for _, p := range got.Patterns {
		shapes = append(shapes, fmt.Sprint(p.Count, " ", p.Severity, " ", p.Pattern))
		sum += p.Count
	}
	want := []string{"51 debug cache miss", "50 info order <*> took <*> for user <*>", `1 unset {"event":"x"}`}
	if diff := cmp.Diff(want, shapes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Sampled != len(list) || sum != len(list) {
		t.Errorf("sampled %d, counted %d, want %d", got.Sampled, sum, len(list))
	}
	if ex := got.Patterns[1].Example; !strings.HasPrefix(ex.Body, "order 49 ") {
		t.Errorf("the example is not the newest: %q", ex.Body)
	}
}

func TestPatternsAreBounded(t *testing.T) {
	var p patterns
	for i := range maxPatterned {
		ld := records(rec{body: fmt.Sprintf("%c%c%c %c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676, 'z'-i%26, 'z'-i/26%26, 'z'-i/676)})
		p.add(store.LogRow{Record: ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)})
	}
	if n := len(p.top(maxPatterns)); n != maxPatterns {
		t.Errorf("got %d patterns, want %d", n, maxPatterns)
	}
	for key, bucket := range p.similar {
		if len(bucket) > maxAlike {
			t.Errorf("bucket %v holds %d shapes", key, len(bucket))
		}
	}
}

func TestFieldsAndValues(t *testing.T) {
	e, _ := ask(spans(
		sp{trace: 1, id: 1, service: "order", name: "a"}, sp{trace: 1, id: 2, service: "order", name: "b"},
		sp{trace: 1, id: 3, service: "Orders", name: "b", attrs: map[string]any{"k": "v.1"}}, sp{trace: 1, id: 4, service: "stock", name: "c"},
	), records(rec{service: "order", attrs: map[string]any{"k": "x"}}))
	values := func(signal Signal, field, prefix string) []Tally {
		t.Helper()
		l, err := e.Values(t.Context(), hour, signal, field, prefix, 0)
		if err != nil {
			t.Fatal(err)
		}
		return l.Values
	}
	if diff := cmp.Diff([]Tally{{"order", 2}, {"Orders", 1}, {"stock", 1}}, values(Traces, "service.name", "")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Tally{{"order", 2}, {"Orders", 1}}, values(Traces, "service.name", "ORD")); diff != "" {
		t.Error(diff)
	}
	// The prefix is text, not a pattern.
	if diff := cmp.Diff([]Tally{}, values(Traces, "k", "v|")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Tally{{"x", 1}}, values(Logs, "k", "")); diff != "" {
		t.Error(diff)
	}
	fields, err := e.Fields(t.Context(), hour, Logs)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Tally{{"log.k", 1}}, fields.Fields); diff != "" {
		t.Error(diff)
	}
	var field *FieldError
	if _, err := e.Fields(t.Context(), hour, "metrics"); !errors.As(err, &field) || field.Field != "signal" {
		t.Errorf("got %v, want a FieldError for signal", err)
	}
	if _, err := e.Values(t.Context(), hour, Traces, " ", "", 0); !errors.As(err, &field) || field.Field != "field" {
		t.Errorf("got %v, want a FieldError for field", err)
	}
}
