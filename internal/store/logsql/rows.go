package logsql

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// Rows calls yield with every row that q selects, until yield returns false.
// Rows come in no order, unless limit is above zero and no pipe of q decides
// the order: then they are the newest, newest first. Fields without a value
// may be missing. The row is valid until yield returns; yield is not called
// concurrently.
func (r *Reader) Rows(ctx context.Context, q Query, offset, limit int, yield func(row []Field) bool) error {
	parsed, err := parse(q)
	if err != nil {
		return err
	}
	switch {
	case limit <= 0:
	case !parsed.CanReturnLastNResults():
		parsed.AddPipeOffsetLimit(uint64(offset), uint64(limit))
	case offset+limit > maxNewest || parsed.HasGlobalTimeFilter() && short(parsed):
		parsed.AddPipeSortByTimeDesc()
		parsed.AddPipeOffsetLimit(uint64(offset), uint64(limit))
	default:
		return r.newest(ctx, q, parsed, offset, limit, yield)
	}
	_, err = r.run(ctx, q, parsed, yield)
	return err
}

// maxNewest is how many rows newest keeps the engine's sort in bounds with.
const maxNewest = 50_000

// short holds for ranges that are faster read whole than in steps.
func short(q *logstorage.Query) bool {
	start, end := q.GetFilterTimeRange()
	return end-start >= 0 && end-start < int64(time.Minute)
}

// newest reads backwards in time in steps that grow, so that a query for the
// newest rows does not sort all there are.
func (r *Reader) newest(ctx context.Context, q Query, parsed *logstorage.Query, offset, limit int, yield func([]Field) bool) error {
	first, last := parsed.GetFilterTimeRange() // inclusive
	step := int64(time.Minute)
	// What lies after now is little, but has to be looked at first.
	from, to := max(first, min(last, time.Now().UnixNano())), last
	for {
		part := parsed.CloneWithTimeFilter(parsed.GetTimestamp(), from, to)
		part.AddPipeSortByTimeDesc()
		part.AddPipeOffsetLimit(0, uint64(offset+limit))
		stopped := false
		_, err := r.run(ctx, q, part, func(row []Field) bool {
			if offset > 0 {
				offset--
				return true
			}
			limit--
			stopped = !yield(row)
			return !stopped
		})
		if err != nil || stopped || limit <= 0 || from <= first {
			return err
		}
		to = from - 1
		if from = to - step; from > to || from < first { // overflow, or the rest
			from = first
		}
		if step < math.MaxInt64/8 {
			step *= 4
		}
	}
}

// run executes a query and yields its rows one at a time; stopped tells that
// yield ended it.
func (r *Reader) run(ctx context.Context, q Query, parsed *logstorage.Query, yield func([]Field) bool) (stopped bool, err error) {
	ctx, done, err := r.enter(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // the engine calls from all its workers
	var row []Field
	err = r.storage.RunQuery(r.context(inner, q, parsed), func(_ uint, block *logstorage.DataBlock) {
		mu.Lock()
		defer mu.Unlock()
		for i := range block.RowsCount() {
			if stopped {
				return
			}
			row = row[:0]
			for _, c := range block.Columns {
				if v := c.Values[i]; v != "" {
					row = append(row, Field{c.Name, v})
				}
			}
			if !yield(row) {
				stopped = true
				cancel()
			}
		}
	})
	if stopped && ctx.Err() == nil {
		return true, nil
	}
	return stopped, ended(ctx, q.Text, err)
}
