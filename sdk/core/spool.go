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
	writing int    // lines of the other buffer, which is being written
	torn    bool   // the writer took half a line
	spare   []byte
	stats   SpoolStats
	closing bool          // Close was called
	closed  bool          // what was there then is written: no more lines are taken
	written *sync.Cond    // of mu: a buffer is
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
	s.written = sync.NewCond(&s.mu)
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
	if s.lines++; s.lines == 1 && !s.closing {
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
			if !open {
				s.end()
				return
			}
			if s.file == nil {
				continue
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

// drain writes what waits, and not what comes meanwhile: lines may never stop
// coming, and others wait for their turn. It reports whether there was an error
// among the lines.
func (s *Spool) drain() (urgent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.filling) == 0 {
		return false
	}
	text, lines := s.filling, s.lines
	urgent = s.urgent
	s.filling, s.lines, s.spare, s.urgent = s.spare[:0], 0, nil, false
	s.writing = lines
	s.mu.Unlock()
	n, err := s.write(text)
	s.mu.Lock()
	s.writing = 0
	if s.spare = text[:0]; cap(text) > s.limit/4 && len(text) < cap(text)/4 {
		s.spare = nil // what a burst needed is not kept after it
	}
	if err != nil {
		took := min(bytes.Count(text[:n], newline), lines)
		s.stats.Failed += uint64(lines - took)
		lines = took
	}
	s.stats.Written += uint64(lines)
	s.written.Broadcast()
	return urgent
}

// end takes no more lines and writes the last ones: those that came while what
// was there at Close was written.
func (s *Spool) end() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.drain()
	if s.file != nil {
		_ = s.file.Close() // it tells of errors itself
	}
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

// Flush waits until what was added before is written, or ctx ends. What others
// add meanwhile it does not wait for.
func (s *Spool) Flush(ctx context.Context) error {
	defer wakeAtEnd(ctx, s.written)()
	s.mu.Lock()
	defer s.mu.Unlock()
	added := s.settled() + uint64(s.writing+s.lines)
	for s.settled() < added {
		if err := ctx.Err(); err != nil {
			return err
		}
		signal(s.hurry)
		s.written.Wait()
	}
	return nil
}

// settled is how many lines were written or failed; mu is held.
func (s *Spool) settled() uint64 { return s.stats.Written + s.stats.Failed }

// Close writes what was added before and stops. When ctx ends first, it returns,
// and a writer that is stuck is left behind. It may be called again.
func (s *Spool) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.wake)
	}
	signal(s.hurry)
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Closed reports whether Line takes no more lines since Close. As long as the
// writer is stuck with what was there before, it is false: whoever then wrote
// past the spool would wait, too.
func (s *Spool) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
