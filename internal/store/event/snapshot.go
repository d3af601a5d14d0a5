package event

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

const (
	// snapshotTries and snapshotPause: parts that take part in a merge in
	// memory miss the snapshot, so it is repeated until it is complete. Such
	// merges take tens of milliseconds.
	snapshotTries = 100
	snapshotPause = 10 * time.Millisecond
	// snapshotsAtOnce: a snapshot mostly waits for fsync, and fsyncs that run
	// side by side share the journal commits of the file system.
	snapshotsAtOnce = 8
)

// taken is a snapshot made by a checkpoint.
type taken struct {
	e    *engine
	name string
	path string
}

// snapshot takes a snapshot of each partition that was written since the last
// one, and makes sure that nothing is missing in them. Nobody adds rows.
//
// The engine leaves parts out of a snapshot that take part in a merge in
// memory just then, and does not tell. Two counts show it. Rows: a merge
// changes no rows, so those in the snapshots and in the other partitions must
// add up to all rows of the engine. Parts of the index: merges make them
// fewer, never more, so when the snapshots and the files of the other
// partitions have as many as the engine had before, in memory and in files,
// then none was in memory only.
func (e *engine) snapshot() (all []taken, err error) {
	e.mu.Lock()
	dirty := map[string]bool{}
	for name, p := range e.partitions {
		if p.dirty {
			dirty[name] = true
		}
	}
	e.mu.Unlock()
	if len(dirty) == 0 {
		return nil, nil
	}
	e.db.DebugFlush() // rows and index items become parts
	for try := 0; ; try++ {
		var complete bool
		all, complete, err = e.trySnapshot(dirty)
		if err == nil && complete {
			return all, nil
		}
		e.repeatedSnapshots.Add(1)
		for _, t := range all {
			_ = os.RemoveAll(t.path)
		}
		if try == snapshotTries {
			return nil, errors.Join(errors.New("merges in memory do not come to an end"), err)
		}
		time.Sleep(snapshotPause)
	}
}

func (e *engine) trySnapshot(dirty map[string]bool) (all []taken, complete bool, err error) {
	names := e.db.PartitionList()
	var total logstorage.StorageStats
	e.db.UpdateStats(&total)
	var (
		mu               sync.Mutex // guards what follows, and err and all
		rows, indexParts uint64
		wg               sync.WaitGroup
	)
	slots := make(chan struct{}, snapshotsAtOnce)
	for _, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t, r, n, perr := e.countPartition(name, dirty[name])
			mu.Lock()
			defer mu.Unlock()
			rows += r
			indexParts += n
			err = errors.Join(err, perr)
			if t.path != "" {
				all = append(all, t)
			}
		})
	}
	wg.Wait()
	complete = rows == total.RowsCount() && indexParts == total.IndexdbPartsCount &&
		slices.Equal(names, e.db.PartitionList())
	return all, complete, err
}

// countPartition takes a snapshot of a dirty partition, and counts the rows
// and index parts of the snapshot, or of the partition if it is not dirty.
func (e *engine) countPartition(name string, dirty bool) (t taken, rows, indexParts uint64, err error) {
	if !dirty {
		parts, err := partNames(filepath.Join(e.partitionDir(name), indexDir))
		e.mu.Lock()
		defer e.mu.Unlock()
		if p := e.partitions[name]; p != nil {
			rows = p.rows
		}
		return t, rows, uint64(len(parts)), err
	}
	path, err := e.db.PartitionSnapshotCreate(name)
	if err != nil { // the retention has just dropped it
		return t, 0, 0, err
	}
	t = taken{e, name, path}
	rows, indexParts, err = countParts(path)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.partitions[name].rows = rows
	return t, rows, indexParts, err
}

// removeSnapshots removes all snapshots but the named ones.
func removeSnapshots(partitions string, keep map[string]string) error {
	names, err := listPartitions(partitions)
	if err != nil {
		return err
	}
	for _, name := range names {
		dir := filepath.Join(partitions, name, snapshotsDir)
		entries, rerr := os.ReadDir(dir)
		if errors.Is(rerr, fs.ErrNotExist) {
			continue
		}
		err = errors.Join(err, rerr)
		for _, entry := range entries {
			if entry.Name() != keep[name] {
				err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
			}
		}
	}
	return err
}
