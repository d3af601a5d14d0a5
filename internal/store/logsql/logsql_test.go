package logsql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/store"
)

// base is a full hour not long ago, since the engine keeps no old rows.
var base = time.Now().Add(-6 * time.Hour).Truncate(time.Hour).UTC()

// open returns a storage on a temporary folder.
func open(t *testing.T) *logstorage.Storage {
	s := logstorage.MustOpenStorage(t.TempDir(), &logstorage.StorageConfig{Retention: 30 * 24 * time.Hour, FutureRetention: 24 * time.Hour, FlushInterval: time.Second})
	t.Cleanup(s.MustClose)
	return s
}

// add writes a row; fields are name and value in turn, the first the stream.
func add(s *logstorage.Storage, tenant uint32, at time.Time, fields ...string) {
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	var row []logstorage.Field
	for i := 0; i < len(fields); i += 2 {
		row = append(row, logstorage.Field{Name: fields[i], Value: fields[i+1]})
	}
	lr.MustAdd(logstorage.TenantID{AccountID: tenant}, at.UnixNano(), row, 1)
	s.MustAddRows(lr)
	logstorage.PutLogRows(lr)
}

// filled is a reader over 600 rows, one a second, of two services.
func filled(t *testing.T) *Reader {
	s := open(t)
	for i := range 600 {
		add(s, 0, base.Add(time.Duration(i)*time.Second), "service.name", []string{"gate", "order"}[i%2], "_msg", fmt.Sprint("message ", i),
			"n", fmt.Sprint(i), "level", []string{"info", "warn", "error"}[i%3], "_g_private", "x")
	}
	add(s, 7, base, "service.name", "other", "_msg", "of another tenant")
	s.DebugFlush()
	return New(s, nil, "_g_*")
}

func rows(t *testing.T, r *Reader, q Query, offset, limit int) (out []string) {
	t.Helper()
	if err := r.Rows(t.Context(), q, offset, limit, func(row []Field) bool {
		var parts []string
		for _, f := range row {
			if f.Name != "_time" {
				parts = append(parts, f.Name+"="+f.Value)
			}
		}
		slices.Sort(parts)
		out = append(out, strings.Join(parts, " "))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// query asks of the filled hour.
func query(text string) Query {
	return Query{Text: text, Now: base.Add(time.Hour), Range: store.Range{Start: base, End: base.Add(time.Hour)}}
}

func TestRows(t *testing.T) {
	r := filled(t)
	if got := rows(t, r, query("*"), 0, 0); len(got) != 600 || strings.Contains(got[0], "_g_") || !strings.Contains(got[0], "_stream=") {
		t.Errorf("got %d rows, the first %s", len(got), got[0])
	}
	// The newest first, from whatever distance they are found.
	for _, q := range []Query{
		query("level:error | fields _time, n"),
		{Text: "level:error | fields _time, n", Now: base.Add(time.Hour)},
		{Text: "level:error | fields _time, n", Now: base.Add(time.Hour), Range: store.Range{End: base.Add(time.Hour)}},
		{Text: "level:error | fields _time, n", Now: base.Add(time.Hour), Range: store.Range{Start: base.Add(-24 * time.Hour)}},
		{Text: "_time:2h level:error | fields _time, n", Now: base.Add(time.Hour)},
	} {
		if diff := cmp.Diff([]string{"n=599", "n=596", "n=593"}, rows(t, r, q, 0, 3)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", q, diff)
		}
	}
	if diff := cmp.Diff([]string{"n=593", "n=590"}, rows(t, r, query("level:error | fields _time, n"), 2, 2)); diff != "" {
		t.Errorf("offset (-want +got):\n%s", diff)
	}
	if got := rows(t, r, query("level:error | fields _time, n"), 0, 1000); len(got) != 200 {
		t.Errorf("limit above the number: got %d rows", len(got))
	}
	// A pipe that makes its own order keeps it.
	if diff := cmp.Diff([]string{"n=1", "n=2"}, rows(t, r, query("* | sort by (n) | fields _time, n"), 1, 2)); diff != "" {
		t.Errorf("sorted (-want +got):\n%s", diff)
	}
	q := query("*")
	q.Range = store.Range{Start: base.Add(10 * time.Second), End: base.Add(12 * time.Second)}
	q.Text = "* | fields _time, n"
	if diff := cmp.Diff([]string{"n=11", "n=10"}, rows(t, r, q, 0, 10)); diff != "" {
		t.Errorf("range (-want +got):\n%s", diff)
	}
	q = query("*")
	q.Tenant.Account = 7
	if got := rows(t, r, q, 0, 0); len(got) != 1 || !strings.Contains(got[0], "of another tenant") {
		t.Errorf("tenant 7: got %v", got)
	}
	// The reader may stop.
	n := 0
	if err := r.Rows(t.Context(), query("*"), 0, 0, func([]Field) bool { n++; return n < 5 }); err != nil || n != 5 {
		t.Errorf("stopped after %d rows, %v", n, err)
	}
}

func TestFilters(t *testing.T) {
	r := filled(t)
	count := func(filters, streams []string) int {
		t.Helper()
		q := query("*")
		q.Filters, q.StreamFilters = filters, streams
		return len(rows(t, r, q, 0, 0))
	}
	for _, c := range []struct {
		filters, streams []string
		want             int
	}{
		{nil, nil, 600},
		{[]string{""}, []string{"{}"[:0]}, 600},
		{[]string{"level:error"}, nil, 200},
		{[]string{"level:error", `{"service.name":"gate"}`}, nil, 100},
		{[]string{`{"level":["error","warn"],"service.name":"gate"}`}, nil, 200},
		{[]string{`{"level":"err"}`}, nil, 0},
		{[]string{`{"level":[]}`}, nil, 600},
		{nil, []string{`{"service.name":"gate"}`}, 300},
		{nil, []string{`{"service.name":["gate","order"]}`}, 600},
		{nil, []string{`{"service.name":"gat"}`}, 0},
		{nil, []string{`{"service.name"="order"}`}, 300},
		{[]string{`{service.name="order"} level:error`}, nil, 100},
	} {
		if got := count(c.filters, c.streams); got != c.want {
			t.Errorf("%v %v: got %d rows, want %d", c.filters, c.streams, got, c.want)
		}
	}
	q := query("*")
	for _, bad := range []string{`{"level":1}`, `{"level"`, "level:(", "* | limit 1", `{"level":{}}`} {
		q.Filters = []string{bad}
		if err := r.Rows(t.Context(), q, 0, 0, nil); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", bad, err)
		}
	}
	q = query("*")
	q.Hidden = []string{"n", "level"}
	if got := rows(t, r, q, 0, 1)[0]; strings.Contains(got, "n=") && strings.Contains(got, "level=") {
		t.Errorf("hidden columns are shown: %s", got)
	}
}

func TestErrors(t *testing.T) {
	r := filled(t)
	if err := r.Rows(t.Context(), query("level:("), 0, 0, nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("bad query: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Rows(ctx, query("*"), 0, 0, func([]Field) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
	if _, err := r.Values(ctx, query("*"), FieldNames, "", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
}

func TestHits(t *testing.T) {
	r := filled(t)
	got, err := r.Hits(t.Context(), query("*"), 20*time.Minute, 0, []string{"service.name"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := []time.Time{base, base.Add(20 * time.Minute), base.Add(40 * time.Minute)}
	want := []Hits{
		{[]Field{{"service.name", "gate"}}, at, []uint64{300, 0, 0}, 300},
		{[]Field{{"service.name", "order"}}, at, []uint64{300, 0, 0}, 300},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Without fields, with an offset, with a range that is open.
	got, err = r.Hits(t.Context(), Query{Text: "*", Now: base}, 5*time.Minute, time.Minute, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	want = []Hits{{nil, []time.Time{base.Add(-4 * time.Minute), base.Add(time.Minute), base.Add(6 * time.Minute)}, []uint64{60, 300, 240}, 600}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// The most frequent, and the rest as one.
	got, err = r.Hits(t.Context(), query("level:in(error,warn) or n:<60"), time.Hour, 0, []string{"level", "service.name"}, 4)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, h := range got {
		lines = append(lines, fmt.Sprint(h.Fields, h.Counts, h.Total))
	}
	wantLines := []string{
		"[] [20] 20", "[{level error} {service.name gate}] [100] 100", "[{level error} {service.name order}] [100] 100",
		"[{level warn} {service.name gate}] [100] 100", "[{level warn} {service.name order}] [100] 100",
	}
	if diff := cmp.Diff(wantLines, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, err := r.Hits(t.Context(), query("nothing"), time.Hour, 0, nil, 0); err != nil || len(got) != 0 || got == nil {
		t.Errorf("no rows: got %v, %v", got, err)
	}
	if _, err := r.Hits(t.Context(), query("*"), 0, 0, nil, 0); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no step: got %v", err)
	}
	if _, err := r.Hits(t.Context(), query("*"), time.Millisecond, 0, nil, 0); !errors.Is(err, store.ErrLimit) {
		t.Errorf("too many steps: got %v", err)
	}
}

func TestStats(t *testing.T) {
	r := filled(t)
	got, err := r.Stats(t.Context(), query("* | stats by (level) count() rows, max(n) top"), 0)
	if err != nil {
		t.Fatal(err)
	}
	now := base.Add(time.Hour)
	var want []Series
	for _, name := range []string{"rows", "top"} {
		for i, level := range []string{"error", "info", "warn"} {
			value := "200"
			if name == "top" {
				value = []string{"599", "597", "598"}[i]
			}
			want = append(want, Series{name, []Field{{"level", level}}, []Point{{now, value}}})
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err = r.Stats(t.Context(), query("level:error | stats count() rows"), 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want = []Series{{"rows", nil, []Point{{base, "100"}, {base.Add(5 * time.Minute), "100"}}}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err = r.Stats(t.Context(), query("n:<10 | stats histogram(n) h"), 0)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, s := range got {
		var n int
		if _, err := fmt.Sscan(s.Points[0].Value, &n); err != nil || s.Name != "h_bucket" || len(s.Labels) != 1 || s.Labels[0].Name != "vmrange" {
			t.Errorf("bucket %+v", s)
		}
		sum += n
	}
	if sum != 10 {
		t.Errorf("buckets hold %d, want 10", sum)
	}
	for _, step := range []time.Duration{0, time.Hour} {
		if _, err := r.Stats(t.Context(), query("*"), step); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("a query without stats: got %v", err)
		}
	}
}

func TestValues(t *testing.T) {
	r := filled(t)
	f := func(kind Kind, field string, limit int, want ...store.Count) {
		t.Helper()
		got, err := r.Values(t.Context(), query("*"), kind, field, limit)
		if err != nil {
			t.Fatal(err)
		}
		byValue := func(a, b store.Count) int { return strings.Compare(a.Value, b.Value) }
		slices.SortFunc(got, byValue)
		if kind == StreamIDs {
			for i := range got {
				got[i].Value = fmt.Sprint(len(got[i].Value))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("kind %d of %q (-want +got):\n%s", kind, field, diff)
		}
	}
	n := func(v string, c uint64) store.Count { return store.Count{Value: v, Count: c} }
	f(FieldNames, "", 0, n("_msg", 600), n("_stream", 600), n("_stream_id", 600), n("_time", 600), n("level", 600), n("n", 600), n("service.name", 600))
	f(FieldValues, "_g_private", 0, []store.Count{}...)
	f(FieldValues, "level", 0, n("error", 200), n("info", 200), n("warn", 200))
	f(StreamFieldNames, "", 0, n("service.name", 600))
	f(StreamFieldValues, "service.name", 10, n("gate", 300), n("order", 300))
	f(Streams, "", 0, n(`{service.name="gate"}`, 300), n(`{service.name="order"}`, 300))
	f(StreamIDs, "", 0, n("48", 300), n("48", 300))
	if _, err := r.Values(t.Context(), query("("), FieldNames, "", 0); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("bad query: got %v", err)
	}
}

func TestFollow(t *testing.T) {
	s := open(t)
	r := New(s, nil, "_g_*")
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	now := time.Now()
	for i := range 3 {
		add(s, 0, now.Add(time.Duration(i-3)*time.Second), "service.name", "a", "_msg", fmt.Sprint("old ", i))
	}
	s.DebugFlush()
	got := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- r.Follow(ctx, Query{Text: "* | fields _time, _stream_id, _msg", Now: now}, Tail{Every: 10 * time.Millisecond, Since: time.Minute}, func(rows [][]Field) bool {
			last := ""
			for _, row := range rows {
				last = valueOf(row, "_msg")
				got <- last
			}
			return last != "last"
		})
	}()
	want := func(msg string) {
		t.Helper()
		select {
		case g := <-got:
			if g != msg {
				t.Errorf("got %q, want %q", g, msg)
			}
		case <-ctx.Done():
			t.Fatalf("%q did not come", msg)
		}
	}
	want("old 0")
	want("old 1")
	want("old 2")
	for i := range 3 {
		add(s, 0, time.Now(), "service.name", "a", "_msg", fmt.Sprint("new ", i))
		add(s, 1, time.Now(), "service.name", "a", "_msg", "of another tenant")
		s.DebugFlush()
		want(fmt.Sprint("new ", i))
	}
	// A stream of its own has times of its own.
	add(s, 0, time.Now().Add(-time.Second), "service.name", "b", "_msg", "last")
	s.DebugFlush()
	want("last")
	if err := <-ended; err != nil {
		t.Error(err)
	}

	for _, text := range []string{"* | stats count()", "* | fields _msg", "("} {
		err := r.Follow(ctx, Query{Text: text, Now: now}, Tail{Since: time.Minute}, func([][]Field) bool { return true })
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", text, err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Follow(canceled, Query{Text: "*", Now: now}, Tail{}, func([][]Field) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
}

func TestParseTimes(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{"now": now, "-5m": now.Add(-5 * time.Minute), "now-1h": now.Add(-time.Hour), "2026-02-28Z": now.Add(-36 * time.Hour), "1772366400": now, "1772366400000": now} {
		if got, err := ParseTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v; want %v", in, got, err, want)
		}
	}
	if _, err := ParseTime("soon", now); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if d, err := ParseDuration("1d"); err != nil || d != 24*time.Hour {
		t.Errorf("got %v, %v", d, err)
	}
	if _, err := ParseDuration("x"); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
