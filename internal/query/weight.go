package query

import (
	"strconv"
	"strings"
)

// stateWeight is how many spans one with this tracestate stands for: the
// inverse of the sampling probability that the th member of the ot entry
// tells (OpenTelemetry's "TraceState: probability sampling"). 1 when it tells none.
func stateWeight(state string) float64 {
	for entry := range strings.SplitSeq(state, ",") {
		members, ok := strings.CutPrefix(strings.TrimSpace(entry), "ot=")
		if !ok {
			continue
		}
		for member := range strings.SplitSeq(members, ";") {
			th, ok := strings.CutPrefix(member, "th:")
			if !ok || th == "" || len(th) > 14 {
				continue
			}
			// The threshold has 56 bits; trailing zeros are left out.
			n, err := strconv.ParseUint(th+strings.Repeat("0", 14-len(th)), 16, 64)
			if err == nil {
				const all = 1 << 56
				return all / float64(all-n)
			}
		}
	}
	return 1
}
