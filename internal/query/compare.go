package query

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxCompared is how many fields are looked at, maxRanked how many are
	// shown, maxShown how many values of each.
	maxCompared, maxRanked, maxShown = 100, 40, 20
	// minScore is below what anyone would call a difference, and above what
	// rounding leaves.
	minScore = 0.001
)

// Compare sets the spans of a box against all other spans of the window.
func (e *engine) Compare(ctx context.Context, w Window, box Box) (*Comparison, error) {
	ctx, done := e.begin(ctx)
	defer done()
	all, err := selectOf(ctx, w, Traces)
	if err != nil {
		return nil, err
	}
	selection, boxed, err := inside(all, box)
	if err != nil {
		return nil, err
	}
	diffs, selected, total, err := e.traces.Compare(ctx, selection, all, maxCompared)
	if err != nil {
		return nil, err
	}
	// The selection is part of the window; what is left of the window after
	// taking it away is the baseline. A span may arrive between two counts.
	out := &Comparison{Selected: selected, Baseline: less(total, selected), Fields: []FieldDiff{}}
	byField := map[string][]pair{}
	for _, d := range diffs {
		if boxed[d.Field] {
			continue // differs because the box says so
		}
		byField[d.Field] = append(byField[d.Field], pair{d.Value, d.Selected, less(d.Baseline, d.Selected)})
	}
	for field, pairs := range byField {
		if f := difference(field, pairs, out.Selected, out.Baseline); f.Score > 0 {
			out.Fields = append(out.Fields, f)
		}
	}
	slices.SortFunc(out.Fields, func(a, b FieldDiff) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Field, b.Field))
	})
	out.Fields = out.Fields[:min(len(out.Fields), maxRanked)]
	return out, nil
}

// inside narrows all to a box, and tells the fields that the box constrains.
func inside(all store.Select, box Box) (store.Select, map[string]bool, error) {
	where, err := ParseFilter(box.Filter, Traces)
	if err != nil {
		if f, ok := err.(*FieldError); ok {
			f.Field = "selFilter"
		}
		return store.Select{}, nil, err
	}
	fields := map[string]bool{}
	for _, c := range where {
		// A bare key stands for the attribute of the span or of the resource.
		fields[c.Field], fields["span."+c.Field], fields["resource."+c.Field] = true, true, true
	}
	sel := and(all, where...)
	if box.MinNs > 0 {
		sel = and(sel, store.Cond{Field: "duration", Op: store.OpGe, Value: strconv.FormatInt(box.MinNs, 10)})
	}
	if box.MaxNs > 0 {
		sel = and(sel, store.Cond{Field: "duration", Op: store.OpLt, Value: strconv.FormatInt(box.MaxNs, 10)})
	}
	sel.Range = overlap(all.Range, box.Start, box.End)
	if !sel.Range.Start.Before(sel.Range.End) {
		return store.Select{}, nil, &FieldError{Field: "selStart", Value: box.Start.Format(time.RFC3339Nano), Msg: "the selection lies outside the window", Next: "choose selStart and selEnd between start and end"}
	}
	return sel, fields, nil
}

// overlap cuts r to start and end where these are given.
func overlap(r store.Range, start, end time.Time) store.Range {
	if start.After(r.Start) {
		r.Start = start
	}
	if !end.IsZero() && end.Before(r.End) {
		r.End = end
	}
	return r
}

func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// pair is how often a value occurs inside the selection and outside of it.
type pair struct {
	value       string
	in, outside uint64
}

// difference scores one field, whose values need not occur in every span.
//
// The score is the total variation distance of the two distributions, the
// share of spans whose value would have to change to make them equal, less
// what chance alone gives: a handful of spans with one unique id each differs
// from any baseline entirely and means nothing. With D the distance and E its
// expectation over all selections of this size from the same spans, it is
// (D-E)/max(1-E, 1/2), not below 0: about 0 for a random selection and 1 for
// disjoint values, whatever the two sizes. Where E is above one half there are
// too many values for the spans at hand, and the score fades with what is left
// to be said; dividing by 1-E alone would blow up noise there.
func difference(field string, pairs []pair, selected, baseline uint64) FieldDiff {
	f := FieldDiff{Field: field, Values: []ValueDiff{}}
	if selected == 0 || baseline == 0 {
		return f
	}
	var in, outside uint64
	for _, p := range pairs {
		in += p.in
		outside += p.outside
	}
	if in < selected || outside < baseline {
		pairs = append(pairs, pair{"", less(selected, in), less(baseline, outside)})
	}
	// A field that a span may hold twice counts its values, not the spans.
	selected, baseline = max(selected, in), max(baseline, outside)
	var distance, chance float64
	for _, p := range pairs {
		s, b := float64(p.in)/float64(selected), float64(p.outside)/float64(baseline)
		f.Values = append(f.Values, ValueDiff{Value: p.value, Selected: s, Baseline: b})
		distance += math.Abs(s-b) / 2
		chance += expected(p.in+p.outside, selected, baseline) / 2
	}
	f.Score = min(1, max(0, (distance-chance)/max(1-chance, 0.5)))
	if f.Score < minScore {
		f.Score = 0
	}
	slices.SortFunc(f.Values, func(a, b ValueDiff) int {
		return cmp.Or(cmp.Compare(math.Abs(b.Selected-b.Baseline), math.Abs(a.Selected-a.Baseline)), strings.Compare(a.Value, b.Value))
	})
	f.Values = f.Values[:min(len(f.Values), maxShown)]
	return f
}

// expected is the mean of |X/n - (k-X)/m| where X of k marked spans fall in a
// random selection of n from n+m. X is hypergeometric; the expression equals
// (1/n+1/m)·|X-E[X]|, and the mean absolute deviation has the closed form
// 2·v·(m-k+v)/(n+m)·P(X=v) with v the first integer above E[X] (Diaconis and
// Zabell, "Closed form summation for classical distributions", 1991).
func expected(k, n, m uint64) float64 {
	if k == 0 || k == n+m {
		return 0
	}
	total := float64(n) + float64(m)
	v := math.Floor(float64(n)*(float64(k)/total)) + 1
	if v > float64(n) || v > float64(k) {
		return 0
	}
	logP := logChoose(float64(k), v) + logChoose(total-float64(k), float64(n)-v) - logChoose(total, float64(n))
	return (1/float64(n) + 1/float64(m)) * 2 * v * (float64(m) - float64(k) + v) / total * math.Exp(logP)
}

// logChoose is the logarithm of the binomial coefficient.
func logChoose(n, k float64) float64 {
	a, _ := math.Lgamma(n + 1)
	b, _ := math.Lgamma(k + 1)
	c, _ := math.Lgamma(n - k + 1)
	return a - b - c
}
