package event

import (
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/logsql"
)

// What FORMAT.md promises to users of LogsQL.
func TestLogsQL(t *testing.T) {
	s, err := openTimed(Options{Dir: t.TempDir(), DiskReserve: 1}, seldom)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := time.Now().Add(-time.Minute)
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "order")
	rl.Resource().Attributes().PutStr("k8s.pod.name", "order-1")
	r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetTimestamp(pcommon.NewTimestampFromTime(at))
	r.SetObservedTimestamp(r.Timestamp() + 5)
	r.SetSeverityNumber(plog.SeverityNumberWarn)
	r.SetTraceID(pcommon.TraceID{1})
	r.Body().SetStr("payment taken")
	r.Attributes().PutStr("release", "1.10")
	r.Attributes().PutInt("amount", 250)
	r.Attributes().PutStr("severity", "shadow")
	if err := s.WriteLogs(t.Context(), store.Tenant{}, ld); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	find := func(text string, filters ...string) (rows []string) {
		t.Helper()
		q := logsql.Query{Text: text, Now: time.Now(), Filters: filters}
		err := s.LogsQL().Rows(t.Context(), q, 0, 0, func(row []logsql.Field) bool {
			var parts []string
			for _, f := range row {
				if f.Name != "_stream_id" && f.Name != "_time" {
					parts = append(parts, f.Name+"="+f.Value)
				}
			}
			slices.Sort(parts)
			rows = append(rows, strings.Join(parts, " "))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	want := []string{`_msg=payment taken _stream={service.name="order"} amount=250 log.severity=shadow release=1.10 resource.k8s.pod.name=order-1 service.name=order severity=warn trace_id=01000000000000000000000000000000`}
	if diff := gocmp.Diff(want, find("*")); diff != "" {
		t.Errorf("the record by LogsQL:\n%s", diff)
	}
	for text, n := range map[string]int{
		`payment`: 1, `amount:>=200`: 1, `severity:=warn`: 1, `resource.k8s.pod.name:="order-1"`: 1, `{service.name="order"}`: 1,
		`release:"1.10"`: 1, `release:~"1[.]10"`: 1, `release:="+1.10"`: 1, `release:="1.1"`: 0, `_g_observed:*`: 0,
	} {
		if got := find(text); len(got) != n {
			t.Errorf("%s finds %d records, want %d", text, len(got), n)
		}
	}
	if got := find("*", `{"release":"1.10"}`); len(got) != 1 {
		t.Errorf("an extra filter on a guarded value finds %d records, want 1", len(got))
	}
}
