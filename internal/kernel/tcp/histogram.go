//go:build linux

package tcp

import (
	"math"
	"time"
)

const (
	rttSlots     = 40
	connectSlots = 20
	// slotBase is the bound of the first slot of both histograms.
	slotBase = 64 * time.Microsecond
)

// RTTHistogram has two slots an octave from 64 µs to 47 s.
type RTTHistogram [rttSlots]uint32

// ConnectHistogram has one slot an octave from 64 µs to 17 s.
type ConnectHistogram [connectSlots]uint32

// Bound is the upper bound of slot i; the last has none and says its lower one.
func (RTTHistogram) Bound(i int) time.Duration {
	if i >= rttSlots-1 {
		i = rttSlots - 2
	}
	d := slotBase << (i / 2)
	if i%2 == 1 {
		d += d / 2
	}
	return d
}

// Bound is the upper bound of slot i; the last has none and says its lower one.
func (ConnectHistogram) Bound(i int) time.Duration { return slotBase << min(i, connectSlots-2) }

// Quantile estimates a quantile (0 to 1), linear inside a slot; 0 without samples.
func (h RTTHistogram) Quantile(q float64) time.Duration { return quantile(h[:], h.Bound, q) }

// Quantile estimates a quantile (0 to 1), linear inside a slot; 0 without samples.
func (h ConnectHistogram) Quantile(q float64) time.Duration { return quantile(h[:], h.Bound, q) }

func quantile(counts []uint32, bound func(int) time.Duration, q float64) time.Duration {
	var n uint64
	for _, c := range counts {
		n += uint64(c)
	}
	if n == 0 {
		return 0
	}
	rank := max(1, math.Ceil(q*float64(n)))
	var seen float64
	for i, c := range counts {
		if seen += float64(c); seen < rank {
			continue
		}
		var low time.Duration
		if i > 0 {
			low = bound(i - 1)
		}
		part := (rank - (seen - float64(c))) / float64(c)
		return low + time.Duration(part*float64(bound(i)-low))
	}
	return bound(len(counts))
}
