package event

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		never := make(chan struct{})
		reserve := func(ctx context.Context, n int64, closed chan struct{}) error { return q.reserve(ctx, n, closed) }
		if err := reserve(t.Context(), 60, never); err != nil {
			t.Fatal(err)
		}

		start := time.Now()
		err := reserve(t.Context(), 50, never)
		if !errors.Is(err, store.ErrUnavailable) || time.Since(start) != queuePatience || !strings.Contains(err.Error(), "60 of 100") {
			t.Errorf("full: %v after %v", err, time.Since(start))
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		err = reserve(ctx, 50, never)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("context: %v after %v", err, time.Since(start))
		}

		closed := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(closed) })
		if err := reserve(t.Context(), 50, closed); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("closed: %v", err)
		}

		time.AfterFunc(time.Second, func() { q.release(60) })
		start = time.Now()
		if err := reserve(t.Context(), 50, never); err != nil || time.Since(start) != time.Second {
			t.Errorf("room: %v after %v", err, time.Since(start))
		}
		if bytes, batches := q.size(); bytes != 50 || batches != 1 {
			t.Errorf("size: %d bytes, %d batches", bytes, batches)
		}
	})
}

// A large batch gets in although small ones keep coming.
func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		got := make(chan int64, 3)
		enter := func(weight int64) {
			go func() {
				if err := q.reserve(context.Background(), weight, nil); err != nil {
					t.Error(err)
				}
				got <- weight
			}()
			synctest.Wait()
		}
		enter(60)
		enter(80)
		enter(10) // there is room for it, but it is not its turn
		if len(got) != 1 {
			t.Fatalf("%d are in, want 1", len(got))
		}
		q.release(60)
		synctest.Wait()
		if <-got != 60 || <-got+<-got != 90 {
			t.Error("not first come, first served")
		}
		if bytes, batches := q.size(); bytes != 90 || batches != 2 {
			t.Errorf("size: %d bytes, %d batches", bytes, batches)
		}
	})
}

// A batch that is larger than the queue is taken when nothing else is in it.
func TestQueueTakesLargeBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		if err := q.reserve(t.Context(), 1000, nil); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { q.release(1000) })
		start := time.Now()
		if err := q.reserve(t.Context(), 10, nil); err != nil || time.Since(start) != time.Second {
			t.Errorf("beside it: %v after %v", err, time.Since(start))
		}
	})
}

// Groups wait for more only as long as they may, and not when somebody waits
// for them.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t.TempDir(), "traces", kindTraces, Keep{}, 100)
		put := func(seq uint64, size int) {
			e.backlog.Add(int64(size))
			e.pending <- &batch{seq: seq, payload: make([]byte, size)}
		}
		took := func() (group []*batch, d time.Duration) {
			start := time.Now()
			group = e.gather(nil, time.Second)
			return group, time.Since(start)
		}
		put(1, 10)
		time.AfterFunc(time.Second/2, func() { put(2, 10) })
		if group, d := took(); len(group) != 2 || d != time.Second {
			t.Errorf("%d batches after %v", len(group), d)
		}
		for seq := range uint64(3) {
			put(seq, groupBytes/2)
		}
		if group, d := took(); len(group) != 2 || d != 0 {
			t.Errorf("%d large batches after %v", len(group), d)
		}
		for seq := range uint64(largeBacklog / groupBytes) {
			put(seq, groupBytes)
		}
		for _, want := range []int{1 + largeGroup/groupBytes, 1, 1, 1, 1, 1, 1} { // first with what was left over
			if group, d := took(); len(group) != want || d != 0 {
				t.Errorf("%d batches of a backlog after %v, want %d", len(group), d, want)
			}
		}
		poke(e.hurry)
		put(4, 1)
		put(5, 1)
		if group, d := took(); len(group) != 2 || d != 0 {
			t.Errorf("%d batches after %v though somebody waits", len(group), d)
		}
		put(6, 1)
		close(e.pending)
		if group, _ := took(); len(group) != 1 {
			t.Errorf("%d batches, want the last one", len(group))
		}
		if group, _ := took(); len(group) != 0 {
			t.Errorf("%d batches after the end", len(group))
		}
	})
}

// A batch that the journal refuses takes no room in the queue, and the error
// is one the sender can retry on.
func TestRefusedByJournal(t *testing.T) {
	s, h := mustOpenStore(t, t.TempDir(), seldom)
	if err := s.traces.journal.Close(); err != nil {
		t.Fatal(err)
	}
	err := s.WriteTraces(t.Context(), store.Tenant{}, spansOf("a", 3, noon))
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error: %v", err)
	}
	st := s.Stats()
	if st.QueueBytes != 0 || st.QueueBatches != 0 || st.Refused.Journal != 1 {
		t.Errorf("stats: %+v", st)
	}
	if len(h.counts) != 0 {
		t.Errorf("helper saw a refused batch: %v", h.counts)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WriteLogs(cancelled, store.Tenant{}, logsOf("b", 1, noon)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Writers that wait for room are let go when the store closes.
func TestCloseWhileWaiting(t *testing.T) {
	s, _ := mustOpenStore(t, t.TempDir(), seldom, func(o *Options) { o.QueueBytes = minWeight })
	s.convert.Lock() // nothing leaves the queue
	mustWrite(t, s, "a", 1, noon)
	waiting := make(chan error)
	go func() { waiting <- s.WriteTraces(context.Background(), store.Tenant{}, spansOf("b", 1, noon)) }()
	for {
		s.queue.mu.Lock()
		n := len(s.queue.waiting)
		s.queue.mu.Unlock()
		if n == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if err := <-waiting; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("waiting write: %v", err)
	}
	s.convert.Unlock()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n := s.Stats().Refused.Queue; n != 1 {
		t.Errorf("refused %d, want 1", n)
	}
}

// A batch that can never be taken is told apart from one to send again.
func TestBatchTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 200 MB of memory")
	}
	s, _ := mustOpenStore(t, t.TempDir(), seldom)
	ld := logsOf("a", 1, noon)
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().SetStr(strings.Repeat("x", journal.MaxPayload))
	err := s.WriteLogs(t.Context(), store.Tenant{}, ld)
	if !errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error: %v", err)
	}
	if st := s.Stats(); st.Refused.Size != 1 || st.QueueBytes != 0 {
		t.Errorf("stats: %+v", st)
	}
}
