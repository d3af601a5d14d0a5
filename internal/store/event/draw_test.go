package event

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"
)

// Texts that the engine or the codec could take for something else.
var trickyTexts = []string{
	"", "0", "-0", "00", "1", "-1", "200", "007", "1_000", "_1", "1.0", "1.10", "0.3", "0.57", "-0.0", "-0.3", "-0.3e0", "-1e0", "+-0.3", "+0.3", "++1.10", "+5", "1e5", "1E5", "1e+300", "0x10", ".5", "5.",
	"9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615", "18446744073709551616", "9007199254740993",
	"true", "false", "True", "NaN", "Inf", "+Inf", "-Inf", "null", "[]", "{}", `["a"]`, `{"a":1}`,
	"1.2.3.4", "01.2.3.4", "1.02.3.4", "256.1.1.1", "1.10.1", "10ms", "5s", "1KiB", "2024-01-01T00:00:00.000Z", "2024-01-01 00:00:00.000Z", "2024-13-41T25:61:61.001Z", "2024-01-01T00:00:00Z",
	"a b", "a\nb", `q"uo'te`, `back\slash`, "*", "a*", "名前", "é", "\u2028", "a\x00b", "\x1e\x1f", "bad\xff\xfeutf8", "|", ") or (", "{a=\"b\"}", "_time", "-", ":", "=", " ",
}

var drawText = rapid.OneOf(rapid.SampledFrom(trickyTexts), rapid.SampledFrom([]string{"alpha", "beta", "gamma"}), rapid.StringN(0, 12, 40),
	rapid.Custom(func(t *rapid.T) string {
		return strconv.FormatFloat(rapid.Float64Range(-1000, 1000).Draw(t, "f"), 'f', rapid.IntRange(0, 6).Draw(t, "decimals"), 64)
	}))

var drawKey = rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "c.d", "http.route", "service.name", "name", "_time", "_msg", "_stream", "k v", "ключ", `"`, "trace_id", "resource.x", "log.y", "severity"}),
	rapid.SampledFrom([]string{"", "x*", "ctl\x01", strings.Repeat("long", 40), "bad\xff"}), rapid.StringN(1, 8, 24))

func drawValue(t *rapid.T, v pcommon.Value, depth int) {
	kinds := 7
	if depth < 3 {
		kinds = 9
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0, 1, 2:
		v.SetStr(drawText.Draw(t, "s"))
	case 3:
		v.SetInt(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-5, 600)).Draw(t, "i"))
	case 4:
		v.SetDouble(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 0.3, 1, 1.1, 0.1, 1e300, 5e-324, 1e21, 1e-7, math.NaN(), math.Inf(1), math.Inf(-1), 1 << 53, 123456789.123})).Draw(t, "f"))
	case 5:
		v.SetBool(rapid.Bool().Draw(t, "b"))
	case 6:
		v.SetEmptyBytes().FromRaw(rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "bytes"))
	case 7: // the empty value
	case 8:
		a := v.SetEmptySlice()
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			drawValue(t, a.AppendEmpty(), depth+1)
		}
	case 9:
		drawAttributes(t, v.SetEmptyMap(), 3, depth+1)
	}
}

func drawAttributes(t *rapid.T, m pcommon.Map, most, depth int) {
	for range rapid.IntRange(0, most).Draw(t, "attributes") {
		v, _ := m.GetOrPutEmpty(drawKey.Draw(t, "key"))
		drawValue(t, v, depth)
	}
}

func drawCount(t *rapid.T) uint32 {
	return rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32()).Draw(t, "dropped")
}

func drawTime(t *rapid.T, now time.Time) pcommon.Timestamp {
	return pcommon.Timestamp(rapid.OneOf(
		rapid.Custom(func(t *rapid.T) uint64 {
			return uint64(now.UnixNano() - rapid.Int64Range(0, int64(time.Hour)).Draw(t, "ago"))
		}),
		rapid.SampledFrom([]uint64{0, math.MaxInt64, math.MaxUint64, uint64(now.Add(48 * time.Hour).UnixNano())})).Draw(t, "time"))
}

func drawResource(t *rapid.T, r pcommon.Resource) {
	if rapid.Bool().Draw(t, "service") {
		r.Attributes().PutStr("service.name", drawText.Draw(t, "service.name"))
	}
	drawAttributes(t, r.Attributes(), 3, 0)
	r.SetDroppedAttributesCount(drawCount(t))
}

func drawScope(t *rapid.T, s pcommon.InstrumentationScope) {
	s.SetName(drawText.Draw(t, "scope"))
	s.SetVersion(drawText.Draw(t, "version"))
	drawAttributes(t, s.Attributes(), 1, 0)
	s.SetDroppedAttributesCount(drawCount(t))
}

func drawTraces(t *rapid.T, now time.Time) ptrace.Traces {
	td := ptrace.NewTraces()
	names := rapid.SliceOfN(drawText, 1, 3).Draw(t, "names")
	for range rapid.IntRange(1, 3).Draw(t, "resources") {
		rs := td.ResourceSpans().AppendEmpty()
		drawResource(t, rs.Resource())
		rs.SetSchemaUrl(rapid.SampledFrom([]string{"", "https://opentelemetry.io/schemas/1.26.0"}).Draw(t, "schema"))
		for range rapid.IntRange(1, 2).Draw(t, "scopes") {
			ss := rs.ScopeSpans().AppendEmpty()
			drawScope(t, ss.Scope())
			ss.SetSchemaUrl(rapid.SampledFrom([]string{"", "s"}).Draw(t, "schema"))
			for range rapid.IntRange(1, 12).Draw(t, "spans") {
				drawSpan(t, ss.Spans().AppendEmpty(), names, now)
			}
		}
	}
	return td
}

func drawSpan(t *rapid.T, sp ptrace.Span, names []string, now time.Time) {
	id := rapid.OneOf(rapid.Just([]byte{0, 0, 0, 0, 0, 0, 0, 0}), rapid.SliceOfN(rapid.Byte(), 8, 8))
	sp.SetTraceID(pcommon.TraceID(append(id.Draw(t, "t1"), id.Draw(t, "t2")...)))
	sp.SetSpanID(pcommon.SpanID(id.Draw(t, "span")))
	sp.SetParentSpanID(pcommon.SpanID(id.Draw(t, "parent")))
	sp.SetName(rapid.SampledFrom(names).Draw(t, "name"))
	sp.SetKind(ptrace.SpanKind(rapid.Int32Range(0, 7).Draw(t, "kind")))
	sp.Status().SetCode(ptrace.StatusCode(rapid.Int32Range(0, 4).Draw(t, "status")))
	sp.Status().SetMessage(drawText.Draw(t, "message"))
	sp.TraceState().FromRaw(rapid.SampledFrom([]string{"", "ot=th:8", "a=b,ot=rv:1;th:c", "x"}).Draw(t, "state"))
	sp.SetFlags(drawCount(t))
	end := drawTime(t, now)
	sp.SetEndTimestamp(end)
	if rapid.Bool().Draw(t, "proper") {
		end -= pcommon.Timestamp(rapid.Int64Range(0, 1e9).Draw(t, "duration"))
	} else {
		end = drawTime(t, now)
	}
	sp.SetStartTimestamp(end)
	drawAttributes(t, sp.Attributes(), 8, 0)
	sp.SetDroppedAttributesCount(drawCount(t))
	sp.SetDroppedEventsCount(drawCount(t))
	sp.SetDroppedLinksCount(drawCount(t))
	for range rapid.IntRange(0, 2).Draw(t, "events") {
		e := sp.Events().AppendEmpty()
		e.SetName(drawText.Draw(t, "event"))
		e.SetTimestamp(drawTime(t, now))
		e.SetDroppedAttributesCount(drawCount(t))
		drawAttributes(t, e.Attributes(), 2, 0)
	}
	for range rapid.IntRange(0, 1).Draw(t, "links") {
		l := sp.Links().AppendEmpty()
		l.SetTraceID(pcommon.TraceID(append(id.Draw(t, "l1"), id.Draw(t, "l2")...)))
		l.SetSpanID(pcommon.SpanID(id.Draw(t, "l3")))
		l.TraceState().FromRaw(drawText.Draw(t, "state"))
		l.SetFlags(drawCount(t))
		l.SetDroppedAttributesCount(drawCount(t))
		drawAttributes(t, l.Attributes(), 2, 0)
	}
}

// dumpTraces writes every span with its resource and scope as text, each fact
// once, attributes sorted; equal texts mean equal spans.
func dumpTraces(td ptrace.Traces) []string {
	var out []string
	for _, rs := range td.ResourceSpans().All() {
		res := fmt.Sprintf("resource %s dropped %d schema %s\n", dumpMap(rs.Resource().Attributes()), rs.Resource().DroppedAttributesCount(), valid(rs.SchemaUrl()))
		for _, ss := range rs.ScopeSpans().All() {
			sc := ss.Scope()
			scope := fmt.Sprintf("scope %q %q %s dropped %d schema %s\n", valid(sc.Name()), valid(sc.Version()), dumpMap(sc.Attributes()), sc.DroppedAttributesCount(), valid(ss.SchemaUrl()))
			for _, sp := range ss.Spans().All() {
				out = append(out, res+scope+dumpSpan(sp))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func dumpSpan(sp ptrace.Span) string {
	var b strings.Builder
	fmt.Fprintf(&b, "span %s %s %s %q kind %d flags %d state %q status %d %q\n", sp.TraceID(), sp.SpanID(), sp.ParentSpanID(), valid(sp.Name()), sp.Kind(), sp.Flags(), valid(sp.TraceState().AsRaw()), sp.Status().Code(), valid(sp.Status().Message()))
	fmt.Fprintf(&b, "start %d end %d dropped %d %d %d\nattributes %s\n", sp.StartTimestamp(), sp.EndTimestamp(), sp.DroppedAttributesCount(), sp.DroppedEventsCount(), sp.DroppedLinksCount(), dumpMap(sp.Attributes()))
	for _, e := range sp.Events().All() {
		fmt.Fprintf(&b, "event %q %d dropped %d %s\n", valid(e.Name()), e.Timestamp(), e.DroppedAttributesCount(), dumpMap(e.Attributes()))
	}
	for _, l := range sp.Links().All() {
		fmt.Fprintf(&b, "link %s %s %q flags %d dropped %d %s\n", l.TraceID(), l.SpanID(), valid(l.TraceState().AsRaw()), l.Flags(), l.DroppedAttributesCount(), dumpMap(l.Attributes()))
	}
	return b.String()
}

func dumpMap(m pcommon.Map) string {
	seen := map[string]bool{}
	var entries []string
	for k, v := range m.All() {
		k = valid(k)
		if !seen[k] {
			seen[k] = true
			entries = append(entries, fmt.Sprintf("%q=%s", k, dumpValue(v)))
		}
	}
	slices.Sort(entries)
	return "{" + strings.Join(entries, ", ") + "}"
}

func dumpValue(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return strconv.Quote(valid(v.Str()))
	case pcommon.ValueTypeInt:
		return fmt.Sprintf("int %d", v.Int())
	case pcommon.ValueTypeDouble:
		bits := math.Float64bits(v.Double())
		if math.IsNaN(v.Double()) {
			bits = 0 // one NaN is as good as another
		}
		return fmt.Sprintf("double %x (%v)", bits, v.Double())
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

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func drawLogs(t *rapid.T, now time.Time) plog.Logs {
	ld := plog.NewLogs()
	for range rapid.IntRange(1, 3).Draw(t, "resources") {
		rl := ld.ResourceLogs().AppendEmpty()
		drawResource(t, rl.Resource())
		for range rapid.IntRange(1, 2).Draw(t, "scopes") {
			sl := rl.ScopeLogs().AppendEmpty()
			drawScope(t, sl.Scope())
			for range rapid.IntRange(1, 12).Draw(t, "records") {
				drawRecord(t, sl.LogRecords().AppendEmpty(), now)
			}
		}
	}
	return ld
}

func drawRecord(t *rapid.T, r plog.LogRecord, now time.Time) {
	id := rapid.OneOf(rapid.Just([]byte{0, 0, 0, 0, 0, 0, 0, 0}), rapid.SliceOfN(rapid.Byte(), 8, 8))
	r.SetTraceID(pcommon.TraceID(append(id.Draw(t, "t1"), id.Draw(t, "t2")...)))
	r.SetSpanID(pcommon.SpanID(id.Draw(t, "span")))
	r.SetTimestamp(drawTime(t, now))
	r.SetObservedTimestamp(drawTime(t, now))
	r.SetSeverityNumber(plog.SeverityNumber(rapid.OneOf(rapid.Int32Range(0, 24), rapid.Int32()).Draw(t, "severity")))
	r.SetSeverityText(drawText.Draw(t, "severity text"))
	r.SetEventName(drawText.Draw(t, "event"))
	r.SetFlags(plog.LogRecordFlags(drawCount(t)))
	r.SetDroppedAttributesCount(drawCount(t))
	drawValue(t, r.Body(), 0)
	drawAttributes(t, r.Attributes(), 6, 0)
}

func dumpLogs(ld plog.Logs) []string {
	var out []string
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				out = append(out, dumpLog(rl.Resource(), sl.Scope(), r))
			}
		}
	}
	slices.Sort(out)
	return out
}

func dumpLog(res pcommon.Resource, sc pcommon.InstrumentationScope, r plog.LogRecord) string {
	return fmt.Sprintf("resource %s dropped %d\nscope %q %q %s dropped %d\n", dumpMap(res.Attributes()), res.DroppedAttributesCount(), valid(sc.Name()), valid(sc.Version()), dumpMap(sc.Attributes()), sc.DroppedAttributesCount()) +
		fmt.Sprintf("record %s %s time %d observed %d severity %d %q event %q flags %d dropped %d\nbody %s\nattributes %s\n", r.TraceID(), r.SpanID(), r.Timestamp(), r.ObservedTimestamp(),
			r.SeverityNumber(), valid(r.SeverityText()), valid(r.EventName()), r.Flags(), r.DroppedAttributesCount(), dumpValue(r.Body()), dumpMap(r.Attributes()))
}
