package red

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// side is one side of a call, kept until the other arrives or time is up.
type side struct {
	trace    pcommon.TraceID
	key      pcommon.SpanID // of the client span, on both sides
	self     pcommon.SpanID // of the span itself
	service  int32          // name
	peer     int32          // name of what it called or was called by, as far as it tells; 0 if it does not
	duration uint64
	end      pcommon.Timestamp
	weight   float64
	deadline time.Duration // flushClock.elapsed

	client    bool
	failed    bool
	messaging bool
	linked    bool // trace is that of the client; the span's own is another
	paired    bool // a client whose server came; kept, for more may come

	prev, next int32 // in order of deadline; also the free list
}

// waiting keeps sides by trace and client span, and in order of deadline. All
// operations take constant time. Sides lie in one slice and hold no pointers:
// the garbage collector has nothing to follow in it, and nothing is allocated
// once it has its size.
type waiting struct {
	max   int
	sides []side  // 0 is not used: it heads the list
	index []int32 // open addressing with linear probing; 0 is empty
	used  int
	free  int32
	seed  uint64
}

const initialIndex = 1024 // a power of two, as every size of the index

func newWaiting(max int) waiting {
	return waiting{max: max, sides: make([]side, 1, initialIndex/2), index: make([]int32, initialIndex), seed: rand.Uint64()}
}

func (w *waiting) len() int   { return w.used }
func (w *waiting) full() bool { return w.used >= w.max }

// oldest returns the side with the earliest deadline, 0 if there is none.
func (w *waiting) oldest() int32 { return w.sides[0].next }

func (w *waiting) home(trace *pcommon.TraceID, key *pcommon.SpanID) uint64 {
	// Ids are random as a rule; the seed keeps senders from choosing where
	// their spans go, the multiplications spread ids that count up.
	h := binary.LittleEndian.Uint64(trace[8:]) ^ w.seed
	h = (h ^ h>>32) * 0x9E3779B97F4A7C15
	h ^= binary.LittleEndian.Uint64(key[:]) ^ binary.LittleEndian.Uint64(trace[:8])
	h = (h ^ h>>29) * 0xBF58476D1CE4E5B9
	return (h ^ h>>32) & uint64(len(w.index)-1)
}

// find returns the next side with these ids after the slot from, which is -1
// to begin with, and its slot; 0 when there is none.
func (w *waiting) find(trace *pcommon.TraceID, key *pcommon.SpanID, from int) (id int32, slot int) {
	mask := len(w.index) - 1
	slot = (from + 1) & mask
	if from < 0 {
		slot = int(w.home(trace, key))
	}
	for {
		id = w.index[slot]
		if id == 0 {
			return 0, slot
		}
		if s := &w.sides[id]; s.key == *key && s.trace == *trace {
			return id, slot
		}
		slot = (slot + 1) & mask
	}
}

// add keeps s, whose deadline is not before that of any other. There must be
// room.
func (w *waiting) add(s side) {
	if 2*(w.used+1) > len(w.index) {
		w.grow()
	}
	id := w.free
	if id != 0 {
		w.free = w.sides[id].next
	} else {
		id = int32(len(w.sides))
		w.sides = append(w.sides, side{})
	}
	last := w.sides[0].prev
	s.prev, s.next = last, 0
	w.sides[id] = s
	w.sides[last].next = id
	w.sides[0].prev = id
	w.place(id)
	w.used++
}

func (w *waiting) place(id int32) {
	s := &w.sides[id]
	slot := w.home(&s.trace, &s.key)
	for w.index[slot] != 0 {
		slot = (slot + 1) & uint64(len(w.index)-1)
	}
	w.index[slot] = id
}

func (w *waiting) grow() {
	w.index = make([]int32, 2*len(w.index))
	for id := w.oldest(); id != 0; id = w.sides[id].next {
		w.place(id)
	}
}

// remove takes a side out and returns it.
func (w *waiting) remove(id int32) side {
	s := w.sides[id]
	mask := uint64(len(w.index) - 1)
	hole := w.home(&s.trace, &s.key)
	for w.index[hole] != id {
		hole = (hole + 1) & mask
	}
	// Close the gap, so that probing may stop at an empty slot.
	for at := (hole + 1) & mask; w.index[at] != 0; at = (at + 1) & mask {
		o := &w.sides[w.index[at]]
		if home := w.home(&o.trace, &o.key); (at-home)&mask >= (at-hole)&mask {
			w.index[hole] = w.index[at]
			hole = at
		}
	}
	w.index[hole] = 0
	w.sides[s.prev].next = s.next
	w.sides[s.next].prev = s.prev
	w.sides[id] = side{next: w.free}
	w.free = id
	w.used--
	return s
}
