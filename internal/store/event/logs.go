package event

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

// placedLog is a record with its place in the order of pages.
type placedLog struct {
	place
	row store.LogRow
}

// readLogs decodes the rows that a question finds, newest first.
func (r *reader) readLogs(ctx context.Context, q question) ([]placedLog, error) {
	var found []placedLog
	d := newLogDecoder()
	q.pipes = "| delete _stream, _stream_id"
	err := r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		if err := d.begin(db); err != nil {
			return err
		}
		if len(found)+len(d.times) > maxPageRows {
			return fmt.Errorf("more than %d records in the same instant: %w", maxPageRows, store.ErrLimit)
		}
		for i, at := range d.times {
			d.row(i)
			row, err := d.record(at)
			if err != nil {
				return err
			}
			found = append(found, placedLog{place{at: at, hash: d.content}, row})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b placedLog) int { return comparePlaces(a.place, b.place) })
	number(found, func(p *placedLog) *place { return &p.place })
	for i := range found {
		found[i].row.ID = found[i].cursor()
	}
	return found, nil
}

// Logs implements store.LogReader.
func (r *reader) Logs(ctx context.Context, sel store.Select, limit int, after store.Cursor) ([]store.LogRow, store.Cursor, error) {
	q, err := r.logQuestion(sel, "", "")
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
		return nil, "", fmt.Errorf("read logs: %w", err)
	}
	q.from, q.to = w.from, w.to
	found, err := r.readLogs(ctx, q)
	if err != nil {
		return nil, "", fmt.Errorf("read logs: %w", err)
	}
	var rows []store.LogRow
	for _, p := range found {
		if from != nil && comparePlaces(p.place, *from) <= 0 {
			continue
		}
		if len(rows) == limit {
			return rows, rows[limit-1].ID, nil
		}
		rows = append(rows, p.row)
	}
	return rows, "", nil
}

// aroundReach is how far Around looks for neighbours.
const aroundReach = 24 * time.Hour

// Around implements store.LogReader. The stream of a record is the records
// with exactly its resource.
func (r *reader) Around(ctx context.Context, tenant store.Tenant, id store.Cursor, n int) ([]store.LogRow, error) {
	at, err := parseCursor(id)
	if err != nil {
		return nil, err
	}
	if at == nil {
		return nil, fmt.Errorf("record id missing: %w", store.ErrInvalid)
	}
	n = max(0, min(n, store.MaxPage/2))
	found, err := r.readLogs(ctx, question{r.logs, tenant, at.at, at.at + 1, "", ""})
	if err != nil {
		return nil, fmt.Errorf("read record %q: %w", id, err)
	}
	i := slices.IndexFunc(found, func(p placedLog) bool { return p.place == *at })
	if i < 0 {
		return nil, fmt.Errorf("record %q: %w", id, store.ErrNotFound)
	}
	stream := resourceConds(found[i].row)
	rg := store.Range{Start: time.Unix(0, at.at).Add(-aroundReach), End: time.Unix(0, at.at+1)}
	// Before it in time stands after it in pages, and the other way round.
	older, _, err := r.Logs(ctx, store.Select{Tenant: tenant, Range: rg, Where: stream}, max(1, n), id)
	if err != nil {
		return nil, fmt.Errorf("read records before %q: %w", id, err)
	}
	newer, err := r.newerLogs(ctx, store.Select{Tenant: tenant, Where: stream}, *at, n)
	if err != nil {
		return nil, fmt.Errorf("read records after %q: %w", id, err)
	}
	rows := append(newer, found[i].row)
	rows = append(rows, older[:min(n, len(older))]...)
	slices.Reverse(rows)
	return rows, nil
}

// resourceConds are conditions that only records with the resource of row
// meet, as far as conditions can tell.
func resourceConds(row store.LogRow) []store.Cond {
	var conds []store.Cond
	for key, v := range row.Resource.Attributes().All() {
		field := "resource." + key
		if key == colService {
			field = colService
		}
		scalar, ok := scalarOf(v)
		if !ok {
			continue
		}
		text, _, _ := appendText(nil, scalar)
		if columnKey(key) && len(logColumn(sectionResource, key)) <= maxColumnName && len(text) < maxValueBytes && len(text) > 0 {
			conds = append(conds, store.Cond{Field: field, Op: store.OpEq, Value: string(text)})
		}
	}
	if len(conds) == 0 { // without a resource, those without a service
		conds = append(conds, store.Cond{Field: colService, Op: store.OpNre})
	}
	return conds
}

// newerLogs is the n records next newer than a place, newest first. It widens
// the search forward as pageWindow does backward.
func (r *reader) newerLogs(ctx context.Context, sel store.Select, at place, n int) ([]store.LogRow, error) {
	if n == 0 {
		return nil, nil
	}
	sel.Range = store.Range{Start: time.Unix(0, at.at), End: time.Unix(0, at.at).Add(aroundReach)}
	q, err := r.logQuestion(sel, "", "")
	if err != nil {
		return nil, err
	}
	end := q.to
	var times []int64
	for from, width := q.from, firstWindow; from < end; {
		to := min(end, from+width)
		err := r.ask(ctx, question{q.storage, q.tenant, from, to, q.filter, "| fields _time"}, func(db *logstorage.DataBlock) error {
			var ok bool
			if times, ok = db.GetTimestamps(times); !ok {
				return errPacked
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		newer := slices.DeleteFunc(slices.Clone(times), func(t int64) bool { return t == at.at })
		if len(newer) >= n {
			slices.Sort(newer)
			q.to = newer[n-1] + 1
			break
		}
		from = to
		width = nextWidth(to-q.from, len(newer), n)
	}
	found, err := r.readLogs(ctx, q)
	if err != nil {
		return nil, err
	}
	i, _ := slices.BinarySearchFunc(found, at, func(p placedLog, at place) int { return comparePlaces(p.place, at) })
	var rows []store.LogRow
	for _, p := range found[max(0, i-n):i] {
		rows = append(rows, p.row)
	}
	return rows, nil
}

// Volume implements store.LogReader.
func (r *reader) Volume(ctx context.Context, sel store.Select, columns int) (store.Volume, error) {
	from, to, err := bounds(sel.Range)
	if err != nil {
		return store.Volume{}, err
	}
	columns = max(1, min(columns, maxSteps))
	step := max(1, (to-from+int64(columns)-1)/int64(columns))
	v := store.Volume{Start: time.Unix(0, from).UTC(), Step: time.Duration(step)}
	q, err := r.logQuestion(sel, "", "| stats by ("+timeBuckets(step, from)+", "+strconv.Quote(colSeverity)+") count() n")
	if err != nil {
		return v, err
	}
	steps := int((to - from + step - 1) / step)
	counts := make(map[string][]uint64)
	err = r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		times, ok := db.GetTimestamps(nil)
		if !ok {
			return errPacked
		}
		word, n := cells(db, colSeverity), cells(db, "n")
		for i, t := range times {
			w := "unset"
			if word(i) != "" {
				w = strings.Clone(word(i))
			}
			if counts[w] == nil {
				counts[w] = make([]uint64, steps)
			}
			if x := (t - from) / step; x >= 0 && x < int64(steps) {
				counts[w][x] += parseCount(n(i))
			}
		}
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("count logs: %w", err)
	}
	for _, w := range append(severityWords[:], "unset") {
		if counts[w] != nil {
			v.Series = append(v.Series, store.VolumeSeries{Severity: w, Counts: counts[w]})
		}
	}
	return v, nil
}
