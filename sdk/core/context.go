package core

import (
	"encoding/hex"
	"strings"
)

// Flags of W3C Trace Context.
const (
	FlagSampled byte = 1 << 0
	FlagRandom  byte = 1 << 1 // the low 56 bits of the trace id are random
)

// SpanContext is what of a span goes over the wire. The zero value is of no
// span.
type SpanContext struct {
	TraceID TraceID
	SpanID  SpanID
	Flags   byte
	Remote  bool   // it came over the wire
	State   string // W3C tracestate, as it came or with ot=th of our decision
}

// IsValid reports whether sc names a span.
func (sc *SpanContext) IsValid() bool { return !sc.TraceID.IsZero() && !sc.SpanID.IsZero() }

// IsSampled reports whether the spans of this trace are kept.
func (sc *SpanContext) IsSampled() bool { return sc.Flags&FlagSampled != 0 }

// The form of a traceparent: version, trace id, span id and flags.
const (
	traceparentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2
	// maxState is how much tracestate is passed on; W3C asks for 512 at least.
	maxState = 4096
)

// ParseTraceparent reads the headers traceparent and tracestate. Without a
// well-formed traceparent it returns false, and the trace starts here.
// Versions above 00 are read as far as 00 goes, as W3C Trace Context has it.
func ParseTraceparent(parent, state string) (sc SpanContext, ok bool) {
	if len(parent) < traceparentSize || parent[2] != '-' || parent[35] != '-' || parent[52] != '-' {
		return SpanContext{}, false
	}
	var version, flags [1]byte
	if !decodeHex(version[:], parent[:2]) || version[0] == 0xff || !decodeHex(flags[:], parent[53:55]) {
		return SpanContext{}, false
	}
	if len(parent) > traceparentSize && (version[0] == 0 || parent[55] != '-') {
		return SpanContext{}, false
	}
	var okTrace, okSpan bool
	sc.TraceID, okTrace = ParseTraceID(parent[3:35])
	sc.SpanID, okSpan = ParseSpanID(parent[36:52])
	if !okTrace || !okSpan {
		return SpanContext{}, false
	}
	sc.Flags = flags[0] & (FlagSampled | FlagRandom)
	sc.Remote = true
	if len(state) <= maxState && isState(state) {
		sc.State = state
	}
	return sc, true
}

// isState keeps out of our headers what is not a list in printable ASCII; a
// line break there would be another header.
func isState(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' && c != '\t') || c > '~' {
			return false
		}
	}
	return true
}

// AppendTraceparent appends the header traceparent of a valid sc.
func AppendTraceparent(dst []byte, sc *SpanContext) []byte {
	dst = append(dst, "00-"...)
	dst = sc.TraceID.AppendHex(dst)
	dst = append(dst, '-')
	dst = sc.SpanID.AppendHex(dst)
	dst = append(dst, '-')
	return hex.AppendEncode(dst, []byte{sc.Flags})
}

// otelMember finds the value of the member ot of a tracestate, which is
// OpenTelemetry's own: key:value pairs separated by semicolons.
func otelMember(state string) string {
	for state != "" {
		member, rest, _ := strings.Cut(state, ",")
		if value, ok := strings.CutPrefix(strings.Trim(member, " \t"), "ot="); ok {
			return value
		}
		state = rest
	}
	return ""
}

// otelValue finds one value of it.
func otelValue(member, key string) (value string, ok bool) {
	for member != "" {
		pair, rest, _ := strings.Cut(member, ";")
		if k, v, found := strings.Cut(pair, ":"); found && k == key {
			return v, true
		}
		member = rest
	}
	return "", false
}
