// Package load sends telemetry, as fast as it is taken or at a fixed pace, and
// counts what the receiver acknowledged.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Send delivers one request and returns how many of its items the receiver
// refused although it took the rest. An error that wraps ErrBusy is tried
// again.
type Send func(ctx context.Context, body []byte) (rejected int, err error)

// ErrBusy says that the receiver could not take the request now.
var ErrBusy = errors.New("receiver busy")

// Result is what came of a load.
type Result struct {
	Acked     int64 // items acknowledged
	Rejected  int64 // items refused inside of acknowledged requests
	Retries   int64 // requests sent once more
	Bytes     int64 // of acknowledged requests
	Wall      time.Duration
	Latencies Latencies // of requests, from when they were due
}

// PerSecond is the rate of acknowledged items.
func (r Result) PerSecond() float64 { return float64(r.Acked) / r.Wall.Seconds() }

// tally gathers a Result from several goroutines.
type tally struct {
	acked, rejected, retries, bytes atomic.Int64

	mu        sync.Mutex
	latencies Latencies
}

func (t *tally) result(began time.Time) Result {
	return Result{
		Acked: t.acked.Load(), Rejected: t.rejected.Load(), Retries: t.retries.Load(), Bytes: t.bytes.Load(),
		Wall: time.Since(began), Latencies: t.latencies,
	}
}

// stubborn is how long one request is tried while the receiver is busy.
const stubborn = 2 * time.Minute

// deliver sends body until it is taken. due is when it should have been sent.
func (t *tally) deliver(ctx context.Context, send Send, body []byte, items int, due time.Time) error {
	wait := 20 * time.Millisecond
	for {
		rejected, err := send(ctx, body)
		if err == nil {
			t.acked.Add(int64(items - rejected))
			t.rejected.Add(int64(rejected))
			t.bytes.Add(int64(len(body)))
			t.mu.Lock()
			t.latencies = append(t.latencies, time.Since(due))
			t.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, ErrBusy) || time.Since(due) > stubborn {
			return fmt.Errorf("send %d items: %w", items, err)
		}
		t.retries.Add(1)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
}

// Make returns request i and the number of its items. What it returns is used
// until the same worker's next call.
type Make func(i int) (body []byte, items int)

// Full sends requests 0 to n-1 as fast as the receiver takes them, workers at
// a time. maker is called once for each worker. progress may be nil; it is
// called about once a second with the items acknowledged so far.
func Full(ctx context.Context, workers, n int, maker func(worker int) Make, send Send, progress func(acked int64)) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var t tally
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			request := maker(w)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				body, items := request(i)
				if err := t.deliver(ctx, send, body, items, time.Now()); err != nil {
					cancel(err)
				}
			}
		})
	}
	stop := every(time.Second, func() {
		if progress != nil {
			progress(t.acked.Load())
		}
	})
	wg.Wait()
	stop()
	return t.result(began), context.Cause(ctx)
}

// Paced sends one request each interval until the duration is over or ctx
// ends, which is no error. A request that takes longer than the interval
// delays none of those behind it, up to lanes at a time; above that, the wait
// counts as latency, because latencies run from when a request was due.
func Paced(ctx context.Context, interval, duration time.Duration, lanes int, maker func(lane int) Make, send Send) (Result, error) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	began := time.Now()
	var t tally
	type job struct {
		i   int
		due time.Time
	}
	jobs := make(chan job, lanes)
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			request := maker(lane)
			for j := range jobs {
				body, items := request(j.i)
				if err := t.deliver(work, send, body, items, j.due); err != nil {
					cancel(err)
				}
			}
		})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
loop:
	for i := 0; time.Duration(i)*interval < duration; i++ {
		due := began.Add(time.Duration(i) * interval)
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			break loop
		case <-work.Done():
			break loop
		}
		select {
		case jobs <- job{i, due}:
		case <-work.Done():
			break loop
		}
	}
	close(jobs)
	wg.Wait()
	return t.result(began), context.Cause(work)
}

// every calls f each interval until the returned function is called.
func every(interval time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
