package event

import (
	"context"
	"flag"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("loggerLevel", "ERROR")
	os.Exit(m.Run())
}

const testRetention = 7 * 24 * time.Hour

func openTestStorage(t testing.TB) *logstorage.Storage {
	t.Helper()
	s := logstorage.MustOpenStorage(t.TempDir(), testStorageConfig())
	t.Cleanup(s.MustClose)
	return s
}

func testStorageConfig() *logstorage.StorageConfig {
	return &logstorage.StorageConfig{Retention: testRetention, FlushInterval: 5 * time.Second, FutureRetention: 2 * maxAhead, MaxBackfillAge: testRetention, DefaultParallelReaders: 2}
}

func newTestSpanCodec(t testing.TB) *spanCodec {
	t.Helper()
	r, err := openRollup(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return newSpanCodec(testRetention, r)
}

// readAllSpans reads back every span of a tenant without an index.
func readAllSpans(t rapid.TB, s *logstorage.Storage, tenant store.Tenant) ptrace.Traces {
	t.Helper()
	q, err := logstorage.ParseQuery("!" + colTraceIndex + ":*")
	if err != nil {
		t.Fatal(err)
	}
	d := newTraceDecoder(math.MaxInt)
	var mu sync.Mutex
	err = s.RunQuery(logstorage.NewQueryContext(context.Background(), &logstorage.QueryStats{}, []logstorage.TenantID{tenantID(tenant)}, q, false, nil), func(_ uint, db *logstorage.DataBlock) {
		mu.Lock()
		defer mu.Unlock()
		if err := d.block(db); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.traces
}

func TestSpanRoundTrip(t *testing.T) {
	s := openTestStorage(t)
	tenant := store.Tenant{}
	c := newTestSpanCodec(t)
	written := make(map[store.Tenant][]string)
	rapid.Check(t, func(t *rapid.T) {
		tenant.Account++
		now := time.Now()
		td := drawTraces(t, now)
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		added, dropped, err := c.appendRows(lr, tenant, encodeTraces(t, td), now)
		if added != td.SpanCount() || dropped != 0 || err != nil {
			t.Fatalf("appendRows added %d and dropped %d of %d spans", added, dropped, td.SpanCount())
		}
		s.MustAddRows(lr)
		logstorage.PutLogRows(lr)
		s.DebugFlush()
		got := readAllSpans(t, s, tenant)
		written[tenant] = dumpTraces(td)
		if diff := gocmp.Diff(written[tenant], dumpTraces(got)); diff != "" {
			t.Fatalf("written (-) and read (+) differ:\n%s", diff)
		}
	})
	// Merging writes blocks anew.
	mergeAll(s)
	for tenant, want := range written {
		if diff := gocmp.Diff(want, dumpTraces(readAllSpans(t, s, tenant))); diff != "" {
			t.Fatalf("written (-) and read after merges (+) differ:\n%s", diff)
		}
	}
}

func TestLogRoundTrip(t *testing.T) {
	s := openTestStorage(t)
	tenant := store.Tenant{}
	c := newLogCodec(testRetention, newTail())
	rapid.Check(t, func(t *rapid.T) {
		tenant.Account++
		now := time.Now()
		ld := drawLogs(t, now)
		lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
		added, dropped, err := c.appendRows(lr, tenant, encodeLogs(t, ld), now)
		if added != ld.LogRecordCount() || dropped != 0 || err != nil {
			t.Fatalf("appendRows added %d and dropped %d of %d records", added, dropped, ld.LogRecordCount())
		}
		s.MustAddRows(lr)
		logstorage.PutLogRows(lr)
		s.DebugFlush()
		if diff := gocmp.Diff(dumpLogs(ld), readAllLogs(t, s, tenant)); diff != "" {
			t.Fatalf("written (-) and read (+) differ:\n%s", diff)
		}
	})
}

func readAllLogs(t rapid.TB, s *logstorage.Storage, tenant store.Tenant) []string {
	t.Helper()
	q, err := logstorage.ParseQuery("*")
	if err != nil {
		t.Fatal(err)
	}
	d := newLogDecoder()
	var out []string
	var mu sync.Mutex
	err = s.RunQuery(logstorage.NewQueryContext(context.Background(), &logstorage.QueryStats{}, []logstorage.TenantID{tenantID(tenant)}, q, false, nil), func(_ uint, db *logstorage.DataBlock) {
		mu.Lock()
		defer mu.Unlock()
		if err := d.begin(db); err != nil {
			t.Error(err)
		}
		for i, at := range d.times {
			d.row(i)
			row, err := d.record(at)
			if err != nil {
				t.Error(err)
			}
			out = append(out, dumpLog(row.Resource, row.Scope, row.Record))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}
