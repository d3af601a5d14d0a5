package profile

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/pprofile"
)

// table is what the profiles of a block share: symbols, stacks as a tree of
// calls, sets of labels, and what stands beside the samples. All refer to each
// other by place; places of strings, nodes and label sets start with the empty
// one, so that 0 is none.
type table struct {
	strings   []string
	mappings  []mapping
	functions []function
	locations []location
	nodes     []node // callers before callees
	labels    [][]label
	schemas   []schema
}

type mapping struct {
	start, limit, offset uint64
	file, build          uint32
	flags                uint8 // bits: functions, filenames, line numbers, inline frames
}

type function struct {
	name, system, file uint32
	start              int64
}

type location struct {
	mapping uint32 // place and one; 0 is none
	address uint64
	folded  bool
	lines   []line
}

type line struct {
	function     uint32
	line, column int64
}

// node is a stack: its innermost location, called from parent.
type node struct{ parent, location uint32 }

// label is one value of a sample's label: a string, or a number with a unit.
// A set has them in order of key, several values of one in the sender's.
type label struct {
	key    uint32
	number bool
	text   uint32 // of a string
	value  int64  // of a number
	unit   uint32 // of a number
}

type valueType struct{ name, unit uint32 }

// schema is what a profile says besides its samples and times.
type schema struct {
	types           []valueType
	byDefault       uint32
	period          int64
	periodType      valueType
	hasPeriod       bool
	drop, keep, doc uint32
	comments        []uint32
}

// row is one profile: samples in order of node and label set, each pair once.
type row struct {
	time, duration int64 // nanoseconds
	schema         uint32
	nodes, labels  []uint32
	values         []int64 // by sample, then by type
}

// builder is a table that grows: equal things are kept once.
type builder struct {
	table
	byString   map[string]uint32
	byMapping  map[mapping]uint32
	byFunction map[function]uint32
	byLocation map[string]uint32 // encoded, as label sets and schemas
	byNode     map[node]uint32
	byLabels   map[string]uint32
	bySchema   map[string]uint32
	size       int // rough bytes in memory
	key        []byte
}

// Rough memory of an entry with its place in the map, for the bound on the head.
const (
	stringSize = 64 // besides its bytes
	nodeSize   = 32
	entrySize  = 160
)

func newBuilder() *builder {
	b := &builder{
		byString: map[string]uint32{}, byMapping: map[mapping]uint32{}, byFunction: map[function]uint32{}, byLocation: map[string]uint32{},
		byNode: map[node]uint32{}, byLabels: map[string]uint32{}, bySchema: map[string]uint32{},
	}
	b.string("")
	b.nodes = append(b.nodes, node{})
	b.labelSet(nil)
	return b
}

// intern gives the place of v, at the end of all where it is new.
func intern[V comparable](known map[V]uint32, all *[]V, v V) (at uint32, fresh bool) {
	if at, ok := known[v]; ok {
		return at, false
	}
	at = uint32(len(*all))
	*all, known[v] = append(*all, v), at
	return at, true
}

// internAs is intern for what is known by its encoded form.
func internAs[V any](known map[string]uint32, all *[]V, key []byte, v V) (at uint32, fresh bool) {
	if at, ok := known[string(key)]; ok {
		return at, false
	}
	at = uint32(len(*all))
	*all, known[string(key)] = append(*all, v), at
	return at, true
}

func (b *builder) string(s string) uint32 {
	i, fresh := intern(b.byString, &b.strings, s)
	if fresh {
		b.size += stringSize + len(s)
	}
	return i
}

func (b *builder) mapping(m mapping) uint32 {
	i, fresh := intern(b.byMapping, &b.mappings, m)
	if fresh {
		b.size += entrySize
	}
	return i
}

func (b *builder) function(f function) uint32 {
	i, fresh := intern(b.byFunction, &b.functions, f)
	if fresh {
		b.size += entrySize
	}
	return i
}

// location keeps l.lines when it is new.
func (b *builder) location(l location) uint32 {
	b.key = appendLocation(b.key[:0], l)
	i, fresh := internAs(b.byLocation, &b.locations, b.key, l)
	if fresh {
		b.size += entrySize + len(b.key) + 24*len(l.lines)
	}
	return i
}

func (b *builder) node(n node) uint32 {
	i, fresh := intern(b.byNode, &b.nodes, n)
	if fresh {
		b.size += nodeSize
	}
	return i
}

// labelSet keeps l when it is new.
func (b *builder) labelSet(l []label) uint32 {
	b.key = appendLabels(b.key[:0], l)
	i, fresh := internAs(b.byLabels, &b.labels, b.key, l)
	if fresh {
		b.size += entrySize + len(b.key) + 32*len(l)
	}
	return i
}

// schema keeps s's slices when it is new.
func (b *builder) schema(s schema) uint32 {
	b.key = appendSchema(b.key[:0], s)
	i, fresh := internAs(b.bySchema, &b.schemas, b.key, s)
	if fresh {
		b.size += entrySize + len(b.key)
	}
	return i
}

// add takes a valid profile in, or as much of it as is above maxWrite.
func (b *builder) add(p *profile.Profile, time int64) row {
	r := row{time: time, duration: min(max(p.DurationNanos, 0), int64(longest)), schema: b.schemaOf(p)}
	types := len(p.SampleType)
	mappings := map[*profile.Mapping]uint32{}
	for _, m := range p.Mapping {
		mappings[m] = b.mapping(mapping{start: m.Start, limit: m.Limit, offset: m.Offset, file: b.string(m.File), build: b.string(m.BuildID), flags: flagsOf(m)})
	}
	functions := map[*profile.Function]uint32{}
	locations := map[*profile.Location]uint32{}
	place := func(l *profile.Location) uint32 {
		if i, ok := locations[l]; ok {
			return i
		}
		o := location{address: l.Address, folded: l.IsFolded, lines: make([]line, len(l.Line))}
		if m := l.Mapping; m != nil {
			o.mapping = mappings[m] + 1
		}
		for j, n := range l.Line {
			i, ok := functions[n.Function]
			if f := n.Function; !ok {
				i = b.function(function{b.string(f.Name), b.string(f.SystemName), b.string(f.Filename), f.StartLine})
				functions[f] = i
			}
			o.lines[j] = line{i, n.Line, n.Column}
		}
		i := b.location(o)
		locations[l] = i
		return i
	}
	seen := map[[2]uint32]int{}
	for _, s := range p.Sample {
		at := uint32(0)
		for _, l := range slices.Backward(s.Location) {
			at = b.node(node{at, place(l)})
			if b.size > maxWrite {
				return r // nobody wants the rest
			}
		}
		id := [2]uint32{at, b.labelsOf(s)}
		if i, ok := seen[id]; ok {
			for j, v := range s.Value {
				r.values[i*types+j] = pprofile.Plus(r.values[i*types+j], v)
			}
			continue
		}
		seen[id] = len(r.nodes)
		r.nodes, r.labels, r.values = append(r.nodes, id[0]), append(r.labels, id[1]), append(r.values, s.Value...)
	}
	return r.sorted(types)
}

// sorted orders the samples by node and label set.
func (r row) sorted(types int) row {
	order := make([]int, len(r.nodes))
	for i := range order {
		order[i] = i
	}
	id := func(i int) uint64 { return uint64(r.nodes[i])<<32 | uint64(r.labels[i]) }
	if slices.IsSortedFunc(order, func(i, j int) int { return cmp.Compare(id(i), id(j)) }) {
		return r
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(id(i), id(j)) })
	out := row{time: r.time, duration: r.duration, schema: r.schema,
		nodes: make([]uint32, len(order)), labels: make([]uint32, len(order)), values: make([]int64, 0, len(r.values))}
	for to, from := range order {
		out.nodes[to], out.labels[to] = r.nodes[from], r.labels[from]
		out.values = append(out.values, r.values[from*types:(from+1)*types]...)
	}
	return out
}

// end is when a profile ends; never before it starts.
func (r row) end() int64 { return r.time + min(r.duration, math.MaxInt64-max(r.time, 0)) }

// size is rough bytes in memory.
func (r row) size() int { return 96 + 8*len(r.nodes) + 8*len(r.values) }

func flagsOf(m *profile.Mapping) (flags uint8) {
	for i, has := range []bool{m.HasFunctions, m.HasFilenames, m.HasLineNumbers, m.HasInlineFrames} {
		if has {
			flags |= 1 << i
		}
	}
	return flags
}

func (b *builder) schemaOf(p *profile.Profile) uint32 {
	s := schema{byDefault: b.string(p.DefaultSampleType), period: p.Period, drop: b.string(p.DropFrames), keep: b.string(p.KeepFrames), doc: b.string(p.DocURL)}
	for _, t := range p.SampleType {
		s.types = append(s.types, valueType{b.string(t.Type), b.string(t.Unit)})
	}
	if t := p.PeriodType; t != nil {
		s.hasPeriod, s.periodType = true, valueType{b.string(t.Type), b.string(t.Unit)}
	}
	for _, c := range p.Comments {
		s.comments = append(s.comments, b.string(c))
	}
	return b.schema(s)
}

func (b *builder) labelsOf(s *profile.Sample) uint32 {
	if len(s.Label)+len(s.NumLabel) == 0 {
		return 0
	}
	var set []label
	for _, k := range slices.Sorted(maps.Keys(s.Label)) {
		for _, v := range s.Label[k] {
			set = append(set, label{key: b.string(k), text: b.string(v)})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.NumLabel)) {
		units := s.NumUnit[k]
		for i, v := range s.NumLabel[k] {
			l := label{key: b.string(k), number: true, value: v}
			if i < len(units) {
				l.unit = b.string(units[i])
			}
			set = append(set, l)
		}
	}
	return b.labelSet(set)
}

// absorbed tells where things of another table stand in the builder.
type absorbed struct {
	strings, nodes, labels, schemas []uint32
}

// absorb takes in what rows of t refer to. With labels false, label sets all
// become the empty one.
func (b *builder) absorb(t *table, rows []row, labels bool) absorbed {
	used := struct{ nodes, labels, schemas []bool }{make([]bool, len(t.nodes)), make([]bool, len(t.labels)), make([]bool, len(t.schemas))}
	for _, r := range rows {
		used.schemas[r.schema] = true
		for _, n := range r.nodes {
			used.nodes[n] = true
		}
		for _, l := range r.labels {
			used.labels[l] = true
		}
	}
	const unknown = ^uint32(0)
	fresh := func(n int) []uint32 {
		s := make([]uint32, n)
		for i := range s {
			s[i] = unknown
		}
		return s
	}
	a := absorbed{strings: fresh(len(t.strings)), nodes: make([]uint32, len(t.nodes)), labels: make([]uint32, len(t.labels)), schemas: make([]uint32, len(t.schemas))}
	text := func(i uint32) uint32 {
		if a.strings[i] == unknown {
			a.strings[i] = b.string(t.strings[i])
		}
		return a.strings[i]
	}
	mappings, functions, locations := fresh(len(t.mappings)), fresh(len(t.functions)), fresh(len(t.locations))
	for i := len(t.nodes) - 1; i > 0; i-- { // callers come before their callees
		if used.nodes[i] {
			used.nodes[t.nodes[i].parent] = true
		}
	}
	mapped := make([]bool, len(t.mappings)+1)
	for i, n := range t.nodes {
		if i > 0 && used.nodes[i] {
			mapped[t.locations[n.location].mapping] = true
		}
	}
	for i, m := range t.mappings { // in their order: the first is the program's own
		if mapped[i+1] {
			m.file, m.build = text(m.file), text(m.build)
			mappings[i] = b.mapping(m)
		}
	}
	for i, n := range t.nodes {
		if i == 0 || !used.nodes[i] {
			continue
		}
		if locations[n.location] == unknown {
			l := t.locations[n.location]
			if l.mapping > 0 {
				l.mapping = mappings[l.mapping-1] + 1
			}
			l.lines = slices.Clone(l.lines)
			for j := range l.lines {
				at := &l.lines[j].function
				if functions[*at] == unknown {
					f := t.functions[*at]
					f.name, f.system, f.file = text(f.name), text(f.system), text(f.file)
					functions[*at] = b.function(f)
				}
				*at = functions[*at]
			}
			locations[n.location] = b.location(l)
		}
		a.nodes[i] = b.node(node{a.nodes[n.parent], locations[n.location]})
	}
	for i, set := range t.labels {
		if i == 0 || !labels || !used.labels[i] {
			continue
		}
		set = slices.Clone(set)
		for j := range set {
			l := &set[j]
			l.key, l.text, l.unit = text(l.key), text(l.text), text(l.unit)
		}
		a.labels[i] = b.labelSet(set)
	}
	for i, s := range t.schemas {
		if !used.schemas[i] {
			continue
		}
		s.types, s.comments = slices.Clone(s.types), slices.Clone(s.comments)
		for j := range s.types {
			s.types[j] = valueType{text(s.types[j].name), text(s.types[j].unit)}
		}
		for j := range s.comments {
			s.comments[j] = text(s.comments[j])
		}
		s.byDefault, s.drop, s.keep, s.doc = text(s.byDefault), text(s.drop), text(s.keep), text(s.doc)
		s.periodType = valueType{text(s.periodType.name), text(s.periodType.unit)}
		a.schemas[i] = b.schema(s)
	}
	return a
}

// take absorbs whole rows.
func (b *builder) take(t *table, rows []row) []row {
	a := b.absorb(t, rows, true)
	out := make([]row, len(rows))
	for i, r := range rows {
		n := row{time: r.time, duration: r.duration, schema: a.schemas[r.schema], nodes: make([]uint32, len(r.nodes)), labels: make([]uint32, len(r.labels)), values: r.values}
		for j := range r.nodes {
			n.nodes[j], n.labels[j] = a.nodes[r.nodes[j]], a.labels[r.labels[j]]
		}
		out[i] = n.sorted(len(t.schemas[r.schema].types))
	}
	return out
}

func appendLocation(k []byte, l location) []byte {
	k = binary.AppendUvarint(k, uint64(l.mapping))
	k = binary.AppendUvarint(k, l.address)
	n := uint64(len(l.lines)) << 1
	if l.folded {
		n |= 1
	}
	k = binary.AppendUvarint(k, n)
	for _, s := range l.lines {
		k = binary.AppendUvarint(k, uint64(s.function))
		k = binary.AppendVarint(k, s.line)
		k = binary.AppendVarint(k, s.column)
	}
	return k
}

func appendLabels(k []byte, set []label) []byte {
	k = binary.AppendUvarint(k, uint64(len(set)))
	for _, l := range set {
		if !l.number {
			k = binary.AppendUvarint(k, uint64(l.key)<<1)
			k = binary.AppendUvarint(k, uint64(l.text))
			continue
		}
		k = binary.AppendUvarint(k, uint64(l.key)<<1|1)
		k = binary.AppendVarint(k, l.value)
		k = binary.AppendUvarint(k, uint64(l.unit))
	}
	return k
}

func appendSchema(k []byte, s schema) []byte {
	k = binary.AppendUvarint(k, uint64(len(s.types)))
	for _, t := range s.types {
		k = binary.AppendUvarint(k, uint64(t.name))
		k = binary.AppendUvarint(k, uint64(t.unit))
	}
	period := uint64(0)
	if s.hasPeriod {
		period = 1
	}
	for _, v := range []uint64{uint64(s.byDefault), uint64(s.drop), uint64(s.keep), uint64(s.doc), period, uint64(s.periodType.name), uint64(s.periodType.unit)} {
		k = binary.AppendUvarint(k, v)
	}
	k = binary.AppendVarint(k, s.period)
	k = binary.AppendUvarint(k, uint64(len(s.comments)))
	for _, c := range s.comments {
		k = binary.AppendUvarint(k, uint64(c))
	}
	return k
}
