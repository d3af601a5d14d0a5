//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// RingEvery is how often a ring is looked at unless a feature says otherwise:
// late enough that a busy ring is read in batches, early enough that an event is
// known within 100 ms.
const RingEvery = 50 * time.Millisecond

// Ring reads a ring buffer whose programs submit with BPF_RB_NO_WAKEUP: waking a
// reader costs more than most programs. The ring must have room for what comes in
// one period.
type Ring struct {
	rd   *ringbuf.Reader
	done chan struct{}
	stop context.CancelFunc
	err  error // after done
}

// Drain calls f with each record, in order, from one goroutine, every period
// (0: RingEvery) until ctx ends or Close. The bytes are valid during f.
func Drain(ctx context.Context, m *ebpf.Map, every time.Duration, f func(raw []byte)) (*Ring, error) {
	rd, err := ringbuf.NewReader(m)
	if err != nil {
		return nil, fmt.Errorf("open ring: %w", err)
	}
	if every <= 0 {
		every = RingEvery
	}
	ctx, stop := context.WithCancel(ctx)
	r := &Ring{rd: rd, done: make(chan struct{}), stop: stop}
	go func() {
		defer close(r.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		var rec ringbuf.Record
		for {
			last := false
			select {
			case <-tick.C:
			case <-ctx.Done():
				last = true
			}
			if rd.AvailableBytes() > 0 {
				if r.err = r.read(&rec, f); r.err != nil {
					return
				}
			}
			if last {
				return
			}
		}
	}()
	return r, nil
}

// read empties the ring as it is now.
func (r *Ring) read(rec *ringbuf.Record, f func([]byte)) error {
	r.rd.SetDeadline(time.Now())
	for {
		switch err := r.rd.ReadInto(rec); {
		case err == nil:
			f(rec.RawSample)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return fmt.Errorf("read ring: %w", err)
		}
	}
}

// Close reads what is left and returns when the last call of f did. Detach the
// programs before, or what they submit meanwhile is lost.
func (r *Ring) Close() error {
	r.stop()
	<-r.done
	return errors.Join(r.err, r.rd.Close())
}
