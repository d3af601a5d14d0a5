package storetest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Dump writes every span with its resource and scope as text, attributes
// sorted, spans sorted: traces that say the same have equal dumps, however
// they are grouped.
func Dump(td ptrace.Traces) []string {
	var out []string
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, sp := range ss.Spans().All() {
				out = append(out, fmt.Sprintf("resource %s schema %q\nscope %s schema %q\n%s", dumpResource(rs.Resource()), rs.SchemaUrl(), dumpScope(ss.Scope()), ss.SchemaUrl(), dumpSpan(sp)))
			}
		}
	}
	slices.Sort(out)
	return out
}

func dumpResource(r pcommon.Resource) string {
	return fmt.Sprintf("%s dropped %d", dumpMap(r.Attributes()), r.DroppedAttributesCount())
}

func dumpScope(s pcommon.InstrumentationScope) string {
	return fmt.Sprintf("%q %q %s dropped %d", s.Name(), s.Version(), dumpMap(s.Attributes()), s.DroppedAttributesCount())
}

func dumpSpan(sp ptrace.Span) string {
	var b strings.Builder
	fmt.Fprintf(&b, "span %s %s %s %q kind %d flags %d state %q status %d %q\n", sp.TraceID(), sp.SpanID(), sp.ParentSpanID(), sp.Name(), sp.Kind(), sp.Flags(), sp.TraceState().AsRaw(), sp.Status().Code(), sp.Status().Message())
	fmt.Fprintf(&b, "start %d end %d dropped %d %d %d\nattributes %s\n", sp.StartTimestamp(), sp.EndTimestamp(), sp.DroppedAttributesCount(), sp.DroppedEventsCount(), sp.DroppedLinksCount(), dumpMap(sp.Attributes()))
	for _, e := range sp.Events().All() {
		fmt.Fprintf(&b, "event %q %d dropped %d %s\n", e.Name(), e.Timestamp(), e.DroppedAttributesCount(), dumpMap(e.Attributes()))
	}
	for _, l := range sp.Links().All() {
		fmt.Fprintf(&b, "link %s %s %q flags %d dropped %d %s\n", l.TraceID(), l.SpanID(), l.TraceState().AsRaw(), l.Flags(), l.DroppedAttributesCount(), dumpMap(l.Attributes()))
	}
	return b.String()
}

func dumpRecord(res pcommon.Resource, sc pcommon.InstrumentationScope, r plog.LogRecord) string {
	return fmt.Sprintf("resource %s\nscope %s\nrecord %s %s time %d observed %d severity %d %q event %q flags %d dropped %d\nbody %s\nattributes %s\n", dumpResource(res), dumpScope(sc),
		r.TraceID(), r.SpanID(), r.Timestamp(), r.ObservedTimestamp(), r.SeverityNumber(), r.SeverityText(), r.EventName(), r.Flags(), r.DroppedAttributesCount(), dumpValue(r.Body()), dumpMap(r.Attributes()))
}

func dumpMap(m pcommon.Map) string {
	var entries []string
	for k, v := range m.All() {
		entries = append(entries, fmt.Sprintf("%q=%s", k, dumpValue(v)))
	}
	slices.Sort(entries)
	return "{" + strings.Join(entries, ", ") + "}"
}

func dumpValue(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return fmt.Sprintf("%q", v.Str())
	case pcommon.ValueTypeInt:
		return fmt.Sprintf("int %d", v.Int())
	case pcommon.ValueTypeDouble:
		if math.IsNaN(v.Double()) {
			return "double NaN"
		}
		return fmt.Sprintf("double %x", math.Float64bits(v.Double()))
	case pcommon.ValueTypeBool:
		return fmt.Sprint(v.Bool())
	case pcommon.ValueTypeBytes:
		return fmt.Sprintf("bytes %x", v.Bytes().AsRaw())
	case pcommon.ValueTypeSlice:
		var entries []string
		for _, e := range v.Slice().All() {
			entries = append(entries, dumpValue(e))
		}
		return "[" + strings.Join(entries, ", ") + "]"
	case pcommon.ValueTypeMap:
		return dumpMap(v.Map())
	}
	return "none"
}
