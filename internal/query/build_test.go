package query

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// noon is where the tests' telemetry lies.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// hour is the window around noon that most tests ask about.
var hour = Window{Start: noon.Add(-30 * time.Minute), End: noon.Add(30 * time.Minute)}

// sp describes a span for a test. Times are from noon.
type sp struct {
	trace, id, parent int
	service, name     string
	kind              ptrace.SpanKind
	from, to          time.Duration
	failed            bool
	attrs             map[string]any
	resource          map[string]any
	edit              func(ptrace.Span)
}

func traceID(n int) (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func spanID(n int) (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

func stamp(d time.Duration) pcommon.Timestamp { return pcommon.NewTimestampFromTime(noon.Add(d)) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func spans(list ...sp) ptrace.Traces {
	td := ptrace.NewTraces()
	for _, d := range list {
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", d.service)
		for k, v := range d.resource {
			must(rs.Resource().Attributes().PutEmpty(k).FromRaw(v))
		}
		s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetTraceID(traceID(d.trace))
		s.SetSpanID(spanID(d.id))
		s.SetParentSpanID(spanID(d.parent))
		s.SetName(d.name)
		s.SetKind(d.kind)
		s.SetStartTimestamp(stamp(d.from))
		s.SetEndTimestamp(stamp(d.to))
		if d.failed {
			s.Status().SetCode(ptrace.StatusCodeError)
		}
		for k, v := range d.attrs {
			must(s.Attributes().PutEmpty(k).FromRaw(v))
		}
		if d.edit != nil {
			d.edit(s)
		}
	}
	return td
}

// rec describes a log record for a test.
type rec struct {
	at       time.Duration
	service  string
	severity plog.SeverityNumber
	body     any
	trace    int
	attrs    map[string]any
}

func records(list ...rec) plog.Logs {
	ld := plog.NewLogs()
	for _, d := range list {
		rl := ld.ResourceLogs().AppendEmpty()
		rl.Resource().Attributes().PutStr("service.name", d.service)
		r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
		r.SetTimestamp(stamp(d.at))
		r.SetSeverityNumber(d.severity)
		must(r.Body().FromRaw(d.body))
		if d.trace != 0 {
			r.SetTraceID(traceID(d.trace))
		}
		for k, v := range d.attrs {
			must(r.Attributes().PutEmpty(k).FromRaw(v))
		}
	}
	return ld
}

// ask returns an engine over spans and records.
func ask(td ptrace.Traces, ld plog.Logs) (Engine, *memory) {
	m := &memory{}
	m.addTraces(td)
	m.addLogs(ld)
	return New(Options{Traces: m, Logs: m}), m
}

func hexTrace(n int) string { return fmt.Sprintf("%032x", n) }
