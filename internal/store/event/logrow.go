package event

import (
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
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
	tooOld    atomic.Uint64 // records dropped because they are older than the retention
	builders  sync.Pool     // *rowBuilder
}

func newLogCodec(retention time.Duration, t *tail) *logCodec {
	c := &logCodec{retention: retention, shapes: newShapes(logColumn), tail: t}
	c.builders.New = func() any { return new(rowBuilder) }
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

// appendRows adds the rows of all records to lr; see spanCodec.appendRows.
// Readers of the tail get the records that match.
func (c *logCodec) appendRows(lr *logstorage.LogRows, t store.Tenant, ld plog.Logs, now time.Time) (added, dropped int) {
	b := c.builders.Get().(*rowBuilder)
	defer c.builders.Put(b)
	w := logWriter{b: b, now: now}
	oldest := now.Add(-c.retention).UnixNano()
	tenant := tenantID(t)
	for _, rl := range ld.ResourceLogs().All() {
		w.resource = rl
		w.service = serviceName(rl.Resource())
		w.shape = c.shapes.of(t, w.service, now)
		for _, sl := range rl.ScopeLogs().All() {
			w.scope = sl
			w.common(maxValueBytes)
			for _, r := range sl.LogRecords().All() {
				at := w.rowTime(r)
				if at < oldest {
					dropped++
					continue
				}
				tags := w.fit(r, at)
				lr.MustAdd(tenant, at, b.fields, tags)
				c.tail.offer(t, at, b.fields)
				added++
			}
		}
	}
	c.tooOld.Add(uint64(dropped))
	return added, dropped
}

// freeze and restore are as those of spanCodec.
func (c *logCodec) freeze() (blob []byte, err error) { return c.shapes.freeze(), nil }

func (c *logCodec) restore(blob []byte) error { return c.shapes.restore(blob) }

type logWriter struct {
	b        *rowBuilder
	now      time.Time
	resource plog.ResourceLogs
	scope    plog.ScopeLogs
	service  string
	shape    *shape
	base     mark
}

func (w *logWriter) common(limit int) {
	b := w.b
	b.reset(limit)
	b.resourceAndScope(w.shape, w.service, w.resource.Resource(), w.scope.Scope(), w.resource.SchemaUrl(), w.scope.SchemaUrl(), "")
	w.base = b.mark()
}

// fit builds the row of a record, cutting more until the engine takes it, and
// tells how many of its fields are stream tags.
func (w *logWriter) fit(r plog.LogRecord, at int64) (tags int) {
	if w.b.cut.limit != maxValueBytes { // of the row before
		w.common(maxValueBytes)
	}
	w.row(r, at)
	for limit := maxValueBytes / 4; !w.b.fits() && limit >= minValueBytes; limit /= 4 {
		w.common(limit)
		w.row(r, at)
	}
	return w.shape.streamTags("")
}

// rowTime is the row's _time: the record's time, else when it was observed,
// else now.
func (w *logWriter) rowTime(r plog.LogRecord) int64 {
	latest := uint64(w.now.Add(maxAhead).UnixNano())
	for _, t := range [...]pcommon.Timestamp{r.Timestamp(), r.ObservedTimestamp()} {
		if t != 0 && uint64(t) <= latest {
			return int64(t)
		}
	}
	return w.now.UnixNano()
}

func (w *logWriter) row(r plog.LogRecord, at int64) {
	b := w.b
	b.rewind(w.base)
	b.discarded = 0
	n := r.SeverityNumber()
	word := severityWord(n)
	if word != "" {
		b.add(colSeverity, word)
	}
	if n != severityNumber(word) {
		from := len(b.buf)
		b.buf = packSint(b.buf, int64(n))
		b.addBytes(colSeverityRaw, from)
	}
	b.addText(colSeverityText, r.SeverityText())
	w.body(r.Body())
	if id := r.TraceID(); !id.IsEmpty() {
		from := len(b.buf)
		b.buf = hex.AppendEncode(b.buf, id[:])
		b.addBytes(colTraceID, from)
	}
	if id := r.SpanID(); !id.IsEmpty() {
		from := len(b.buf)
		b.buf = hex.AppendEncode(b.buf, id[:])
		b.addBytes(colLogSpanID, from)
	}
	b.addText(colLogEventName, r.EventName())
	if f := r.Flags(); f != 0 {
		b.addUint(colLogFlags, uint64(f))
	}
	if t := r.Timestamp(); uint64(t) != uint64(at) {
		from := len(b.buf)
		b.buf = packUint(b.buf, uint64(t))
		b.addBytes(colTimes, from)
	}
	if t := r.ObservedTimestamp(); t != 0 {
		from := len(b.buf)
		b.buf = packSint(b.buf, int64(uint64(t)-uint64(at)))
		b.addBytes(colObserved, from)
	}
	b.attributes(sectionOwn, r.Attributes(), w.shape)
	d := [...]uint32{b.resourceDropped, b.scopeDropped, addCount(r.DroppedAttributesCount(), b.discarded)}
	b.dropped(d[:])
	b.private()
}

// body adds the body. Unlike that of an attribute, its type is a string
// unless the exceptions say otherwise: bodies that look like numbers are text
// far more often than numbers.
func (w *logWriter) body(v pcommon.Value) {
	b := w.b
	switch v.Type() {
	case pcommon.ValueTypeEmpty:
	case pcommon.ValueTypeStr:
		b.cut.label(sectionBody, "")
		if text := b.cut.text(v.Str()); text != "" {
			b.add(colBody, b.guard(text))
		} else {
			b.except(sectionBody, codeEmptyString, "")
		}
	default:
		b.value(sectionBody, colBody, "", v)
	}
}
