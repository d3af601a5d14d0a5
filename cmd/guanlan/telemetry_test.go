package main

import (
	"crypto/rand"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

func newTraceID() (id pcommon.TraceID) { rand.Read(id[:]); return id }
func newSpanID() (id pcommon.SpanID)   { rand.Read(id[:]); return id }

// labels are attributes of every row of a batch.
type labels [][2]string

func (l labels) put(to pcommon.Map) {
	for _, kv := range l {
		to.PutStr(kv[0], kv[1])
	}
}

// spansOf makes one trace of n spans: a root and its children.
func spansOf(service string, n int, at time.Time, l labels) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", service)
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	id, root := newTraceID(), newSpanID()
	for i := range n {
		s := spans.AppendEmpty()
		s.SetTraceID(id)
		s.SetName("work")
		s.SetKind(ptrace.SpanKindServer)
		if i == 0 {
			s.SetSpanID(root)
		} else {
			s.SetSpanID(newSpanID())
			s.SetParentSpanID(root)
			s.SetKind(ptrace.SpanKindInternal)
		}
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(at.Add(-20 * time.Millisecond)))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(at))
		l.put(s.Attributes())
	}
	return td
}

func logsOf(service string, n int, at time.Time, l labels) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", service)
	records := rl.ScopeLogs().AppendEmpty().LogRecords()
	for range n {
		r := records.AppendEmpty()
		r.SetTimestamp(pcommon.NewTimestampFromTime(at))
		r.SetSeverityNumber(plog.SeverityNumberInfo)
		r.Body().SetStr("it happened")
		l.put(r.Attributes())
	}
	return ld
}

func gaugeOf(service, name string, value float64, at time.Time, l labels) pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", service)
	m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName(name)
	p := m.SetEmptyGauge().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetDoubleValue(value)
	l.put(p.Attributes())
	return md
}

func firstSpan(r ptraceotlp.ExportRequest) ptrace.Span {
	return r.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
}

func firstRecord(r plogotlp.ExportRequest) plog.LogRecord {
	return r.Logs().ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
}

func spanTimes(start, end uint64) func(ptraceotlp.ExportRequest) {
	return func(r ptraceotlp.ExportRequest) {
		firstSpan(r).SetStartTimestamp(pcommon.Timestamp(start))
		firstSpan(r).SetEndTimestamp(pcommon.Timestamp(end))
	}
}

func logTime(at uint64) func(plogotlp.ExportRequest) {
	return func(r plogotlp.ExportRequest) { firstRecord(r).SetTimestamp(pcommon.Timestamp(at)) }
}
