package event

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/internal/durable"
	"github.com/guanlan-io/guanlan/internal/journal"
)

// Recovery is what Open had to do.
type Recovery struct {
	Clean           bool          // the last process closed the folder, or there was none
	CheckpointLost  bool          // CHECKPOINT could not be read
	Restored        int           // partitions taken back to their snapshots
	Removed         int           // partitions that CHECKPOINT did not know
	ReplayedBatches uint64        // from the journals
	ReplayedBytes   uint64        // of OTLP
	Unreadable      uint64        // damaged records of the journals, lost
	Took            time.Duration // of all of it
}

// recover brings the folder to the state that CHECKPOINT and the journals
// tell, and opens engines and journals. Interrupted anywhere it can be
// repeated: until the replay is complete and the next checkpoint is made,
// CHECKPOINT names the same snapshots and the same numbers.
func (s *Store) recover() error {
	start := time.Now()
	last, err := readCheckpoint(s.opts.Dir)
	switch {
	case errors.Is(err, errCheckpointDamaged):
		// Without it there is no telling which rows of the journal are in
		// the files. Keep all files and replay all of the journal: rows of
		// the last seconds may be there twice, none is missing.
		s.log.Error("keep all files and replay the whole journal; rows of the last seconds may be there twice", "error", err)
		s.recovery.CheckpointLost = true
	case err != nil:
		return err
	case last == nil && !s.folderIsNew():
		s.log.Error("CHECKPOINT is missing; keep all files and replay the whole journal; rows of the last seconds may be there twice")
		s.recovery.CheckpointLost = true
	}
	if last == nil {
		last = newCheckpoint()
		last.Clean = true // what is there is kept
	}
	s.recovery.Clean = last.Clean && !s.recovery.CheckpointLost

	next := newCheckpoint()
	for _, e := range s.engines() {
		sig := last.Signals[e.name]
		if sig == nil {
			sig = &signalState{Partitions: map[string]string{}}
		}
		if err := s.restore(e, sig, last.Clean); err != nil {
			return fmt.Errorf("restore %s: %w", e.name, err)
		}
		next.Signals[e.name] = sig
	}
	if next.blobs, err = s.restoreHelpers(last.blobs); err != nil {
		return err
	}
	// Recorded before any row is added: partitions that are created from now
	// on are unknown to it, and the ones that are gone no longer settled.
	if err := next.write(s.opts.Dir); err != nil {
		return err
	}
	s.current = next
	for _, e := range s.engines() {
		if err := s.openEngine(e, next.Signals[e.name]); err != nil {
			return fmt.Errorf("open %s: %w", e.name, err)
		}
	}
	s.recovery.Took = time.Since(start)
	if s.recovery.ReplayedBatches > 0 {
		s.log.Info("replayed the journals", "batches", s.recovery.ReplayedBatches, "bytes", s.recovery.ReplayedBytes,
			"restored", s.recovery.Restored, "took", s.recovery.Took)
		poke(s.firstPending)
	}
	return nil
}

// restoreHelpers gives the helpers their states back. The state of one that has
// none yet is recorded as it is, so that a crash before the first checkpoint
// leads back to it.
func (s *Store) restoreHelpers(blobs map[string][]byte) (map[string][]byte, error) {
	states := map[string][]byte{}
	for name, h := range s.codecs.helpers {
		blob, known := blobs[name]
		var err error
		if known {
			err = h.restore(blob)
		} else {
			blob, err = h.freeze()
		}
		if err != nil {
			return nil, fmt.Errorf("restore %s: %w", name, err)
		}
		states[name] = blob
	}
	return states, nil
}

// folderIsNew: no engine has been opened in it.
func (s *Store) folderIsNew() bool {
	for _, e := range s.engines() {
		if exists(e.partitionsDir()) {
			return false
		}
	}
	return true
}

// restore makes the partitions of a signal what state says, and state what is
// on the disk.
func (s *Store) restore(e *engine, state *signalState, clean bool) error {
	names, err := listPartitions(e.partitionsDir())
	if err != nil {
		return err
	}
	onDisk := map[string]bool{}
	for _, name := range names {
		dir := e.partitionDir(name)
		snapshot, known := state.Partitions[name]
		switch {
		case partlyRemoved(dir), !known && !clean:
			// The retention was removing it, or it was created after the
			// checkpoint and the journal has all its rows.
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			s.recovery.Removed++
			continue
		case snapshot != "" && !clean:
			if err := s.swap.restorePartition(dir, snapshot); err != nil {
				return fmt.Errorf("partition %q: %w", dir, err)
			}
			s.recovery.Restored++
		case s.recovery.CheckpointLost:
			if err := s.completePartition(dir); err != nil {
				return fmt.Errorf("partition %q: %w", dir, err)
			}
		}
		if !known {
			state.Partitions[name] = ""
		}
		onDisk[name] = true
	}
	for name := range state.Partitions {
		if !onDisk[name] {
			delete(state.Partitions, name)
		}
	}
	return removeSnapshots(e.partitionsDir(), state.Partitions)
}

// partlyRemoved: the engine was removing the partition. It leaves a mark while
// it does; its own check for the mark does not work, and it would open what is
// left.
func partlyRemoved(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0 || exists(filepath.Join(dir, removeMark))
}

// completePartition helps a partition whose restore was interrupted when there
// is no CHECKPOINT to repeat it from: the newest snapshot is the one.
func (s *Store) completePartition(dir string) error {
	if exists(filepath.Join(dir, dataDir, "parts.json")) && exists(filepath.Join(dir, indexDir)) {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, snapshotsDir))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil // the engine completes one that was being created
	}
	if err != nil {
		return err
	}
	return s.swap.restorePartition(dir, entries[len(entries)-1].Name()) // names begin with the time
}

// openEngine opens the journal and the engine of a signal and replays the
// former into the latter.
func (s *Store) openEngine(e *engine, state *signalState) error {
	for name, snapshot := range state.Partitions {
		rows, _, err := countParts(e.partitionDir(name))
		if err != nil {
			return err
		}
		e.partitions[name] = &partition{writable: snapshot != "", written: time.Now(), rows: rows}
	}
	e.openDB()
	done := state.Applied
	for _, seq := range state.Also {
		done = max(done, seq)
	}
	var err error
	e.journal, err = journal.Open(filepath.Join(s.opts.Dir, "journal", e.name), journal.Options{Sync: s.opts.Sync, SyncEvery: s.opts.SyncEvery, MinSeq: done + 1})
	if err != nil {
		return err
	}
	if err := s.replay(e, state); err != nil {
		return err
	}
	js := e.journal.Stats()
	if js.Damaged > 0 {
		s.log.Error("records of the journal could not be read and are lost", "signal", e.name, "records", js.Damaged)
		s.recovery.Unreadable += js.Damaged
	}
	e.progress = newProgress(js.NextSeq - 1)
	return nil
}

// replay applies the records that the partitions do not contain, with all
// CPUs.
func (s *Store) replay(e *engine, state *signalState) error {
	also := map[uint64]bool{}
	for _, seq := range state.Also {
		also[seq] = true
	}
	groups := make(chan []*batch)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for group := range groups {
				s.addRows(e, group) // fails only once the store closes
			}
		})
	}
	var group []*batch
	size := 0
	err := e.journal.Replay(state.Applied+1, func(seq uint64, tag journal.Tag, payload []byte) error {
		if !also[seq] {
			s.recovery.ReplayedBatches++
			s.recovery.ReplayedBytes += uint64(len(payload))
			group = append(group, &batch{seq, tag, payload})
			if size += len(payload); size >= groupBytes {
				groups <- group
				group, size = nil, 0
			}
		}
		return nil
	})
	groups <- group
	close(groups)
	workers.Wait()
	return err
}

// swapper replaces the files of a partition by those of a snapshot.
type swapper struct {
	// step is called before each change of the disk; tests end it early.
	step func() error
}

// restorePartition makes the files of the partition those of the snapshot, by
// hard links. The snapshot stays as it is, so that an interrupted call can be
// repeated.
func (w swapper) restorePartition(dir, snapshot string) error {
	from := filepath.Join(dir, snapshotsDir, snapshot)
	for _, table := range []string{indexDir, dataDir} {
		if !exists(filepath.Join(from, table)) {
			return fmt.Errorf("snapshot %q is not complete: restore the data folder from a copy, or remove the partition (its rows are lost then)", from)
		}
	}
	for _, table := range []string{indexDir, dataDir} {
		to := filepath.Join(dir, table)
		if err := w.do(func() error { return os.RemoveAll(to) }); err != nil {
			return err
		}
		if err := w.link(filepath.Join(from, table), to); err != nil {
			return err
		}
	}
	return w.do(func() error { return durable.SyncDir(dir) })
}

// link makes a copy of a tree whose files are hard links.
func (w swapper) link(from, to string) error {
	if err := w.do(func() error { return os.Mkdir(to, 0o755) }); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		src, dst := filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())
		if entry.IsDir() {
			err = w.link(src, dst)
		} else {
			err = w.do(func() error { return os.Link(src, dst) })
		}
		if err != nil {
			return err
		}
	}
	return w.do(func() error { return durable.SyncDir(to) })
}

func (w swapper) do(change func() error) error {
	if w.step != nil {
		if err := w.step(); err != nil {
			return err
		}
	}
	return change()
}
