package event

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

func spanBatches(n int) (batches []ptrace.Traces) {
	src := newSpanSource(n*1000, time.Now(), 5*time.Minute)
	for {
		td, ok := src.batch(1000)
		if !ok {
			return batches
		}
		batches = append(batches, td)
	}
}

// BenchmarkWrite is what a span costs from WriteTraces to the engine's files,
// checkpoints included; BenchmarkEngineOnly has what of it is the codec's and
// the engine's. An op is a batch of 1,000. Four writers push as hard as they
// can, so what they wait for is mostly the engine.
func BenchmarkWrite(b *testing.B) { benchWrite(b, 4, 0) }

// BenchmarkAck is how long a write takes, at 20,000 spans/s.
func BenchmarkAck(b *testing.B) { benchWrite(b, 2, 50*time.Millisecond) }

func benchWrite(b *testing.B, writers int, pace time.Duration) {
	for name, policy := range map[string]journal.SyncPolicy{"interval": journal.SyncInterval, "always": journal.SyncAlways} {
		b.Run(name, func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir(), Sync: policy, Logger: testLogger(testLog{b}, slog.LevelWarn)})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			batches := spanBatches(60)
			took := make([]time.Duration, b.N)
			b.ResetTimer()
			from := cpuTime()
			work := make(chan int)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for i := range work {
						start := time.Now()
						for s.WriteTraces(context.Background(), store.Tenant{}, batches[i%len(batches)]) != nil {
							continue // refused after two seconds; senders retry
						}
						took[i] = time.Since(start)
					}
				})
			}
			tick := time.NewTicker(max(pace, 1))
			for i := range b.N {
				if pace > 0 {
					<-tick.C
				}
				work <- i
			}
			close(work)
			wg.Wait()
			if err := s.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
			spans := float64(b.N * 1000)
			b.ReportMetric(float64(cpuTime()-from)/spans, "cpu-ns/span")
			b.ReportMetric(spans/b.Elapsed().Seconds(), "spans/s")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "ack-p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "ack-p99-µs")
			st := s.Stats()
			b.ReportMetric(float64(st.CheckpointPause.Milliseconds()), "pause-ms")
			b.ReportMetric(float64(st.Checkpoints), "checkpoints")
			b.ReportMetric(float64(st.Refused.Queue), "refused")
		})
	}
}

// BenchmarkJournaling is what this package adds for durability: encoding and
// appending. An op is a batch of 1,000 spans.
func BenchmarkJournaling(b *testing.B) {
	j, err := journal.Open(b.TempDir(), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	batches := spanBatches(20)
	b.ResetTimer()
	from := cpuTime()
	for i := range b.N {
		payload, err := new(ptrace.ProtoMarshaler).MarshalTraces(batches[i%len(batches)])
		if err != nil {
			b.Fatal(err)
		}
		seq, err := j.Append(b.Context(), newTag(kindTraces, store.Tenant{}, time.Now()), payload)
		if err != nil {
			b.Fatal(err)
		}
		if i%64 == 0 {
			if err := j.TruncateBefore(seq); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(cpuTime()-from)/float64(b.N*1000), "cpu-ns/span")
}

// BenchmarkEngineOnly gives the same rows to the engine without journal,
// queue and checkpoints.
func BenchmarkEngineOnly(b *testing.B) {
	setUpEngine(0, slog.New(slog.DiscardHandler))
	e := newEngine(b.TempDir(), "traces", kindTraces, Keep{}, 1)
	e.openDB()
	defer e.db.MustClose()
	c := newTestSpanCodec(b)
	var batches [][]byte
	for _, td := range spanBatches(60) {
		batches = append(batches, encodeTraces(b, td))
	}
	b.ResetTimer()
	from := cpuTime()
	var wg sync.WaitGroup
	work := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range work {
				lr := logstorage.GetLogRows(nil, nil, nil, nil, "")
				_, _, _ = c.appendRows(lr, store.Tenant{}, batches[i%len(batches)], time.Now())
				e.db.MustAddRows(lr)
				logstorage.PutLogRows(lr)
			}
		})
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	wg.Wait()
	spans := float64(b.N * 1000)
	b.ReportMetric(float64(cpuTime()-from)/spans, "cpu-ns/span")
	b.ReportMetric(spans/b.Elapsed().Seconds(), "spans/s")
}

// BenchmarkReplay is a restart after a kill with a checkpoint's worth of
// journal. An op is the whole replay.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	j, err := journal.Open(dir+"/journal/traces", journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	bytes, spans := 0, 0
	for _, td := range spanBatches(200) {
		payload, err := new(ptrace.ProtoMarshaler).MarshalTraces(td)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := j.Append(b.Context(), newTag(kindTraces, store.Tenant{}, time.Now()), payload); err != nil {
			b.Fatal(err)
		}
		spans += td.SpanCount()
		if bytes += len(payload); bytes > checkpointBytes {
			break
		}
	}
	j.Close()
	for i := range b.N {
		b.StopTimer()
		to := fmt.Sprintf("%s/run%d", b.TempDir(), i)
		if err := copyTree(dir, to); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		s, err := Open(Options{Dir: to})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if got := s.Stats().Recovery.ReplayedBytes; got != uint64(bytes) {
			b.Fatalf("replayed %d of %d bytes", got, bytes)
		}
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(spans), "spans")
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
}
