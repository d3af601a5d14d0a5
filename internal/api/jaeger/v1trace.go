package jaeger

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

// The trace as the UI's JSON has it: times in microseconds, typed tags, and a
// table of processes that spans refer to.
type (
	uiTrace struct {
		TraceID   string               `json:"traceID"`
		Spans     []uiSpan             `json:"spans"`
		Processes map[string]uiProcess `json:"processes"`
		Warnings  []string             `json:"warnings"`
	}
	uiSpan struct {
		TraceID       string        `json:"traceID"`
		SpanID        string        `json:"spanID"`
		Flags         uint32        `json:"flags,omitempty"`
		OperationName string        `json:"operationName"`
		References    []uiReference `json:"references"`
		StartTime     int64         `json:"startTime"`
		Duration      int64         `json:"duration"`
		Tags          []uiTag       `json:"tags"`
		Logs          []uiLog       `json:"logs"`
		ProcessID     string        `json:"processID"`
		Warnings      []string      `json:"warnings"`
	}
	uiReference struct {
		RefType string `json:"refType"`
		TraceID string `json:"traceID"`
		SpanID  string `json:"spanID"`
	}
	uiTag struct {
		Key   string `json:"key"`
		Type  string `json:"type"`
		Value any    `json:"value"`
	}
	uiLog struct {
		Timestamp int64   `json:"timestamp"`
		Fields    []uiTag `json:"fields"`
	}
	uiProcess struct {
		ServiceName string  `json:"serviceName"`
		Tags        []uiTag `json:"tags"`
	}
)

// maxExact is the largest integer that JavaScript's numbers hold exactly;
// Jaeger writes larger ones as strings.
const maxExact = 1<<53 - 1

func traceV1(td ptrace.Traces, cut bool) uiTrace {
	t := uiTrace{Spans: make([]uiSpan, 0, td.SpanCount()), Processes: map[string]uiProcess{}}
	if cut {
		t.Warnings = []string{fmt.Sprintf("only the first %d spans are shown", store.MaxTraceSpans)}
	}
	processes := map[string]string{}
	for _, rs := range td.ResourceSpans().All() {
		p := processV1(rs.Resource().Attributes())
		key := fmt.Sprint(p)
		id, ok := processes[key]
		if !ok {
			id = "p" + strconv.Itoa(len(processes)+1)
			processes[key] = id
			t.Processes[id] = p
		}
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				if t.TraceID == "" {
					t.TraceID = traceIDV1(s.TraceID())
				}
				span := spanV1(s, ss.Scope())
				span.ProcessID = id
				t.Spans = append(t.Spans, span)
			}
		}
	}
	return t
}

func processV1(attrs pcommon.Map) uiProcess {
	p := uiProcess{ServiceName: "OTLPResourceNoServiceName", Tags: make([]uiTag, 0, attrs.Len())}
	for k, v := range attrs.All() {
		if k == "service.name" {
			p.ServiceName = v.AsString()
			continue
		}
		p.Tags = append(p.Tags, tagV1(k, v))
	}
	return p
}

func spanV1(s ptrace.Span, scope pcommon.InstrumentationScope) uiSpan {
	out := uiSpan{
		TraceID: traceIDV1(s.TraceID()), SpanID: s.SpanID().String(), OperationName: s.Name(),
		Flags:      s.Flags() & 1, // W3C's sampled flag is Jaeger's
		References: referencesV1(s),
		StartTime:  int64(s.StartTimestamp()) / 1000,
		Tags:       tagsV1(s, scope),
		Logs:       make([]uiLog, 0, s.Events().Len()),
	}
	if s.EndTimestamp() > s.StartTimestamp() {
		out.Duration = int64(s.EndTimestamp()-s.StartTimestamp()) / 1000
	}
	for _, e := range s.Events().All() {
		l := uiLog{Timestamp: int64(e.Timestamp()) / 1000, Fields: make([]uiTag, 0, e.Attributes().Len()+1)}
		if _, taken := e.Attributes().Get("event"); e.Name() != "" && !taken {
			l.Fields = append(l.Fields, uiTag{"event", "string", e.Name()})
		}
		for k, v := range e.Attributes().All() {
			l.Fields = append(l.Fields, tagV1(k, v))
		}
		out.Logs = append(out.Logs, l)
	}
	return out
}

// referencesV1 has the parent first, then the links.
func referencesV1(s ptrace.Span) []uiReference {
	refs := make([]uiReference, 0, 1+s.Links().Len())
	parent := s.ParentSpanID()
	if !parent.IsEmpty() {
		refs = append(refs, uiReference{"CHILD_OF", traceIDV1(s.TraceID()), parent.String()})
	}
	for _, l := range s.Links().All() {
		kind := "FOLLOWS_FROM"
		if v, ok := l.Attributes().Get("opentracing.ref_type"); ok && v.Str() == "child_of" {
			kind = "CHILD_OF"
		}
		if !parent.IsEmpty() && l.TraceID() == s.TraceID() && l.SpanID() == parent {
			refs[0].RefType = kind // the link says more about the parent
			continue
		}
		refs = append(refs, uiReference{kind, traceIDV1(l.TraceID()), l.SpanID().String()})
	}
	return refs
}

// tagsV1 is the attributes and, as tags, the fields that Jaeger's model lacks.
func tagsV1(s ptrace.Span, scope pcommon.InstrumentationScope) []uiTag {
	tags := make([]uiTag, 0, s.Attributes().Len()+6)
	str := func(key, value string) {
		if value != "" {
			tags = append(tags, uiTag{key, "string", value})
		}
	}
	str("otel.scope.name", scope.Name())
	str("otel.scope.version", scope.Version())
	for k, v := range s.Attributes().All() {
		tags = append(tags, tagV1(k, v))
	}
	if s.Kind() != ptrace.SpanKindUnspecified {
		str("span.kind", strings.ToLower(s.Kind().String()))
	}
	switch s.Status().Code() {
	case ptrace.StatusCodeError:
		str("otel.status_code", "ERROR")
		tags = append(tags, uiTag{"error", "bool", true})
	case ptrace.StatusCodeOk:
		str("otel.status_code", "OK")
	}
	str("otel.status_description", s.Status().Message())
	str("w3c.tracestate", s.TraceState().AsRaw())
	return tags
}

func tagV1(key string, v pcommon.Value) uiTag {
	switch v.Type() {
	case pcommon.ValueTypeInt:
		if n := v.Int(); n > maxExact || n < -maxExact {
			return uiTag{key, "int64", strconv.FormatInt(n, 10)}
		}
		return uiTag{key, "int64", v.Int()}
	case pcommon.ValueTypeDouble:
		// JSON has no NaN and no infinities.
		if f := v.Double(); math.IsNaN(f) || math.IsInf(f, 0) {
			return uiTag{key, "float64", strconv.FormatFloat(f, 'g', -1, 64)}
		}
		return uiTag{key, "float64", v.Double()}
	case pcommon.ValueTypeBool:
		return uiTag{key, "bool", v.Bool()}
	case pcommon.ValueTypeBytes:
		return uiTag{key, "binary", base64.StdEncoding.EncodeToString(v.Bytes().AsRaw())}
	}
	return uiTag{key, "string", v.AsString()}
}
