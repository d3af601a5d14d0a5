package red

import (
	"iter"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const millisecond = pcommon.Timestamp(time.Millisecond)

// flushClock keeps the times of flushes. Prometheus takes one sample of a
// series in a millisecond and none from the past, so flushes are whole
// milliseconds and at least two apart, whatever the clock does: the second one
// is room for the zero that a series begins with.
type flushClock struct {
	flushing sync.Mutex // held during a flush; only flushes remove series
	last     pcommon.Timestamp
	round    int
	epoch    time.Time
}

func (c *flushClock) init(now time.Time) {
	c.epoch = now
	c.last = pcommon.NewTimestampFromTime(now.Truncate(time.Millisecond))
}

// elapsed is the time since init. What waits or expires is measured by it
// rather than by the time of day, which may be set.
func (c *flushClock) elapsed(now time.Time) time.Duration { return now.Sub(c.epoch) }

// life is where a series stands between its first and its last span.
type life struct {
	start pcommon.Timestamp // the flush before the first span
	seen  time.Duration     // when the last span came, flushClock.elapsed
	fresh bool              // not flushed yet
	dirty bool              // has spans since the last flush
	ended bool              // its last point is written
}

// born begins the life of a series.
func (c *flushClock) born() life { return life{start: c.last, fresh: true} }

func (l *life) touch(at time.Duration) { l.seen, l.dirty = at, true }

// flush is one flush.
type flush struct {
	since, at  pcommon.Timestamp // since is just after the flush before
	elapsed    time.Duration
	round      int
	expiration time.Duration
}

// begin starts a flush. The caller holds flushing and the lock that guards
// born.
func (c *flushClock) begin(now time.Time, expiration time.Duration) flush {
	since := c.last + millisecond
	c.last = max(pcommon.NewTimestampFromTime(now.Truncate(time.Millisecond)), c.last+2*millisecond)
	c.round++
	return flush{since: since, at: c.last, elapsed: c.elapsed(now), round: c.round, expiration: expiration}
}

// moments yields the points that the flush is to write of a series: none when
// it was born during the flush, a zero before the first value, a stale point
// when it was idle too long.
func (f flush) moments(l *life) iter.Seq[moment] {
	return func(yield func(moment) bool) {
		if l.start >= f.at {
			return
		}
		m := moment{start: l.start, since: f.since, round: f.round}
		if l.fresh {
			l.fresh = false
			m.what, m.at = pointZero, l.start+millisecond
			if !yield(m) {
				return
			}
		}
		m.what, m.at = pointValue, f.at
		if !l.dirty && f.expiration > 0 && f.elapsed-l.seen >= f.expiration {
			l.ended = true
			m.what = pointStale
		}
		l.dirty = false
		yield(m)
	}
}

// setNumber fills in a point of a counter.
func setNumber(p pmetric.NumberDataPoint, n uint64, m moment) {
	p.SetStartTimestamp(m.start)
	p.SetTimestamp(m.at)
	if m.what != pointValue {
		n = 0
	}
	p.SetIntValue(int64(n))
	if m.what == pointStale {
		p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	}
}
