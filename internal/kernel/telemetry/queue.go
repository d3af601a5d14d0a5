//go:build linux

package telemetry

import (
	"context"
	"slices"
	"sync"
	"time"
)

// queue stands between a callback, which must not wait, and a sender that may.
// What finds no room is the caller's to count.
type queue[T any] struct {
	max  int
	mu   sync.Mutex
	in   []T
	end  bool
	wake chan struct{} // one place: something is in, or the end
}

func newQueue[T any](max int) *queue[T] {
	return &queue[T]{max: max, wake: make(chan struct{}, 1)}
}

// put reports whether there was room.
func (q *queue[T]) put(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end || len(q.in) >= q.max {
		return false
	}
	q.in = append(q.in, v)
	q.stir()
	return true
}

// close lets run return when all is sent.
func (q *queue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end = true
	q.stir()
}

func (q *queue[T]) stir() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run hands over what comes in, at most most at a time, and gathers for a while
// before it does, so that what comes together goes together. It returns when all
// is sent after close, or when ctx ends.
func (q *queue[T]) run(ctx context.Context, gather time.Duration, most int, send func([]T)) {
	timer := time.NewTimer(gather)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		if gather > 0 && !q.ending() {
			timer.Reset(gather)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		for batch := q.take(most); len(batch) > 0; batch = q.take(most) {
			if send(batch); ctx.Err() != nil {
				return
			}
		}
		if q.ending() {
			return // close came before take found nothing more
		}
	}
}

func (q *queue[T]) ending() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.end && len(q.in) == 0
}

// take keeps no memory behind: after a gust the queue is small again.
func (q *queue[T]) take(most int) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(most, len(q.in))
	batch := q.in[:n:n]
	if q.in = q.in[n:]; len(q.in) == 0 {
		q.in = nil
	} else if cap(q.in) > 4*len(q.in) {
		q.in = slices.Clone(q.in)
	}
	return batch
}
