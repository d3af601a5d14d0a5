package profile

import (
	"math"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/pprofile"
)

const (
	// maxComments bounds the different comments that a sum has of its profiles.
	maxComments = 100
	// maxLocations bounds the stacks of a sum written out: pprof repeats what
	// samples share.
	maxLocations = 1 << 24
	// sampleSize and writtenLabel are rough memory of a sample written out, besides
	// values and locations, and of one of its labels.
	sampleSize, writtenLabel = 160, 200
)

// sum adds up profiles in a table of its own.
type sum struct {
	all    *builder
	labels bool

	types []valueType // of all profiles
	// plain has the values of samples without labels, by type, then node;
	// most samples have none. labelled has the others.
	plain    [][]int64
	labelled map[[2]uint32][]int64

	count           int
	start, duration int64
	schemas         []uint32 // in order of appearance
}

func newSum(labels bool) *sum {
	return &sum{all: newBuilder(), labels: labels, labelled: map[[2]uint32][]int64{}}
}

// size is rough bytes in memory.
func (s *sum) size() int {
	return s.all.size + 8*len(s.plain)*len(s.all.nodes) + len(s.labelled)*(entrySize+8*len(s.types))
}

func (s *sum) add(t *table, rows []row) {
	a := s.all.absorb(t, rows, s.labels)
	columns := map[uint32][]int{} // by schema: where its values go
	for _, r := range rows {
		if s.count == 0 || r.time < s.start {
			s.start = r.time
		}
		s.count++
		s.duration += min(r.duration, math.MaxInt64-s.duration)
		to, ok := columns[r.schema]
		if !ok {
			to = s.columns(a.schemas[r.schema])
			columns[r.schema] = to
		}
		n := len(to)
		for i := range r.nodes {
			node, set := a.nodes[r.nodes[i]], a.labels[r.labels[i]]
			values := r.values[i*n : (i+1)*n]
			if set == 0 {
				for k, v := range values {
					to := &s.plain[to[k]][node]
					*to = pprofile.Plus(*to, v)
				}
				continue
			}
			id := [2]uint32{node, set}
			sums := s.labelled[id]
			if len(sums) < len(s.types) {
				sums = append(sums, make([]int64, len(s.types)-len(sums))...)
				s.labelled[id] = sums
			}
			for k, v := range values {
				sums[to[k]] = pprofile.Plus(sums[to[k]], v)
			}
		}
	}
}

// columns gives the places of a schema's values, and makes those that are new;
// all have room for all nodes.
func (s *sum) columns(of uint32) []int {
	if !slices.Contains(s.schemas, of) {
		s.schemas = append(s.schemas, of)
	}
	var to []int
	for _, t := range s.all.schemas[of].types {
		at := -1
		for i, have := range s.types { // a profile may have one type twice
			if have == t && !slices.Contains(to, i) {
				at = i
				break
			}
		}
		if at < 0 {
			at = len(s.types)
			s.types = append(s.types, t)
			s.plain = append(s.plain, nil)
		}
		to = append(to, at)
	}
	for i := range s.plain {
		if more := len(s.all.nodes) - len(s.plain[i]); more > 0 {
			s.plain[i] = append(s.plain[i], make([]int64, more)...)
		}
	}
	return to
}

// header is what the sum says besides its samples: what the first profile says,
// where a sum can.
func (s *sum) header() schema {
	h := s.all.schemas[s.schemas[0]]
	h.types, h.comments = s.types, nil
	for _, i := range s.schemas {
		o := s.all.schemas[i]
		h.period = max(h.period, o.period)
		if o.drop != h.drop || o.keep != h.keep {
			h.drop, h.keep = 0, 0
		}
		for _, c := range o.comments {
			if len(h.comments) < maxComments && !slices.Contains(h.comments, c) {
				h.comments = append(h.comments, c)
			}
		}
	}
	return h
}

// each calls f with the samples of the sum whose values are not all zero. The values
// are f's to keep when it clones them.
func (s *sum) each(f func(node, labels uint32, values []int64)) {
	values := make([]int64, len(s.types))
	some := func(v int64) bool { return v != 0 }
	for node := range s.all.nodes {
		for k := range values {
			values[k] = 0
			if node < len(s.plain[k]) {
				values[k] = s.plain[k][node]
			}
		}
		if slices.ContainsFunc(values, some) {
			f(uint32(node), 0, values)
		}
	}
	ids := make([][2]uint32, 0, len(s.labelled))
	for id := range s.labelled {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b [2]uint32) int { return slices.Compare(a[:], b[:]) })
	for _, id := range ids {
		clear(values)
		if copy(values, s.labelled[id]); slices.ContainsFunc(values, some) {
			f(id[0], id[1], values)
		}
	}
}

// written says how many locations the stacks of profile have together, and how much
// memory its samples take, roughly.
func (s *sum) written() (locations, size int) {
	depth := make([]int32, len(s.all.nodes))
	for i := 1; i < len(depth); i++ { // callers before callees
		depth[i] = depth[s.all.nodes[i].parent] + 1
	}
	s.each(func(node, labels uint32, values []int64) {
		locations += int(depth[node])
		size += sampleSize + 8*len(values) + 8*int(depth[node]) + writtenLabel*len(s.all.labels[labels])
	})
	return locations, size
}

// profile writes the sum in the format of pprof. Samples whose values are all
// zero are left out.
func (s *sum) profile() *profile.Profile {
	w := writer{table: &s.all.table, p: &profile.Profile{TimeNanos: s.start, DurationNanos: s.duration}}
	w.header(s.header())
	w.mappings = make([]*profile.Mapping, len(w.table.mappings))
	w.functions = make([]*profile.Function, len(w.table.functions))
	w.locations = make([]*profile.Location, len(w.table.locations))
	s.each(func(node, labels uint32, values []int64) { w.sample(node, labels, slices.Clone(values)) })
	// In their order, but those of files first: the first is the program's own to who reads
	// pprof, and a profile may begin in the kernel.
	for _, file := range []bool{true, false} {
		for _, m := range w.mappings {
			if m != nil && file != strings.HasPrefix(m.File, "[") {
				w.p.Mapping = append(w.p.Mapping, m)
				m.ID = uint64(len(w.p.Mapping))
			}
		}
	}
	return w.p
}

// writer makes a pprof profile of a table.
type writer struct {
	table     *table
	p         *profile.Profile
	mappings  []*profile.Mapping
	functions []*profile.Function
	locations []*profile.Location
}

func (w *writer) header(s schema) {
	text := func(i uint32) string { return w.table.strings[i] }
	for _, t := range s.types {
		w.p.SampleType = append(w.p.SampleType, &profile.ValueType{Type: text(t.name), Unit: text(t.unit)})
	}
	if s.hasPeriod {
		w.p.PeriodType = &profile.ValueType{Type: text(s.periodType.name), Unit: text(s.periodType.unit)}
	}
	w.p.Period, w.p.DefaultSampleType, w.p.DocURL = s.period, text(s.byDefault), text(s.doc)
	w.p.DropFrames, w.p.KeepFrames = text(s.drop), text(s.keep)
	for _, c := range s.comments {
		w.p.Comments = append(w.p.Comments, text(c))
	}
}

func (w *writer) sample(node, labels uint32, values []int64) {
	o := &profile.Sample{Value: values}
	for at := node; at != 0; at = w.table.nodes[at].parent {
		o.Location = append(o.Location, w.location(w.table.nodes[at].location))
	}
	for _, l := range w.table.labels[labels] {
		k := w.table.strings[l.key]
		if !l.number {
			if o.Label == nil {
				o.Label = map[string][]string{}
			}
			o.Label[k] = append(o.Label[k], w.table.strings[l.text])
			continue
		}
		if o.NumLabel == nil {
			o.NumLabel = map[string][]int64{}
		}
		if l.unit != 0 && o.NumUnit[k] == nil { // all values of a key have one or none has
			if o.NumUnit == nil {
				o.NumUnit = map[string][]string{}
			}
			o.NumUnit[k] = make([]string, len(o.NumLabel[k]))
		}
		if o.NumUnit[k] != nil {
			o.NumUnit[k] = append(o.NumUnit[k], w.table.strings[l.unit])
		}
		o.NumLabel[k] = append(o.NumLabel[k], l.value)
	}
	w.p.Sample = append(w.p.Sample, o)
}

// once makes the thing at a place when it is first asked for.
func once[T any](all []*T, i uint32, make func() *T) *T {
	if all[i] == nil {
		all[i] = make()
	}
	return all[i]
}

func (w *writer) location(i uint32) *profile.Location {
	return once(w.locations, i, func() *profile.Location {
		l := w.table.locations[i]
		o := &profile.Location{ID: uint64(len(w.p.Location) + 1), Address: l.address, IsFolded: l.folded}
		if l.mapping > 0 {
			o.Mapping = w.mapping(l.mapping - 1)
		}
		for _, n := range l.lines {
			o.Line = append(o.Line, profile.Line{Function: w.function(n.function), Line: n.line, Column: n.column})
		}
		w.p.Location = append(w.p.Location, o)
		return o
	})
}

func (w *writer) function(i uint32) *profile.Function {
	return once(w.functions, i, func() *profile.Function {
		f := w.table.functions[i]
		o := &profile.Function{ID: uint64(len(w.p.Function) + 1), Name: w.table.strings[f.name], SystemName: w.table.strings[f.system], Filename: w.table.strings[f.file], StartLine: f.start}
		w.p.Function = append(w.p.Function, o)
		return o
	})
}

func (w *writer) mapping(i uint32) *profile.Mapping {
	return once(w.mappings, i, func() *profile.Mapping {
		m := w.table.mappings[i]
		return &profile.Mapping{Start: m.start, Limit: m.limit, Offset: m.offset, File: w.table.strings[m.file], BuildID: w.table.strings[m.build],
			HasFunctions: m.flags&1 != 0, HasFilenames: m.flags&2 != 0, HasLineNumbers: m.flags&4 != 0, HasInlineFrames: m.flags&8 != 0}
	})
}
