package core

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// SpanKind is the role of a span, numbered as in OTLP.
type SpanKind uint8

// Kinds of spans.
const (
	KindInternal SpanKind = 1 + iota
	KindServer
	KindClient
	KindProducer
	KindConsumer
)

// Status is how an operation ended, numbered as in OTLP.
type Status uint8

// Statuses.
const (
	StatusUnset Status = iota
	StatusOK
	StatusError
)

// Fields of OTLP messages.
// Source: opentelemetry-proto 1.9, trace/v1/trace.proto.
const (
	spanTraceID           = 1
	spanSpanID            = 2
	spanTraceState        = 3
	spanParentSpanID      = 4
	spanName              = 5
	spanKindField         = 6
	spanStart             = 7
	spanEnd               = 8
	spanAttributes        = 9
	spanDroppedAttributes = 10
	spanEvents            = 11
	spanDroppedEvents     = 12
	spanLinks             = 13
	spanDroppedLinks      = 14
	spanStatus            = 15
	spanFlags             = 16

	eventTime              = 1
	eventName              = 2
	eventAttributes        = 3
	eventDroppedAttributes = 4

	linkTraceID           = 1
	linkSpanID            = 2
	linkTraceState        = 3
	linkAttributes        = 4
	linkDroppedAttributes = 5
	linkFlags             = 6

	statusMessage = 2
	statusCode    = 3

	// Beside the flags of W3C: whether the parent came over the wire, and
	// that this is known.
	flagRemoteKnown = 1 << 8
	flagRemote      = 1 << 9
)

// Limits bound what one span holds. A count below 0 is no limit.
type Limits struct {
	Attributes      int // of a span
	Events          int
	Links           int
	EventAttributes int // of each event
	LinkAttributes  int // of each link
	ValueLength     int // characters of a string
}

// DefaultLimits are those of the OpenTelemetry specification.
var DefaultLimits = Limits{Attributes: 128, Events: 128, Links: 128, EventAttributes: 128, LinkAttributes: 128, ValueLength: -1}

// Span is an operation under way. It stands in memory of its owner, usually
// beside a context.Context, so that one allocation serves both; it must not be
// copied. The zero Span belongs to no trace and records nothing. Methods are
// safe for use by several goroutines; those after End do nothing.
//
// What is recorded is encoded at once into a buffer that the span borrows until
// it ends: nothing is kept twice, and values given to it may change afterwards.
type Span struct {
	sc     SpanContext
	tracer *Tracer
	mu     sync.Mutex
	failed atomic.Bool
	// rescued says that it records though it was not sampled. Of what is
	// neither there is nothing that mu guards: most spans never take it.
	rescued atomic.Bool
	rec     *record // nil when nothing is recorded, and after End
}

// lock is what is recorded, and mu is held; nil, and mu is not, when that is
// nothing.
func (s *Span) lock() *record {
	if !s.sc.IsSampled() && !s.rescued.Load() {
		return nil
	}
	s.mu.Lock()
	r := s.rec
	if r == nil {
		s.mu.Unlock()
	}
	return r
}

// record is what a span borrows.
type record struct {
	name    string
	parent  SpanID
	remote  bool  // the parent came over the wire
	certain bool  // it is kept whatever was decided
	outmost *Span // the span of the operation that this one is a part of; nil: its own
	kind    SpanKind
	status  Status
	message string
	start   time.Time

	body  []byte // encoded attributes, events and links
	attrs []attrAt
	whole []byte // the encoded span, once it has ended

	events, links                             int
	droppedAttrs, droppedEvents, droppedLinks uint32
}

// attrAt is where in body an attribute is, and where in that its key.
type attrAt struct{ from, to, key, keyEnd int }

const (
	// keptBody is how large buffers may be to go back to the pool.
	keptBody = 16 << 10
)

var records = sync.Pool{New: func() any {
	return &record{body: make([]byte, 0, 1<<10), attrs: make([]attrAt, 0, 16), whole: make([]byte, 0, 1<<10)}
}}

func newRecord(parent *SpanContext, name string, kind SpanKind, start time.Time) *record {
	r := records.Get().(*record)
	if start.IsZero() {
		start = time.Now()
	}
	r.name, r.kind, r.start = name, kind, start
	r.parent, r.remote = parent.SpanID, parent.Remote
	return r
}

func (r *record) free() {
	if cap(r.body)+cap(r.whole) > keptBody {
		return
	}
	*r = record{body: r.body[:0], attrs: r.attrs[:0], whole: r.whole[:0]}
	records.Put(r)
}

// Context is what of the span goes over the wire.
func (s *Span) Context() *SpanContext { return &s.sc }

// Recording reports whether anything is recorded: false after End.
func (s *Span) Recording() bool {
	if s.lock() == nil {
		return false
	}
	s.mu.Unlock()
	return true
}

// SetName replaces the name.
func (s *Span) SetName(name string) {
	if r := s.lock(); r != nil {
		r.name = name
		s.mu.Unlock()
	}
}

// SetStatus sets how the operation ended: OK is final, an error replaces
// nothing and errors, unset changes nothing. The message counts for errors.
func (s *Span) SetStatus(status Status, message string) {
	if status == StatusError {
		s.failed.Store(true)
	}
	r := s.lock()
	if r == nil {
		return
	}
	defer s.mu.Unlock()
	if status == StatusUnset || r.status == StatusOK {
		return
	}
	if r.status, r.message = status, ""; status == StatusError {
		r.message = message
		if r.outmost != nil {
			r.outmost.failed.Store(true)
		}
	}
}

// whole is the span of the operation that s is a part of.
func (s *Span) whole() *Span {
	r := s.lock()
	if r == nil {
		return s
	}
	defer s.mu.Unlock()
	if r.outmost != nil {
		return r.outmost
	}
	return s
}

// Within says that the span is a part of what outer is about: an error of the
// one is one of the other, see Failed. A span that is not sampled stands for
// all its parts, so what is kept for an error would otherwise depend on whether
// it was sampled, and count wrongly.
func (s *Span) Within(outer *Span) {
	outer = outer.whole()
	if r := s.lock(); r != nil {
		r.outmost = outer
		s.mu.Unlock()
	}
}

// Failed reports whether an error was set, also on a span that does not record:
// whoever ends it may have it kept, see Rescue.
func (s *Span) Failed() bool { return s.failed.Load() }

// SetAttrs sets attributes; one that is there already is replaced. Beyond the
// limit new ones are dropped and counted.
func (s *Span) SetAttrs(attrs ...Attr) {
	r := s.lock()
	if r == nil {
		return
	}
	defer s.mu.Unlock()
	for i := range attrs {
		r.set(&attrs[i], &s.tracer.provider.limits)
	}
}

// SetAttr is SetAttrs for one.
func (s *Span) SetAttr(a Attr) {
	if r := s.lock(); r != nil {
		defer s.mu.Unlock()
		r.set(&a, &s.tracer.provider.limits)
	}
}

func (r *record) set(a *Attr, limits *Limits) {
	if a.Key == "" {
		r.droppedAttrs++
		return
	}
	for i := range r.attrs {
		if at := &r.attrs[i]; string(r.body[at.key:at.keyEnd]) == a.Key {
			r.remove(i)
			break
		}
	}
	if limits.Attributes >= 0 && len(r.attrs) >= limits.Attributes {
		r.droppedAttrs++
		return
	}
	from := len(r.body)
	r.body = appendAttr(r.body, spanAttributes, a, limits.ValueLength)
	// The key stands behind the tags, of a byte each, and sizes of the
	// attribute and of itself.
	_, n := binary.Uvarint(r.body[from+1:])
	key := from + 1 + n + 1
	size, n := binary.Uvarint(r.body[key:])
	key += n
	r.attrs = append(r.attrs, attrAt{from, len(r.body), key, key + int(size)})
}

// remove takes attribute i out of the body.
func (r *record) remove(i int) {
	at := r.attrs[i]
	r.body = append(r.body[:at.from], r.body[at.to:]...)
	r.attrs = append(r.attrs[:i], r.attrs[i+1:]...)
	for j := range r.attrs {
		if a := &r.attrs[j]; a.from > at.from {
			n := at.to - at.from
			a.from, a.to, a.key, a.keyEnd = a.from-n, a.to-n, a.key-n, a.keyEnd-n
		}
	}
}

// AddEvent adds an event; a zero time is now.
func (s *Span) AddEvent(name string, at time.Time, attrs ...Attr) {
	r := s.lock()
	if r == nil {
		return
	}
	defer s.mu.Unlock()
	limits := &s.tracer.provider.limits
	if limits.Events >= 0 && r.events >= limits.Events {
		r.droppedEvents++
		return
	}
	if at.IsZero() {
		at = r.now()
	}
	r.events++
	b, open := openField(r.body, spanEvents)
	b = appendFixed64(b, eventTime, uint64(at.UnixNano()))
	b = appendString(b, eventName, name)
	b = appendAttrs(b, eventAttributes, eventDroppedAttributes, attrs, limits.EventAttributes, limits.ValueLength)
	r.body = closeField(b, open)
}

// AddLink adds a link to another span.
func (s *Span) AddLink(to *SpanContext, attrs ...Attr) {
	r := s.lock()
	if r == nil {
		return
	}
	defer s.mu.Unlock()
	limits := &s.tracer.provider.limits
	if limits.Links >= 0 && r.links >= limits.Links {
		r.droppedLinks++
		return
	}
	r.links++
	b, open := openField(r.body, spanLinks)
	b = appendBytes(b, linkTraceID, to.TraceID[:])
	b = appendBytes(b, linkSpanID, to.SpanID[:])
	if to.State != "" {
		b = appendString(b, linkTraceState, to.State)
	}
	b = appendAttrs(b, linkAttributes, linkDroppedAttributes, attrs, limits.LinkAttributes, limits.ValueLength)
	b = appendFixed32(b, linkFlags, wireFlags(to.Flags, to.Remote))
	r.body = closeField(b, open)
}

// appendAttrs appends at most limit attributes, the last of those with the same
// key, and how many were left out unless droppedField is 0.
func appendAttrs(b []byte, field, droppedField int, attrs []Attr, limit, length int) []byte {
	b, dropped := appendKept(b, field, attrs, limit, length)
	if dropped > 0 && droppedField > 0 {
		b = appendVarint(b, droppedField, uint64(dropped))
	}
	return b
}

// appendKept is appendAttrs that returns how many were left out.
func appendKept(b []byte, field int, attrs []Attr, limit, length int) (_ []byte, dropped int) {
	kept := 0
	for i := range attrs {
		a := &attrs[i]
		switch {
		case a.Key == "":
			dropped++
			continue
		case again(attrs[i+1:], a.Key):
			continue
		case limit >= 0 && kept >= limit:
			dropped++
			continue
		}
		kept++
		b = appendAttr(b, field, a, length)
	}
	return b, dropped
}

func again(attrs []Attr, key string) bool {
	for i := range attrs {
		if attrs[i].Key == key {
			return true
		}
	}
	return false
}

func wireFlags(flags byte, remote bool) uint32 {
	f := uint32(flags) | flagRemoteKnown
	if remote {
		f |= flagRemote
	}
	return f
}

// Rescue has the span kept for certain: one that was not sampled records from now
// on, with what is given here, and one that was says that its weight is one. It
// is for errors and slow requests, of which all are kept: those that were
// sampled must not count for others, as the others are there themselves. Call
// it once, before End; after End it does nothing, and a sampler that is Never
// lets nothing be rescued. What goes over the wire stays
// as it was decided.
func (s *Span) Rescue(parent *SpanContext, name string, kind SpanKind, start time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec == nil {
		if s.tracer == nil || s.sc.IsSampled() || s.tracer.provider.never != nil {
			return
		}
		s.rec = newRecord(parent, name, kind, start)
		s.rescued.Store(true)
	}
	s.rec.certain = true
}

// now is the start and what passed since on the monotonic clock, so that steps
// of the wall clock do not bend a span.
func (r *record) now() time.Time { return r.start.Add(time.Since(r.start)) }

// End ends the span and queues it. A zero time is now. It never blocks: when
// the queue is full, the span is dropped and counted.
func (s *Span) End(at time.Time) {
	r := s.take()
	if r == nil {
		return
	}
	if at.IsZero() {
		at = r.now()
	}
	s.queue(r, at)
}

// EndAfter is End at so long after the start.
func (s *Span) EndAfter(took time.Duration) {
	if r := s.take(); r != nil {
		s.queue(r, r.start.Add(took))
	}
}

// take ends the recording; nil when there is none.
func (s *Span) take() *record {
	r := s.lock()
	if r != nil {
		s.rec = nil
		s.mu.Unlock()
	}
	return r
}

// queue hands over what was recorded.
func (s *Span) queue(r *record, at time.Time) {
	r.whole = appendSpan(r.whole, &s.sc, r, at)
	s.tracer.provider.pipe.Add(s.tracer.scope, r.whole)
	r.free()
}

// appendSpan appends the fields of a Span.
func appendSpan(b []byte, sc *SpanContext, r *record, end time.Time) []byte {
	b = appendBytes(b, spanTraceID, sc.TraceID[:])
	b = appendBytes(b, spanSpanID, sc.SpanID[:])
	state := sc.State
	if r.certain {
		state = WithThreshold(state, KeepAll)
	}
	if state != "" {
		b = appendString(b, spanTraceState, state)
	}
	if !r.parent.IsZero() {
		b = appendBytes(b, spanParentSpanID, r.parent[:])
	}
	b = appendString(b, spanName, r.name)
	b = appendVarint(b, spanKindField, uint64(r.kind))
	b = appendFixed64(b, spanStart, uint64(r.start.UnixNano()))
	b = appendFixed64(b, spanEnd, uint64(end.UnixNano()))
	b = append(b, r.body...)
	if r.droppedAttrs > 0 {
		b = appendVarint(b, spanDroppedAttributes, uint64(r.droppedAttrs))
	}
	if r.droppedEvents > 0 {
		b = appendVarint(b, spanDroppedEvents, uint64(r.droppedEvents))
	}
	if r.droppedLinks > 0 {
		b = appendVarint(b, spanDroppedLinks, uint64(r.droppedLinks))
	}
	b, status := openField(b, spanStatus) // of an unset one, too, as others send it
	if r.message != "" {
		b = appendString(b, statusMessage, r.message)
	}
	if r.status != StatusUnset {
		b = appendVarint(b, statusCode, uint64(r.status))
	}
	b = closeField(b, status)
	return appendFixed32(b, spanFlags, wireFlags(sc.Flags, r.remote))
}
