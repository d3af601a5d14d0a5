package event

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/guanlan-io/guanlan/internal/store"
)

func BenchmarkTrace(b *testing.B) {
	dir := "/tmp/event/bench"
	end := time.Now().Truncate(time.Minute)
	n := 500000
	src := newSpanSource(n, end, 6*time.Hour)
	codec := newTestSpanCodec(b)
	s := logstorage.MustOpenStorage(filepath.Join(dir, "traces"), testStorageConfig())
	var st logstorage.StorageStats
	s.UpdateStats(&st)
	var ids []pcommon.TraceID
	fresh := st.RowsCount() == 0
	for {
		td, ok := src.batch(2000)
		if !ok {
			break
		}
		ids = append(ids, td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).TraceID())
		if fresh {
			lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
			codec.appendRows(lr, store.Tenant{}, td, end)
			s.MustAddRows(lr)
			logstorage.PutLogRows(lr)
		}
	}
	if fresh {
		s.MustClose()
		s = logstorage.MustOpenStorage(filepath.Join(dir, "traces"), testStorageConfig())
		s.MustForceMerge("")
	}
	defer s.MustClose()
	codec.index = newTraceIndex()
	r := newReader(s, nil, codec, nil)
	b.ResetTimer()
	from := cpuTime()
	for i := range b.N {
		if _, _, err := r.Trace(context.Background(), store.Tenant{}, ids[i*37%len(ids)], store.Range{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-from)/float64(b.N), "cpu-ns/trace")
}
