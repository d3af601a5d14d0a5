package event

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Columns of a span besides the private ones. _time is the end of the span.
const (
	colName          = "name"
	colTraceLow      = "trace_lo"       // number; absent when the whole id is zero
	colTraceHigh     = "trace_hi"       // digits of ids.go; absent when zero
	colSpanID        = "span_id"        // digits of ids.go; absent when zero
	colParentSpanID  = "parent_span_id" // likewise
	colKind          = "kind"           // word, absent when unspecified
	colDuration      = "duration"       // nanoseconds, as ids.go writes them
	colStatus        = "status"         // ok, error; absent when unset
	colStatusMessage = "status.message"
	colTraceState    = "trace_state"
	colFlags         = "flags"
	colWeight        = "weight" // spans it stands for; absent when one
	colScopeName     = "scope.name"
	colScopeVersion  = "scope.version"
	colEventName     = "event.name" // distinct names of the events, one a line
	colEvents        = "_g_events"
	colLinks         = "_g_links"

	spanAttrPrefix     = "span_attr:"
	resourceAttrPrefix = "resource_attr:"
	scopeAttrPrefix    = "scope_attr:"
)

const (
	// maxEventBytes and maxLinkBytes bound the packed events and links of a
	// span; those past it are discarded and counted as dropped.
	maxEventBytes = 512 << 10
	maxLinkBytes  = 128 << 10
	// maxAhead is how far in the future a timestamp may be: a day covers
	// clocks in the wrong zone. The engine must accept as much.
	maxAhead = 24 * time.Hour
)

// spanCodec turns spans into rows of the engine and back. Its methods are safe
// for concurrent use.
type spanCodec struct {
	retention time.Duration
	shapes    *shapes
	index     *traceIndex
	rollup    *rollup
	tooOld    atomic.Uint64 // spans dropped because they ended before the retention
	builders  sync.Pool     // *rowBuilder
}

func newSpanCodec(retention time.Duration, r *rollup) *spanCodec {
	c := &spanCodec{retention: retention, shapes: newShapes(spanColumn), index: newTraceIndex(), rollup: r}
	c.builders.New = func() any { return new(rowBuilder) }
	return c
}

func spanColumn(s section, key string) string {
	switch s {
	case sectionResource:
		return resourceAttrPrefix + key
	case sectionScope:
		return scopeAttrPrefix + key
	default:
		return spanAttrPrefix + key
	}
}

// appendRows adds the rows of all spans to lr, with the helper rows of the
// trace index, and counts the spans in the rollup. now is the time of
// acceptance; a replay that passes the same td and now makes the same rows.
// dropped counts spans older than the retention.
func (c *spanCodec) appendRows(lr *logstorage.LogRows, t store.Tenant, td ptrace.Traces, now time.Time) (added, dropped int) {
	b := c.builders.Get().(*rowBuilder)
	defer c.builders.Put(b)
	w := spanWriter{codec: c, b: b, lr: lr, tenant: t, now: now}
	for _, rs := range td.ResourceSpans().All() {
		w.resource = rs
		w.service = serviceName(rs.Resource())
		w.shape = c.shapes.of(t, w.service, now)
		for _, ss := range rs.ScopeSpans().All() {
			w.scope = ss
			w.common(maxValueBytes)
			for _, sp := range ss.Spans().All() {
				if w.span(sp) {
					added++
				} else {
					dropped++
				}
			}
		}
		w.tally.close()
	}
	c.tooOld.Add(uint64(dropped))
	return added, dropped
}

// freeze returns what must be in a checkpoint of the rows appended so far. The
// appliers stand still meanwhile.
func (c *spanCodec) freeze() (blob []byte, err error) {
	// A day that cannot be deleted now is tried again at the next checkpoint.
	_ = c.rollup.dropBefore(time.Now().Add(-c.retention))
	counts, err := c.rollup.freeze()
	if err != nil {
		return nil, err
	}
	blob = binary.AppendUvarint(nil, uint64(len(counts)))
	return append(append(blob, counts...), c.shapes.freeze()...), nil
}

// restore takes the blob of the checkpoint from which rows will be replayed,
// before the first row.
func (c *spanCodec) restore(blob []byte) error {
	in := byteReader{b: blob}
	counts := in.take(in.uvarint())
	if in.bad {
		return fmt.Errorf("restore spans: %w", errCheckpoint)
	}
	if err := c.rollup.restore(counts); err != nil {
		return err
	}
	return c.shapes.restore(in.b)
}

// serviceName is what rows are filed under: the text of service.name.
func serviceName(r pcommon.Resource) string {
	v, ok := r.Attributes().Get(colService)
	if !ok {
		return ""
	}
	if v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	text, _, _ := appendText(nil, v)
	return string(text)
}

type spanWriter struct {
	codec    *spanCodec
	b        *rowBuilder
	lr       *logstorage.LogRows
	tenant   store.Tenant
	now      time.Time
	resource ptrace.ResourceSpans
	scope    ptrace.ScopeSpans
	service  string
	shape    *shape
	tally    tally

	base   mark
	nameAt int // where the span's name goes
}

// common builds what all spans of the scope share, with a place for the name
// behind the service, so that both can be stream tags.
func (w *spanWriter) common(limit int) {
	b := w.b
	w.nameAt = 1
	if w.shape.shared {
		w.nameAt = 2
	}
	b.reset(limit)
	b.resourceAndScope(w.shape, w.service, w.resource.Resource(), w.scope.Scope(), w.resource.SchemaUrl(), w.scope.SchemaUrl(), colName)
	w.base = b.mark()
}

// span adds one span's row; false when the span is too old to be kept.
func (w *spanWriter) span(sp ptrace.Span) bool {
	at, exact := w.rowTime(sp)
	if at < w.now.Add(-w.codec.retention).UnixNano() {
		return false
	}
	b := w.b
	w.row(sp, at, exact)
	for limit := maxValueBytes / 4; !b.fits() && limit >= minValueBytes; limit /= 4 {
		w.common(limit)
		w.row(sp, at, exact)
	}
	tenant := tenantID(w.tenant)
	w.lr.MustAdd(tenant, at, b.fields, w.shape.streamTags(b.fields[w.nameAt].Value))
	if b.cut.limit != maxValueBytes {
		w.common(maxValueBytes)
	}
	if id := sp.TraceID(); !id.IsEmpty() {
		if anchor, isNew := w.codec.index.note(w.tenant, id, at); isNew {
			w.codec.index.add(w.lr, tenant, id, anchor)
		}
	}
	w.tally.span(w.codec.rollup, w.tenant, w.service, at, spanDuration(sp), sp.Status().Code() == ptrace.StatusCodeError, weightOf(sp.TraceState().AsRaw()))
	return true
}

// rowTime is the row's _time: the end of the span, or what comes nearest when
// that cannot be. exact is false when it is not the end.
func (w *spanWriter) rowTime(sp ptrace.Span) (at int64, exact bool) {
	end, start := sp.EndTimestamp(), sp.StartTimestamp()
	latest := uint64(w.now.Add(maxAhead).UnixNano())
	switch {
	case end != 0 && uint64(end) <= latest:
		return int64(end), true
	case end == 0 && start != 0 && uint64(start) <= latest:
		return int64(start), false
	}
	return w.now.UnixNano(), false
}

// spanDuration is end minus start, zero when the span ends before it starts.
func spanDuration(sp ptrace.Span) int64 {
	start, end := sp.StartTimestamp(), sp.EndTimestamp()
	if end <= start {
		return 0
	}
	return int64(min(uint64(end-start), math.MaxInt64))
}

func (w *spanWriter) row(sp ptrace.Span, at int64, exact bool) {
	b := w.b
	b.rewind(w.base)
	b.discarded = 0
	b.cut.label(sectionField, colName)
	name := b.guard(b.cut.text(sp.Name()))
	b.fields[w.nameAt].Value = name
	b.size += len(name)

	if k := sp.Kind(); k != ptrace.SpanKindUnspecified {
		b.add(colKind, kindWord(k))
	}
	switch code := sp.Status().Code(); code {
	case ptrace.StatusCodeUnset:
	case ptrace.StatusCodeOk:
		b.add(colStatus, "ok")
	case ptrace.StatusCodeError:
		b.add(colStatus, "error")
	default:
		b.add(colStatus, strconv.Itoa(int(code)))
	}
	if f := sp.Flags(); f != 0 {
		b.addUint(colFlags, uint64(f))
	}
	if id := sp.TraceID(); !id.IsEmpty() {
		high, low := traceHalves(id)
		b.addUint(colTraceLow, low)
		b.addID(colTraceHigh, high)
	}
	b.addID(colSpanID, spanIDNumber(sp.SpanID()))
	b.addID(colParentSpanID, spanIDNumber(sp.ParentSpanID()))
	start, end := sp.StartTimestamp(), sp.EndTimestamp()
	n := len(b.buf)
	b.buf = appendDuration(b.buf, spanDuration(sp))
	b.addBytes(colDuration, n)
	if !exact || start > end {
		n := len(b.buf)
		b.buf = packUint(packUint(b.buf, uint64(start)), uint64(end))
		b.addBytes(colTimes, n)
	}
	b.addText(colStatusMessage, sp.Status().Message())
	if ts := sp.TraceState().AsRaw(); ts != "" {
		b.addText(colTraceState, ts)
		if weight := weightOf(ts); weight != 1 {
			n := len(b.buf)
			b.buf = appendWeight(b.buf, weight)
			b.addBytes(colWeight, n)
		}
	}
	b.attributes(sectionOwn, sp.Attributes(), w.shape)
	droppedEvents := w.events(sp, at)
	droppedLinks := w.links(sp)
	d := [...]uint32{b.resourceDropped, b.scopeDropped, addCount(sp.DroppedAttributesCount(), b.discarded),
		addCount(sp.DroppedEventsCount(), droppedEvents), addCount(sp.DroppedLinksCount(), droppedLinks)}
	b.dropped(d[:])
	b.private()
}

// addCount adds without wrapping round.
func addCount(a, b uint32) uint32 {
	if a > math.MaxUint32-b {
		return math.MaxUint32
	}
	return a + b
}

func (w *spanWriter) events(sp ptrace.Span, at int64) (discarded uint32) {
	events := sp.Events()
	if events.Len() == 0 {
		return 0
	}
	b := w.b
	names := len(b.buf)
	b.cut.label(sectionField, colEventName)
	for _, e := range events.All() {
		name := strings.ReplaceAll(b.cut.text(e.Name()), "\n", " ")
		if name == "" || hasLine(b.text(names), name) {
			continue
		}
		if len(b.buf) > names {
			b.buf = append(b.buf, '\n')
		}
		if b.buf = append(b.buf, name...); len(b.buf)-names > maxEventBytes/4 {
			break
		}
	}
	if text := b.text(names); text != "" {
		b.add(colEventName, b.guard(text))
	}
	from := len(b.buf)
	for i, e := range events.All() {
		before := len(b.buf)
		b.cut.label(sectionField, colEventName)
		b.buf = packSint(b.buf, int64(uint64(e.Timestamp())-uint64(at)))
		b.buf = packText(b.buf, b.cut.text(e.Name()))
		b.buf = packUint(b.buf, uint64(e.DroppedAttributesCount()))
		b.buf = packAttributes(b.buf, e.Attributes(), &b.cut, 0)
		if len(b.buf)-from > maxEventBytes {
			b.buf = b.buf[:before]
			discarded = uint32(events.Len() - i)
			break
		}
	}
	b.addBytes(colEvents, from)
	return discarded
}

// hasLine reports whether line is one of the lines of text.
func hasLine(text, line string) bool {
	for l := range strings.SplitSeq(text, "\n") {
		if l == line {
			return true
		}
	}
	return false
}

func (w *spanWriter) links(sp ptrace.Span) (discarded uint32) {
	links := sp.Links()
	if links.Len() == 0 {
		return 0
	}
	b := w.b
	from := len(b.buf)
	for i, l := range links.All() {
		before := len(b.buf)
		trace, span := l.TraceID(), l.SpanID()
		b.buf = packNibbles(packNibbles(b.buf, trace[:]), span[:])
		b.cut.label(sectionField, "link")
		b.buf = packText(b.buf, b.cut.text(l.TraceState().AsRaw()))
		b.buf = packUint(b.buf, uint64(l.Flags()))
		b.buf = packUint(b.buf, uint64(l.DroppedAttributesCount()))
		b.buf = packAttributes(b.buf, l.Attributes(), &b.cut, 0)
		if len(b.buf)-from > maxLinkBytes {
			b.buf = b.buf[:before]
			discarded = uint32(links.Len() - i)
			break
		}
	}
	b.addBytes(colLinks, from)
	return discarded
}

// kindWord and its inverse parseKind: numbers of later protocol versions keep
// their number.
func kindWord(k ptrace.SpanKind) string {
	switch k {
	case ptrace.SpanKindUnspecified:
		return "unspecified"
	case ptrace.SpanKindInternal:
		return "internal"
	case ptrace.SpanKindServer:
		return "server"
	case ptrace.SpanKindClient:
		return "client"
	case ptrace.SpanKindProducer:
		return "producer"
	case ptrace.SpanKindConsumer:
		return "consumer"
	}
	return strconv.Itoa(int(k))
}

func parseKind(s string) ptrace.SpanKind {
	switch s {
	case "", "unspecified":
		return ptrace.SpanKindUnspecified
	case "internal":
		return ptrace.SpanKindInternal
	case "server":
		return ptrace.SpanKindServer
	case "client":
		return ptrace.SpanKindClient
	case "producer":
		return ptrace.SpanKindProducer
	case "consumer":
		return ptrace.SpanKindConsumer
	}
	n, _ := strconv.ParseInt(s, 10, 32)
	return ptrace.SpanKind(n)
}

func parseStatus(s string) ptrace.StatusCode {
	switch s {
	case "":
		return ptrace.StatusCodeUnset
	case "ok":
		return ptrace.StatusCodeOk
	case "error":
		return ptrace.StatusCodeError
	}
	n, _ := strconv.ParseInt(s, 10, 32)
	return ptrace.StatusCode(n)
}
