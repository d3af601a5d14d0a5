package core

import "math"

// What follows is for figures that somebody else counts, the Go runtime for
// example, and that are only passed on. A series is either recorded or given,
// never both: what is given replaces what was there.

// SetTotal sets the sum of a counter of integers.
func (s *Series) SetTotal(n int64) {
	s.shard[0].sum.Store(uint64(n))
	s.touch()
}

// SetTotalFloat sets the sum of a counter of fractions.
func (s *Series) SetTotalFloat(v float64) {
	s.shard[0].sum.Store(math.Float64bits(v))
	s.touch()
}

// SetBuckets sets how many measurements a histogram has in each bucket since it
// began, and their sum. counts[i] belongs to Bounds[i], and one more to what is
// above all of them; counts beyond are left out, missing ones stay what they
// are. A collection that runs meanwhile sees each count before or after.
func (s *Series) SetBuckets(counts []uint64, sum float64) {
	into := s.shard[0].counts
	for i := range min(len(counts), len(into)) {
		into[i].Store(counts[i])
	}
	s.shard[0].sum.Store(math.Float64bits(sum))
	s.touch()
}

// Clear takes the value of a series that is given away: it is not exported until
// it has one again.
func (s *Series) Clear() { s.set.Store(false) }
