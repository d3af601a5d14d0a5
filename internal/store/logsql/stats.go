package logsql

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxBuckets bounds the time steps of one series, as Prometheus does.
	maxBuckets = 11_000
	// maxPoints bounds all points of an answer: 100 MB of JSON at the most.
	maxPoints = 1_000_000
)

// Hits is the number of rows over time for one combination of field values.
type Hits struct {
	Fields []Field // in the order asked for
	Times  []time.Time
	Counts []uint64
	Total  uint64
}

// Hits counts rows by time steps, which begin at multiples of step plus
// offset, and by fields. Steps without rows count 0. Of more than top
// combinations (0: any number), the rarest are added up to one without
// fields. Sorted by fields.
func (r *Reader) Hits(ctx context.Context, q Query, step, offset time.Duration, fields []string, top int) ([]Hits, error) {
	if step <= 0 {
		return nil, fmt.Errorf("step %v: want more than 0: %w", step, store.ErrInvalid)
	}
	parsed, err := parse(q)
	if err != nil {
		return nil, err
	}
	parsed.AddCountByTimePipe(int64(step), int64(offset), fields)
	series := map[string]*bucketed{}
	points := 0
	var broken error
	_, err = r.run(ctx, q, parsed, func(row []Field) bool {
		b := bucketed{counts: map[int64]uint64{}}
		var at int64
		var n uint64
		for _, f := range row {
			switch {
			case f.Name == "_time":
				at, _ = logstorage.TryParseTimestampRFC3339Nano(f.Value)
			case f.Name == "hits" && !slices.Contains(fields, "hits"):
				n, broken = strconv.ParseUint(f.Value, 10, 64)
			}
		}
		for _, name := range fields {
			b.fields = append(b.fields, Field{strings.Clone(name), strings.Clone(valueOf(row, name))})
		}
		key := fmt.Sprintf("%q", b.fields)
		if series[key] == nil {
			series[key] = &b
		}
		s := series[key]
		s.counts[at] += n
		s.total += n
		if points++; points > maxPoints {
			broken = tooMany(points)
		}
		return broken == nil
	})
	if err = cmp.Or(err, broken); err != nil {
		return nil, err
	}
	list := topSeries(series, top)
	first, last := parsed.GetFilterTimeRange()
	return fill(list, first, last, int64(step), int64(offset))
}

func valueOf(row []Field, name string) string {
	for _, f := range row {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func tooMany(points int) error {
	return fmt.Errorf("more than %d points: choose a wider step or fewer fields: %w", points-1, store.ErrLimit)
}

type bucketed struct {
	fields []Field
	counts map[int64]uint64 // by start of the step, Unix nanoseconds
	total  uint64
}

// topSeries keeps the most frequent and adds up the others, sorted by fields.
func topSeries(series map[string]*bucketed, top int) []*bucketed {
	list := make([]*bucketed, 0, len(series))
	for _, s := range series {
		list = append(list, s)
	}
	byFields := func(a, b *bucketed) int {
		return slices.CompareFunc(a.fields, b.fields, func(x, y Field) int { return strings.Compare(x.Value, y.Value) })
	}
	if top > 0 && len(list) > top {
		slices.SortFunc(list, func(a, b *bucketed) int { return cmp.Or(cmp.Compare(b.total, a.total), byFields(a, b)) })
		rest := &bucketed{counts: map[int64]uint64{}}
		for _, s := range list[top:] {
			rest.total += s.total
			for at, n := range s.counts {
				rest.counts[at] += n
			}
		}
		list = append(list[:top], rest)
	}
	slices.SortFunc(list, byFields)
	return list
}

// fill lists all steps of the queried range, or where that is open the steps
// between the first and the last row.
func fill(list []*bucketed, first, last, step, offset int64) ([]Hits, error) {
	lowest, highest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, s := range list {
		for at := range s.counts {
			lowest, highest = min(lowest, at), max(highest, at)
		}
	}
	if first != math.MinInt64 {
		lowest = min(lowest, align(first, step, offset))
	}
	if last != math.MaxInt64 {
		highest = max(highest, align(last, step, offset))
	}
	out := make([]Hits, 0, len(list))
	if len(list) == 0 {
		return out, nil
	}
	n := (highest-lowest)/step + 1
	if n > maxBuckets || n*int64(len(list)) > maxPoints || highest-lowest < 0 {
		return nil, tooMany(min(maxPoints, maxBuckets) + 1)
	}
	for _, s := range list {
		h := Hits{Fields: s.fields, Total: s.total, Times: make([]time.Time, n), Counts: make([]uint64, n)}
		for i := range h.Times {
			at := lowest + int64(i)*step
			h.Times[i], h.Counts[i] = time.Unix(0, at).UTC(), s.counts[at]
		}
		out = append(out, h)
	}
	return out, nil
}

// align is the start of the step that holds t.
func align(t, step, offset int64) int64 {
	m := (t - offset) % step
	if m < 0 {
		m += step
	}
	return t - m
}

// Series is the values of one statistic for one combination of labels.
type Series struct {
	Name   string
	Labels []Field
	Points []Point // in order of time
}

// Point is the value of a statistic; values are numbers in most functions.
type Point struct {
	Time  time.Time
	Value string
}

// Stats runs a query that ends with the stats pipe. With a step it yields a
// series of points; without, one point each at the query's time. Sorted by
// name and labels.
func (r *Reader) Stats(ctx context.Context, q Query, step time.Duration) ([]Series, error) {
	parsed, err := parse(q)
	if err != nil {
		return nil, err
	}
	var by []string
	if step > 0 {
		by, err = parsed.GetStatsLabelsAddGroupingByTime(int64(step))
	} else {
		by, err = parsed.GetStatsLabels()
	}
	if err != nil {
		return nil, fmt.Errorf("query [%s]: %w: %w", q.Text, err, store.ErrInvalid)
	}
	c := collector{series: map[string]*Series{}}
	_, err = r.run(ctx, q, parsed, func(row []Field) bool {
		at := q.Now
		var labels []Field
		for _, f := range row {
			if step > 0 && f.Name == "_time" {
				if n, ok := logstorage.TryParseTimestampRFC3339Nano(f.Value); ok {
					at = time.Unix(0, n)
				}
			} else if slices.Contains(by, f.Name) {
				labels = append(labels, Field{strings.Clone(f.Name), strings.Clone(f.Value)})
			}
		}
		for _, f := range row {
			if f.Name == "_time" && step > 0 || slices.Contains(by, f.Name) {
				continue
			}
			c.add(f.Name, labels, at, f.Value)
		}
		return c.points <= maxPoints
	})
	if err != nil {
		return nil, err
	}
	if c.points > maxPoints {
		return nil, tooMany(maxPoints + 1)
	}
	return c.sorted(), nil
}

type collector struct {
	series map[string]*Series
	points int
}

// add takes a value in. Those of the histogram function are a list of
// buckets, of which each becomes a series.
func (c *collector) add(name string, labels []Field, at time.Time, value string) {
	if value == "[]" || strings.HasPrefix(value, `[{"vmrange":"`) {
		var buckets []struct {
			Range string `json:"vmrange"`
			Hits  uint64 `json:"hits"`
		}
		if json.Unmarshal([]byte(value), &buckets) == nil {
			for _, b := range buckets {
				c.point(name+"_bucket", append(slices.Clone(labels), Field{"vmrange", b.Range}), at, strconv.FormatUint(b.Hits, 10))
			}
			return
		}
	}
	c.point(strings.Clone(name), labels, at, strings.Clone(value))
}

func (c *collector) point(name string, labels []Field, at time.Time, value string) {
	key := fmt.Sprintf("%q%q", name, labels)
	s := c.series[key]
	if s == nil {
		s = &Series{Name: name, Labels: labels}
		c.series[key] = s
	}
	s.Points = append(s.Points, Point{at, value})
	c.points++
}

func (c *collector) sorted() []Series {
	keys := make([]string, 0, len(c.series))
	for k := range c.series {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make([]Series, len(keys))
	for i, k := range keys {
		out[i] = *c.series[k]
		slices.SortFunc(out[i].Points, func(a, b Point) int { return a.Time.Compare(b.Time) })
	}
	return out
}
