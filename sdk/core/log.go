package core

import (
	"context"
	"sync"
	"time"
)

// Severity of a log record, numbered as in OTLP: 1 to 24, four to a level.
type Severity uint8

// Severities that levels begin with.
const (
	SeverityTrace Severity = 1
	SeverityDebug Severity = 5
	SeverityInfo  Severity = 9
	SeverityWarn  Severity = 13
	SeverityError Severity = 17
	SeverityFatal Severity = 21
)

// Room is the share of a bounded buffer that records of a severity may fill, in
// per cent: under pressure the least important are dropped first, and errors
// last.
func (s Severity) Room() int {
	switch {
	case s >= SeverityError:
		return 100
	case s >= SeverityWarn:
		return 90
	case s >= SeverityInfo:
		return 80
	}
	return 60
}

// Record is a log record. Of attributes with the same key the last counts.
type Record struct {
	Time     time.Time // zero: unknown
	Observed time.Time // zero: now
	Severity Severity
	Level    string // as it was written
	Body     string
	Value    *Value // the body when it is not a string; nil: it is Body
	Event    string // name of the event, when it is one
	Attrs    []Attr
	Dropped  int          // attributes that were there beside Attrs
	Span     *SpanContext // or nil
}

// Fields of OTLP messages.
// Source: opentelemetry-proto 1.9, logs/v1/logs.proto.
const (
	logTime         = 1
	logSeverity     = 2
	logSeverityText = 3
	logBody         = 5
	logAttributes   = 6
	logDropped      = 7
	logFlags        = 8
	logTraceID      = 9
	logSpanID       = 10
	logObserved     = 11
	logEvent        = 12
)

// Logger sends records of one scope.
type Logger struct {
	pipe   *Pipe
	scope  *Scope
	limits Limits
}

// NewLogger makes a logger. Of limits, Attributes and ValueLength count.
func NewLogger(pipe *Pipe, scope *Scope, limits Limits) *Logger { return &Logger{pipe, scope, limits} }

var logBuffers = sync.Pool{New: func() any { return new([]byte) }}

// Emit queues a record. It does not block; false when the record was dropped.
func (l *Logger) Emit(r *Record) bool {
	buf := logBuffers.Get().(*[]byte)
	b := (*buf)[:0]
	if !r.Time.IsZero() {
		b = appendFixed64(b, logTime, uint64(r.Time.UnixNano()))
	}
	if r.Severity != 0 {
		b = appendVarint(b, logSeverity, uint64(r.Severity))
	}
	if r.Level != "" {
		b = appendString(b, logSeverityText, r.Level)
	}
	b, body := openField(b, logBody) // the limits are for attributes
	if r.Value == nil {
		b = appendString(b, anyString, r.Body)
	} else {
		b = appendValue(b, r.Value, -1)
	}
	b = closeField(b, body)
	b, dropped := appendKept(b, logAttributes, r.Attrs, l.limits.Attributes, l.limits.ValueLength)
	if dropped += r.Dropped; dropped > 0 {
		b = appendVarint(b, logDropped, uint64(dropped))
	}
	if r.Span != nil && r.Span.IsValid() {
		b = appendFixed32(b, logFlags, uint32(r.Span.Flags))
		b = appendBytes(b, logTraceID, r.Span.TraceID[:])
		b = appendBytes(b, logSpanID, r.Span.SpanID[:])
	}
	observed := r.Observed
	if observed.IsZero() {
		observed = time.Now()
	}
	b = appendFixed64(b, logObserved, uint64(observed.UnixNano()))
	if r.Event != "" {
		b = appendString(b, logEvent, r.Event)
	}
	ok := l.pipe.add(l.scope, b, r.Severity.Room())
	if *buf = b; cap(b) <= keptBody {
		logBuffers.Put(buf)
	}
	return ok
}

// Flush sends the records so far, and waits until they are sent or given up, or
// ctx ends.
func (l *Logger) Flush(ctx context.Context) error { return l.pipe.Flush(ctx) }
