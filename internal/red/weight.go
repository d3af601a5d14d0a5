package red

import (
	"math"
	"math/rand/v2"
	"strings"
)

// maxWeight bounds what one span may stand for. A sampler that keeps fewer
// than one in a million spans is a mistake or an attack, and a single span
// with the largest threshold would ruin a counter for good.
const maxWeight = 1 << 20

// weight returns how many spans the span with this W3C tracestate stands for:
// 2^56/(2^56-T), with T the rejection threshold of the OpenTelemetry
// consistent probability sampling (ot=th:HEX, up to 14 digits, trailing zeros
// left out). It is 1 without a threshold and for a malformed one.
func weight(tracestate string) float64 {
	for tracestate != "" {
		var member string
		member, tracestate, _ = strings.Cut(tracestate, ",")
		member = strings.Trim(member, " \t")
		values, ok := strings.CutPrefix(member, "ot=")
		if !ok {
			continue
		}
		for values != "" {
			var value string
			value, values, _ = strings.Cut(values, ";")
			if hex, ok := strings.CutPrefix(value, "th:"); ok {
				return thresholdWeight(hex)
			}
		}
		return 1
	}
	return 1
}

func thresholdWeight(hex string) float64 {
	const digits = 14 // of 56 bits
	if len(hex) == 0 || len(hex) > digits {
		return 1
	}
	var t uint64
	for i := range len(hex) {
		c := hex[i]
		switch {
		case c >= '0' && c <= '9':
			t = t<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			t = t<<4 | uint64(c-'a'+10)
		default:
			return 1
		}
	}
	t <<= 4 * (digits - len(hex))
	return min(float64(uint64(1)<<56)/float64(uint64(1)<<56-t), maxWeight)
}

// rounder turns weights into whole counts, as counters and histograms need
// them. Rounding each weight by itself would be biased, and carrying the
// remainder to the next span can follow a rhythm of the traffic and favour one
// bucket for ever. So the fractions are laid end to end, one random point is
// drawn in every unit of their length, and the span whose fraction covers the
// point counts one more. Every bucket gets its share without bias, and the
// total of a series is never off by one or more. Whole weights, the common
// case, stay as they are.
type rounder struct {
	at   float64 // length of the fractions in the current unit, [0,1)
	mark float64 // where in the unit the point is, [0,1)
}

func newRounder() rounder { return rounder{mark: rand.Float64()} }

// round returns how often a span of weight w >= 1 counts.
func (r *rounder) round(w float64) uint64 {
	whole := math.Floor(w)
	n := uint64(whole)
	fraction := w - whole
	if fraction == 0 {
		return n
	}
	from, to := r.at, r.at+fraction
	if from <= r.mark && r.mark < to {
		n++
	}
	if to >= 1 {
		to--
		r.mark = rand.Float64()
		if r.mark < to {
			n++
		}
	}
	r.at = to
	return n
}
