package event

import (
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Columns of a log record besides the private ones. Users see them through
// LogsQL, so they have the names that users of that language expect.
// Attributes stand under their own name, resource attributes under
// resource.KEY.
const (
	colBody         = "_msg"
	colTraceID      = "trace_id"      // hexadecimal; absent when zero
	colSeverity     = "severity"      // trace, debug, info, warn, error, fatal; absent when unset
	colSeverityText = "severity_text" // as sent
	colLogSpanID    = "span_id"       // hexadecimal, unlike that of spans: users search for it
	colLogEventName = "event_name"
	colLogFlags     = "flags"
	colSeverityRaw  = "_g_severity" // packed: the number where the word does not tell it
	colObserved     = "_g_observed" // packed: observed time minus _time; absent when there is none

	logResourcePrefix = "resource."
	logScopePrefix    = "scope_attr."
	logOwnPrefix      = "log." // of attributes whose own name is taken
)

// logCodec turns log records into rows of the engine and back. Its methods are
// safe for concurrent use.
type logCodec struct {
	retention time.Duration
	shapes    *shapes
	tail      *tail
	writers   sync.Pool // *logWriter
}

func newLogCodec(retention time.Duration, t *tail) *logCodec {
	c := &logCodec{retention: retention, shapes: newShapes(logColumn), tail: t}
	c.writers.New = func() any { return new(logWriter) }
	return c
}

func logColumn(s section, key string) string {
	switch s {
	case sectionResource:
		return logResourcePrefix + key
	case sectionScope:
		return logScopePrefix + key
	}
	if takenLogColumn(key) {
		return logOwnPrefix + key
	}
	return key
}

func takenLogColumn(key string) bool {
	switch key {
	case colTraceID, colLogSpanID, colSeverity, colSeverityText, colService, colScopeName, colScopeVersion, colLogEventName, colLogFlags:
		return true
	}
	return key == "" || key[0] == '_' || strings.HasPrefix(key, logResourcePrefix) || strings.HasPrefix(key, logScopePrefix) || strings.HasPrefix(key, logOwnPrefix)
}

// logColumnKey is the inverse of logColumn.
func logColumnKey(column string) (section, string) {
	if key, ok := strings.CutPrefix(column, logResourcePrefix); ok {
		return sectionResource, key
	}
	if key, ok := strings.CutPrefix(column, logScopePrefix); ok {
		return sectionScope, key
	}
	if key, ok := strings.CutPrefix(column, logOwnPrefix); ok {
		return sectionOwn, key
	}
	if takenLogColumn(column) {
		return 0, column
	}
	return sectionOwn, column
}

// severityWord is the word of a severity number, empty when it has none.
func severityWord(n plog.SeverityNumber) string {
	if n < 1 || n > 24 {
		return ""
	}
	return severityWords[(n-1)/4]
}

// severityWords is in order of severity, four numbers each.
var severityWords = [...]string{"trace", "debug", "info", "warn", "error", "fatal"}

func severityNumber(word string) plog.SeverityNumber {
	for i, w := range severityWords {
		if w == word {
			return plog.SeverityNumber(4*i + 1)
		}
	}
	return plog.SeverityNumberUnspecified
}

// appendRows adds the rows of all records of payload, an encoded LogsData, to
// lr; see spanCodec.appendRows. Readers of the tail get the records that match.
func (c *logCodec) appendRows(lr *logstorage.LogRows, t store.Tenant, payload []byte, now time.Time) (added, dropped int, err error) {
	w := c.writers.Get().(*logWriter)
	defer c.writers.Put(w)
	w.codec, w.tenant, w.now = c, t, now
	w.latest = uint64(now.Add(maxAhead).UnixNano())
	oldest := now.Add(-c.retention).UnixNano()
	tenant := tenantID(t)
	err = w.envelope.walk(payload, w.inResource, w.inScope, func(s string) error {
		if err := w.record.parse(s); err != nil {
			return err
		}
		at := w.rowTime()
		if at < oldest {
			dropped++
			return nil
		}
		w.fit(at)
		w.b.addTo(lr, tenant, at)
		c.tail.offer(t, at, w.b.fields)
		added++
		return nil
	})
	return added, dropped, err
}

// freeze and restore are as those of spanCodec.
func (c *logCodec) freeze() (blob []byte, err error) { return c.shapes.freeze(), nil }

func (c *logCodec) restore(blob []byte) error { return c.shapes.restore(blob) }

// logRecord is a LogRecord. Its texts are views of the payload.
type logRecord struct {
	at, observed            uint64
	severity                plog.SeverityNumber
	severityText, eventName string
	body                    value
	attributes              []pair
	dropped, flags          uint32
	traceID                 pcommon.TraceID
	spanID                  pcommon.SpanID
}

// parse reads the message, into the memory of the record before.
func (r *logRecord) parse(s string) error {
	*r = logRecord{attributes: r.attributes[:0]}
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 1:
			r.at = f.num
		case 2:
			r.severity = plog.SeverityNumber(f.num)
		case 3:
			r.severityText = f.text
		case 5:
			r.body = parseValue(f.text)
		case 6:
			r.attributes = append(r.attributes, parsePair(f.text))
		case 7:
			r.dropped = uint32(f.num)
		case 8:
			r.flags = uint32(f.num)
		case 9:
			identifier(r.traceID[:], f.text)
		case 10:
			identifier(r.spanID[:], f.text)
		case 11:
			r.observed = f.num
		case 12:
			r.eventName = f.text
		}
	}
	return m.err()
}

// logWriter makes the rows of one payload after another.
type logWriter struct {
	codec  *logCodec
	tenant store.Tenant
	now    time.Time
	latest uint64 // timestamps behind it are not believed

	envelope envelope
	service  string
	shape    *shape
	record   logRecord
	b        rowBuilder
	base     mark
}

func (w *logWriter) inResource() {
	w.service = w.envelope.resource.service()
	w.shape = w.codec.shapes.of(w.tenant, w.service, w.now)
}

func (w *logWriter) inScope() { w.common(maxValueBytes) }

func (w *logWriter) common(limit int) {
	w.b.reset(limit)
	w.b.resourceAndScope(w.shape, w.service, &w.envelope.resource, &w.envelope.scope)
	w.base = w.b.mark()
}

// fit builds the row of the record, cutting more until the engine takes it.
func (w *logWriter) fit(at int64) {
	if w.b.cut.limit != maxValueBytes { // of the row before
		w.common(maxValueBytes)
	}
	w.row(at)
	for limit := maxValueBytes / 4; !w.b.fits() && limit >= minValueBytes; limit /= 4 {
		w.common(limit)
		w.row(at)
	}
}

// rowTime is the row's _time: the record's time, else when it was observed,
// else now.
func (w *logWriter) rowTime() int64 {
	for _, t := range [...]uint64{w.record.at, w.record.observed} {
		if t != 0 && t <= w.latest {
			return int64(t)
		}
	}
	return w.now.UnixNano()
}

func (w *logWriter) row(at int64) {
	r, b := &w.record, &w.b
	b.rewind(w.base)
	b.discarded = 0
	word := severityWord(r.severity)
	if word != "" {
		b.add(colSeverity, word)
	}
	if r.severity != severityNumber(word) {
		from := len(b.buf)
		b.buf = packSint(b.buf, int64(r.severity))
		b.addBytes(colSeverityRaw, from)
	}
	b.addText(colSeverityText, r.severityText)
	w.body()
	if !r.traceID.IsEmpty() {
		from := len(b.buf)
		b.buf = hex.AppendEncode(b.buf, r.traceID[:])
		b.addBytes(colTraceID, from)
	}
	if !r.spanID.IsEmpty() {
		from := len(b.buf)
		b.buf = hex.AppendEncode(b.buf, r.spanID[:])
		b.addBytes(colLogSpanID, from)
	}
	b.addText(colLogEventName, r.eventName)
	if r.flags != 0 {
		b.addUint(colLogFlags, uint64(r.flags))
	}
	if r.at != uint64(at) {
		from := len(b.buf)
		b.buf = packUint(b.buf, r.at)
		b.addBytes(colTimes, from)
	}
	if r.observed != 0 {
		from := len(b.buf)
		b.buf = packSint(b.buf, int64(r.observed-uint64(at)))
		b.addBytes(colObserved, from)
	}
	b.attributes(sectionOwn, r.attributes, w.shape)
	d := [...]uint32{b.resourceDropped, b.scopeDropped, addCount(r.dropped, b.discarded)}
	b.dropped(d[:])
	b.private()
}

// body adds the body. Unlike that of an attribute, its type is a string
// unless the exceptions say otherwise: bodies that look like numbers are text
// far more often than numbers.
func (w *logWriter) body() {
	v, b := w.record.body, &w.b
	switch v.kind {
	case pcommon.ValueTypeEmpty:
	case pcommon.ValueTypeStr:
		b.cut.label(sectionBody, "")
		if text := b.cut.text(v.text); text != "" {
			b.add(colBody, b.guard(text))
		} else {
			b.except(sectionBody, codeEmptyString, "")
		}
	default:
		b.value(sectionBody, colBody, "", v)
	}
}
