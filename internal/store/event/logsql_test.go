package event

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/store"
)

func logsqlStore(t *testing.T) (rowStore, store.Range) {
	s := newRowStore(t)
	now := time.Now().Truncate(time.Minute)
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "order")
	rl.Resource().Attributes().PutStr("k8s.pod.name", "order-1")
	sl := rl.ScopeLogs().AppendEmpty()
	for i := range 10 {
		r := sl.LogRecords().AppendEmpty()
		r.SetTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Duration(i) * time.Minute)))
		r.SetObservedTimestamp(r.Timestamp() + 5)
		r.SetSeverityNumber(plog.SeverityNumberInfo + plog.SeverityNumber(i%2*4))
		r.Body().SetStr("payment taken")
		r.Attributes().PutStr("release", "1.10")
		r.Attributes().PutInt("amount", int64(i))
		r.Attributes().PutStr("severity", "shadow")
	}
	if err := s.WriteLogs(context.Background(), store.Tenant{}, ld); err != nil {
		t.Fatal(err)
	}
	s.logs.DebugFlush()
	return s, store.Range{Start: now.Add(-time.Hour), End: now.Add(time.Minute)}
}

func collect(rows *[]string) func([]Field) error {
	return func(row []Field) error {
		var parts []string
		for _, f := range row {
			if f.Name != "_stream_id" {
				parts = append(parts, f.Name+"="+f.Value)
			}
		}
		slices.Sort(parts)
		*rows = append(*rows, strings.Join(parts, " "))
		return nil
	}
}

func TestLogsQL(t *testing.T) {
	s, rg := logsqlStore(t)
	ctx := context.Background()
	query := func(text string) *LogsQuery {
		t.Helper()
		q, err := s.LogsQL(store.Tenant{}, text, rg)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	var rows []string
	if err := query(`amount:>=8 severity:=warn`).Rows(ctx, 0, collect(&rows)); err != nil {
		t.Fatal(err)
	}
	at := rg.Start.Add(51 * time.Minute).UTC().Format(time.RFC3339Nano)
	want := []string{`_msg=payment taken _stream={service.name="order"} _time=` + at + ` amount=9 log.severity=shadow release=1.10 resource.k8s.pod.name=order-1 service.name=order severity=warn`}
	if diff := gocmp.Diff(want, rows); diff != "" {
		t.Errorf("rows:\n%s", diff)
	}
	rows = nil
	if err := query(`* | fields amount`).Rows(ctx, 2, collect(&rows)); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 {
		t.Errorf("rows limited to 2: %q", rows)
	}
	rows = nil
	if err := query(`*`).Hits(ctx, 5*time.Minute, 0, []string{"severity"}, collect(&rows)); err != nil {
		t.Fatal(err)
	}
	if len(rows) < 4 || !strings.Contains(rows[0], "hits=") || !strings.Contains(rows[0], "severity=") {
		t.Errorf("hits: %q", rows)
	}
	rows = nil
	labels, err := query(`* | stats by (severity) sum(amount) total`).Stats(ctx, 0, collect(&rows))
	slices.Sort(rows)
	if err != nil || !slices.Equal(labels, []string{"severity"}) || !slices.Equal(rows, []string{"severity=info total=20", "severity=warn total=25"}) {
		t.Errorf("stats: labels %q, rows %q, error %v", labels, rows, err)
	}
	if _, err := query(`*`).Stats(ctx, 0, nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("stats without a stats pipe: error %v, want ErrInvalid", err)
	}
	names, err := query(`*`).FieldNames(ctx)
	var list []string
	for _, n := range names {
		list = append(list, n.Value)
	}
	slices.Sort(list)
	if diff := gocmp.Diff([]string{"_msg", "_stream", "_stream_id", "_time", "amount", "log.severity", "release", "resource.k8s.pod.name", "service.name", "severity"}, list); diff != "" || err != nil {
		t.Errorf("field names: error %v\n%s", err, diff)
	}
	for what, got := range map[string]func() ([]store.Count, error){
		"1.10":                   func() ([]store.Count, error) { return query(`*`).FieldValues(ctx, "release", 10) },
		"service.name":           func() ([]store.Count, error) { return query(`*`).StreamFieldNames(ctx) },
		"order":                  func() ([]store.Count, error) { return query(`*`).StreamFieldValues(ctx, "service.name", 10) },
		`{service.name="order"}`: func() ([]store.Count, error) { return query(`*`).Streams(ctx, 10) },
	} {
		values, err := got()
		if diff := gocmp.Diff([]store.Count{{Value: what, Count: 10}}, values); diff != "" || err != nil {
			t.Errorf("list with %s: error %v\n%s", what, err, diff)
		}
	}
	if ids, err := query(`*`).StreamIDs(ctx, 10); err != nil || len(ids) != 1 {
		t.Errorf("stream ids: %v, error %v", ids, err)
	}
	// What FORMAT.md promises of the guard.
	for text, want := range map[string]int{`release:"1.10"`: 10, `release:~"1\\.10"`: 10, `release:="+1.10"`: 10, `release:="1.1"`: 0, `_g_observed:*`: 0} {
		rows = nil
		if err := query(text).Rows(ctx, 0, collect(&rows)); err != nil || len(rows) != want {
			t.Errorf("%s finds %d rows, error %v; want %d", text, len(rows), err, want)
		}
	}
	stop := errors.New("stop")
	if err := query(`*`).Rows(ctx, 0, func([]Field) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error of write: got %v", err)
	}
	other, err := s.LogsQL(store.Tenant{Account: 1}, `*`, rg)
	if err != nil {
		t.Fatal(err)
	}
	rows = nil
	if err := other.Rows(ctx, 0, collect(&rows)); err != nil || len(rows) != 0 {
		t.Errorf("another tenant: %d rows, error %v", len(rows), err)
	}
}

func TestLogsQLRefusals(t *testing.T) {
	s, rg := logsqlStore(t)
	for _, text := range []string{``, `(`, `* | block_stats`, `* |   block_stats | fields x`, `options(parallel_readers=1000) *`, `a:in(options(concurrency=99) * | fields a)`, `* | union (* | block_stats)`} {
		if _, err := s.LogsQL(store.Tenant{}, text, rg); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("query %q: error %v, want ErrInvalid", text, err)
		}
	}
	for _, text := range []string{`"| block_stats"`, `options(concurrency=2) *`, `"concurrency=1000"`} {
		if _, err := s.LogsQL(store.Tenant{}, text, rg); err != nil {
			t.Errorf("query %q: error %v", text, err)
		}
	}
}

func TestLogsQLTail(t *testing.T) {
	s, rg := logsqlStore(t)
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	q, err := s.LogsQL(store.Tenant{}, `amount:>5 | fields _msg, amount`, rg)
	if err != nil {
		t.Fatal(err)
	}
	write := func(amount int64) {
		ld := plog.NewLogs()
		r := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		r.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		r.Body().SetStr("live")
		r.Attributes().PutInt("amount", amount)
		if err := s.WriteLogs(ctx, store.Tenant{}, ld); err != nil {
			t.Error(err)
		}
	}
	write(3)
	write(7)
	done := errors.New("done")
	var rows []string
	err = q.Tail(ctx, func(row []Field) error {
		collect(&rows)(row)
		return done
	})
	if !errors.Is(err, done) || !slices.Equal(rows, []string{"_msg=live amount=7"}) {
		t.Errorf("tail: rows %q, error %v", rows, err)
	}
	sorted, err := s.LogsQL(store.Tenant{}, `* | sort by (amount)`, rg)
	if err != nil {
		t.Fatal(err)
	}
	if err := sorted.Tail(ctx, nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("tail of a sorted query: error %v, want ErrInvalid", err)
	}
}
