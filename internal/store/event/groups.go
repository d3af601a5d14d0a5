package event

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxSteps bounds the points of a series and the columns of a heat map: a
	// screen has no more.
	maxSteps = 2_000
	// maxGroups bounds the groups that get a series: of more, the screen shows
	// none.
	maxGroups = 500
)

// groupKey is what spans are grouped by; name and kind are empty in groups of
// services.
type groupKey struct{ service, name, kind string }

// spanGroup collects the spans of a group.
type spanGroup struct {
	stored float64
	// Weighted by sampling:
	total, failed float64
	bands         [maxBand + 1]float64
	points        []groupCells
}

func (g *spanGroup) add(band uint8, weight float64) {
	g.total += weight
	g.bands[band] += weight
}

// groupCells is a step of a group's series.
type groupCells struct {
	failed float64
	all    serviceCells
}

// add adds spans of one band, of weight w in all.
func (c *groupCells) add(band uint8, failed bool, w float64) {
	c.all.add(cell{band: band, weight: w})
	if failed {
		c.failed += w
	}
}

// totalWeight and quantile read a histogram whose cells are not told apart by
// error.
func (s *serviceCells) totalWeight() (w float64) {
	for _, c := range s.cells {
		w += c.weight
	}
	return w
}

// quantile is -1 without spans.
func (s *serviceCells) quantile(q float64) time.Duration {
	rest := q * s.totalWeight()
	for _, c := range s.cells {
		if rest -= c.weight; rest <= 0 {
			return bandMiddle(int(c.band))
		}
	}
	if n := len(s.cells); n > 0 {
		return bandMiddle(int(s.cells[n-1].band))
	}
	return -1
}

func (g *spanGroup) result(k groupKey) store.Group {
	var all serviceCells
	for b, n := range g.bands {
		if n > 0 {
			all.cells = append(all.cells, cell{band: uint8(b), weight: n})
		}
	}
	out := store.Group{Service: k.service, Name: k.name, Kind: parseKind(k.kind), Count: g.total, Errors: g.failed, Stored: uint64(math.Round(g.stored)),
		P50: all.quantile(0.5), P95: all.quantile(0.95), P99: all.quantile(0.99)}
	for i := range g.points {
		p := &g.points[i]
		out.Series = append(out.Series, store.GroupPoint{Count: p.all.totalWeight(), Errors: p.failed, P95: p.all.quantile(0.95)})
	}
	return out
}

// Services implements store.TraceReader.
func (r *reader) Services(ctx context.Context, sel store.Select, steps int) ([]store.Group, error) {
	from, to, err := bounds(sel.Range)
	if err != nil {
		return nil, err
	}
	steps = max(0, min(steps, maxSteps))
	var groups map[groupKey]*spanGroup
	if only, ok := serviceOnly(sel.Where); ok {
		groups, err = r.rollupGroups(sel.Tenant, from, to, steps, only)
	} else {
		groups, err = r.spanGroups(ctx, sel, []string{colService})
		if err == nil && steps > 0 {
			err = r.spanSeries(ctx, sel, []string{colService}, steps, groups, busiest(groups, maxGroups))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	out := make([]store.Group, 0, len(groups))
	for k, g := range groups {
		out = append(out, g.result(k))
	}
	slices.SortFunc(out, func(a, b store.Group) int { return cmp.Compare(a.Service, b.Service) })
	return out, nil
}

// serviceOnly reports whether conditions only constrain the service by "=",
// and to which.
func serviceOnly(where []store.Cond) (service *string, ok bool) {
	for _, c := range where {
		if c.Field != colService || c.Op != store.OpEq || c.Value == "" || service != nil && *service != c.Value {
			return nil, false
		}
		service = &c.Value
	}
	return service, true
}

// rollupGroups groups by service from the rollup. A minute that is only partly
// within the range, or within a step, counts in part.
func (r *reader) rollupGroups(tenant store.Tenant, from, to int64, steps int, only *string) (map[groupKey]*spanGroup, error) {
	groups := make(map[groupKey]*spanGroup)
	minute := int64(time.Minute)
	now := r.now().UnixNano()
	width := float64(to-from) / float64(max(1, steps))
	first, last := floorDiv(from, minute), floorDiv(to-1, minute)+1
	err := r.spanRows.rollup.visit(tenant, first, last, only, func(m int64, service string, cells []cell) {
		k := groupKey{service: service}
		g := groups[k]
		if g == nil {
			g = &spanGroup{}
			if len(groups) < maxGroups {
				g.points = make([]groupCells, steps)
			}
			groups[k] = g
		}
		// The current minute is not over: what it has came until now.
		begin, end := m*minute, (m+1)*minute
		if now > begin {
			end = min(end, now)
		}
		share := overlap(begin, end, float64(from), float64(to))
		for _, c := range cells {
			g.stored += share * float64(c.count)
			w := share * c.weight
			g.add(c.band, w)
			if c.failed {
				g.failed += w
			}
		}
		i := max(0, int(float64(begin-from)/width))
		for ; i < len(g.points) && float64(from)+float64(i)*width < float64(end); i++ {
			share := overlap(begin, end, float64(from)+float64(i)*width, float64(from)+float64(i+1)*width)
			if share <= 0 {
				continue
			}
			for _, c := range cells {
				g.points[i].add(c.band, c.failed, share*c.weight)
			}
		}
	})
	return groups, err
}

// overlap is which part of [begin, end) lies within [from, to).
func overlap(begin, end int64, from, to float64) float64 {
	b, e := max(float64(begin), from), min(float64(end), to)
	return max(0, e-b) / float64(end-begin)
}

// Operations implements store.TraceReader.
func (r *reader) Operations(ctx context.Context, sel store.Select, steps, limit int) ([]store.Group, error) {
	by := []string{colService, colName, colKind}
	groups, err := r.spanGroups(ctx, sel, by)
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	keys := busiest(groups, max(1, limit))
	if steps > 0 {
		if err := r.spanSeries(ctx, sel, by, min(steps, maxSteps), groups, keys[:min(len(keys), maxGroups)]); err != nil {
			return nil, fmt.Errorf("read operations: %w", err)
		}
	}
	out := make([]store.Group, 0, len(keys))
	for _, k := range keys {
		out = append(out, groups[k].result(k))
	}
	return out, nil
}

// busiest is the n groups with the most spans.
func busiest(groups map[groupKey]*spanGroup, n int) []groupKey {
	keys := slices.Collect(maps.Keys(groups))
	slices.SortFunc(keys, func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(groups[b].total, groups[a].total), cmp.Compare(a.service, b.service), cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
	})
	return keys[:min(n, len(keys))]
}

// spanGroups groups the rows themselves.
func (r *reader) spanGroups(ctx context.Context, sel store.Select, by []string) (map[groupKey]*spanGroup, error) {
	groups := make(map[groupKey]*spanGroup)
	err := r.countSpans(ctx, sel, "", by, func(k groupKey, _ int64, c bandCount) {
		g := groups[k]
		if g == nil {
			g = &spanGroup{}
			groups[k] = g
		}
		g.stored += float64(c.stored)
		g.failed += c.failedWeight
		g.add(c.band, c.weight)
	})
	return groups, err
}

// spanSeries fills the series of the groups with given keys.
func (r *reader) spanSeries(ctx context.Context, sel store.Select, by []string, steps int, groups map[groupKey]*spanGroup, keys []groupKey) error {
	if len(keys) == 0 {
		return nil
	}
	from, to, err := bounds(sel.Range)
	if err != nil {
		return err
	}
	step := (to - from + int64(steps) - 1) / int64(steps)
	services, names := map[string]bool{}, map[string]bool{}
	for _, k := range keys {
		groups[k].points = make([]groupCells, steps)
		services[strconv.Quote(guarded(k.service))], names[strconv.Quote(guarded(k.name))] = true, true
	}
	narrow := colService + ":in(" + strings.Join(slices.Sorted(maps.Keys(services)), ",") + ")"
	if len(by) > 1 {
		narrow += " " + strconv.Quote(colName) + ":in(" + strings.Join(slices.Sorted(maps.Keys(names)), ",") + ")"
	}
	by = append([]string{timeBuckets(step, from)}, by...)
	return r.countSpans(ctx, sel, narrow, by, func(k groupKey, at int64, c bandCount) {
		g := groups[k]
		i := (at - from) / step
		if g == nil || i < 0 || i >= int64(len(g.points)) {
			return
		}
		p := &g.points[i]
		p.all.add(cell{band: c.band, weight: c.weight})
		p.failed += c.failedWeight
	})
}

// timeBuckets groups _time into steps that begin at from.
func timeBuckets(step, from int64) string {
	return fmt.Sprintf("_time:%dns offset %dns", step, from%step)
}

// bandCount is the spans of one band in a group.
type bandCount struct {
	band                 uint8
	stored, failed       uint64
	weight, failedWeight float64
}

// Bands are computed by the engine. The tiny addend keeps powers of two, where
// bands begin at whole nanoseconds, above the rounding of the logarithm.
const bandPipe = `| math floor(ln(max(duration, 1)) * 5.7707801635558535 + 0.000000000001) as band`

// countSpans groups rows by columns and band and calls yield with every group,
// not concurrently. Among by there may be one _time bucket; its beginning is
// at.
func (r *reader) countSpans(ctx context.Context, sel store.Select, narrow string, by []string, yield func(k groupKey, at int64, c bandCount)) error {
	quoted := make([]string, 0, len(by)+1)
	for _, b := range by {
		if !strings.HasPrefix(b, "_time") {
			b = strconv.Quote(b)
		}
		quoted = append(quoted, b)
	}
	const failed = ` if (status:="error")`
	q, err := r.spanQuestion(sel, narrow, bandPipe+" | stats by ("+strings.Join(append(quoted, "band"), ", ")+") count() n, count()"+failed+" e, count(weight) nw, sum(weight) w, count(weight)"+failed+" ew, sum(weight)"+failed+" we")
	if err != nil {
		return err
	}
	return r.ask(ctx, q, func(db *logstorage.DataBlock) error {
		service, name, kind := cells(db, colService), cells(db, colName), cells(db, colKind)
		band, n, e, nw, w, ew, we := cells(db, "band"), cells(db, "n"), cells(db, "e"), cells(db, "nw"), cells(db, "w"), cells(db, "ew"), cells(db, "we")
		at := make([]int64, db.RowsCount())
		if db.GetColumnByName("_time") != nil {
			at, _ = db.GetTimestamps(at[:0])
		}
		for i := range at {
			k := groupKey{strings.Clone(unguarded(service(i))), strings.Clone(unguarded(name(i))), strings.Clone(kind(i))}
			b, _ := strconv.ParseFloat(band(i), 64)
			c := bandCount{band: uint8(max(0, min(b, maxBand))), stored: parseCount(n(i)), failed: parseCount(e(i))}
			// Rows without the column stand for themselves.
			c.weight = float64(c.stored-parseCount(nw(i))) + parseSum(w(i))
			c.failedWeight = float64(c.failed-parseCount(ew(i))) + parseSum(we(i))
			yield(k, at[i], c)
		}
		return nil
	})
}

// cells reads a column of a result block; a missing one is empty.
func cells(db *logstorage.DataBlock, column string) func(i int) string {
	c := db.GetColumnByName(column)
	if c == nil {
		return func(int) string { return "" }
	}
	return func(i int) string { return c.Values[i] }
}

func parseCount(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// parseSum takes the sum of nothing, NaN, for zero.
func parseSum(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) {
		return 0
	}
	return f
}

// maxExactHeat is the number of spans up to which a heat map that is finer
// than the rollup's minutes is counted from the rows.
const maxExactHeat = 200_000

// Heat implements store.TraceReader.
func (r *reader) Heat(ctx context.Context, sel store.Select, columns int) (store.HeatMap, error) {
	from, to, err := bounds(sel.Range)
	if err != nil {
		return store.HeatMap{}, err
	}
	columns = max(1, min(columns, maxSteps))
	var h store.HeatMap
	if only, ok := serviceOnly(sel.Where); ok {
		h, spans, err := r.rollupHeat(sel.Tenant, from, to, columns, only)
		if err != nil {
			return h, fmt.Errorf("read heat map: %w", err)
		}
		if to-from >= int64(columns)*int64(time.Minute) || spans > maxExactHeat {
			return h, nil
		}
	}
	step := max(1, (to-from+int64(columns)-1)/int64(columns))
	h = store.HeatMap{Start: time.Unix(0, from).UTC(), Step: time.Duration(step), Exact: true}
	type at struct {
		x    int
		band uint8
	}
	found := make(map[at]store.HeatCell)
	err = r.countSpans(ctx, sel, "", []string{timeBuckets(step, from)}, func(_ groupKey, t int64, c bandCount) {
		k := at{int((t - from) / step), c.band}
		f := found[k]
		found[k] = store.HeatCell{X: k.x, Band: int(k.band), Count: f.Count + c.stored, Errors: f.Errors + c.failed}
	})
	if err != nil {
		return h, fmt.Errorf("read heat map: %w", err)
	}
	h.Cells = slices.Collect(maps.Values(found))
	return h, nil
}

// rollupHeat counts whole minutes.
func (r *reader) rollupHeat(tenant store.Tenant, from, to int64, columns int, only *string) (h store.HeatMap, spans uint64, err error) {
	minute := int64(time.Minute)
	first, last := floorDiv(from, minute), floorDiv(to-1, minute)+1
	step := max(1, (last-first+int64(columns)-1)/int64(columns))
	h = store.HeatMap{Start: time.Unix(first*60, 0).UTC(), Step: time.Duration(step * minute)}
	const bands = maxBand + 1
	grid := make([]store.HeatCell, bands*((last-first+step-1)/step))
	err = r.spanRows.rollup.visit(tenant, first, last, only, func(m int64, _ string, cells []cell) {
		column := grid[bands*((m-first)/step):][:bands]
		for _, c := range cells {
			g := &column[c.band]
			g.Count += c.count
			if c.failed {
				g.Errors += c.count
			}
		}
	})
	for i, c := range grid {
		if c.Count > 0 {
			h.Cells = append(h.Cells, store.HeatCell{X: i / bands, Band: i % bands, Count: c.Count, Errors: c.Errors})
			spans += c.Count
		}
	}
	return h, spans, err
}
