//go:build linux

package telemetry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/kernel/audit"
)

func TestQueueIsBoundedAndDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[int](5)
		for i := range 7 {
			if got := q.put(i); got != (i < 5) {
				t.Errorf("put %d: %v", i, got)
			}
		}
		var mu sync.Mutex
		var all [][]int
		sent := func() [][]int {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		}
		done := make(chan struct{})
		go func() {
			q.run(t.Context(), time.Second, 3, func(b []int) { mu.Lock(); all = append(all, b); mu.Unlock() })
			close(done)
		}()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if got := sent(); len(got) != 0 {
			t.Errorf("%v was handed over before others could join", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := sent(); len(got) != 2 || len(got[0]) != 3 || len(got[1]) != 2 {
			t.Errorf("handed over %v", got)
		}
		q.put(9)
		q.close()
		<-done
		if got := sent(); len(got) != 3 || q.put(10) {
			t.Errorf("after close: %v", got)
		}
	})
}

// Who takes telemetry may refuse for a while, and may take long: callbacks never wait.
func TestSlowConsumerLosesCountedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken, refusals atomic.Int64
		hold := make(chan struct{})
		w := Start(Options{Origin: origin, Logs: func(ctx context.Context, l plog.Logs) error {
			<-hold
			if refusals.Add(1) <= 3 {
				return errors.New("memory is short")
			}
			taken.Add(int64(l.LogRecordCount()))
			return nil
		}})
		w.lost["audit"] = &atomic.Uint64{}
		const all = maxEvents + 5000
		for i := range all {
			if i == 10 {
				time.Sleep(time.Second) // the first batch is on its way
				synctest.Wait()
			}
			w.event("audit", audit.Event{Kind: audit.Exit, PID: i})
		}
		lost := w.lost["audit"].Load()
		if lost != all-10-maxEvents {
			t.Errorf("lost %d, want %d", lost, all-10-maxEvents)
		}
		close(hold)
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := taken.Load(); got != maxEvents+10 {
			t.Errorf("%d were taken, want %d", got, maxEvents+10)
		}
	})
}

// What is refused for good is not offered again, and counts as lost.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := errors.New("never")
		var offers atomic.Int64
		w := Start(Options{Origin: origin, Permanent: func(err error) bool { return errors.Is(err, never) },
			Logs: func(context.Context, plog.Logs) error { offers.Add(1); return never }})
		w.lost["audit"] = &atomic.Uint64{}
		w.event("audit", audit.Event{Kind: audit.Exit})
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if offers.Load() != 1 || w.lost["audit"].Load() != 1 {
			t.Errorf("%d offers, %d lost", offers.Load(), w.lost["audit"].Load())
		}
	})
}

// Close waits for who takes telemetry only as long as it may.
func TestCloseEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := Start(Options{Origin: origin, Logs: func(ctx context.Context, _ plog.Logs) error { return errors.New("not now") }})
		w.lost["audit"] = &atomic.Uint64{}
		w.event("audit", audit.Event{Kind: audit.Exit})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := w.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*time.Second || w.lost["audit"].Load() != 1 {
			t.Errorf("Close took %v, lost %d", took, w.lost["audit"].Load())
		}
	})
}
