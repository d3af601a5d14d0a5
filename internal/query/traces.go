package query

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	defaultPage = 50
	maxPage     = 1000
	// maxScanned bounds the matching spans read for one page of traces. A page
	// that reaches it is shorter than asked for and has a next one.
	maxScanned = 4 * store.MaxPage
	// summarySlack is how far beyond the matching spans of a page the other
	// spans of its traces are looked for.
	summarySlack = 10 * time.Minute
)

// Traces turns pages of spans into pages of traces.
//
// The store lists spans by their end, newest first. A trace belongs to the
// page that holds its newest matching span, so that no page repeats it. A page
// ends only where the end time changes, and the next one reads the spans that
// ended before that time; its cursor therefore needs no more than the time
// and the end of the first page's window. A page may be longer than asked for
// by the traces that end in the same nanosecond.
//
// A trace whose newer spans arrive between two pages may show on neither;
// reading from the first page again shows it.
func (e *engine) Traces(ctx context.Context, w Window, page Page) (*TraceList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Traces)
	if err != nil {
		return nil, err
	}
	limit := clamp(page.Limit, defaultPage, maxPage)
	cur := traceCursor{before: w.End, end: w.End}
	if page.Cursor != "" {
		if cur, err = parseTraceCursor(page.Cursor); err != nil {
			return nil, err
		}
	}
	out := &TraceList{Traces: []TraceSummary{}}
	for {
		found, next, err := e.tracePage(ctx, sel, cur, limit)
		if err != nil {
			return nil, err
		}
		if found, err = e.notBefore(ctx, sel, cur, found); err != nil {
			return nil, err
		}
		if len(found) > 0 || next == nil {
			if next != nil {
				out.Next = next.String()
			}
			out.Traces, err = e.summaries(ctx, sel.Tenant, found)
			return out, err
		}
		cur = *next
	}
}

// traceCursor continues a list of traces: spans that ended before before,
// where the first page began at end.
type traceCursor struct{ before, end time.Time }

func (c traceCursor) String() string {
	return strconv.FormatInt(c.before.UnixNano(), 36) + "." + strconv.FormatInt(c.end.UnixNano(), 36)
}

func parseTraceCursor(s string) (traceCursor, error) {
	a, b, _ := strings.Cut(s, ".")
	before, err := strconv.ParseInt(a, 36, 64)
	end, err2 := strconv.ParseInt(b, 36, 64)
	if err != nil || err2 != nil || before > end {
		return traceCursor{}, &FieldError{Field: "cursor", Value: s, Msg: "not a cursor of this list", Next: "pass the next member of the page before, or none to start"}
	}
	return traceCursor{time.Unix(0, before), time.Unix(0, end)}, nil
}

// found is a trace on a page, by its matching spans that were read.
type found struct {
	id         pcommon.TraceID
	rows       []store.SpanRow // as many as fit in the page, for want of better
	matched    int
	start, end time.Time
}

// tracePage reads matching spans that ended before cur until limit traces are
// known. next is nil at the end of the list.
func (e *engine) tracePage(ctx context.Context, sel store.Select, cur traceCursor, limit int) (page []*found, next *traceCursor, err error) {
	sel.Range.End = cur.before
	if !sel.Range.Start.Before(sel.Range.End) {
		return nil, nil, nil
	}
	batch := min(max(4*limit, 200), store.MaxPage)
	byID := map[pcommon.TraceID]*found{}
	var last time.Time
	scanned := 0
	for after := store.Cursor(""); ; {
		rows, more, err := e.traces.Spans(ctx, sel, batch, after)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range rows {
			end := r.Ended
			if (len(page) >= limit || scanned >= maxScanned) && end.Before(last) {
				return page, &traceCursor{before: last, end: cur.end}, nil
			}
			last = end
			scanned++
			if r.TraceID.IsEmpty() {
				continue // of no trace; heat map and values count it
			}
			f := byID[r.TraceID]
			if f == nil {
				f = &found{id: r.TraceID, start: r.Start, end: end}
				byID[r.TraceID] = f
				page = append(page, f)
			}
			f.matched++
			f.rows = append(f.rows, r)
			if r.Start.Before(f.start) {
				f.start = r.Start
			}
		}
		if more == "" {
			return page, nil, nil
		}
		after = more
	}
}

// notBefore drops traces that an earlier page holds: those with a matching
// span between the end of this page and the end of the window.
func (e *engine) notBefore(ctx context.Context, sel store.Select, cur traceCursor, page []*found) ([]*found, error) {
	if !cur.before.Before(cur.end) || len(page) == 0 {
		return page, nil
	}
	newer := store.Range{Start: cur.before, End: cur.end}
	rows, err := e.spansOf(ctx, sel.Tenant, newer, idsOf(page))
	if err != nil {
		return nil, err
	}
	suspect := map[pcommon.TraceID]bool{}
	for _, r := range rows {
		suspect[r.TraceID] = true
	}
	kept := page[:0]
	for _, f := range page {
		if suspect[f.id] {
			if len(sel.Where) == 0 {
				continue
			}
			one := and(sel, eq("trace_id", f.id.String()))
			one.Range = newer
			shown, _, err := e.traces.Spans(ctx, one, 1, "")
			if err != nil {
				return nil, err
			}
			if len(shown) > 0 {
				continue
			}
		}
		kept = append(kept, f)
	}
	return kept, nil
}

func idsOf(page []*found) []pcommon.TraceID {
	ids := make([]pcommon.TraceID, len(page))
	for i, f := range page {
		ids[i] = f.id
	}
	return ids
}

// spansOf reads whole traces in as many steps as the store's page size asks
// for. Of one trace that alone fills a page, the page is all.
func (e *engine) spansOf(ctx context.Context, tenant store.Tenant, within store.Range, ids []pcommon.TraceID) ([]store.SpanRow, error) {
	rows, err := e.traces.SpansOf(ctx, tenant, within, ids)
	if err != nil || len(rows) < store.MaxPage || len(ids) < 2 {
		return rows, err
	}
	half := len(ids) / 2
	first, err := e.spansOf(ctx, tenant, within, ids[:half])
	if err != nil {
		return nil, err
	}
	second, err := e.spansOf(ctx, tenant, within, ids[half:])
	return append(first, second...), err
}

func (e *engine) summaries(ctx context.Context, tenant store.Tenant, page []*found) ([]TraceSummary, error) {
	if len(page) == 0 {
		return []TraceSummary{}, nil
	}
	within := store.Range{Start: page[0].start, End: page[0].end}
	for _, f := range page {
		if f.start.Before(within.Start) {
			within.Start = f.start
		}
		if f.end.After(within.End) {
			within.End = f.end
		}
	}
	within.Start, within.End = within.Start.Add(-summarySlack), within.End.Add(summarySlack)
	rows, err := e.spansOf(ctx, tenant, within, idsOf(page))
	if err != nil {
		return nil, err
	}
	byID := make(map[pcommon.TraceID][]store.SpanRow, len(page))
	for _, r := range rows {
		byID[r.TraceID] = append(byID[r.TraceID], r)
	}
	out := make([]TraceSummary, 0, len(page))
	for _, f := range page {
		rows := byID[f.id]
		if len(rows) == 0 {
			rows = f.rows // retention took the trace between the two reads
		}
		s := summarize(rows)
		s.Matched = f.matched
		out = append(out, s)
	}
	return out, nil
}

// summarize describes the trace that rows, at least one, belong to.
func summarize(rows []store.SpanRow) TraceSummary {
	first := rows[0]
	start, end := first.Start, first.Start.Add(first.Duration)
	var root *store.SpanRow
	services := map[string]*TraceService{}
	s := TraceSummary{TraceID: first.TraceID.String(), Spans: len(rows)}
	for i := range rows {
		r := &rows[i]
		if r.Start.Before(start) {
			start, first = r.Start, *r
		}
		if t := r.Start.Add(r.Duration); t.After(end) {
			end = t
		}
		if r.ParentSpanID.IsEmpty() && (root == nil || r.Start.Before(root.Start)) {
			root = r
		}
		service := services[r.Service]
		if service == nil {
			service = &TraceService{Name: r.Service}
			services[r.Service] = service
		}
		service.Spans++
		if r.Status == ptrace.StatusCodeError {
			service.Errors++
			s.Errors++
		}
	}
	if s.RootMissing = root == nil; s.RootMissing {
		root = &first
	}
	s.Service, s.Name, s.Weight = root.Service, root.Name, root.Weight
	s.Start, s.DurationNs = start, int64(end.Sub(start))
	s.Services = servicesByShare(services)
	return s
}

// servicesByShare lists services, most spans first.
func servicesByShare(m map[string]*TraceService) []TraceService {
	out := make([]TraceService, 0, len(m))
	for _, s := range m {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b TraceService) int {
		return cmp.Or(cmp.Compare(b.Spans, a.Spans), strings.Compare(a.Name, b.Name))
	})
	return out
}
