package event

import (
	"syscall"
	"testing"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/guanlan-io/guanlan/internal/store"
)

// BenchmarkSpanRows is what a span costs from pdata to the engine's row
// buffer, the trace index and the rollup.
func BenchmarkSpanRows(b *testing.B) {
	now := time.Now()
	src := newSpanSource(40_000, now, 10*time.Minute)
	var batches [][]byte
	for {
		td, ok := src.batch(2_000)
		if !ok {
			break
		}
		batches = append(batches, encodeTraces(b, td))
	}
	c := newTestSpanCodec(b)
	lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
	b.ReportAllocs()
	b.ResetTimer()
	from := cpuTime()
	spans := 0
	for i := 0; spans < b.N; i++ {
		added, _, _ := c.appendRows(lr, store.Tenant{}, batches[i%len(batches)], now)
		spans += added
		lr.ResetKeepSettings()
	}
	b.ReportMetric(float64(cpuTime()-from)/float64(spans), "cpu-ns/span")
}

// cpuTime is what the process used so far; on a busy machine it says more than
// the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
