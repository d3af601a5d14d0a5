package event

import (
	"math"
	"strconv"
	"strings"
)

// weightOf is how many spans one stands for, as its W3C tracestate says:
// member ot, subkey th, the rejection threshold in 56 bits, hexadecimal with
// trailing zeros left off. The probability is 1 - th/2^56. Without a valid
// threshold the weight is one.
func weightOf(state string) float64 {
	if !strings.Contains(state, "th:") {
		return 1
	}
	for member := range strings.SplitSeq(state, ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(member), "ot=")
		if !ok {
			continue
		}
		for sub := range strings.SplitSeq(value, ";") {
			if th, ok := strings.CutPrefix(sub, "th:"); ok {
				return thresholdWeight(th)
			}
		}
	}
	return 1
}

func thresholdWeight(th string) float64 {
	const digits = 14
	if len(th) == 0 || len(th) > digits {
		return 1
	}
	t, err := strconv.ParseUint(th, 16, 64)
	if err != nil {
		return 1
	}
	t <<= 4 * (digits - len(th))
	return math.Ldexp(1, 56) / float64(1<<56-t)
}

// appendWeight writes a weight for its column: a plain decimal of about six
// digits that the engine keeps and can sum.
func appendWeight(dst []byte, w float64) []byte {
	n := len(dst)
	for decimals := 5; ; decimals-- {
		dst = strconv.AppendFloat(dst[:n], w, 'f', decimals, 64)
		text := strings.TrimSuffix(strings.TrimRight(string(dst[n:]), "0"), ".")
		if decimals == 0 || !needsGuard(text) {
			if decimals == 0 {
				return dst
			}
			return append(dst[:n], text...)
		}
	}
}
