package observer

import (
	"math"
	"slices"
	"time"
)

// ring is a fixed number of samples, of which the oldest is overwritten.
type ring struct {
	at     []time.Duration // since the observer was made, by the monotonic clock
	values []float64       // of a sample side by side
	width  int             // values of a sample
	newest int
	n      int
}

func newRing(samples, width int) ring {
	return ring{at: make([]time.Duration, samples), values: make([]float64, samples*width), width: width, newest: -1}
}

// push makes room for a sample.
func (r *ring) push(at time.Duration) []float64 {
	r.newest = (r.newest + 1) % len(r.at)
	r.n = min(r.n+1, len(r.at))
	r.at[r.newest] = at
	return r.values[r.newest*r.width:][:r.width]
}

// back is the slot of the sample i before the newest.
func (r *ring) back(i int) int { return (r.newest - i + len(r.at)) % len(r.at) }

func (r *ring) value(slot int, m Metric) float64 { return r.values[slot*r.width+int(m)] }

// within is how many samples are at most d older than the newest; all for d <= 0.
func (r *ring) within(d time.Duration) int {
	if d <= 0 {
		return r.n
	}
	n := 0
	for n < r.n && r.at[r.newest]-r.at[r.back(n)] <= d {
		n++
	}
	return n
}

// view is what a query sees of a window.
type view struct {
	values []float64 // newest first: levels, or rates of a counter
	first, last,
	seconds float64 // between the oldest and the newest sample
	counts *[maxBuckets]uint64 // of a distribution, or nil
	bounds []float64
}

// look copies what a query needs, into memory of the caller.
func (o *Observer) look(m Metric, d time.Duration, buf *[MaxSamples]float64, counts *[maxBuckets]uint64) (v view, ok bool) {
	if o == nil || m >= numMetrics {
		return v, false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	r, column := &o.often, m
	if m >= firstRare {
		r, column = &o.rare, m-firstRare
	}
	n := r.within(d)
	if n == 0 {
		return v, false
	}
	newest, oldest := r.newest, r.back(n-1)
	v.seconds = (r.at[newest] - r.at[oldest]).Seconds()
	if m >= firstDist {
		if n < 2 {
			return v, false
		}
		dist := int(m - firstDist)
		b, a := o.slot(dist, newest), o.slot(dist, oldest)
		for i := range counts {
			counts[i] = b.counts[i] - a.counts[i]
		}
		v.first, v.last, v.counts, v.bounds = a.sum, b.sum, counts, o.dists[dist].bounds
		return v, true
	}
	v.first, v.last = r.value(oldest, column), r.value(newest, column)
	if !described[m].counter {
		for i := range n {
			buf[i] = r.value(r.back(i), column)
		}
		v.values = buf[:n]
		return v, true
	}
	k := 0
	for i := range n - 1 {
		b, a := r.back(i), r.back(i+1)
		if took := (r.at[b] - r.at[a]).Seconds(); took > 0 {
			buf[k] = (r.value(b, column) - r.value(a, column)) / took
			k++
		}
	}
	v.values = buf[:k]
	return v, k > 0
}

func (v *view) count() (n uint64) {
	for _, c := range v.counts {
		n += c
	}
	return n
}

// Last is the newest value: of a counter the total since the process began, of a
// distribution the sum of all its durations. NaN when there is no sample yet.
func (o *Observer) Last(m Metric) float64 {
	if o == nil || m >= numMetrics {
		return unknown
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	r, column := &o.often, m
	if m >= firstRare {
		r, column = &o.rare, m-firstRare
	}
	switch {
	case r.n == 0:
		return unknown
	case m >= firstDist:
		return o.slot(int(m-firstDist), r.newest).sum
	}
	return r.value(r.newest, column)
}

// Rate is the change per second over the last d, of a distribution the number of
// durations per second. Here and in the other queries, d <= 0 is the whole
// window, and the answer is NaN when the window has too few samples: two for
// counters and distributions, which for those that are read with each tenth sample
// means a d of at least twenty.
func (o *Observer) Rate(m Metric, d time.Duration) float64 {
	var buf [MaxSamples]float64
	var counts [maxBuckets]uint64
	v, ok := o.look(m, d, &buf, &counts)
	switch {
	case !ok || v.seconds <= 0:
		return unknown
	case v.counts != nil:
		return float64(v.count()) / v.seconds
	}
	return (v.last - v.first) / v.seconds
}

// Sum is how much a counter grew over the last d, the sum of a distribution's
// durations, or the sum of a level's samples.
func (o *Observer) Sum(m Metric, d time.Duration) float64 {
	var buf [MaxSamples]float64
	var counts [maxBuckets]uint64
	v, ok := o.look(m, d, &buf, &counts)
	switch {
	case !ok:
		return unknown
	case v.counts != nil || described[m].counter:
		return v.last - v.first
	}
	sum := 0.0
	for _, x := range v.values {
		sum += x
	}
	return sum
}

// Mean is the mean of a level's samples, of a counter's growth per second, or of
// a distribution's durations over the last d.
func (o *Observer) Mean(m Metric, d time.Duration) float64 {
	var buf [MaxSamples]float64
	var counts [maxBuckets]uint64
	v, ok := o.look(m, d, &buf, &counts)
	switch {
	case !ok:
		return unknown
	case v.counts != nil:
		return (v.last - v.first) / float64(v.count()) // 0/0 is NaN, as it should be
	case described[m].counter:
		return (v.last - v.first) / v.seconds
	}
	sum := 0.0
	for _, x := range v.values {
		sum += x
	}
	return sum / float64(len(v.values))
}

// Max is the largest value over the last d; of a distribution the upper bound of
// its highest bucket that is not empty, +Inf when that has none.
func (o *Observer) Max(m Metric, d time.Duration) float64 { return o.Quantile(m, 1, d) }

// P95 is what 95 % of the values over the last d do not exceed.
func (o *Observer) P95(m Metric, d time.Duration) float64 { return o.Quantile(m, 0.95, d) }

// Quantile is what the share q of the values over the last d does not exceed: one
// of the values that were sampled, or of a distribution a value in the bucket that
// it falls into, which is at most twice what it should be.
func (o *Observer) Quantile(m Metric, q float64, d time.Duration) float64 {
	var buf [MaxSamples]float64
	var counts [maxBuckets]uint64
	v, ok := o.look(m, d, &buf, &counts)
	if !ok || !(q >= 0 && q <= 1) {
		return unknown
	}
	if v.counts != nil {
		return v.bucketQuantile(q)
	}
	slices.Sort(v.values)
	return v.values[max(0, int(math.Ceil(q*float64(len(v.values))))-1)]
}

// bucketQuantile takes durations for evenly spread inside of a bucket.
func (v *view) bucketQuantile(q float64) float64 {
	total := v.count()
	if total == 0 {
		return unknown
	}
	rank, below := q*float64(total), 0.0
	for i, n := range v.counts {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		if i >= len(v.bounds) {
			return math.Inf(1)
		}
		low := 0.0
		if i > 0 {
			low = v.bounds[i-1]
		}
		return low + (v.bounds[i]-low)*(rank-below)/float64(n)
	}
	return unknown
}

// AppendValues appends the values over the last d, oldest first: of a level the
// samples, of a counter the growth per second between them, of a distribution
// nothing. It allocates only when dst has no room.
func (o *Observer) AppendValues(dst []float64, m Metric, d time.Duration) []float64 {
	var buf [MaxSamples]float64
	var counts [maxBuckets]uint64
	v, ok := o.look(m, d, &buf, &counts)
	if !ok {
		return dst
	}
	slices.Reverse(v.values)
	return append(dst, v.values...)
}
