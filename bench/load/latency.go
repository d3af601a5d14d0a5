package load

import (
	"math"
	"slices"
	"time"
)

// Latencies are single measurements, in any order.
type Latencies []time.Duration

// Quantile returns the smallest measurement that at least the share q of all
// does not exceed; 0 when there is none.
func (l Latencies) Quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	sorted := slices.Clone(l)
	slices.Sort(sorted)
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
