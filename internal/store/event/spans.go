package event

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/cespare/xxhash/v2"
	"github.com/guanlan-io/guanlan/internal/store"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"golang.org/x/sync/errgroup"
)

// Trace implements store.TraceReader.
func (r *reader) Trace(ctx context.Context, tenant store.Tenant, id pcommon.TraceID, hint store.Range) (ptrace.Traces, bool, error) {
	within, err := r.hintBounds(hint)
	if err != nil {
		return ptrace.Traces{}, false, err
	}
	if id.IsEmpty() {
		return ptrace.Traces{}, false, fmt.Errorf("trace id is zero: %w", store.ErrInvalid)
	}
	times, err := r.traceTimes(ctx, tenant, []pcommon.TraceID{id}, within)
	if err != nil {
		return ptrace.Traces{}, false, fmt.Errorf("read trace %s: %w", id, err)
	}
	traces, spans, cut := ptrace.NewTraces(), 0, false
	for _, w := range times[id] {
		d, err := r.readTrace(ctx, tenant, id, w, store.MaxTraceSpans-spans)
		if err != nil {
			return ptrace.Traces{}, false, fmt.Errorf("read trace %s: %w", id, err)
		}
		d.traces.ResourceSpans().MoveAndAppendTo(traces.ResourceSpans())
		spans += d.spans
		if cut = d.full; cut {
			break
		}
	}
	if spans == 0 {
		return ptrace.Traces{}, false, fmt.Errorf("trace %s: %w", id, store.ErrNotFound)
	}
	return traces, cut, nil
}

// readTrace decodes at most limit spans of a trace that end within w, those
// that end first.
func (r *reader) readTrace(ctx context.Context, tenant store.Tenant, id pcommon.TraceID, w window, limit int) (*traceDecoder, error) {
	filter := noHelpers + " " + traceID{}.is(id)
	q := question{r.traces, tenant, w.from, w.to, filter, "| delete _stream, _stream_id"}
	d := newTraceDecoder(limit)
	err := r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		if err := d.block(db); err != nil || !d.full {
			return err
		}
		return errEnough
	})
	if err != nil || !d.full {
		return d, err
	}
	// Blocks come in no order of time: find where the limit is, then read up
	// to there.
	var ends []int64
	q.pipes = "| fields _time"
	err = r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		var ok bool
		if ends, ok = db.GetTimestamps(ends); !ok {
			return errPacked
		}
		return nil
	})
	if err != nil || len(ends) == 0 || limit == 0 {
		return d, err
	}
	slices.Sort(ends)
	d = newTraceDecoder(limit)
	d.full = true
	err = r.ask(ctx, question{r.traces, tenant, w.from, ends[min(limit, len(ends))-1] + 1, filter, "| delete _stream, _stream_id"}, d.block)
	return d, err
}

// window is a stretch of _time, to exclusive.
type window struct{ from, to int64 }

// hintBounds is the stretch in which to look for spans.
func (r *reader) hintBounds(hint store.Range) (window, error) {
	if hint.Start.IsZero() && hint.End.IsZero() {
		now := r.now()
		return window{nanos(now.Add(-r.spanRows.retention)), nanos(now.Add(2 * maxAhead))}, nil
	}
	from, to, err := bounds(hint)
	return window{from, to}, err
}

// traceTimes says when the spans of traces ended: the anchors of the index and
// of the table of recent traces, widened, merged, cut to within, oldest first.
func (r *reader) traceTimes(ctx context.Context, tenant store.Tenant, ids []pcommon.TraceID, within window) (map[pcommon.TraceID][]window, error) {
	byKey := make(map[string][]pcommon.TraceID)
	var buckets, keys []string
	for _, id := range ids {
		bucket, key := indexKey(id)
		if byKey[key] == nil {
			buckets = append(buckets, strconv.Quote(bucket))
			keys = append(keys, strconv.Quote(key))
		}
		byKey[key] = append(byKey[key], id)
	}
	anchors := make(map[pcommon.TraceID][]int64)
	for _, id := range ids {
		anchors[id] = r.spanRows.index.recent(nil, tenant, id)
	}
	slices.Sort(buckets)
	filter := "{" + colTraceIndex + " in (" + strings.Join(slices.Compact(buckets), ",") + ") or " + freshStreams() + "} " + colTraceKey + ":in(" + strings.Join(keys, ",") + ")"
	reach := int64(traceReach)
	q := question{r.traces, tenant, within.from - reach, within.to + reach, filter, "| fields _time, " + colTraceKey}
	err := r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		times, ok := db.GetTimestamps(nil)
		if !ok {
			return errPacked
		}
		for i, key := range db.GetColumnByName(colTraceKey).Values {
			for _, id := range byKey[key] {
				anchors[id] = append(anchors[id], times[i])
			}
		}
		return nil
	})
	windows := make(map[pcommon.TraceID][]window)
	for id, times := range anchors {
		windows[id] = around(times, reach, within)
	}
	return windows, err
}

// around widens times by reach and merges what overlaps.
func around(times []int64, reach int64, within window) []window {
	slices.Sort(times)
	var ws []window
	for _, t := range times {
		w := window{max(t-reach, within.from), min(t+reach, within.to)}
		switch {
		case w.from >= w.to:
		case len(ws) > 0 && w.from <= ws[len(ws)-1].to:
			ws[len(ws)-1].to = w.to
		default:
			ws = append(ws, w)
		}
	}
	return ws
}

// The columns of list rows, beside _time.
var spanRowColumns = strings.Join([]string{"_time", colTraceHigh, colTraceLow, colSpanID, colParentSpanID, colService, strconv.Quote(colName), colKind, colStatus, colDuration, colWeight, colTimes}, ", ")

// placedSpan is a list row with its place in the order of pages.
type placedSpan struct {
	place
	row store.SpanRow
}

// decodeSpanRows appends the list rows of a block.
func decodeSpanRows(dst []placedSpan, db *logstorage.DataBlock) ([]placedSpan, error) {
	times, ok := db.GetTimestamps(nil)
	if !ok {
		return dst, errPacked
	}
	high, low, span, parent := cells(db, colTraceHigh), cells(db, colTraceLow), cells(db, colSpanID), cells(db, colParentSpanID)
	service, name, kind, status := cells(db, colService), cells(db, colName), cells(db, colKind), cells(db, colStatus)
	duration, weight, explicit := cells(db, colDuration), cells(db, colWeight), cells(db, colTimes)
	for i, at := range times {
		var p placedSpan
		row := &p.row
		var err1, err2, err3 error
		row.TraceID, err1 = parseTraceID(high(i), low(i))
		row.SpanID, err2 = parseSpanID(span(i))
		row.ParentSpanID, err3 = parseSpanID(parent(i))
		if err := cmp.Or(err1, err2, err3); err != nil {
			return dst, err
		}
		row.Service, row.Name = strings.Clone(unguarded(service(i))), strings.Clone(unguarded(name(i)))
		row.Kind, row.Status = parseKind(kind(i)), parseStatus(status(i))
		start, _, err := spanTimes(at, duration(i), explicit(i))
		if err != nil {
			return dst, err
		}
		row.Start, row.Ended = start.AsTime(), time.Unix(0, at).UTC()
		row.Duration = time.Duration(parseDuration(duration(i)))
		row.Weight = parseWeight(weight(i))
		p.place = place{at: at, hash: spanRowHash(row)}
		dst = append(dst, p)
	}
	return dst, nil
}

func parseWeight(s string) float64 {
	if w, err := strconv.ParseFloat(s, 64); err == nil && w > 0 {
		return w
	}
	return 1
}

func spanRowHash(row *store.SpanRow) uint64 {
	b := make([]byte, 0, 128)
	b = append(append(append(b, row.TraceID[:]...), row.SpanID[:]...), row.ParentSpanID[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(row.Start.UnixNano()))
	b = append(b, byte(row.Kind), byte(row.Status))
	return xxhash.Sum64(append(append(append(b, row.Service...), 0), row.Name...))
}

// Spans implements store.TraceReader.
func (r *reader) Spans(ctx context.Context, sel store.Select, limit int, after store.Cursor) ([]store.SpanRow, store.Cursor, error) {
	q, err := r.spanQuestion(sel, "", "")
	if err != nil {
		return nil, "", err
	}
	from, err := parseCursor(after)
	if err != nil {
		return nil, "", err
	}
	limit = max(1, min(limit, store.MaxPage))
	w, err := r.pageWindow(ctx, q, limit, from)
	if err != nil {
		return nil, "", fmt.Errorf("read spans: %w", err)
	}
	var found []placedSpan
	q.from, q.to = w.from, w.to
	q.pipes = "| fields " + spanRowColumns
	err = r.ask(ctx, q, func(db *logstorage.DataBlock) (err error) {
		if len(found) > maxPageRows {
			return fmt.Errorf("more than %d spans end in the same instant: %w", maxPageRows, store.ErrLimit)
		}
		found, err = decodeSpanRows(found, db)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read spans: %w", err)
	}
	slices.SortFunc(found, func(a, b placedSpan) int { return comparePlaces(a.place, b.place) })
	number(found, func(p *placedSpan) *place { return &p.place })
	var rows []store.SpanRow
	var last place
	for _, p := range found {
		if from != nil && comparePlaces(p.place, *from) <= 0 {
			continue
		}
		if len(rows) == limit {
			return rows, last.cursor(), nil
		}
		rows, last = append(rows, p.row), p.place
	}
	return rows, "", nil
}

// SpansOf implements store.TraceReader.
func (r *reader) SpansOf(ctx context.Context, tenant store.Tenant, within store.Range, ids []pcommon.TraceID) ([]store.SpanRow, error) {
	from, to, err := bounds(within)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(slices.Clone(ids), pcommon.TraceID.IsEmpty)
	if len(ids) == 0 {
		return nil, nil
	}
	times, err := r.traceTimes(ctx, tenant, ids, window{from, to})
	if err != nil {
		return nil, fmt.Errorf("read spans of traces: %w", err)
	}
	var mu sync.Mutex
	var found []placedSpan
	// Each part reads a few blocks, too few to keep the cores busy.
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(partsAtOnce)
	for _, part := range groupWindows(times) {
		q := question{r.traces, tenant, part.from, part.to, colTraceLow + ":in(" + strings.Join(part.lows, ",") + ")", "| fields " + spanRowColumns}
		reads.Go(func() error {
			return r.ask(ctx, q, func(db *logstorage.DataBlock) error {
				rows, err := decodeSpanRows(nil, db)
				mu.Lock()
				defer mu.Unlock()
				found = append(found, rows...)
				if err == nil && len(found) > store.MaxPage {
					return errEnough
				}
				return err
			})
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, fmt.Errorf("read spans of traces: %w", err)
	}
	found = slices.DeleteFunc(found, func(p placedSpan) bool { return !slices.Contains(ids, p.row.TraceID) })
	slices.SortFunc(found, func(a, b placedSpan) int { return comparePlaces(a.place, b.place) })
	found = slices.CompactFunc(found, func(a, b placedSpan) bool { return a.place == b.place })
	rows := make([]store.SpanRow, 0, len(found))
	for _, p := range found[:min(len(found), store.MaxPage)] {
		rows = append(rows, p.row)
	}
	return rows, nil
}

// part is a window with the traces that have spans in it.
type part struct {
	window
	lows []string // low halves of their ids
}

const (
	// maxParts bounds how many reads SpansOf makes.
	maxParts = 16
	// partsAtOnce leaves turns to other queries.
	partsAtOnce = maxQueries / 2
)

// groupWindows turns the windows of traces into few that do not overlap.
func groupWindows(times map[pcommon.TraceID][]window) []part {
	var all []part
	for id, ws := range times {
		_, low := traceHalves(id)
		for _, w := range ws {
			all = append(all, part{w, []string{strconv.FormatUint(low, 10)}})
		}
	}
	slices.SortFunc(all, func(a, b part) int { return cmp.Compare(a.from, b.from) })
	merge := func(gap int64) (merged []part) {
		for _, p := range all {
			if n := len(merged); n > 0 && p.from <= merged[n-1].to+gap {
				merged[n-1].to = max(merged[n-1].to, p.to)
				merged[n-1].lows = append(merged[n-1].lows, p.lows...)
			} else {
				merged = append(merged, part{p.window, slices.Clone(p.lows)})
			}
		}
		return merged
	}
	parts := merge(0)
	for gap := int64(traceReach); len(parts) > maxParts; gap *= 4 {
		parts = merge(gap)
	}
	for i := range parts {
		slices.Sort(parts[i].lows)
		parts[i].lows = slices.Compact(parts[i].lows)
	}
	return parts
}
