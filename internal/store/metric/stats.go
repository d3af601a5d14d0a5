package metric

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
)

// counters are the store's own counts since Open.
type counters struct {
	appended          atomic.Uint64
	rejected          [len(reasons)]atomic.Uint64
	exemplarsRejected atomic.Uint64
}

func (c *counters) reject(r Reason, n uint64) {
	i := slices.Index(reasons[:], r)
	if i < 0 {
		panic("BUG: unknown reason " + string(r))
	}
	c.rejected[i].Add(n)
}

// Stats describes a Store at one time, over all open tenants. Counts are since
// Open, sizes in bytes.
type Stats struct {
	Tenants  int    // open in this process
	Series   uint64 // in memory
	Chunks   uint64 // in memory, mapped files included
	Appended uint64 // samples acknowledged
	// Rejected counts samples refused by reason; every reason has an entry.
	Rejected          map[Reason]uint64
	Exemplars         uint64 // held now
	ExemplarsAppended uint64
	ExemplarsRejected uint64

	WALBytes       int64 // write-ahead logs
	HeadChunkBytes int64 // full chunks not yet in a block
	BlockBytes     int64
	Blocks         int
	// LastCompaction is when the newest block was written; zero: never.
	LastCompaction    time.Time
	CompactionsFailed uint64
	// Low is true while writes are refused because the disk is nearly full;
	// FreeBytes is what is left of it, -1 when unknown.
	Low       bool
	FreeBytes int64
	// Broken is the number of tenants that take no samples after a disk error.
	Broken int

	Queries        uint64        // PromQL queries that have ended
	QueriesFailed  uint64        // of them, those with an error
	QueryTime      time.Duration // that all took together, waiting included
	QueriesRunning int
	QueriesWaiting int
}

// Stats returns the present state. It reads the sizes of folders and is meant
// to be called every few seconds at most.
func (s *Store) Stats() Stats {
	st := Stats{
		Rejected:          map[Reason]uint64{},
		Appended:          s.counts.appended.Load(),
		ExemplarsRejected: s.counts.exemplarsRejected.Load(),
		Low:               s.space.low.Load(),
	}
	for i, r := range reasons {
		st.Rejected[r] = s.counts.rejected[i].Load()
	}
	var err error
	if st.FreeBytes, err = freeSpace(s.opts.Dir); err != nil {
		st.FreeBytes = -1
	}
	for _, in := range s.instances() {
		in.addStats(&st)
	}
	e := s.engine
	st.Queries, st.QueriesFailed, st.QueryTime = e.ended.Load(), e.failed.Load(), time.Duration(e.busy.Load())
	st.QueriesRunning, st.QueriesWaiting = len(e.tracker.slots), int(e.tracker.waiting.Load())
	return st
}

func (in *instance) addStats(st *Stats) {
	g, err := in.read()
	if err != nil {
		st.Broken++
		return
	}
	defer g.reads.leave()
	st.Tenants++
	if g.broken.Load() {
		st.Broken++
	}
	st.Series += g.db.Head().NumSeries()
	for _, b := range g.db.Blocks() {
		st.Blocks++
		st.BlockBytes += b.Size()
		if t := ulid.Time(b.Meta().ULID.Time()); t.After(st.LastCompaction) {
			st.LastCompaction = t
		}
	}
	families, err := g.metrics.Gather()
	if err != nil {
		in.log.Debug("gather engine metrics", "err", err)
	}
	for _, f := range families {
		if len(f.Metric) == 0 {
			continue
		}
		m := f.Metric[0]
		v := m.GetGauge().GetValue() + m.GetCounter().GetValue()
		switch f.GetName() {
		case "prometheus_tsdb_head_chunks":
			st.Chunks += uint64(v)
		case "prometheus_tsdb_exemplar_exemplars_in_storage":
			st.Exemplars += uint64(v)
		case "prometheus_tsdb_exemplar_exemplars_appended_total":
			st.ExemplarsAppended += uint64(v)
		case "prometheus_tsdb_wal_storage_size_bytes", "prometheus_tsdb_out_of_order_wbl_storage_size_bytes":
			st.WALBytes += int64(v)
		case "prometheus_tsdb_head_chunks_storage_size_bytes":
			st.HeadChunkBytes += int64(v)
		case "prometheus_tsdb_compactions_failed_total":
			st.CompactionsFailed += uint64(v)
		}
	}
}
