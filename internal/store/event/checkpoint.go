package event

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// When checkpoints are made.
const (
	// checkpointBytes and checkpointRows bound what a restart replays: 48 MiB
	// of OTLP are some 80,000 spans, a second or two of work for two cores;
	// of small log records they would be many more, hence the second bound.
	// A checkpoint pauses the appliers for a tenth of a second; at 30 MB/s
	// that is 6 % of their time.
	checkpointBytes = 48 << 20
	checkpointRows  = 150_000
	// checkpointAfter bounds how long rows stay in memory only. The engine
	// left alone writes files as often.
	checkpointAfter = 5 * time.Second
	// settleAfter is how long a partition keeps its snapshot after the last
	// row. Late rows for a settled partition cost a snapshot and a write of
	// CHECKPOINT, a snapshot costs the space of parts merged since.
	settleAfter = 15 * time.Minute

	// refreshAfter is how often an idle store looks whether a snapshot holds
	// parts that were merged since, that is space for nothing; refreshTight
	// when there is little space.
	refreshAfter = 10 * time.Second
	refreshTight = time.Second

	// checkpointRetry is how soon a failed checkpoint is repeated.
	checkpointRetry = time.Second
	// pinRetry is how soon recording a snapshot of a settled partition is
	// repeated while its rows wait.
	pinRetry = 100 * time.Millisecond
)

// backlog is what was journaled since the last checkpoint.
type backlog struct {
	mu          sync.Mutex
	bytes, rows int64
}

// journaled counts a batch and wakes the checkpoint loop.
func (s *Store) journaled(bytes, rows int) {
	b := &s.since
	b.mu.Lock()
	first := b.rows == 0
	b.bytes += int64(bytes)
	b.rows += int64(rows)
	enough := b.bytes >= s.timing.bytes || b.rows >= s.timing.rows
	b.mu.Unlock()
	if first {
		poke(s.firstPending)
	}
	if enough {
		poke(s.enough)
	}
}

func (b *backlog) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes, b.rows = 0, 0
}

func (b *backlog) size() (bytes, rows int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes, b.rows
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// checkpointLoop makes checkpoints until the store closes.
func (s *Store) checkpointLoop() {
	for {
		refresh := s.timing.refresh
		if s.guard.tight() {
			refresh = min(refresh, refreshTight)
		}
		select {
		case <-s.closed:
			return
		case <-time.After(refresh):
			if !s.markStale() {
				continue
			}
		case <-s.firstPending:
			select {
			case <-s.closed:
				return
			case <-s.enough:
			case <-time.After(s.timing.after):
			}
		}
		for {
			err := s.checkpoint()
			if err == nil {
				break
			}
			s.log.Error("make checkpoint; a restart would replay more until it works", "error", err)
			select {
			case <-s.closed:
				return
			case <-time.After(checkpointRetry):
			}
		}
	}
}

// markStale has the next checkpoint take new snapshots of partitions whose
// parts were merged since, and tells whether there are such, or ones to settle.
func (s *Store) markStale() (found bool) {
	s.state.Lock()
	defer s.state.Unlock()
	limit := time.Now().Add(-s.timing.settle)
	for _, e := range s.engines() {
		for name, snapshot := range s.current.Signals[e.name].Partitions {
			if snapshot == "" {
				continue
			}
			dir := e.partitionDir(name)
			stale := false
			for _, table := range []string{dataDir, indexDir} {
				now, err := partNames(filepath.Join(dir, table))
				then, serr := partNames(filepath.Join(dir, snapshotsDir, snapshot, table))
				stale = stale || err == nil && serr == nil && !slices.Equal(now, then)
			}
			e.mu.Lock()
			if p := e.partitions[name]; p != nil {
				p.dirty = p.dirty || stale
				found = found || stale || p.written.Before(limit)
			}
			e.mu.Unlock()
		}
	}
	return found
}

// checkpoint makes one.
func (s *Store) checkpoint() (err error) {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	start := time.Now()
	defer func() {
		if err != nil {
			s.counters.checkpointErrors.Add(1)
			return
		}
		s.counters.checkpoints.Add(1)
		s.counters.checkpointTook.Store(int64(time.Since(start)))
		s.counters.lastCheckpoint.Store(time.Now().UnixNano())
	}()

	// The appliers end what they are at and stand still; writers go on.
	s.convert.Lock()
	s.state.Lock()
	defer s.state.Unlock()
	next, taken, pending, err := s.capture()
	storeMax(&s.counters.pauseMax, int64(time.Since(start)))
	s.convert.Unlock()
	if err != nil {
		return err
	}
	if pending { // batches in the queue were counted before since was reset
		poke(s.firstPending)
	}

	if err := next.write(s.opts.Dir); err != nil {
		// Whether the old or the new one is on the disk is not known. Both
		// sets of snapshots stay; the next checkpoint takes everything again.
		for _, t := range taken {
			t.e.mu.Lock()
			if p := t.e.partitions[t.name]; p != nil {
				p.dirty = true
			}
			t.e.mu.Unlock()
		}
		return err
	}
	s.current = next
	for _, e := range s.engines() {
		sig := next.Signals[e.name]
		err = errors.Join(err,
			removeSnapshots(e.partitionsDir(), sig.Partitions),
			e.journal.TruncateBefore(sig.Applied+1))
	}
	return err
}

// capture takes snapshots and the states that belong to them. s.convert and
// s.state are held.
func (s *Store) capture() (next *checkpoint, all []taken, pending bool, err error) {
	s.since.reset()
	select { // it spoke of what is being captured
	case <-s.enough:
	default:
	}
	defer func() {
		if err != nil {
			for _, t := range all {
				_ = os.RemoveAll(t.path)
			}
		}
	}()
	next = newCheckpoint()
	var wg sync.WaitGroup
	results := make([]struct {
		all []taken
		err error
	}, len(s.engines()))
	for i, e := range s.engines() {
		wg.Go(func() { results[i].all, results[i].err = e.snapshot() })
	}
	wg.Wait()
	for i, e := range s.engines() {
		all = append(all, results[i].all...)
		if results[i].err != nil {
			err = errors.Join(err, fmt.Errorf("snapshot of %s: %w", e.name, results[i].err))
		}
	}
	if err != nil {
		return nil, all, false, err
	}
	if next.blobs, err = s.freezeHelpers(); err != nil {
		return nil, all, false, err
	}
	now := time.Now()
	for _, e := range s.engines() {
		sig := &signalState{Partitions: map[string]string{}}
		sig.Applied, sig.Also = e.progress.state()
		next.Signals[e.name] = sig
		pending = pending || e.journal.Stats().NextSeq-1 > sig.Applied+uint64(len(sig.Also))

		fresh := map[string]string{}
		for _, t := range all {
			if t.e == e {
				fresh[t.name] = filepath.Base(t.path)
			}
		}
		e.settle(sig.Partitions, fresh, s.current.Signals[e.name].Partitions, now.Add(-s.timing.settle))
	}
	return next, all, pending, nil
}

// settle fills in which snapshot each partition has from now on: the fresh
// one, the one from before, or none when it was not written since limit.
func (e *engine) settle(into, fresh, before map[string]string, limit time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := map[string]*partition{}
	for _, name := range e.db.PartitionList() {
		p := e.partitions[name]
		if p == nil {
			p = &partition{}
		}
		known[name] = p
		switch {
		case fresh[name] != "":
			into[name] = fresh[name]
			p.dirty = false
		case before[name] != "" && p.written.After(limit):
			into[name] = before[name]
		default:
			into[name] = ""
			p.writable = false
		}
	}
	e.partitions = known // partitions that the retention dropped are gone
}

func (s *Store) freezeHelpers() (map[string][]byte, error) {
	blobs := map[string][]byte{}
	for name, h := range s.codecs.helpers {
		blob, err := h.freeze()
		if err != nil {
			return nil, fmt.Errorf("freeze %s: %w", name, err)
		}
		blobs[name] = blob
	}
	return blobs, nil
}

// unsettle records a snapshot of a settled partition, so that rows may be
// added to it. It tries until it works; false means that the store closes.
func (s *Store) unsettle(e *engine, name string) bool {
	for {
		err := s.tryUnsettle(e, name)
		if err == nil {
			return true
		}
		s.log.Error("record snapshot of a partition; rows for it wait in the queue", "signal", e.name, "partition", name, "error", err)
		select {
		case <-s.closed:
			return false
		case <-time.After(pinRetry):
		}
	}
}

func (s *Store) tryUnsettle(e *engine, name string) error {
	s.state.Lock()
	defer s.state.Unlock()
	e.mu.Lock()
	p := e.partitions[name]
	if p == nil {
		p = &partition{dirty: true, written: time.Now()}
		e.partitions[name] = p
	}
	ready := p.writable
	e.mu.Unlock()
	if ready {
		return nil
	}
	if slices.Contains(e.db.PartitionList(), name) {
		// All its rows are in files: it was not written since they were.
		path, err := e.db.PartitionSnapshotCreate(name)
		if err != nil {
			return err
		}
		next := s.current.clone()
		next.Signals[e.name].Partitions[name] = filepath.Base(path)
		if err := next.write(s.opts.Dir); err != nil {
			return err // the snapshot stays: the file may name it
		}
		s.current = next
	}
	e.mu.Lock()
	p.writable = true
	e.mu.Unlock()
	return nil
}

func storeMax(v *atomic.Int64, n int64) {
	for old := v.Load(); n > old && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}
