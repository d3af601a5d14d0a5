package journal

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkAppend reports ns and MB/s of one appender, and the 99th percentile
// of its latency, with the background fsync running beside it.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("interval/%dKiB", size>>10), func(b *testing.B) {
			benchAppend(b, Options{}, size, 1)
		})
	}
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("always/64KiB/writers=%d", writers), func(b *testing.B) {
			benchAppend(b, Options{Sync: SyncAlways}, 64<<10, writers)
		})
	}
}

func benchAppend(b *testing.B, opts Options, size, writers int) {
	j, err := Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i * i)
	}
	took := make([]time.Duration, b.N)
	work := make(chan int, writers)
	done := make(chan error)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for range writers {
		go func() {
			for i := range work {
				start := time.Now()
				seq, err := j.Append(b.Context(), Tag{}, payload)
				took[i] = time.Since(start)
				if err == nil && seq%1024 == 0 { // as checkpoints do
					err = j.TruncateBefore(seq)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	for range writers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func BenchmarkReplay(b *testing.B) {
	j, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	payload := make([]byte, 64<<10)
	const records = 512
	for range records {
		if _, err := j.Append(b.Context(), Tag{}, payload); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(records * int64(len(payload)))
	for b.Loop() {
		n := 0
		if err := j.Replay(0, func(uint64, Tag, []byte) error { n++; return nil }); err != nil || n != records {
			b.Fatal(n, err)
		}
	}
}
