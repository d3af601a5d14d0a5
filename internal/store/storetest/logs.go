package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/store"
)

// record adds a record of a service, ago before the world's time.
func (w *world) record(ld plog.Logs, service, body string, ago time.Duration) plog.LogRecord {
	var records plog.LogRecordSlice
	found := false
	for _, rl := range ld.ResourceLogs().All() {
		if v, _ := rl.Resource().Attributes().Get("service.name"); v.Str() == service {
			records, found = rl.ScopeLogs().At(0).LogRecords(), true
		}
	}
	if !found {
		rl := ld.ResourceLogs().AppendEmpty()
		rl.Resource().Attributes().PutStr("service.name", service)
		rl.Resource().Attributes().PutStr("pod", service+"-1")
		records = rl.ScopeLogs().AppendEmpty().LogRecords()
	}
	r := records.AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(w.now.Add(-ago)))
	r.SetSeverityNumber(plog.SeverityNumberInfo)
	r.Body().SetStr(body)
	return r
}

func bodies(rows []store.LogRow) (out []string) {
	for _, r := range rows {
		out = append(out, r.Record.Body().AsString())
	}
	return out
}

func logsComeBackWhole(t *testing.T, w *world) {
	ld := plog.NewLogs()
	r := w.record(ld, "order", "", time.Minute)
	r.Body().SetEmptyMap().PutEmptySlice("a").AppendEmpty().SetDouble(1)
	r.SetObservedTimestamp(r.Timestamp() + 1234)
	r.SetSeverityNumber(plog.SeverityNumberWarn3)
	r.SetSeverityText("WARNING")
	r.SetEventName("device.start")
	r.SetTraceID(pcommon.TraceID{3})
	r.SetSpanID(pcommon.SpanID{4})
	r.SetFlags(1)
	r.SetDroppedAttributesCount(9)
	everyKind(r.Attributes())
	r.Attributes().PutStr("severity", "shadow")
	r.Attributes().PutStr("_msg", "shadow")
	r.Attributes().PutStr("resource.pod", "shadow")
	sl := ld.ResourceLogs().At(0).ScopeLogs().At(0)
	sl.Scope().SetName("lib")
	sl.Scope().SetVersion("2")
	everyKind(sl.Scope().Attributes())
	everyKind(ld.ResourceLogs().At(0).Resource().Attributes())
	onlyObserved := w.record(ld, "order", "200", 2*time.Minute)
	onlyObserved.SetObservedTimestamp(onlyObserved.Timestamp())
	onlyObserved.SetTimestamp(0)
	w.writeLogs(t, ld)
	rows, next, err := w.Logs(t.Context(), w.sel(), 10, "")
	if err != nil || next != "" || len(rows) != 2 {
		t.Fatalf("Logs: %d rows, next %q, error %v", len(rows), next, err)
	}
	for i, at := range []time.Duration{time.Minute, 2 * time.Minute} {
		if !rows[i].Time.Equal(w.now.Add(-at)) {
			t.Errorf("row %d has time %v, want %v", i, rows[i].Time, w.now.Add(-at))
		}
		got := dumpRecord(rows[i].Resource, rows[i].Scope, rows[i].Record)
		want := dumpRecord(ld.ResourceLogs().At(0).Resource(), sl.Scope(), sl.LogRecords().At(i))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record %d: written (-) and read (+) differ:\n%s", i, diff)
		}
	}
	other := w.sel()
	other.Tenant.Account--
	if rows, _, err := w.Logs(t.Context(), other, 10, ""); err != nil || len(rows) != 0 {
		t.Errorf("another tenant's Logs: %d rows, error %v", len(rows), err)
	}
}

func logPages(t *testing.T, w *world) {
	ld := plog.NewLogs()
	var want []string
	for i := range 40 {
		body := fmt.Sprint("line ", i/2) // two say the same
		w.record(ld, "order", body, time.Duration(i/8)*7*time.Minute)
		want = append(want, body)
	}
	w.writeLogs(t, ld)
	slices.Sort(want)
	for _, limit := range []int{1, 3, 40, 1000} {
		var got []string
		var after store.Cursor
		last := time.Time{}
		for pages := 0; ; pages++ {
			rows, next, err := w.Logs(t.Context(), w.sel(), limit, after)
			if err != nil || len(rows) > limit || pages > 100 {
				t.Fatalf("page %d of limit %d: %d rows, error %v", pages, limit, len(rows), err)
			}
			for _, r := range rows {
				if !last.IsZero() && r.Time.After(last) {
					t.Errorf("limit %d: a record is newer than the one before it", limit)
				}
				last = r.Time
			}
			got = append(got, bodies(rows)...)
			if next == "" {
				break
			}
			after = next
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: pages have these records, want each once:\n%s", limit, diff)
		}
	}
}

func logConditions(t *testing.T, w *world) {
	ld := plog.NewLogs()
	a := w.record(ld, "order", "payment refused: card expired", time.Minute)
	a.SetSeverityNumber(plog.SeverityNumberError)
	a.Attributes().PutStr("user", "anna")
	a.SetTraceID(pcommon.TraceID{1})
	b := w.record(ld, "order", "payment taken", time.Minute)
	b.Attributes().PutInt("amount", 250)
	b.Attributes().PutStr("pod", "own")
	b.SetEventName("paid")
	a.Attributes().PutStr("log.file.name", "a.log")
	a.Attributes().PutInt("log.file.size", 10)
	b.Attributes().PutStr("log.file.name", "b.log")
	b.Attributes().PutStr("file.name", "part")
	c := w.record(ld, "cart", "", time.Minute)
	ld.ResourceLogs().At(ld.ResourceLogs().Len()-1).Resource().Attributes().PutStr("log.file.name", "mounted")
	c.Body().SetEmptyMap().PutInt("n", 1)
	c.SetSeverityNumber(0)
	c.SetSeverityText("odd")
	w.writeLogs(t, ld)
	name := map[string]string{"payment refused: card expired": "a", "payment taken": "b", `{"n":1}`: "c"}
	for _, c := range []struct {
		field string
		op    store.Op
		value string
		want  string
	}{
		{"service.name", "=", "order", "ab"}, {"service.name", "!=", "order", "c"},
		{"severity", "=", "error", "a"}, {"severity", ">=", "warn", "a"}, {"severity", "<", "error", "b"}, {"severity", "=", "unset", "c"}, {"severity", "!=", "info", "ac"},
		{"severity_text", "=", "odd", "c"}, {"event_name", "exists", "", "b"},
		{"body", "=", "payment taken", "b"}, {"body", "=~", "^payment", "ab"}, {"body", "=", `{"n":1}`, "c"},
		{"", "text", "card expired", "a"}, {"", "text", "payment", "ab"}, {"", "text", "pay", ""},
		{"user", "=", "anna", "a"}, {"log.user", "exists", "", "a"}, {"amount", ">", "100", "b"},
		{"pod", "=", "order-1", "a"}, {"pod", "=", "own", "b"}, {"resource.pod", "=", "order-1", "ab"},
		{"trace_id", "=", "01000000000000000000000000000000", "a"}, {"trace_id", "exists", "", "a"},
		// A prefix may be the beginning of the attribute's own name.
		{"log.file.name", "=", "a.log", "a"}, {"log.file.name", "=", "b.log", "b"}, {"log.file.name", "=", "part", "b"}, {"log.log.file.name", "=", "b.log", "b"},
		{"log.log.file.name", "=", "part", ""}, {"file.name", "=", "part", "b"}, {"file.name", "=", "a.log", ""},
		{"log.file.name", "=~", "^[ab]", "ab"}, {"log.file.name", "!=", "b.log", "ac"}, {"log.file.name", "exists", "", "abc"}, {"log.file.name", "=", "mounted", "c"},
		{"log.file.size", ">", "9", "a"},
	} {
		rows, _, err := w.Logs(t.Context(), w.sel(store.Cond{Field: c.field, Op: c.op, Value: c.value}), 10, "")
		var got []string
		for _, b := range bodies(rows) {
			got = append(got, name[b])
		}
		slices.Sort(got)
		if got := strings.Join(got, ""); err != nil || got != c.want {
			t.Errorf("%s %s %q: records %q, error %v; want %q", c.field, c.op, c.value, got, err, c.want)
		}
	}
}

func logsAround(t *testing.T, w *world) {
	ld := plog.NewLogs()
	for i := range 20 {
		w.record(ld, "order", fmt.Sprint("order ", i), time.Duration(20-i)*time.Minute)
		w.record(ld, "cart", fmt.Sprint("cart ", i), time.Duration(20-i)*time.Minute)
	}
	w.writeLogs(t, ld)
	rows, _, err := w.Logs(t.Context(), w.sel(store.Cond{Field: "body", Op: store.OpEq, Value: "order 10"}), 1, "")
	if err != nil || len(rows) != 1 {
		t.Fatalf("the record: %d rows, error %v", len(rows), err)
	}
	near, err := w.Around(t.Context(), w.tenant, rows[0].ID, 2)
	if diff := cmp.Diff([]string{"order 8", "order 9", "order 10", "order 11", "order 12"}, bodies(near)); diff != "" || err != nil {
		t.Errorf("two records before and after: error %v\n%s", err, diff)
	}
	far, err := w.Around(t.Context(), w.tenant, rows[0].ID, 500)
	if err != nil || len(far) != 20 {
		t.Errorf("all records around: %d, error %v; want 20", len(far), err)
	}
	other := w.tenant
	other.Account--
	if _, err := w.Around(t.Context(), other, rows[0].ID, 2); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("around another tenant's record: error %v, want ErrNotFound", err)
	}
}

func logVolume(t *testing.T, w *world) {
	ld := plog.NewLogs()
	for i := range 30 {
		r := w.record(ld, "order", "x", time.Duration(i)*2*time.Minute+time.Second)
		if i%3 == 0 {
			r.SetSeverityNumber(plog.SeverityNumberFatal)
		}
		if i == 29 {
			r.SetSeverityNumber(0)
		}
	}
	w.writeLogs(t, ld)
	v, err := w.Volume(t.Context(), w.sel(), 10)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]uint64{}
	for _, s := range v.Series {
		if len(s.Counts) == 0 || len(s.Counts) > 11 {
			t.Errorf("%s has %d steps, want about 10", s.Severity, len(s.Counts))
		}
		for i, n := range s.Counts {
			sums[s.Severity] += n
			begin := v.Start.Add(time.Duration(i) * v.Step)
			var want uint64
			for k := range 30 {
				at := w.now.Add(-time.Duration(k)*2*time.Minute - time.Second)
				severity := "info"
				if k%3 == 0 {
					severity = "fatal"
				}
				if k == 29 {
					severity = "unset"
				}
				if severity == s.Severity && !at.Before(begin) && at.Before(begin.Add(v.Step)) {
					want++
				}
			}
			if n != want {
				t.Errorf("%s in step %d: %d, want %d", s.Severity, i, n, want)
			}
		}
	}
	if diff := cmp.Diff(map[string]uint64{"info": 19, "fatal": 10, "unset": 1}, sums); diff != "" {
		t.Errorf("sums:\n%s", diff)
	}
}

func logFieldsAndValues(t *testing.T, w *world) {
	ld := plog.NewLogs()
	for i := range 20 {
		r := w.record(ld, "order", fmt.Sprint("x", i), time.Minute)
		r.Attributes().PutInt("code", int64(i%2))
		r.Attributes().PutStr("log.file.name", "a.log")
		if i < 5 {
			r.Attributes().PutStr("rare", "")
		}
	}
	w.writeLogs(t, ld)
	fields, err := w.LogFields(t.Context(), w.sel())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []store.Count{{Value: "log.code", Count: 20}, {Value: "log.log.file.name", Count: 20}, {Value: "resource.pod", Count: 20}, {Value: "service.name", Count: 20}, {Value: "severity", Count: 20}, {Value: "body", Count: 20}} {
		if !slices.Contains(fields, want) {
			t.Errorf("LogFields lacks %v: %v", want, fields)
		}
	}
	for field, want := range map[string][]store.Count{
		"code": {{Value: "0", Count: 10}, {Value: "1", Count: 10}}, "severity": {{Value: "info", Count: 20}}, "rare": {{Value: "", Count: 5}}, "resource.pod": {{Value: "order-1", Count: 20}},
		"log.code": {{Value: "0", Count: 10}, {Value: "1", Count: 10}}, "log.file.name": {{Value: "a.log", Count: 20}}, "log.log.file.name": {{Value: "a.log", Count: 20}},
	} {
		got, err := w.LogValues(t.Context(), w.sel(), field, 10)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("LogValues of %s: error %v\n%s", field, err, diff)
		}
	}
}

func tail(t *testing.T, w *world) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	got := make(chan string, 100)
	done := make(chan error, 1)
	go func() {
		done <- w.Tail(ctx, w.sel(store.Cond{Field: "severity", Op: store.OpGe, Value: "info"}, store.Cond{Field: "service.name", Op: store.OpEq, Value: "order"}), func(row store.LogRow, lost uint64) bool {
			got <- row.Record.Body().AsString()
			return true
		})
	}()
	// Write until the reader has begun to watch, then a known sequence.
	var sent atomic.Int64
	poll(t, func() error {
		ld := plog.NewLogs()
		w.record(ld, "order", fmt.Sprint("warm-up ", sent.Add(1)), time.Second)
		if err := w.WriteLogs(t.Context(), w.tenant, ld); err != nil {
			return err
		}
		select {
		case <-got:
			return nil
		case <-time.After(100 * time.Millisecond):
			return errors.New("the tail shows nothing")
		}
	})
	ld := plog.NewLogs()
	w.record(ld, "order", "first", time.Second)
	w.record(ld, "order", "hidden", time.Second).SetSeverityNumber(plog.SeverityNumberDebug)
	w.record(ld, "order", "second", time.Minute)
	w.record(ld, "cart", "hidden", time.Second)
	if err := w.WriteLogs(t.Context(), w.tenant, ld); err != nil {
		t.Fatal(err)
	}
	other := w.tenant
	other.Account--
	if err := w.WriteLogs(t.Context(), other, ld); err != nil {
		t.Fatal(err)
	}
	last := plog.NewLogs()
	w.record(last, "order", "third", time.Second)
	if err := w.WriteLogs(t.Context(), w.tenant, last); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for len(seen) < 3 {
		select {
		case body := <-got:
			if !strings.HasPrefix(body, "warm-up") {
				seen = append(seen, body)
			}
		case <-time.After(visibleWithin):
			t.Fatalf("the tail showed %v only", seen)
		}
	}
	if diff := cmp.Diff([]string{"first", "second", "third"}, seen); diff != "" {
		t.Errorf("the tail showed:\n%s", diff)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Tail after its context ended: %v", err)
	}
}

func refusals(t *testing.T, w *world) {
	ctx := t.Context()
	empty := w.sel()
	empty.Range.End = empty.Range.Start
	badRe := w.sel(store.Cond{Field: "a", Op: store.OpRe, Value: "("})
	badOp := w.sel(store.Cond{Field: "a", Op: "~~", Value: "x"})
	for what, call := range map[string]func() error{
		"Spans of an empty range":   func() error { _, _, err := w.Spans(ctx, empty, 1, ""); return err },
		"Spans by a bad expression": func() error { _, _, err := w.Spans(ctx, badRe, 1, ""); return err },
		"Spans by a bad operator":   func() error { _, _, err := w.Spans(ctx, badOp, 1, ""); return err },
		"Spans after a bad cursor":  func() error { _, _, err := w.Spans(ctx, w.sel(), 1, "no cursor"); return err },
		"Heat of an empty range":    func() error { _, err := w.Heat(ctx, empty, 10); return err },
		"Services of an empty range": func() error {
			_, err := w.Services(ctx, empty, 10)
			return err
		},
		"Operations by a bad expression": func() error { _, err := w.Operations(ctx, badRe, 1, 1); return err },
		"Logs by a bad expression":       func() error { _, _, err := w.Logs(ctx, badRe, 1, ""); return err },
		"Logs after a bad cursor":        func() error { _, _, err := w.Logs(ctx, w.sel(), 1, "!"); return err },
		"Around a bad id":                func() error { _, err := w.Around(ctx, w.tenant, "!", 1); return err },
		"Volume of an empty range":       func() error { _, err := w.Volume(ctx, empty, 1); return err },
		"Tail by a bad expression":       func() error { return w.Tail(ctx, badRe, nil) },
		"SpanValues without a field":     func() error { _, err := w.SpanValues(ctx, w.sel(), "", 1); return err },
	} {
		if err := call(); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", what, err)
		}
	}
}

func endedContext(t *testing.T, w *world) {
	b := newSpans()
	b.span(w, "order", "op", 1, 1, time.Minute, time.Second)
	w.write(t, b)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for what, call := range map[string]func() error{
		"Trace": func() error {
			_, _, err := w.Trace(ctx, w.tenant, pcommon.TraceID{1: 7, 15: 1}, store.Range{})
			return err
		},
		"Spans":      func() error { _, _, err := w.Spans(ctx, w.sel(), 1, ""); return err },
		"Operations": func() error { _, err := w.Operations(ctx, w.sel(), 0, 1); return err },
		"Logs":       func() error { _, _, err := w.Logs(ctx, w.sel(), 1, ""); return err },
		"Volume":     func() error { _, err := w.Volume(ctx, w.sel(), 1); return err },
		"SpanFields": func() error { _, err := w.SpanFields(ctx, w.sel()); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrLimit) {
			t.Errorf("%s with an ended context: error %v, want one that wraps ErrLimit and the context's", what, err)
		}
	}
}
