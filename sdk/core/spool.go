package core

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

// Spool writes lines to a writer that may be slow, without ever making the one
// who logs wait: lines are copied into a bounded buffer and written by another
// goroutine, many at a time and some milliseconds later. What does not fit is dropped and counted, the least
// important first. It is safe for concurrent use.
type Spool struct {
	w     io.Writer
	file  *File // w, when it is one
	limit int
	full  int // with how much the writer is woken at once

	mu      sync.Mutex
	filling []byte // lines that wait
	lines   int    // of filling
	urgent  bool   // one of them tells of an error
	writing bool   // the other buffer is being written
	torn    bool   // the writer took half a line
	spare   []byte
	stats   SpoolStats
	closed  bool
	idle    *sync.Cond    // of mu: everything is written
	wake    chan struct{} // a line waits
	hurry   chan struct{} // so much waits, or so somebody
	done    chan struct{}
}

// spoolFull is with how much the writer is woken at once.
const spoolFull = 512 << 10

// spoolLinger is how long a line waits for others: waking the writer for each
// costs as much as making it.
const spoolLinger = 5 * time.Millisecond

// SpoolStats counts lines since the start. How many had to wait is not counted,
// because none has: adding a line is a copy under a lock that is never held
// while something is written.
type SpoolStats struct {
	Written uint64
	Dropped uint64 // for want of room, or after Close
	Failed  uint64 // the writer did not take them
	Waiting int    // bytes
}

// DefaultSpool is how many bytes wait at most when nothing else is said, 4 MiB.
const DefaultSpool = 4 << 20

// NewSpool starts a spool that holds limit bytes at most beside what is just
// being written; 0 is DefaultSpool. w is used by one goroutine at a time.
func NewSpool(w io.Writer, limit int) *Spool { return newSpool(w, nil, limit) }

// NewFileSpool is NewSpool for a file. It is the spool's from now on, which
// syncs it as FileOptions.Sync says and closes it.
func NewFileSpool(f *File, limit int) *Spool { return newSpool(f, f, limit) }

func newSpool(w io.Writer, f *File, limit int) *Spool {
	limit = orDefault(limit, DefaultSpool)
	s := &Spool{w: w, file: f, limit: limit, full: min(spoolFull, limit/4), wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), done: make(chan struct{})}
	s.idle = sync.NewCond(&s.mu)
	go s.loop()
	return s
}

// Line adds a line, with its end. False when it was dropped.
func (s *Spool) Line(line []byte, severity Severity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.filling)+len(line) > s.limit*severity.Room()/100 {
		s.stats.Dropped++
		return false
	}
	s.filling = append(s.filling, line...)
	s.urgent = s.urgent || severity >= SeverityError
	if s.lines++; s.lines == 1 {
		signal(s.wake)
	}
	if n := len(s.filling); n >= s.full && n-len(line) < s.full {
		signal(s.hurry)
	}
	return true
}

// signal does not wait: one signal that is not taken yet is enough.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Spool) loop() {
	defer close(s.done)
	linger := time.NewTimer(spoolLinger)
	defer linger.Stop()
	due := time.NewTimer(time.Hour) // the next sync
	due.Stop()
	defer due.Stop()
	var synced, next time.Time // the last one, and when the next is due or zero
	for {
		select {
		case _, open := <-s.wake:
			if open {
				linger.Reset(spoolLinger)
				select {
				case <-linger.C:
				case <-s.hurry:
				}
			}
			urgent := s.drain()
			if s.file == nil {
				if !open {
					return
				}
				continue
			}
			if !open {
				_ = s.file.Close() // it tells of errors itself
				return
			}
			every := s.file.opts.Sync
			if every > 0 && urgent {
				every = min(every, urgentSync)
			}
			if at := synced.Add(every); every > 0 && (next.IsZero() || at.Before(next)) {
				next = at
				due.Reset(time.Until(at))
			}
		case synced = <-due.C:
			next = time.Time{}
			_ = s.file.Sync() // it tells of errors itself
		}
	}
}

// drain writes until nothing waits. It reports whether there was an error among
// the lines.
func (s *Spool) drain() (urgent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.filling) > 0 {
		text, lines := s.filling, s.lines
		urgent = urgent || s.urgent
		s.filling, s.lines, s.spare, s.urgent = s.spare[:0], 0, nil, false
		s.writing = true
		s.mu.Unlock()
		n, err := s.write(text)
		s.mu.Lock()
		s.writing = false
		if s.spare = text[:0]; cap(text) > s.limit/4 && len(text) < cap(text)/4 {
			s.spare = nil // what a burst needed is not kept after it
		}
		if err != nil {
			took := min(bytes.Count(text[:n], newline), lines)
			s.stats.Failed += uint64(lines - took)
			lines = took
		}
		s.stats.Written += uint64(lines)
	}
	s.idle.Broadcast()
	return urgent
}

// write keeps half a line that the writer took apart from what follows it.
func (s *Spool) write(text []byte) (n int, err error) {
	if s.torn {
		if _, err := s.w.Write(newline); err != nil {
			return 0, err
		}
		s.torn = false
	}
	n, err = s.w.Write(text)
	n = max(0, min(n, len(text)))
	s.torn = n > 0 && text[n-1] != '\n'
	return n, err
}

// Stats counts what happened so far.
func (s *Spool) Stats() SpoolStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Waiting = len(s.filling)
	return stats
}

// Flush waits until what was added before is written, or ctx ends.
func (s *Spool) Flush(ctx context.Context) error {
	defer wakeAtEnd(ctx, s.idle)()
	s.mu.Lock()
	defer s.mu.Unlock()
	signal(s.hurry)
	for len(s.filling) > 0 || s.writing {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.idle.Wait()
	}
	return nil
}

// Close flushes and stops. When ctx ends first, it returns, and a writer that is
// stuck is left behind. It may be called again.
func (s *Spool) Close(ctx context.Context) error {
	err := s.Flush(ctx)
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.wake)
		signal(s.hurry)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return err
}
