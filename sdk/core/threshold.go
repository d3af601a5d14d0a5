package core

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
)

// Threshold is a sampling decision in the form of OpenTelemetry's consistent
// probability sampling: of 2⁵⁶ equally likely random values, those below it are
// dropped. 0 keeps all. Written to tracestate as ot=th it lets a backend scale
// what was kept back to what there was.
// Source: OpenTelemetry specification, "TraceState: Probability Sampling".
type Threshold uint64

const (
	thresholdBits   = 56
	thresholdDigits = thresholdBits / 4
	// KeepAll and KeepNone are the ends of the scale.
	KeepAll  Threshold = 0
	KeepNone Threshold = 1 << thresholdBits
	// MinProbability is the least that is told from nothing.
	MinProbability = 1.0 / (1 << thresholdBits)
)

// thresholdPrecision is how many digits of a threshold are written at most:
// four give the probability to within 2⁻¹⁶ of itself, and leave headers short.
const thresholdPrecision = 4

// ThresholdOf is the threshold that keeps with probability p, rounded so that
// it is written in few digits. The weight of what is kept follows from the
// rounded threshold, so rounding does not bias it.
func ThresholdOf(p float64) Threshold {
	switch {
	case p >= 1:
		return KeepAll
	case !(p >= MinProbability): // NaN as well
		return KeepNone
	}
	// Digits that are all f say how small p is, and come before those that
	// count.
	leading := int(-math.Log2(p)) / 4
	digits := min(leading+thresholdPrecision, thresholdDigits)
	unit := math.Ldexp(1, thresholdBits-4*digits)
	kept := math.Round(math.Ldexp(p, thresholdBits)/unit) * unit
	return KeepNone - Threshold(max(kept, unit))
}

// Probability is the share that is kept.
func (t Threshold) Probability() float64 {
	return float64(KeepNone-min(t, KeepNone)) / float64(KeepNone)
}

// Weight is how many spans one that was kept stands for; 0 for KeepNone.
func (t Threshold) Weight() float64 {
	if t >= KeepNone {
		return 0
	}
	return 1 / t.Probability()
}

// Keeps reports whether a trace with this randomness is kept.
func (t Threshold) Keeps(randomness uint64) bool { return Threshold(randomness) >= t }

// String is the value of th: 14 hexadecimal digits without zeros at the end; ""
// for KeepNone, which has none.
func (t Threshold) String() string {
	if t >= KeepNone {
		return ""
	}
	const hexDigits = "0123456789abcdef"
	var b [thresholdDigits]byte
	for i := range b {
		b[i] = hexDigits[t>>(thresholdBits-4-4*i)&15]
	}
	if s := strings.TrimRight(string(b[:]), "0"); s != "" {
		return s
	}
	return "0"
}

// parseThreshold reads 1 to 14 hexadecimal digits, those left out being zeros.
func parseThreshold(s string) (t Threshold, ok bool) {
	v, ok := parseDigits(s)
	if !ok {
		return 0, false
	}
	return Threshold(v << (4 * (thresholdDigits - len(s)))), true
}

func parseDigits(s string) (v uint64, ok bool) {
	if len(s) == 0 || len(s) > thresholdDigits {
		return 0, false
	}
	for i := range len(s) {
		d := hexValue(s[i])
		if d > 15 {
			return 0, false
		}
		v = v<<4 | uint64(d)
	}
	return v, true
}

// Randomness is what a sampling decision about sc goes by: the value rv of its
// tracestate, or else the low 56 bits of the trace id.
func Randomness(sc *SpanContext) uint64 {
	if sc.State != "" {
		if s, ok := otelValue(otelMember(sc.State), "rv"); ok && len(s) == thresholdDigits {
			if v, ok := parseDigits(s); ok {
				return v
			}
		}
	}
	return binary.BigEndian.Uint64(sc.TraceID[8:]) & (1<<thresholdBits - 1)
}

// explicitRandomness is a tracestate with a random rv, for a trace whose id is
// not random.
func explicitRandomness() string {
	const digits = "0123456789abcdef"
	b := append(make([]byte, 0, len("ot=rv:")+thresholdDigits), "ot=rv:"...)
	for r := rand.Uint64(); len(b) < cap(b); r >>= 4 {
		b = append(b, digits[r&15])
	}
	return string(b)
}

// StateThreshold is the threshold that a tracestate says its trace was kept
// by.
func StateThreshold(state string) (t Threshold, ok bool) {
	if state == "" {
		return 0, false
	}
	s, ok := otelValue(otelMember(state), "th")
	if !ok {
		return 0, false
	}
	return parseThreshold(s)
}

// WithThreshold is state with th set to t, or without it for KeepNone. Other
// members keep their order, ot goes first, as the one that was changed last.
func WithThreshold(state string, t Threshold) string {
	var own []string
	if s := t.String(); s != "" {
		own = append(own, "th:"+s)
	}
	for pair := range strings.SplitSeq(otelMember(state), ";") {
		if pair != "" && !strings.HasPrefix(pair, "th:") {
			own = append(own, pair)
		}
	}
	var members []string
	if len(own) > 0 {
		members = append(members, "ot="+strings.Join(own, ";"))
	}
	for member := range strings.SplitSeq(state, ",") {
		if member = strings.Trim(member, " \t"); member != "" && !strings.HasPrefix(member, "ot=") {
			members = append(members, member)
		}
	}
	return strings.Join(members[:min(len(members), maxMembers)], ",")
}

// maxMembers of a tracestate, from W3C Trace Context.
const maxMembers = 32
