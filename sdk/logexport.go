package sdk

import (
	"context"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// LogIDs are the ids that a log line has: those of the span, of the request and
// of the business case. They are for loggers of others, which write their lines
// themselves. The zero value has none.
type LogIDs struct {
	span         core.SpanContext // valid, or zero
	request, biz string
	more         []core.Attr // of baggage
}

// LogIDsOf finds the ids of ctx, which may be nil. In woven programs those of the
// request that the goroutine works for stand in for what ctx does not have. A
// context that panics has none.
func LogIDsOf(ctx context.Context) (ids LogIDs) {
	if ctx == nil {
		ctx = ours(context.Background(), spanKey)
	}
	defer func() {
		if recover() != nil {
			ids = LogIDs{}
		}
	}()
	ids.span, _ = contextOf(ctx)
	if id := requestIDOf(ctx); id != nil {
		ids.request = *id
	}
	ids.biz = BizID(ctx)
	for _, a := range appendMembers(ctx, nil, DefaultLog().members) {
		if a.Key != attrBizID {
			ids.more = append(ids.more, a)
		}
	}
	return ids
}

// None reports whether there is none.
func (ids *LogIDs) None() bool {
	return !ids.span.IsValid() && ids.request == "" && ids.biz == "" && len(ids.more) == 0
}

// All calls yield for each id, as lines of this package name them: trace_id,
// span_id, request_id, biz_id and the members of the baggage that were asked for.
func (ids *LogIDs) All(yield func(name, value string) bool) {
	if ids.span.IsValid() {
		var room [2 * (len(core.TraceID{}) + len(core.SpanID{}))]byte
		const n = 2 * len(core.TraceID{})
		if text := string(ids.span.SpanID.AppendHex(ids.span.TraceID.AppendHex(room[:0]))); !yield("trace_id", text[:n]) || !yield("span_id", text[n:]) {
			return
		}
	}
	if ids.request != "" && !yield(attrRequestID, ids.request) {
		return
	}
	if ids.biz != "" && !yield(attrBizID, ids.biz) {
		return
	}
	for _, a := range ids.more {
		if !yield(a.Key, a.Value.Text()) {
			return
		}
	}
}

// Export begins a record like Record, but for OTLP alone: the line somebody else
// writes. It is nil when nothing is sent over OTLP; otherwise it takes fields
// until Write.
func (l *Log) Export(ids *LogIDs, at time.Time, severity core.Severity, level, message string) *LogRecord {
	if l.logger == nil {
		return nil
	}
	r := logRecords.Get().(*LogRecord)
	r.line, r.attrs, r.groups, r.opened, r.prefix = r.line[:0], r.attrs[:0], r.groups[:0], 0, ""
	r.log, r.lineOnly, r.sendOnly = l, false, true
	r.record = core.Record{Time: at, Severity: severity, Level: level, Body: message}
	if ids.span.IsValid() {
		r.span = ids.span
		r.record.Span = &r.span
	}
	if ids.request != "" {
		r.attrs = append(r.attrs, core.String(attrRequestID, ids.request))
	}
	if ids.biz != "" {
		r.attrs = append(r.attrs, core.String(attrBizID, ids.biz))
	}
	r.attrs = append(r.attrs, ids.more...)
	return r
}

// SetBody replaces the message of a record of Log.Export.
func (r *LogRecord) SetBody(message string) { r.record.Body = message }

// ExportFields are empty LogFields for records of Log.Export: of no use for
// lines, they cost less.
func ExportFields() *LogFields { return &LogFields{sendOnly: true} }
