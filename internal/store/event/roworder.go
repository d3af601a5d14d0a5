package event

import (
	"cmp"
	"slices"
	"unsafe"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// rowOrder puts the fields of rows in order of their names. The engine wants
// them so, and takes longer to sort a row than we take to build it. But rows of
// one operation have the same columns: the order of each layout is found once.
type rowOrder struct {
	known map[uint64][]uint16 // places in order, by layout
	row   []logstorage.Field  // the row before, in order
}

// maxLayouts bounds the memory of a rowOrder, some 100 bytes each. Senders with
// more begin anew.
const maxLayouts = 4096

// sorted returns the fields in order. They are valid until the next call.
func (o *rowOrder) sorted(fields []logstorage.Field) []logstorage.Field {
	layout := layoutOf(fields)
	places := o.known[layout]
	if len(places) != len(fields) {
		places = o.learn(layout, fields)
	}
	o.row = slices.Grow(o.row[:0], len(fields))[:len(fields)]
	for i, place := range places {
		o.row[i] = fields[place]
	}
	return o.row
}

func (o *rowOrder) learn(layout uint64, fields []logstorage.Field) []uint16 {
	if o.known == nil || len(o.known) >= maxLayouts {
		o.known = make(map[uint64][]uint16)
	}
	places := make([]uint16, len(fields))
	for i := range places {
		places[i] = uint16(i)
	}
	slices.SortFunc(places, func(a, b uint16) int { return cmp.Compare(fields[a].Name, fields[b].Name) })
	o.known[layout] = places
	return places
}

// layoutOf tells which names fields have, by where these are: they are
// constants and names of columns, which stay while their service sends. Should
// two layouts look the same, rows of one reach the engine out of order, which
// only costs its time.
func layoutOf(fields []logstorage.Field) uint64 {
	h := uint64(len(fields))
	for i := range fields {
		h = (h ^ uint64(uintptr(unsafe.Pointer(unsafe.StringData(fields[i].Name))))) * 0x9e3779b97f4a7c15
		h ^= h >> 32
	}
	return h
}
