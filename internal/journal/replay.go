package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Replay calls fn with the records from number from on, in order, as they were
// when Replay was called. Records that cannot be read are skipped and counted
// in Stats.Damaged. It stops at the first error of fn and returns it.
//
// fn may keep payload: every segment is read into memory of its own, so
// keeping one payload keeps its segment.
func (j *Journal) Replay(from uint64, fn func(seq uint64, tag Tag, payload []byte) error) error {
	j.mu.Lock()
	segs := slices.Clone(j.segs)
	end := j.nextSeq
	j.mu.Unlock()

	limit := end
	limits := make([]uint64, len(segs)) // of each segment, from newer ones
	for i := len(segs) - 1; i >= 0; i-- {
		limits[i] = limit
		limit = min(limit, segs[i].first)
	}
	for i, s := range segs {
		if limits[i] <= max(from, s.first) {
			continue // nothing wanted, or nothing that is not void
		}
		if err := j.replaySegment(s, from, limits[i], fn); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) replaySegment(s segment, from, limit uint64, fn func(uint64, Tag, []byte) error) error {
	path := filepath.Join(j.dir, s.name())
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("replay segment: %w", err)
	}
	sc := scanner{data: data, salt: s.salt, next: s.first, from: from, limit: limit}
	for sc.scan() {
		if err := fn(sc.record.seq, sc.record.tag, sc.record.payload); err != nil {
			return fmt.Errorf("replay record %d: %w", sc.record.seq, err)
		}
	}
	sc.lost(limit) // at the end of a segment that others follow
	j.mu.Lock()
	j.stats.Damaged += sc.damaged
	j.mu.Unlock()
	return nil
}
