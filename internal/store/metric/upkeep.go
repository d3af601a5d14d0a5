package metric

import (
	"context"
	"time"
)

const (
	// spacePoll is how often free space is looked at besides every write.
	spacePoll = time.Second
	// settleEvery is how often full chunks are written, at least.
	settleEvery = 5 * time.Second
	// upkeepEvery is how often blocks are compacted, as in Prometheus.
	upkeepEvery = time.Minute
	// dormantEvery is how often the retention is applied to tenants that are
	// not open; blocks hold two hours at least.
	dormantEvery = time.Hour
)

// keepSpace follows the free space until ctx ends: it gives up the reserve when
// space is low and takes it back when it is there again. All the time it has
// the engine write its full chunks, so that little is pending when the disk
// fills: the engine by itself would do so once a minute, in which a fast sender
// fills more than any reserve.
func (s *Store) keepSpace(ctx context.Context) {
	tick := time.NewTicker(spacePoll)
	defer tick.Stop()
	var settled time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.space.wake:
		}
		s.pollSpace(ctx)
		due := s.space.unsettled.Load()*sampleChunkBytes > uint64(s.opts.MinFree/4)
		if now := time.Now(); due || now.Sub(settled) >= settleEvery {
			settled = now
			s.settle(ctx)
		}
	}
}

func (s *Store) pollSpace(ctx context.Context) {
	_ = s.space.admit() // notices low space also when nobody writes
	if s.space.low.Load() {
		s.space.release()
		s.settle(ctx)
		if !s.space.regain() {
			return
		}
		s.opts.Logger.Info("disk has space again, metrics are accepted", "dir", s.opts.Dir)
	}
	for _, in := range s.instances() {
		if in.needsRepair() {
			in.repair(func() { in.reopen(ctx) })
		}
	}
}

// settle has the engine write its full chunks.
func (s *Store) settle(ctx context.Context) {
	s.space.unsettled.Store(0)
	for _, in := range s.instances() {
		in.settle(ctx)
	}
}

// maintain compacts until ctx ends.
func (s *Store) maintain(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	s.sweepDormant(time.Now())
	swept := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.compactAll(ctx)
			if now.Sub(swept) >= dormantEvery {
				s.sweepDormant(now)
				swept = now
			}
		}
	}
}

// compactAll writes due blocks, one tenant after the other: a compaction holds
// as much memory as its block has index, and all tenants are due at the same
// time.
func (s *Store) compactAll(ctx context.Context) {
	if !s.space.low.Load() {
		s.space.refresh()
	}
	for _, in := range s.instances() {
		if ctx.Err() != nil {
			return
		}
		in.compact(ctx)
	}
}

// compact writes the tenant's due blocks and saves its metadata.
func (in *instance) compact(ctx context.Context) {
	if !in.s.space.low.Load() {
		if err := in.families.save(); err != nil {
			in.log.Warn("save metric metadata", "err", err)
		}
	}
	g, err := in.read()
	if err != nil {
		return
	}
	defer g.reads.leave()
	logs := g.db.Head().Size()
	in.s.retention.setLogs(in.tenant, logs)
	if g.broken.Load() || !in.s.space.roomFor(logs/blockShare) {
		return
	}
	if err := g.db.Compact(ctx); err != nil && ctx.Err() == nil {
		in.log.Error("compact metrics", "err", err)
	}
}

// blockShare: a new block is at most this fraction of the logs it replaces. It
// measured a tenth to a fifth.
const blockShare = 4
