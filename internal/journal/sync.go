package journal

import (
	"errors"
	"time"
)

// syncLoop is the background syncer. Under SyncAlways it syncs whenever there
// is something; appenders that come while it is at it share the next round.
// Under SyncInterval it lets SyncEvery pass first.
func (j *Journal) syncLoop() {
	defer close(j.stopped)
	for {
		select {
		case <-j.stop:
			return
		case <-j.wake:
		}
		if j.opts.Sync == SyncInterval {
			select {
			case <-j.stop:
				return
			case <-time.After(j.opts.SyncEvery):
			}
		}
		_ = j.syncNow() // kept in Stats and told to those who wait
	}
}

// Sync forces what has been appended to the disk.
func (j *Journal) Sync() error { return j.syncNow() }

func (j *Journal) syncNow() error {
	j.syncing.Lock()
	defer j.syncing.Unlock()

	j.mu.Lock()
	r := j.round
	j.round = newRound()
	upTo := j.nextSeq - 1
	sealed := j.sealed
	j.sealed = nil
	active := j.active
	if !j.dirty {
		active = nil
	}
	j.dirty = false
	if active == nil && len(sealed) == 0 {
		j.mu.Unlock()
		close(r.done) // nobody can wait: whoever wrote made something dirty
		return nil
	}
	newName := j.newName
	j.newName = false
	j.mu.Unlock()

	start := time.Now()
	var err error
	for _, f := range sealed {
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if active != nil {
		err = errors.Join(err, active.Sync())
	}
	if newName {
		err = errors.Join(err, j.disk.syncDir(j.dir))
	}
	took := time.Since(start)

	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.Syncs++
	j.stats.SyncTime += took
	j.stats.SyncMax = max(j.stats.SyncMax, took)
	if err != nil {
		j.stats.SyncErrors++
		j.stats.LastSyncError = err.Error()
		j.afterSyncError(err)
	} else if j.opts.Sync == SyncAlways {
		j.safeSeq = max(j.safeSeq, upTo)
	}
	r.err = err
	close(r.done)
	return err
}

// afterSyncError leaves the segment behind: after a failed fsync the kernel
// may have dropped the pages and report success the next time, so nothing
// that was written there and not synced can be promised any more. Under
// SyncAlways all of it is void and everyone who waits is told, those of the
// round in progress by the caller. Under SyncInterval it was promised to
// survive the process only, which still holds. j.mu is held.
func (j *Journal) afterSyncError(err error) {
	if j.opts.Sync == SyncAlways {
		j.nextSeq = j.safeSeq + 1
		j.round.err = err
		close(j.round.done)
		j.round = newRound()
	}
	for _, f := range j.sealed { // a second fsync would prove nothing
		_ = f.Close()
	}
	j.sealed = nil
	if j.active != nil {
		_ = j.active.Close()
		j.active, j.dirty = nil, false
	}
	_ = j.beginSegment(j.nextSeq) // else the next append begins it
}
