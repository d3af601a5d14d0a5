package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

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

	spanAttrPrefix     = "a:"
	resourceAttrPrefix = "r:"
	scopeAttrPrefix    = "c:"
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
	writers   sync.Pool // *spanWriter
}

func newSpanCodec(retention time.Duration, r *rollup) *spanCodec {
	c := &spanCodec{retention: retention, shapes: newShapes(spanColumn), index: newTraceIndex(), rollup: r}
	c.writers.New = func() any { return new(spanWriter) }
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

// appendRows adds the rows of all spans of payload, an encoded TracesData, to
// lr, with the helper rows of the trace index, and counts the spans in the
// rollup. now is the time of acceptance; a replay that passes the same payload
// and now makes the same rows. dropped counts spans older than the retention.
// Rows that were made before an error stay.
func (c *spanCodec) appendRows(lr *logstorage.LogRows, t store.Tenant, payload []byte, now time.Time) (added, dropped int, err error) {
	w := c.writers.Get().(*spanWriter)
	defer c.writers.Put(w)
	w.codec, w.lr, w.tenant, w.now = c, lr, t, now
	w.oldest, w.latest = now.Add(-c.retention).UnixNano(), uint64(now.Add(maxAhead).UnixNano())
	defer w.tally.close()
	err = w.envelope.walk(payload, w.inResource, w.inScope, func(s string) error {
		if err := w.span.parse(s); err != nil {
			return err
		}
		if w.add() {
			added++
		} else {
			dropped++
		}
		return nil
	})
	return added, dropped, err
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

// span is a Span. Its texts are views of the payload.
type span struct {
	traceID                          pcommon.TraceID
	spanID, parentID                 pcommon.SpanID
	traceState, name, statusMessage  string
	kind                             ptrace.SpanKind
	status                           ptrace.StatusCode
	start, end                       uint64
	flags                            uint32
	attributes                       []pair
	events, links                    []string // messages
	droppedAttributes, droppedEvents uint32
	droppedLinks                     uint32
}

// parse reads the message, into the memory of the span before.
func (p *span) parse(s string) error {
	*p = span{attributes: p.attributes[:0], events: p.events[:0], links: p.links[:0]}
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 1:
			identifier(p.traceID[:], f.text)
		case 2:
			identifier(p.spanID[:], f.text)
		case 3:
			p.traceState = f.text
		case 4:
			identifier(p.parentID[:], f.text)
		case 5:
			p.name = f.text
		case 6:
			p.kind = ptrace.SpanKind(f.num)
		case 7:
			p.start = f.num
		case 8:
			p.end = f.num
		case 9:
			p.attributes = append(p.attributes, parsePair(f.text))
		case 10:
			p.droppedAttributes = uint32(f.num)
		case 11:
			p.events = append(p.events, f.text)
		case 12:
			p.droppedEvents = uint32(f.num)
		case 13:
			p.links = append(p.links, f.text)
		case 14:
			p.droppedLinks = uint32(f.num)
		case 15:
			p.parseStatus(f.text)
		case 16:
			p.flags = uint32(f.num)
		}
	}
	return m.err()
}

func (p *span) parseStatus(s string) {
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 2:
			p.statusMessage = f.text
		case 3:
			p.status = ptrace.StatusCode(f.num)
		}
	}
}

// duration is end minus start, zero when the span ends before it starts.
func (p *span) duration() int64 {
	if p.end <= p.start {
		return 0
	}
	return int64(min(p.end-p.start, math.MaxInt64))
}

// spanWriter makes the rows of one payload after another.
type spanWriter struct {
	codec  *spanCodec
	lr     *logstorage.LogRows
	tenant store.Tenant
	now    time.Time
	oldest int64  // rows before it are out of the retention
	latest uint64 // timestamps behind it are not believed

	envelope   envelope
	service    string
	shape      *shape
	span       span
	attributes []pair // of an event or link
	names      []byte // of the events, until the next span
	b          rowBuilder
	base       mark
	tally      tally
}

func (w *spanWriter) inResource() {
	w.tally.close()
	w.service = w.envelope.resource.service()
	w.shape = w.codec.shapes.of(w.tenant, w.service, w.now)
}

func (w *spanWriter) inScope() { w.common(maxValueBytes) }

// common builds what all spans of the scope share.
func (w *spanWriter) common(limit int) {
	w.b.reset(limit)
	w.b.resourceAndScope(w.shape, w.service, &w.envelope.resource, &w.envelope.scope)
	w.base = w.b.mark()
}

// add adds the span's row; false when the span is too old to be kept.
func (w *spanWriter) add() bool {
	sp, b := &w.span, &w.b
	at, exact := w.rowTime()
	if at < w.oldest {
		return false
	}
	w.row(at, exact)
	for limit := maxValueBytes / 4; !b.fits() && limit >= minValueBytes; limit /= 4 {
		w.common(limit)
		w.row(at, exact)
	}
	tenant := tenantID(w.tenant)
	b.addTo(w.lr, tenant, at)
	if b.cut.limit != maxValueBytes {
		w.common(maxValueBytes)
	}
	if !sp.traceID.IsEmpty() {
		if anchor, isNew := w.codec.index.note(w.tenant, sp.traceID, at); isNew {
			w.codec.index.add(w.lr, tenant, sp.traceID, anchor)
		}
	}
	w.tally.span(w.codec.rollup, w.tenant, w.service, at, sp.duration(), sp.status == ptrace.StatusCodeError, weightOf(sp.traceState))
	return true
}

// rowTime is the row's _time: the end of the span, or what comes nearest when
// that cannot be. exact is false when it is not the end.
func (w *spanWriter) rowTime() (at int64, exact bool) {
	start, end := w.span.start, w.span.end
	switch {
	case end != 0 && end <= w.latest:
		return int64(end), true
	case end == 0 && start != 0 && start <= w.latest:
		return int64(start), false
	}
	return w.now.UnixNano(), false
}

func (w *spanWriter) row(at int64, exact bool) {
	sp, b := &w.span, &w.b
	b.rewind(w.base)
	b.discarded = 0
	b.addText(colName, sp.name)
	if sp.kind != ptrace.SpanKindUnspecified {
		b.add(colKind, kindWord(sp.kind))
	}
	switch sp.status {
	case ptrace.StatusCodeUnset:
	case ptrace.StatusCodeOk:
		b.add(colStatus, "ok")
	case ptrace.StatusCodeError:
		b.add(colStatus, "error")
	default:
		b.add(colStatus, strconv.Itoa(int(sp.status)))
	}
	if sp.flags != 0 {
		b.addUint(colFlags, uint64(sp.flags))
	}
	if !sp.traceID.IsEmpty() {
		high, low := traceHalves(sp.traceID)
		b.addUint(colTraceLow, low)
		b.addID(colTraceHigh, high)
	}
	b.addID(colSpanID, spanIDNumber(sp.spanID))
	b.addID(colParentSpanID, spanIDNumber(sp.parentID))
	n := len(b.buf)
	b.buf = appendDuration(b.buf, sp.duration())
	b.addBytes(colDuration, n)
	if !exact || sp.start > sp.end {
		n := len(b.buf)
		b.buf = packUint(packUint(b.buf, sp.start), sp.end)
		b.addBytes(colTimes, n)
	}
	b.addText(colStatusMessage, sp.statusMessage)
	if sp.traceState != "" {
		b.addText(colTraceState, sp.traceState)
		if weight := weightOf(sp.traceState); weight != 1 {
			n := len(b.buf)
			b.buf = appendWeight(b.buf, weight)
			b.addBytes(colWeight, n)
		}
	}
	b.attributes(sectionOwn, sp.attributes, w.shape)
	droppedEvents := w.events(at)
	droppedLinks := w.links()
	d := [...]uint32{b.resourceDropped, b.scopeDropped, addCount(sp.droppedAttributes, b.discarded),
		addCount(sp.droppedEvents, droppedEvents), addCount(sp.droppedLinks, droppedLinks)}
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

// event is an Event.
type event struct {
	at         uint64
	name       string
	attributes []pair
	dropped    uint32
}

func (e *event) parse(s string) {
	*e = event{attributes: e.attributes[:0]}
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 1:
			e.at = f.num
		case 2:
			e.name = f.text
		case 3:
			e.attributes = append(e.attributes, parsePair(f.text))
		case 4:
			e.dropped = uint32(f.num)
		}
	}
}

func (w *spanWriter) events(at int64) (discarded uint32) {
	if len(w.span.events) == 0 {
		return 0
	}
	b, e := &w.b, &event{attributes: w.attributes}
	b.cut.label(sectionField, colEventName)
	w.names = w.names[:0]
	from := len(b.buf)
	for i, s := range w.span.events {
		e.parse(s)
		name, before := b.cut.text(e.name), len(b.buf)
		b.buf = packSint(b.buf, int64(e.at-uint64(at)))
		b.buf = packText(b.buf, name)
		b.buf = packUint(b.buf, uint64(e.dropped))
		b.buf = packAttributes(b.buf, e.attributes, &b.cut)
		if len(b.buf)-from > maxEventBytes {
			b.buf = b.buf[:before]
			discarded = uint32(len(w.span.events) - i)
			break
		}
		w.eventName(name)
	}
	w.attributes = e.attributes
	b.addBytes(colEvents, from)
	if len(w.names) > 0 {
		b.add(colEventName, b.guard(unsafe.String(&w.names[0], len(w.names))))
	}
	return discarded
}

// eventName adds a line to the names of events unless there is such a line, or
// no room.
func (w *spanWriter) eventName(name string) {
	name = strings.ReplaceAll(name, "\n", " ")
	if name == "" || len(w.names) > maxEventBytes/4 {
		return
	}
	for line := range bytes.SplitSeq(w.names, []byte{'\n'}) {
		if string(line) == name {
			return
		}
	}
	if len(w.names) > 0 {
		w.names = append(w.names, '\n')
	}
	w.names = append(w.names, name...)
}

// link is a Link.
type link struct {
	traceID    pcommon.TraceID
	spanID     pcommon.SpanID
	traceState string
	attributes []pair
	dropped    uint32
	flags      uint32
}

func (l *link) parse(s string) {
	*l = link{attributes: l.attributes[:0]}
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 1:
			identifier(l.traceID[:], f.text)
		case 2:
			identifier(l.spanID[:], f.text)
		case 3:
			l.traceState = f.text
		case 4:
			l.attributes = append(l.attributes, parsePair(f.text))
		case 5:
			l.dropped = uint32(f.num)
		case 6:
			l.flags = uint32(f.num)
		}
	}
}

func (w *spanWriter) links() (discarded uint32) {
	if len(w.span.links) == 0 {
		return 0
	}
	b, l := &w.b, &link{attributes: w.attributes}
	b.cut.label(sectionField, "link")
	from := len(b.buf)
	for i, s := range w.span.links {
		l.parse(s)
		before := len(b.buf)
		b.buf = packNibbles(packNibbles(b.buf, string(l.traceID[:])), string(l.spanID[:]))
		b.buf = packText(b.buf, b.cut.text(l.traceState))
		b.buf = packUint(b.buf, uint64(l.flags))
		b.buf = packUint(b.buf, uint64(l.dropped))
		b.buf = packAttributes(b.buf, l.attributes, &b.cut)
		if len(b.buf)-from > maxLinkBytes {
			b.buf = b.buf[:before]
			discarded = uint32(len(w.span.links) - i)
			break
		}
	}
	w.attributes = l.attributes
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
