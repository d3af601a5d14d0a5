package event

import (
	"math"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/journal"
)

// Stats is the state of a Store, for its own telemetry. Counters start at
// Open.
type Stats struct {
	Traces, Logs SignalStats

	QueueBytes, QueueLimit int64 // estimated memory of batches on their way to the engine
	QueueBatches           int

	Refused Refused

	Checkpoints, CheckpointErrors uint64
	RepeatedSnapshots             uint64        // taken again because a merge had kept rows out of them
	CheckpointTook                time.Duration // of the last one
	CheckpointPause               time.Duration // longest that appliers had to wait
	CheckpointAge                 time.Duration // since the last one; 0 before the first
	SinceBytes, SinceRows         int64         // journaled since the last one: what a restart would replay

	// RollupLost is cells of the rollup that were given up because its files
	// could not be written.
	RollupLost uint64

	DiskFree, DiskTotal, DiskReserve uint64

	Recovery  Recovery
	LastCrash string    // what a process said when it panicked within the last day; "" if none did
	CrashedAt time.Time // when it did
}

// SignalStats is the part of one signal.
type SignalStats struct {
	Journal     journal.Stats
	RowsAdded   uint64 // given to the engine
	RowsDropped uint64 // by the codec: over a limit of the engine, or out of the retention
	// Undecodable counts journal records that this version could not decode.
	Undecodable uint64
	// RowsLate and RowsEarly were dropped by the engine, which happens when
	// the codec's idea of the retention differs from the engine's.
	RowsLate, RowsEarly uint64

	// Rows is what is stored, in memory and in files. Those of traces include
	// the rows of the trace index, which the engine does not count apart:
	// usually one for each trace.
	Rows          uint64
	Bytes         uint64 // of files and memory, compressed
	Partitions    uint64
	MemoryParts   uint64
	FileParts     uint64
	MergesRunning uint64
	Streams       uint64 // created since Open
	// Oldest and Newest bound the times of rows; zero when nothing is stored.
	Oldest, Newest time.Time
}

// Refused counts writes that failed, by reason.
type Refused struct {
	Disk    uint64 // free space below the reserve
	Queue   uint64 // the engine did not keep up
	Journal uint64 // the journal could not be written
	Size    uint64 // batch too large
	Closing uint64
}

// Stats returns the current figures. Those of the engines are zero once the
// store is closed.
func (s *Store) Stats() Stats {
	c := &s.counters
	st := Stats{
		Traces: s.signalStats(s.traces), Logs: s.signalStats(s.logs),
		Refused: Refused{
			Disk: c.refusedDisk.Load(), Queue: c.refusedQueue.Load(), Journal: c.refusedJournal.Load(),
			Size: c.refusedSize.Load(), Closing: c.refusedClosing.Load(),
		},
		Checkpoints: c.checkpoints.Load(), CheckpointErrors: c.checkpointErrors.Load(),
		RepeatedSnapshots: s.traces.repeatedSnapshots.Load() + s.logs.repeatedSnapshots.Load(),
		CheckpointTook:    time.Duration(c.checkpointTook.Load()),
		CheckpointPause:   time.Duration(c.pauseMax.Load()),
		Recovery:          s.recovery,
		LastCrash:         s.crashed,
		CrashedAt:         s.crashedAt,
	}
	if last := c.lastCheckpoint.Load(); last != 0 {
		st.CheckpointAge = time.Since(time.Unix(0, last))
	}
	if s.reader != nil {
		st.RollupLost = s.reader.spanRows.rollup.lostCells()
	}
	st.SinceBytes, st.SinceRows = s.since.size()
	st.QueueBytes, st.QueueBatches = s.queue.size()
	st.QueueLimit = s.queue.limit
	st.DiskFree, st.DiskReserve, _ = s.guard.look()
	st.DiskTotal = s.guard.size()
	return st
}

func (s *Store) signalStats(e *engine) SignalStats {
	st := SignalStats{
		Journal:     e.journal.Stats(),
		RowsAdded:   e.rowsAdded.Load(),
		RowsDropped: e.rowsDropped.Load(),
		Undecodable: e.undecodable.Load(),
	}
	release, err := s.reads.enter()
	if err != nil {
		return st
	}
	defer release()
	var db logstorage.StorageStats
	e.db.UpdateStats(&db)
	st.RowsLate, st.RowsEarly = db.RowsDroppedTooSmallTimestamp, db.RowsDroppedTooBigTimestamp
	st.Rows = db.RowsCount()
	st.Bytes = db.CompressedInmemorySize + db.CompressedSmallPartSize + db.CompressedBigPartSize + db.IndexdbSizeBytes
	st.Partitions = db.PartitionsCount
	st.MemoryParts, st.FileParts = db.InmemoryParts, db.SmallParts+db.BigParts
	st.MergesRunning = db.ActiveInmemoryMerges + db.ActiveSmallMerges + db.ActiveBigMerges
	st.Streams = db.StreamsCreatedTotal
	if st.Rows > 0 && db.MinTimestamp > math.MinInt64 && db.MaxTimestamp < math.MaxInt64 {
		st.Oldest, st.Newest = time.Unix(0, db.MinTimestamp).UTC(), time.Unix(0, db.MaxTimestamp).UTC()
	}
	return st
}
