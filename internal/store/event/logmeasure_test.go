package event

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/store"
)

// TestMeasureLogs is TestMeasure for log records.
func TestMeasureLogs(t *testing.T) {
	n := *measureSpans
	if n == 0 {
		t.Skip("only with -measure RECORDS")
	}
	src := newSpanSource(1, time.Now(), time.Hour)
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	s := logstorage.MustOpenStorage(dir, testStorageConfig())
	c := newLogCodec(testRetention, newTail())
	end := time.Now()
	for i := 0; i < n; {
		ld := plog.NewLogs()
		for range 40 {
			svc := r.IntN(30)
			rl := ld.ResourceLogs().AppendEmpty()
			src.services[svc].pods[r.IntN(6)](rl.Resource().Attributes())
			sl := rl.ScopeLogs().AppendEmpty()
			sl.Scope().SetName("log/slog")
			for range 50 {
				rec := sl.LogRecords().AppendEmpty()
				at := end.Add(-6 * time.Hour).Add(time.Duration(float64(i) / float64(n) * 6 * float64(time.Hour))).Add(time.Duration(r.Int64N(1e9)))
				rec.SetTimestamp(pcommon.NewTimestampFromTime(at))
				rec.SetObservedTimestamp(rec.Timestamp() + pcommon.Timestamp(r.IntN(1e5)))
				var tid pcommon.TraceID
				var sid pcommon.SpanID
				putRandom(r, tid[:])
				putRandom(r, sid[:])
				rec.SetTraceID(tid)
				rec.SetSpanID(sid)
				rec.SetFlags(1)
				id := r.IntN(1e6)
				sev, body := plog.SeverityNumberInfo, ""
				switch k := r.IntN(20); {
				case k == 0:
					sev, body = plog.SeverityNumberError, fmt.Sprintf("request failed: context deadline exceeded while calling %s after %dms; retrying with backoff", src.services[r.IntN(30)].name, r.IntN(900))
				case k < 3:
					sev, body = plog.SeverityNumberWarn, fmt.Sprintf("slow query detected on table orders took %dus, rows examined %d", r.IntN(1e6), id)
				case k < 12:
					body = fmt.Sprintf("handled %s for user-%d status=200 bytes=%d", src.services[svc].ops[r.IntN(20)], 1e5+r.IntN(1e5), id%9999)
				default:
					body = fmt.Sprintf("cache lookup key=%x hit=%v shard %d", uint64(id)*2654435761, id%2 == 0, id%64)
				}
				rec.SetSeverityNumber(sev)
				rec.SetSeverityText(strings.ToUpper(severityWord(sev)))
				rec.Body().SetStr(body)
				rec.Attributes().PutStr("logger.name", "com.acme."+src.services[svc].name+".Handler")
				rec.Attributes().PutStr("thread.name", fmt.Sprint("worker-", r.IntN(64)))
				rec.Attributes().PutInt("code.line", int64(id%900))
				i++
			}
		}
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		c.appendRows(lr, store.Tenant{}, encodeLogs(t, ld), end)
		s.MustAddRows(lr)
		logstorage.PutLogRows(lr)
	}
	s.MustClose()
	s = logstorage.MustOpenStorage(dir, testStorageConfig())
	mergeAll(s)
	defer s.MustClose()
	rd := newReader(s, s, nil, c) // the first for columnSizes
	t.Logf("%.1f bytes a record", float64(diskSize(t, dir))/float64(n))
	columnSizes(t, rd, n)
	span := store.Range{Start: end.Add(-7 * time.Hour), End: end.Add(time.Minute)}
	for _, where := range [][]store.Cond{nil, {{Field: "severity", Op: "=", Value: "error"}}, {{Field: "service.name", Op: "=", Value: "cartservice"}, {Field: "severity", Op: "=", Value: "error"}}, {{Op: "text", Value: "rows examined 777777"}}} {
		sel := store.Select{Range: span, Where: where}
		var pages, volumes []time.Duration
		for range 10 {
			at := time.Now()
			if _, _, err := rd.Logs(context.Background(), sel, 50, ""); err != nil {
				t.Fatal(err)
			}
			pages = append(pages, time.Since(at))
			at = time.Now()
			if _, err := rd.Volume(context.Background(), sel, 60); err != nil {
				t.Fatal(err)
			}
			volumes = append(volumes, time.Since(at))
		}
		report(t, fmt.Sprint("newest 50 of ", where), pages)
		report(t, fmt.Sprint("volume of ", where), volumes)
	}
}
