package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var testScope = NewScope("test", "", "")

// items is what a request holds, as text.
func items(t *testing.T, body []byte) (got []string) {
	t.Helper()
	for _, r := range decode(t, body, map[int]any{requestResources: map[int]any{resourceScopes: map[int]any{}}})[requestResources] {
		for _, s := range r.(message)[resourceScopes] {
			for _, item := range s.(message)[scopeItems] {
				got = append(got, item.(string))
			}
		}
	}
	return got
}

func TestPipeWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c collector
		p := NewPipe(nil, PipeOptions{Send: c.send, Delay: time.Second, BatchBytes: 100})
		p.Add(testScope, []byte("one"))
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if len(c.bodies) != 0 {
			t.Error("sent before its time")
		}
		p.Add(testScope, []byte("two"))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(c.bodies) != 1 || !slices.Equal(items(t, c.bodies[0]), []string{"one", "two"}) {
			t.Fatalf("after a second: %q", c.bodies)
		}
		p.Add(testScope, make([]byte, 100))
		synctest.Wait()
		if len(c.bodies) != 2 {
			t.Error("a full batch waits")
		}
		p.Add(testScope, []byte("last"))
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(c.bodies) != 3 || !slices.Equal(items(t, c.bodies[2]), []string{"last"}) {
			t.Errorf("after Close: %q", c.bodies)
		}
		if p.Add(testScope, []byte("late")) {
			t.Error("a closed pipe takes items")
		}
		if got := p.Stats(); got != (PipeStats{Added: 4, Sent: 4, Full: 1}) {
			t.Errorf("stats %+v", got)
		}
		if err := p.Flush(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Flush after Close: %v", err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// A receiver that stands still costs bounded memory and no time; what did not
// fit is counted, what did is sent when it goes on.
func TestPipeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c collector
		stuck := make(chan struct{})
		send := func(ctx context.Context, body []byte, n int) (int, error) {
			<-stuck
			return c.send(ctx, body, n)
		}
		const limit = 10_000
		p := NewPipe(nil, PipeOptions{Send: send, Bytes: limit, BatchBytes: 1000})
		began := time.Now()
		taken := 0
		for range 1000 {
			if p.Add(testScope, make([]byte, 90)) {
				taken++
			}
		}
		if time.Since(began) != 0 {
			t.Error("Add waited")
		}
		if s := p.Stats(); s.Waiting > limit || s.Added != uint64(taken) || s.Full != uint64(1000-taken) || taken < limit/100 {
			t.Errorf("took %d, stats %+v", taken, s)
		}
		close(stuck)
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Sent != uint64(taken) || s.Waiting != 0 || c.items != taken {
			t.Errorf("sent %d of %d, stats %+v", c.items, taken, s)
		}
	})
}

func TestPipeScopesShareARequest(t *testing.T) {
	var c collector
	p := NewPipe(nil, PipeOptions{Send: c.send})
	a, b := NewScope("a", "", ""), NewScope("b", "", "")
	for range 2 { // the second time in buffers of the first
		p.Add(a, []byte("1"))
		p.Add(b, []byte("2"))
		p.Add(a, []byte("3"))
		flush(t, p)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, body := range c.bodies {
		if got := items(t, body); !slices.Equal(got, []string{"1", "3", "2"}) {
			t.Errorf("a request holds %q", got)
		}
	}
	if len(c.bodies) != 2 {
		t.Errorf("%d requests", len(c.bodies))
	}
}

func TestPipeFlushAndCloseEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Int64
		p := NewPipe(nil, PipeOptions{
			Send:   func(ctx context.Context, _ []byte, _ int) (int, error) { <-ctx.Done(); return 0, ctx.Err() },
			Failed: func(n int, _ error) { failed.Add(int64(n)) }, Senders: 1, BatchBytes: 10,
		})
		for range 5 {
			p.Add(testScope, make([]byte, 20))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush: %v", err)
		}
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if s := p.Stats(); s.Failed != 5 || s.Waiting != 0 {
			t.Errorf("stats %+v, want all failed", s)
		}
		if failed.Load() != 1 { // the others were never tried
			t.Errorf("%d items reported as given up, want the one under way", failed.Load())
		}
	})
}

func TestPipeCountsRejectedAndFailed(t *testing.T) {
	calls := 0
	p := NewPipe(nil, PipeOptions{Senders: 1, Send: func(_ context.Context, _ []byte, n int) (int, error) {
		if calls++; calls == 1 {
			return 1, nil
		}
		return 0, errors.New("no")
	}})
	for range 2 {
		p.Add(testScope, []byte("a"))
		p.Add(testScope, []byte("b"))
		flush(t, p)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s != (PipeStats{Added: 4, Sent: 1, Rejected: 1, Failed: 2}) {
		t.Errorf("stats %+v", s)
	}
}

// What goes in comes out once, whoever adds, flushes and closes at the same
// time.
func TestPipeLosesNothing(t *testing.T) {
	var c collector
	p := NewPipe(nil, PipeOptions{Send: c.send, BatchBytes: 300, Delay: time.Millisecond, Senders: 3})
	var wg sync.WaitGroup
	scopes := []*Scope{NewScope("a", "", ""), NewScope("b", "", ""), NewScope("c", "", "")}
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 500 {
				if !p.Add(scopes[i%3], fmt.Appendf(nil, "%d-%d", g, i)) {
					t.Error("an item was dropped")
				}
				if i%100 == 0 {
					flush(t, p)
				}
			}
		}()
	}
	wg.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	seen := map[string]bool{}
	for _, body := range c.bodies {
		for _, item := range items(t, body) {
			if seen[item] {
				t.Errorf("%s was sent twice", item)
			}
			seen[item] = true
		}
	}
	if len(seen) != 2000 {
		t.Errorf("%d items were sent, want 2000", len(seen))
	}
}

func BenchmarkPipeAdd(b *testing.B) {
	p := NewPipe(nil, PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
	defer p.Close(context.Background())
	item := make([]byte, 400)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Add(testScope, item)
		}
	})
}
