package sdk

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestPool(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	ctx, sender := sending(t, s)
	var mu sync.Mutex
	failed := map[string]error{}
	p := NewPool(PoolOptions{Name: "mail", Workers: 2, Queue: 2, Failed: func(_ context.Context, name string, err error) {
		mu.Lock()
		failed[name] = err
		mu.Unlock()
		panic("a hook that panics")
	}})
	// Jobs that hold both workers, and two that fill the queue.
	release, running := make(chan struct{}), make(chan struct{})
	hold := func(ctx context.Context) error {
		running <- struct{}{}
		<-release
		receives(t, ctx, sender)
		return nil
	}
	for range 2 {
		if err := p.Submit(ctx, "holds", hold); err != nil {
			t.Fatal(err)
		}
		<-running
	}
	if err := p.TrySubmit(ctx, "fails", func(context.Context) error { return errors.New("no") }); err != nil {
		t.Fatal(err)
	}
	if err := p.TrySubmit(ctx, "panics", func(context.Context) error { panic(errOh) }); err != nil {
		t.Fatal(err)
	}
	if err := p.TrySubmit(ctx, "too many", hold); err != ErrPoolFull {
		t.Errorf("without room: %v", err)
	}
	short, cancel := context.WithCancelCause(ctx)
	var waited error
	var wg sync.WaitGroup
	wg.Go(func() { waited = p.Submit(short, "gives up", hold) })
	cancel(errOh)
	wg.Wait()
	if waited != errOh {
		t.Errorf("a submitter that gave up: %v", waited)
	}
	if err := p.Submit(short, "late", hold); err != errOh {
		t.Errorf("a submitter whose context has ended: %v", err)
	}
	close(release)
	ran := make(chan struct{})
	if err := p.Submit(ctx, "goexit", func(context.Context) error { runtime.Goexit(); return nil }); err != nil {
		t.Error(err)
	}
	for range 8 { // more than workers that are left, if goexit took one
		if err := p.Submit(ctx, "after", func(context.Context) error { ran <- struct{}{}; return nil }); err != nil {
			t.Error(err)
		}
		<-ran
	}
	for range 2 {
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := p.Submit(ctx, "closed", hold); err != ErrPoolClosed {
		t.Errorf("after Close: %v", err)
	}
	var panicked *PanicError
	if len(failed) != 2 || failed["fails"] == nil || !errors.As(failed["panics"], &panicked) || !errors.Is(panicked, errOh) || !strings.Contains(panicked.Stack, "TestPool") {
		t.Errorf("failed: %v", failed)
	}
	sender.End()
	got := sent(t, s, sink)
	for path, wants := range map[string][]string{
		"/v1/traces":  {"holds", "fails", "panics", "mail", attrWait, "exception.stacktrace"},
		"/v1/metrics": {"guanlan.pool.queue.length", "guanlan.pool.workers.busy", "guanlan.pool.rejected", "guanlan.task.wait", "guanlan.task.duration", "mail", "panic", "full"},
	} {
		for _, want := range wants {
			if !strings.Contains(got[path], want) {
				t.Errorf("%q is not in what was sent to %s", want, path)
			}
		}
	}
}

var errOh = errors.New("oh")

// When there is no more time, jobs that run are told, and those that wait are not
// begun.
func TestPoolGivesUp(t *testing.T) {
	start(t, Options{})
	before := runtime.NumGoroutine()
	var lost atomic.Int64
	p := NewPool(PoolOptions{Name: "mail", Workers: 1, Failed: func(_ context.Context, name string, err error) {
		if name == "waits" && err == ErrPoolClosed {
			lost.Add(1)
		}
	}})
	running, told := make(chan struct{}), make(chan struct{})
	if err := p.Submit(t.Context(), "runs", func(ctx context.Context) error {
		close(running)
		<-ctx.Done()
		close(told)
		return ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	<-running
	for range 3 {
		if err := p.Submit(t.Context(), "waits", func(context.Context) error { t.Error("it runs"); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Close(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"mail"`) || !strings.Contains(err.Error(), "4 jobs") {
		t.Errorf("error %v", err)
	}
	<-told
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("closed again, with time: %v", err)
	}
	if lost.Load() != 3 {
		t.Errorf("%d jobs were told lost, want 3", lost.Load())
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before })
}

// Submitters that race with Close lose no job: each is run, or its submitter
// hears that it is not.
func TestPoolCloseRace(t *testing.T) {
	start(t, Options{})
	for range 50 {
		p := NewPool(PoolOptions{Name: "mail", Workers: 2, Queue: 1})
		var taken, ran atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for p.Submit(t.Context(), "n", func(context.Context) error { ran.Add(1); return nil }) == nil {
					taken.Add(1)
				}
			})
		}
		waitFor(t, func() bool { return taken.Load() > 20 })
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if taken.Load() != ran.Load() {
			t.Fatalf("%d jobs were taken, %d ran", taken.Load(), ran.Load())
		}
	}
}
