package event

import (
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// spanColumnKey is the inverse of spanColumn.
func spanColumnKey(column string) (section, string) {
	if key, ok := strings.CutPrefix(column, spanAttrPrefix); ok {
		return sectionOwn, key
	}
	if key, ok := strings.CutPrefix(column, resourceAttrPrefix); ok {
		return sectionResource, key
	}
	if key, ok := strings.CutPrefix(column, scopeAttrPrefix); ok {
		return sectionScope, key
	}
	return 0, column
}

// traceDecoder collects rows as spans, grouped by equal resource and scope.
// Rows that are the same span with the same content count once.
type traceDecoder struct {
	rowDecoder
	traces ptrace.Traces
	spans  int
	limit  int
	full   bool                            // there were more than limit
	rs     map[uint64]ptrace.ResourceSpans // by resourceSum
	ss     map[[2]uint64]ptrace.SpanSlice  // by resourceSum and scopeSum
	seen   map[spanIdentity]struct{}
}

type spanIdentity struct {
	span    pcommon.SpanID
	content uint64
}

func newTraceDecoder(limit int) *traceDecoder {
	return &traceDecoder{
		rowDecoder: rowDecoder{keyOf: spanColumnKey},
		traces:     ptrace.NewTraces(),
		limit:      limit,
		rs:         make(map[uint64]ptrace.ResourceSpans),
		ss:         make(map[[2]uint64]ptrace.SpanSlice),
		seen:       make(map[spanIdentity]struct{}),
	}
}

func (d *traceDecoder) block(db *logstorage.DataBlock) error {
	if err := d.begin(db); err != nil {
		return err
	}
	for i := range d.times {
		if err := d.span(i); err != nil {
			return err
		}
	}
	return nil
}

func (d *traceDecoder) span(i int) error {
	d.row(i)
	id, err := parseSpanID(d.fixed[colSpanID])
	if err != nil {
		return err
	}
	if d.fixed[colTimes] == "" {
		d.content += uint64(d.times[i])
	}
	same := spanIdentity{id, d.content}
	if _, ok := d.seen[same]; ok {
		return nil
	}
	if d.spans == d.limit {
		d.full = true
		return nil
	}
	d.seen[same] = struct{}{}
	d.spans++
	var dropped [5]uint32
	if err := d.counts(dropped[:]); err != nil {
		return err
	}
	spans, err := d.place(dropped)
	if err != nil {
		return err
	}
	sp := spans.AppendEmpty()
	sp.SetSpanID(id)
	sp.SetDroppedAttributesCount(dropped[2])
	sp.SetDroppedEventsCount(dropped[3])
	sp.SetDroppedLinksCount(dropped[4])
	return d.fill(sp, d.times[i])
}

// place finds the slice of the row's resource and scope.
func (d *traceDecoder) place(dropped [5]uint32) (ptrace.SpanSlice, error) {
	h := header{resourceDropped: dropped[0], scopeDropped: dropped[1]}
	var err error
	if h.resourceURL, h.scopeURL, err = d.schema(); err != nil {
		return ptrace.SpanSlice{}, err
	}
	d.identifyMore(h)
	scope := [2]uint64{d.resourceSum, d.scopeSum}
	if spans, ok := d.ss[scope]; ok {
		return spans, nil
	}
	rs, ok := d.rs[d.resourceSum]
	if !ok {
		rs = d.traces.ResourceSpans().AppendEmpty()
		rs.SetSchemaUrl(h.resourceURL)
		rs.Resource().SetDroppedAttributesCount(h.resourceDropped)
		if err := d.attributes(sectionResource, rs.Resource().Attributes()); err != nil {
			return ptrace.SpanSlice{}, err
		}
		d.rs[d.resourceSum] = rs
	}
	ss := rs.ScopeSpans().AppendEmpty()
	ss.SetSchemaUrl(h.scopeURL)
	if err := d.scope(ss.Scope(), h.scopeDropped); err != nil {
		return ptrace.SpanSlice{}, err
	}
	d.ss[scope] = ss.Spans()
	return ss.Spans(), nil
}

func (d *traceDecoder) fill(sp ptrace.Span, at int64) error {
	trace, err := parseTraceID(d.fixed[colTraceHigh], d.fixed[colTraceLow])
	if err != nil {
		return err
	}
	parent, err := parseSpanID(d.fixed[colParentSpanID])
	if err != nil {
		return err
	}
	sp.SetTraceID(trace)
	sp.SetParentSpanID(parent)
	sp.SetName(d.text(colName))
	sp.SetKind(parseKind(d.fixed[colKind]))
	sp.Status().SetCode(parseStatus(d.fixed[colStatus]))
	sp.Status().SetMessage(d.text(colStatusMessage))
	sp.TraceState().FromRaw(d.text(colTraceState))
	flags, _ := strconv.ParseUint(d.fixed[colFlags], 10, 32)
	sp.SetFlags(uint32(flags))
	start, end, err := d.spanTimes(at)
	if err != nil {
		return err
	}
	sp.SetStartTimestamp(start)
	sp.SetEndTimestamp(end)
	if err := d.attributes(sectionOwn, sp.Attributes()); err != nil {
		return err
	}
	if err := d.cuts("span.", sp.Attributes()); err != nil {
		return err
	}
	if err := d.events(sp.Events(), at); err != nil {
		return err
	}
	return d.links(sp.Links())
}

func (d *rowDecoder) spanTimes(at int64) (start, end pcommon.Timestamp, err error) {
	return spanTimes(at, d.fixed[colDuration], d.fixed[colTimes])
}

func spanTimes(at int64, duration, times string) (start, end pcommon.Timestamp, err error) {
	if times != "" {
		u := unpacker{s: times}
		start, end = pcommon.Timestamp(u.uint()), pcommon.Timestamp(u.uint())
		return start, end, u.damage(colTimes)
	}
	return pcommon.Timestamp(at - parseDuration(duration)), pcommon.Timestamp(at), nil
}

func (d *traceDecoder) events(events ptrace.SpanEventSlice, at int64) error {
	u := unpacker{s: strings.Clone(d.fixed[colEvents])}
	for u.more() {
		e := events.AppendEmpty()
		e.SetTimestamp(pcommon.Timestamp(uint64(at) + uint64(u.sint())))
		e.SetName(u.text())
		e.SetDroppedAttributesCount(uint32(u.uint()))
		u.attributes(e.Attributes(), 0)
	}
	return u.damage(colEvents)
}

func (d *traceDecoder) links(links ptrace.SpanLinkSlice) error {
	u := unpacker{s: strings.Clone(d.fixed[colLinks])}
	for u.more() {
		l := links.AppendEmpty()
		var trace pcommon.TraceID
		var span pcommon.SpanID
		u.nibbles(trace[:])
		u.nibbles(span[:])
		l.SetTraceID(trace)
		l.SetSpanID(span)
		l.TraceState().FromRaw(u.text())
		l.SetFlags(uint32(u.uint()))
		l.SetDroppedAttributesCount(uint32(u.uint()))
		u.attributes(l.Attributes(), 0)
	}
	return u.damage(colLinks)
}
