package gen

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// SeriesName is the counter that Series writes, SeriesJobs the number of
// values of its label job.
const (
	SeriesName = "bench_requests_total"
	SeriesJobs = 20
)

// Series makes samples of many counters as Prometheus remote-write requests
// (version 1, not yet compressed). Not safe for concurrent use; several of
// them with disjoint series may run side by side.
type Series struct {
	labels [][]byte // Label messages of a series, with their tags
	value  []float64
	pcg    rand.PCG
	out    []byte
}

// NewSeries makes series from up to, but not including, to. Labels are those
// of a scraped Go service: job, instance, method, route and code.
func NewSeries(seed uint64, from, to int) *Series {
	s := &Series{value: make([]float64, to-from)}
	s.pcg.Seed(seed, uint64(from))
	for i := from; i < to; i++ {
		job, rest := i%SeriesJobs, i/SeriesJobs
		code, rest := [...]string{"200", "201", "404", "500"}[rest%4], rest/4
		route, instance := rest%25, rest/25
		var b []byte
		for _, l := range [...][2]string{
			{"__name__", SeriesName},
			{"code", code},
			{"instance", fmt.Sprintf("10.%d.%d.%d:9090", job, instance/250, instance%250)},
			{"job", serviceNames[job]},
			{"method", methods[route%len(methods)]},
			{"route", fmt.Sprintf("/api/v1/%s/r%d", serviceNames[job], route)},
		} {
			m := appendText(appendText(nil, 1, l[0]), 2, l[1])
			b = appendMessage(b, 1<<3|bytesOf, m)
		}
		s.labels = append(s.labels, b)
	}
	return s
}

// Len is how many series there are.
func (s *Series) Len() int { return len(s.labels) }

// Request returns one sample at t for each series from lo up to hi. Every
// call advances the counters of these series.
func (s *Series) Request(t time.Time, lo, hi int) []byte {
	s.out = s.out[:0]
	for i := lo; i < hi; i++ {
		s.value[i] += float64(s.pcg.Uint64() >> 58)
		var sample [20]byte
		b := appendFixed64(sample[:0], 1, math.Float64bits(s.value[i]))
		b = append(b, 2<<3|varintOf)
		b = binary.AppendUvarint(b, uint64(t.UnixMilli()))
		s.out = appendTag(s.out, 1<<3|bytesOf, len(s.labels[i])+1+varintSize(len(b))+len(b))
		s.out = append(s.out, s.labels[i]...)
		s.out = appendMessage(s.out, 2<<3|bytesOf, b)
	}
	return s.out
}
