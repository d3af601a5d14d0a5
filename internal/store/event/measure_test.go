package event

import (
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

var measureSpans = flag.Int("measure", 0, "spans for TestMeasure; 500000 takes about half a minute")

// TestMeasure writes spans over six hours and prints what they cost on disk
// and how fast they are found: go test -run TestMeasure -v . -measure 500000
func TestMeasure(t *testing.T) {
	n := *measureSpans
	if n == 0 {
		t.Skip("only with -measure SPANS")
	}
	dir := t.TempDir()
	end := time.Now().Truncate(time.Minute)
	src := newSpanSource(n, end, 6*time.Hour)
	roll, err := openRollup(filepath.Join(dir, "rollup"))
	if err != nil {
		t.Fatal(err)
	}
	codec := newSpanCodec(testRetention, roll)
	s := logstorage.MustOpenStorage(filepath.Join(dir, "traces"), testStorageConfig())
	r := newReader(s, nil, codec, nil)
	ctx := context.Background()
	var size ptrace.ProtoMarshaler
	otlp := 0
	var ids []pcommon.TraceID
	begin, cpu := time.Now(), cpuTime()
	lookups := make(chan pcommon.TraceID, 1)
	var during []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		for id := range lookups {
			at := time.Now()
			td, _, err := r.Trace(ctx, store.Tenant{}, id, store.Range{})
			during = append(during, time.Since(at))
			if err != nil || td.SpanCount() != spansPerTrace {
				t.Errorf("trace %s while writing: %d spans, error %v", id, td.SpanCount(), err)
			}
		}
	})
	for k := 0; ; k++ {
		td, ok := src.batch(2000)
		if !ok {
			break
		}
		otlp += size.TracesSize(td)
		id := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).TraceID()
		ids = append(ids, id)
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		codec.appendRows(lr, store.Tenant{}, encodeTraces(t, td), end)
		s.MustAddRows(lr)
		logstorage.PutLogRows(lr)
		if k > 20 && k%3 == 0 {
			select {
			case lookups <- ids[k*7%(k-15)]: // old enough to be visible
			default:
			}
		}
	}
	close(lookups)
	wg.Wait()
	t.Logf("wrote %d spans of %d bytes OTLP in %v, CPU %v with the generator", n, otlp/n, time.Since(begin).Round(time.Millisecond), (cpuTime() - cpu).Round(time.Millisecond))
	report(t, "trace by id while writing", during)
	if _, err := codec.freeze(); err != nil {
		t.Fatal(err)
	}
	s.MustClose()
	s = logstorage.MustOpenStorage(filepath.Join(dir, "traces"), testStorageConfig())
	mergeAll(s)
	defer s.MustClose()
	codec.index = newTraceIndex() // as after a restart
	r = newReader(s, nil, codec, nil)
	t.Logf("%.1f bytes a span on disk, %.1f of it the rollup", float64(diskSize(t, dir))/float64(n), float64(diskSize(t, filepath.Join(dir, "rollup")))/float64(n))
	columnSizes(t, r, n)

	span := store.Range{Start: end.Add(-7 * time.Hour), End: end.Add(time.Minute)}
	timed := func(what string, times int, f func(i int) error) {
		var took []time.Duration
		for i := range times {
			at := time.Now()
			if err := f(i); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			took = append(took, time.Since(at))
		}
		report(t, what, took)
	}
	timed("trace by id", 200, func(i int) error {
		_, _, err := r.Trace(ctx, store.Tenant{}, ids[i*37%len(ids)], store.Range{})
		return err
	})
	timed("trace by id, unknown", 100, func(i int) error {
		_, _, err := r.Trace(ctx, store.Tenant{}, pcommon.TraceID{0: 1, 15: byte(i)}, store.Range{})
		if err == nil {
			t.Error("found an unknown trace")
		}
		return nil
	})
	sel := func(where ...store.Cond) store.Select { return store.Select{Range: span, Where: where} }
	cond := func(field string, op store.Op, value string) store.Cond {
		return store.Cond{Field: field, Op: op, Value: value}
	}
	page := func(where ...store.Cond) func(int) error {
		return func(int) error { _, _, err := r.Spans(ctx, sel(where...), 50, ""); return err }
	}
	timed("newest 50 spans", 20, page())
	timed("newest 50 of a service", 20, page(cond("service.name", "=", "paymentservice")))
	timed("newest 50 errors of a service", 20, page(cond("service.name", "=", "paymentservice"), cond("status", "=", "error")))
	timed("newest 50 of an attribute", 20, page(cond("user.id", "=", "user-101234")))
	timed("newest 50 slow ones with a status code", 20, page(cond("http.response.status_code", ">=", "500"), cond("duration", ">", "50000000")))
	timed("newest 50 by expression", 5, page(cond("url.path", "=~", "/7777$")))
	var some []pcommon.TraceID
	timed("spans of 50 traces", 10, func(i int) error {
		some = ids[i : i+50]
		_, err := r.SpansOf(ctx, store.Tenant{}, span, some)
		return err
	})
	timed("heat map, all", 20, func(int) error { _, err := r.Heat(ctx, sel(), 120); return err })
	timed("heat map, one service", 20, func(int) error {
		_, err := r.Heat(ctx, sel(cond("service.name", "=", "paymentservice")), 120)
		return err
	})
	timed("heat map, by attribute", 5, func(int) error { _, err := r.Heat(ctx, sel(cond("customer.tier", "=", "pro")), 120); return err })
	timed("services with series", 20, func(int) error { _, err := r.Services(ctx, sel(), 60); return err })
	timed("operations of a service with series", 10, func(int) error {
		_, err := r.Operations(ctx, sel(cond("service.name", "=", "paymentservice")), 60, 50)
		return err
	})
	timed("compare errors with the rest", 3, func(int) error {
		_, _, _, err := r.Compare(ctx, sel(cond("status", "=", "error")), sel(cond("status", "!=", "error")), 30)
		return err
	})
	timed("fields", 5, func(int) error { _, err := r.SpanFields(ctx, sel()); return err })
	timed("values of an attribute", 5, func(int) error { _, err := r.SpanValues(ctx, sel(), "customer.tier", 20); return err })
}

// mergeAll merges until each day is one part; the engine leaves out parts that
// are in a merge of its own.
func mergeAll(s *logstorage.Storage) {
	for range 20 {
		s.MustForceMerge("")
		var st logstorage.StorageStats
		s.UpdateStats(&st)
		if st.SmallParts+st.BigParts <= st.PartitionsCount {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func report(t *testing.T, what string, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	t.Logf("%-40s p50 %8v  p95 %8v  max %8v  (%d)", what, took[len(took)/2].Round(time.Microsecond), took[len(took)*95/100].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond), len(took))
}

func diskSize(t *testing.T, dir string) (size int64) {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		size += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// columnSizes prints where the bytes are.
func columnSizes(t *testing.T, r *reader, n int) {
	q := question{r.traces, store.Tenant{}, 0, 1 << 62, "", "| block_stats | stats by (field) sum(values_bytes) v, sum(bloom_bytes) b, sum(dict_bytes) d | sort by (v desc) limit 16"}
	err := r.ask(context.Background(), q, func(db *logstorage.DataBlock) error {
		for i := range db.RowsCount() {
			per := func(c string) float64 { return parseSum(cells(db, c)(i)) / float64(n) }
			t.Logf("  %-32s values %5.2f  word filters %5.2f  dictionaries %5.2f", strings.Clone(cells(db, "field")(i)), per("v"), per("b"), per("d"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
