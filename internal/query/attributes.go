package query

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// maxExactInt is the largest integer up to which JavaScript's numbers are exact.
const maxExactInt = 1 << 53

// attributes keeps the order in which the sender gave them.
func attributes(m pcommon.Map) []Attribute {
	out := make([]Attribute, 0, m.Len())
	for k, v := range m.All() {
		kind, value := attribute(v)
		out = append(out, Attribute{Key: k, Type: kind, Value: value})
	}
	return out
}

// attribute is the type and the JSON form of v.
func attribute(v pcommon.Value) (kind string, value any) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return "string", v.Str()
	case pcommon.ValueTypeInt:
		if n := v.Int(); n > maxExactInt || n < -maxExactInt {
			return "int", strconv.FormatInt(n, 10)
		}
		return "int", v.Int()
	case pcommon.ValueTypeDouble:
		// JSON has no NaN and no infinities.
		if f := v.Double(); math.IsNaN(f) || math.IsInf(f, 0) {
			return "double", strconv.FormatFloat(f, 'g', -1, 64)
		}
		return "double", v.Double()
	case pcommon.ValueTypeBool:
		return "bool", v.Bool()
	case pcommon.ValueTypeBytes:
		return "bytes", base64.StdEncoding.EncodeToString(v.Bytes().AsRaw())
	case pcommon.ValueTypeSlice:
		items := make([]any, 0, v.Slice().Len())
		for _, item := range v.Slice().All() {
			_, value := attribute(item)
			items = append(items, value)
		}
		return "array", items
	case pcommon.ValueTypeMap:
		members := make(map[string]any, v.Map().Len())
		for k, item := range v.Map().All() {
			_, members[k] = attribute(item)
		}
		return "map", members
	}
	return "empty", nil
}

// text is v as people read it: strings as they are, other values as JSON.
func text(v pcommon.Value) string {
	if v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	_, value := attribute(v)
	if value == nil {
		return ""
	}
	b, err := json.Marshal(value)
	if err != nil {
		return v.AsString() // attribute yields nothing that JSON cannot hold
	}
	return string(b)
}

func serviceOf(m pcommon.Map) string {
	if v, ok := m.Get("service.name"); ok {
		return v.AsString()
	}
	return ""
}

func scopeName(s pcommon.InstrumentationScope) string {
	return strings.TrimSpace(s.Name() + " " + s.Version())
}

func kindName(k ptrace.SpanKind) string {
	if k == ptrace.SpanKindUnspecified {
		return "unspecified"
	}
	return strings.ToLower(k.String())
}

func statusName(c ptrace.StatusCode) string { return strings.ToLower(c.String()) }

func traceIDText(id pcommon.TraceID) string {
	if id.IsEmpty() {
		return ""
	}
	return id.String()
}

func spanIDText(id pcommon.SpanID) string {
	if id.IsEmpty() {
		return ""
	}
	return id.String()
}

// severityName is the range that a severity number falls in.
func severityName(n plog.SeverityNumber) string {
	names := [...]string{"trace", "debug", "info", "warn", "error", "fatal"}
	if n < 1 || int(n) > 4*len(names) {
		return "unset"
	}
	return names[(n-1)/4]
}
