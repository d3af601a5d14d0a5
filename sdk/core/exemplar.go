package core

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// exemplars keeps the largest measurement since the last collection and one of
// the others: the one is what people look for, the other is as good as any.
type exemplars struct {
	// above is the largest one as bits of a float, and NaN until there are two:
	// what is not above it is passed by at the cost of reading this.
	above atomic.Uint64

	mu             sync.Mutex
	largest, other exemplar
}

type exemplar struct {
	value float64
	at    time.Time // zero: there is none
	trace TraceID
	span  SpanID
}

// oneOf is how many measurements that are not the largest there are to one that
// takes the place of the other exemplar.
const oneOf = 16

var notYet = math.Float64bits(math.NaN())

// Exemplar offers a measurement that was just added or set as an exemplar of
// the series, if it was made within a kept span. Record does that by itself.
func (s *Series) Exemplar(v float64, sc *SpanContext) {
	if sc.IsSampled() {
		s.exemplars.offer(v, sc, rand.Uint32())
	}
}

// offer gives way when somebody else is at it. luck is any number at random.
func (e *exemplars) offer(v float64, sc *SpanContext, luck uint32) {
	if v <= math.Float64frombits(e.above.Load()) && luck%oneOf != 0 {
		return
	}
	if !e.mu.TryLock() {
		return
	}
	defer e.mu.Unlock()
	x := exemplar{v, time.Now(), sc.TraceID, sc.SpanID}
	switch {
	case e.largest.at.IsZero():
		e.largest = x
		return
	case v > e.largest.value:
		e.other, e.largest = e.largest, x
	default:
		e.other = x
	}
	e.above.Store(math.Float64bits(e.largest.value))
}

func (e *exemplars) take() (largest, other exemplar) {
	e.mu.Lock()
	defer e.mu.Unlock()
	largest, other = e.largest, e.other
	e.largest, e.other = exemplar{}, exemplar{}
	e.above.Store(notYet)
	return largest, other
}

// append takes the exemplars and appends them as the given field.
func (e *exemplars) append(b []byte, field int, integer bool) []byte {
	largest, other := e.take()
	for _, x := range [...]exemplar{largest, other} {
		if x.at.IsZero() {
			continue
		}
		open := 0
		b, open = openField(b, field)
		b = appendFixed64(b, exemplarTime, uint64(x.at.UnixNano()))
		if integer {
			b = appendFixed64(b, exemplarInt, uint64(int64(x.value)))
		} else {
			b = appendFixed64(b, exemplarDouble, math.Float64bits(x.value))
		}
		b = appendBytes(b, exemplarSpan, x.span[:])
		b = appendBytes(b, exemplarTrace, x.trace[:])
		b = closeField(b, open)
	}
	return b
}
