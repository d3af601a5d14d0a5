package otlpsink

import (
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// spanAttributes are those of spans that Render writes, in this order: what
// instrumentation decides, not what machine, port and time decide.
var spanAttributes = []string{
	"http.request.method", "http.request.method_original", "http.route", "http.response.status_code",
	"db.system.name", "db.namespace", "db.operation.name", "db.collection.name", "db.stored_procedure.name", "db.query.summary", "db.query.text",
	"db.operation.batch.size", "db.response.status_code",
	"rpc.system.name", "rpc.system", "rpc.service", "rpc.method", "rpc.method_original", "rpc.response.status_code", "rpc.grpc.status_code",
	"messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name", "messaging.consumer.group.name",
	"messaging.batch.message_count", "messaging.kafka.message.key", "messaging.kafka.message.tombstone",
	"guanlan.task.name", "guanlan.pool.name", "request_id", "biz_id",
	"error.type",
}

// Render writes what was received as text that two runs of a program have in
// common: each trace as a tree, then log records without a trace, then metrics.
//
//	GET /orders/{id} [server] http.route=/orders/{id} http.response.status_code=200
//	  SELECT orders [client] db.system.name=sqlite db.query.summary="SELECT orders" ×2
//	  log INFO "order read" order=7
//	metric http.server.request.duration http.route=/orders/{id} count=1
//
// Below a span stand its events, links, child spans and log records, each sorted
// by their text. What is the same with all below it is written once, with its
// number behind ×. "?" stands before spans and log records whose parent has not
// arrived. Ids, ports, addresses, times and durations are left out or are "*".
func (r Received) Render() string {
	lines := metricLines(r.Metrics)
	slices.Sort(lines)
	return traces(r) + strings.Join(lines, "")
}

// node is a line of the text with what stands below it.
type node struct {
	line  string
	order int // of kinds of lines below one span
	below []*node
}

const (
	orderEvent = iota
	orderLink
	orderSpan
	orderLog
)

// text is the node's line and all below it.
func (n *node) text(depth int) string {
	return strings.Repeat("  ", depth) + n.line + "\n" + n.inner(depth+1)
}

// inner is what stands below the node, sorted.
func (n *node) inner(depth int) string {
	byOrder := map[int][]string{}
	for _, b := range n.below {
		byOrder[b.order] = append(byOrder[b.order], b.text(depth))
	}
	return collapse(byOrder[orderEvent]) + collapse(byOrder[orderLink]) + collapse(byOrder[orderSpan]) + collapse(byOrder[orderLog])
}

// collapse sorts texts and writes those that are the same once, with their
// number at the end of the first line.
func collapse(texts []string) string {
	slices.Sort(texts)
	var out strings.Builder
	for i := 0; i < len(texts); {
		same := i + 1
		for same < len(texts) && texts[same] == texts[i] {
			same++
		}
		text := texts[i]
		if n := same - i; n > 1 {
			first, rest, _ := strings.Cut(text, "\n")
			text = fmt.Sprintf("%s ×%d\n%s", first, n, rest)
		}
		out.WriteString(text)
		i = same
	}
	return out.String()
}

// traces is the text of the traces, then of the log records without one.
func traces(r Received) string {
	type spanKey struct {
		trace pcommon.TraceID
		span  pcommon.SpanID
	}
	spans := map[spanKey]*node{}
	for _, s := range spansOf(r.Traces) {
		spans[spanKey{s.TraceID(), s.SpanID()}] = &node{order: orderSpan}
	}
	tops := map[pcommon.TraceID]*node{} // without a line: what stands at the left
	put := func(n *node, trace pcommon.TraceID, parent pcommon.SpanID) {
		if p, ok := spans[spanKey{trace, parent}]; ok {
			p.below = append(p.below, n)
			return
		}
		if !parent.IsEmpty() {
			n.line = "? " + n.line
		}
		if tops[trace] == nil {
			tops[trace] = &node{}
		}
		tops[trace].below = append(tops[trace].below, n)
	}
	names := map[spanKey]string{}
	for _, s := range spansOf(r.Traces) {
		names[spanKey{s.TraceID(), s.SpanID()}] = s.Name()
	}
	for _, s := range spansOf(r.Traces) {
		n := spans[spanKey{s.TraceID(), s.SpanID()}]
		n.line = spanLine(s)
		for _, e := range s.Events().All() {
			n.below = append(n.below, &node{order: orderEvent, line: "event " + steady(e.Name()) + attributes(e.Attributes(), volatileEvent)})
		}
		for _, l := range s.Links().All() {
			to, ok := names[spanKey{l.TraceID(), l.SpanID()}]
			if !ok {
				to = "?"
			}
			n.below = append(n.below, &node{order: orderLink, line: "link to " + steady(to) + attributes(l.Attributes(), nil)})
		}
		put(n, s.TraceID(), s.ParentSpanID())
	}
	for _, l := range logsOf(r.Logs) {
		put(&node{order: orderLog, line: logLine(l)}, l.TraceID(), l.SpanID())
	}
	loose := tops[pcommon.TraceID{}]
	delete(tops, pcommon.TraceID{})
	var blocks []string
	for _, top := range tops {
		blocks = append(blocks, top.inner(0))
	}
	text := collapse(blocks)
	if loose != nil {
		text += loose.inner(0)
	}
	return text
}

func spanLine(s ptrace.Span) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s [%s]", steady(s.Name()), strings.ToLower(s.Kind().String()))
	for _, key := range spanAttributes {
		if v, ok := s.Attributes().Get(key); ok {
			b.WriteString(attribute(key, v))
		}
	}
	if s.Status().Code() == ptrace.StatusCodeError {
		b.WriteString(" status=error")
		if m := s.Status().Message(); m != "" {
			b.WriteString("(" + quoted(steady(m)) + ")")
		}
	}
	return b.String()
}

func logLine(l plog.LogRecord) string {
	severity := l.SeverityText()
	if n := l.SeverityNumber(); n != plog.SeverityNumberUnspecified {
		severity = strings.ToUpper(n.String())
	}
	line := fmt.Sprintf("log %s %q", severity, steady(l.Body().AsString()))
	if l.EventName() != "" {
		line += " event=" + l.EventName()
	}
	return line + attributes(l.Attributes(), volatileLog)
}

func spansOf(t ptrace.Traces) (all []ptrace.Span) {
	for _, rs := range t.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				all = append(all, s)
			}
		}
	}
	return all
}

func logsOf(t plog.Logs) (all []plog.LogRecord) {
	for _, rl := range t.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, l := range sl.LogRecords().All() {
				all = append(all, l)
			}
		}
	}
	return all
}
