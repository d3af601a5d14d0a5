package red

import (
	"cmp"
	"math/bits"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// slots is how many bands of duration exemplars are kept for.
func (l *layout) slots() int {
	if l.explicit() {
		return len(l.bounds) + 1
	}
	return exponentialSlots
}

// exponentialSlots are octaves of duration: below 1 ms, 1 to 2 ms … above 17 s.
const exponentialSlots = 16

// slot returns the band of a duration. For explicit buckets it is the bucket:
// Prometheus keeps exemplars by bucket.
func (l *layout) slot(d uint64) int {
	if l.explicit() {
		return l.bucket(d)
	}
	return min(bits.Len64(d>>20), exponentialSlots-1)
}

// exemplar is a span that fell in a series. The zero value is none.
type exemplar struct {
	trace    pcommon.TraceID
	span     pcommon.SpanID
	duration uint64
	end      pcommon.Timestamp
}

// note offers a span as exemplar. Of each band the slowest span stays.
func (h *histogram) note(l *layout, span ptrace.Span, d uint64) {
	if e := h.slowest(l, d); e != nil && !span.TraceID().IsEmpty() {
		*e = exemplar{trace: span.TraceID(), span: span.SpanID(), duration: d, end: span.EndTimestamp()}
	}
}

// noteSide offers a side of a call as exemplar.
func (h *histogram) noteSide(l *layout, s *side) {
	if s.linked || s.trace.IsEmpty() {
		return // linked: the trace is not its own
	}
	if e := h.slowest(l, s.duration); e != nil {
		*e = exemplar{trace: s.trace, span: s.self, duration: s.duration, end: s.end}
	}
}

// slowest returns where to put a span if it is the slowest of its band.
func (h *histogram) slowest(l *layout, d uint64) *exemplar {
	if l.exemplars <= 0 {
		return nil
	}
	if h.slots == nil {
		h.slots = make([]exemplar, l.slots())
	}
	if e := &h.slots[l.slot(d)]; d >= e.duration {
		return e
	}
	return nil
}

// takeExemplars moves the chosen exemplars to out: the slowest always, the
// others from bands that lie apart, different ones at every flush. They come
// in ascending order of value, as Prometheus' translation expects them.
func (h *histogram) takeExemplars(out pmetric.ExemplarSlice, l *layout, t moment) {
	var filled [maxBounds + 1]uint8
	bands := filled[:0]
	for i := range h.slots {
		if !h.slots[i].trace.IsEmpty() {
			bands = append(bands, uint8(i))
		}
	}
	if len(bands) == 0 {
		return
	}
	if rest := len(bands) - 1; len(bands) > l.exemplars {
		slowest := bands[rest]
		others := l.exemplars - 1
		var chosen [maxBounds + 1]bool
		for i := range others {
			chosen[bands[(t.round+i*rest/others)%rest]] = true
		}
		chosen[slowest] = true
		bands = slices.DeleteFunc(bands, func(b uint8) bool { return !chosen[b] })
	}
	picked := make([]exemplar, 0, len(bands))
	for _, b := range bands {
		e := h.slots[b]
		// Spans come late and clocks are off, but Prometheus takes exemplars
		// in order of time only.
		e.end = min(max(e.end, t.since), t.at)
		picked = append(picked, e)
	}
	if !l.explicit() {
		// One series takes them all.
		slices.SortStableFunc(picked, func(a, b exemplar) int { return cmp.Compare(a.end, b.end) })
	}
	for _, e := range picked {
		x := out.AppendEmpty()
		x.SetTraceID(e.trace)
		x.SetSpanID(e.span)
		x.SetDoubleValue(float64(e.duration) / l.unit)
		x.SetTimestamp(e.end)
	}
	clear(h.slots)
}
