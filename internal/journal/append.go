package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync"
	"syscall"
)

// keepFrame is the largest buffer that is kept for the next append: above the
// usual batch, small enough that a few large requests do not stay in memory.
const keepFrame = 1 << 20

var frames = sync.Pool{New: func() any { return new([]byte) }}

// Append adds a record and returns its sequence number; numbers grow by one.
// When it returns nil the record is kept as Options.Sync says. When it returns
// an error the record will not be replayed, now or after a restart; the one
// exception is a device that accepts neither a truncation nor a new file
// between the failure and the end of the process.
//
// ctx is looked at before anything is written and not while waiting for an
// fsync: then the outcome would be unknown. payload is not kept.
func (j *Journal) Append(ctx context.Context, tag Tag, payload []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(payload) > MaxPayload {
		return 0, fmt.Errorf("append %d bytes, more than %d: %w", len(payload), MaxPayload, ErrTooLarge)
	}
	// One buffer and one write a record; copying and summing stay outside
	// the lock.
	buf := frames.Get().(*[]byte)
	frame := append(append((*buf)[:0], make([]byte, headerSize)...), payload...)
	sum := crc32.Checksum(payload, castagnoli)

	j.mu.Lock()
	seq, err := j.write(frame, sum, &tag)
	waitFor := j.round
	if err != nil {
		j.stats.Refused++
	}
	j.mu.Unlock()

	if cap(frame) <= keepFrame {
		*buf = frame
		frames.Put(buf)
	}
	if err != nil {
		return 0, fmt.Errorf("append to journal %q: %w", j.dir, err)
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
	if j.opts.Sync == SyncAlways {
		<-waitFor.done
		if waitFor.err != nil {
			return 0, fmt.Errorf("sync journal %q: %w", j.dir, waitFor.err)
		}
	}
	return seq, nil
}

// write puts the frame at the end of the active segment. j.mu is held.
func (j *Journal) write(frame []byte, sum uint32, tag *Tag) (uint64, error) {
	if j.closed {
		return 0, ErrClosed
	}
	if j.active == nil || j.segs[len(j.segs)-1].size >= j.opts.SegmentBytes {
		if err := j.beginSegment(j.nextSeq); err != nil {
			return 0, err
		}
	}
	seg := &j.segs[len(j.segs)-1]
	putHeader(frame, seg.salt, j.nextSeq, sum, tag)
	if _, err := j.active.WriteAt(frame, seg.size); err != nil {
		return 0, j.rollBack(seg.size, err)
	}
	seq := j.nextSeq
	j.nextSeq++
	seg.size += int64(len(frame))
	j.dirty = true
	j.stats.Records++
	j.stats.PayloadBytes += uint64(len(frame) - headerSize)
	if j.opts.Sync == SyncInterval {
		j.safeSeq = seq
	}
	return seq, nil
}

// rollBack removes what a failed write may have left behind end, and returns
// the error to report.
func (j *Journal) rollBack(end int64, cause error) error {
	if errors.Is(cause, syscall.ENOSPC) || errors.Is(cause, syscall.EDQUOT) {
		cause = fmt.Errorf("%w: %w", ErrFull, cause)
	}
	if err := j.active.Truncate(end); err == nil {
		return cause
	}
	// The refused record may stand in the segment in full. A new segment
	// that begins with its number voids it.
	j.seal()
	if err := j.beginSegment(j.nextSeq); err != nil {
		return errors.Join(cause, err) // the next append tries again
	}
	return cause
}

// seal stops writing to the active segment. j.mu is held.
func (j *Journal) seal() {
	if j.active == nil {
		return
	}
	j.sealed = append(j.sealed, j.active)
	j.active, j.dirty = nil, false
}

// beginSegment makes a new segment for records from first on the active one.
// j.mu is held.
func (j *Journal) beginSegment(first uint64) error {
	s := segment{index: j.index + 1, first: first, salt: newSalt()}
	f, err := j.disk.create(filepath.Join(j.dir, s.name()))
	if err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return err
	}
	j.seal()
	j.active, j.newName = f, true
	j.index = s.index
	j.segs = append(j.segs, s)
	return nil
}
