package profile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var errDamaged = errors.New("damaged")

// encode writes a table and its rows, which FORMAT.md describes.
func encode(t *table, rows []row) []byte {
	var b []byte
	num := func(v int) { b = binary.AppendUvarint(b, uint64(v)) }
	ref := func(v uint32) { b = binary.AppendUvarint(b, uint64(v)) }
	num(len(t.strings))
	for _, s := range t.strings {
		num(len(s))
		b = append(b, s...)
	}
	num(len(t.mappings))
	for _, m := range t.mappings {
		b = binary.AppendUvarint(b, m.start)
		b = binary.AppendUvarint(b, m.limit)
		b = binary.AppendUvarint(b, m.offset)
		ref(m.file)
		ref(m.build)
		b = append(b, m.flags)
	}
	num(len(t.functions))
	for _, f := range t.functions {
		ref(f.name)
		ref(f.system)
		ref(f.file)
		b = binary.AppendVarint(b, f.start)
	}
	num(len(t.locations))
	for _, l := range t.locations {
		b = appendLocation(b, l)
	}
	num(len(t.nodes))
	for i, n := range t.nodes[1:] {
		num(i + 1 - int(n.parent)) // callees often follow their callers
		ref(n.location)
	}
	num(len(t.labels))
	for _, set := range t.labels[1:] {
		b = appendLabels(b, set)
	}
	num(len(t.schemas))
	for _, s := range t.schemas {
		b = appendSchema(b, s)
	}
	num(len(rows))
	var last int64
	for _, r := range rows {
		b = binary.AppendVarint(b, r.time-last)
		last = r.time
		b = binary.AppendVarint(b, r.duration)
		ref(r.schema)
		num(len(r.nodes))
		var at uint32
		for _, n := range r.nodes {
			ref(n - at) // in order
			at = n
		}
		for _, l := range r.labels {
			ref(l)
		}
		types := len(t.schemas[r.schema].types)
		for k := range types {
			for i := range r.nodes {
				b = binary.AppendVarint(b, r.values[i*types+k])
			}
		}
	}
	return b
}

// decode reads what encode wrote. Whatever data is, it takes memory in
// proportion to it, and every reference in the result is to something there.
func decode(data []byte) (*table, []row, error) {
	d := decoder{b: data}
	t := &table{}
	for range d.count(1) {
		t.strings = append(t.strings, d.text())
	}
	strings := len(t.strings)
	d.want(strings > 0 && t.strings[0] == "", "first string")
	for range d.count(6) {
		m := mapping{start: d.uint(), limit: d.uint(), offset: d.uint(), file: d.ref(strings), build: d.ref(strings)}
		m.flags = d.byte()
		t.mappings = append(t.mappings, m)
	}
	for range d.count(4) {
		t.functions = append(t.functions, function{d.ref(strings), d.ref(strings), d.ref(strings), d.int()})
	}
	for range d.count(3) {
		t.locations = append(t.locations, d.location(len(t.mappings), len(t.functions)))
	}
	n := d.int32()
	d.want(n > 0 && n-1 <= len(d.b)/2, "nodes")
	t.nodes = append(t.nodes, node{})
	for i := 1; i < n && d.err == nil; i++ {
		up := d.ref(i + 1)
		d.want(up > 0, "caller")
		t.nodes = append(t.nodes, node{uint32(i) - up, d.ref(len(t.locations))})
	}
	n = d.int32()
	d.want(n > 0 && n-1 <= len(d.b), "label sets")
	t.labels = append(t.labels, nil)
	for i := 1; i < n && d.err == nil; i++ {
		t.labels = append(t.labels, d.labels(strings))
	}
	for range d.count(10) {
		t.schemas = append(t.schemas, d.schema(strings))
	}
	rows := d.rows(t)
	d.want(len(d.b) == 0, "end")
	if d.err != nil {
		return nil, nil, fmt.Errorf("decode profiles: %w", d.err)
	}
	return t, rows, nil
}

func (d *decoder) rows(t *table) []row {
	var rows []row
	var last int64
	for range d.count(4) {
		r := row{time: last + d.int(), duration: d.int(), schema: d.ref(len(t.schemas))}
		last = r.time
		n := d.int32()
		if d.err != nil {
			return nil
		}
		types := len(t.schemas[r.schema].types)
		if d.want(n <= len(d.b)/(2+types), "samples"); d.err != nil {
			return nil
		}
		r.nodes, r.labels, r.values = make([]uint32, n), make([]uint32, n), make([]int64, n*types)
		var at uint64
		for i := range r.nodes {
			step := d.uint()
			if d.want(step < uint64(len(t.nodes))-at, "node"); d.err != nil {
				return nil
			}
			at += step
			r.nodes[i] = uint32(at)
		}
		for i := range r.labels {
			r.labels[i] = d.ref(len(t.labels))
		}
		for k := range types {
			for i := range n {
				r.values[i*types+k] = d.int()
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func (d *decoder) location(mappings, functions int) location {
	l := location{mapping: d.ref(mappings + 1), address: d.uint()}
	n := d.uint()
	l.folded = n&1 != 0
	if d.want(n>>1 <= uint64(len(d.b)/3), "lines"); d.err != nil {
		return l
	}
	l.lines = make([]line, n>>1)
	for i := range l.lines {
		l.lines[i] = line{d.ref(functions), d.int(), d.int()}
	}
	return l
}

func (d *decoder) labels(strings int) []label {
	var set []label
	for range d.count(2) {
		k := d.uint()
		l := label{number: k&1 != 0}
		d.want(k>>1 < uint64(strings), "label")
		l.key = uint32(k >> 1)
		if l.number {
			l.value, l.unit = d.int(), d.ref(strings)
		} else {
			l.text = d.ref(strings)
		}
		set = append(set, l)
	}
	return set
}

func (d *decoder) schema(strings int) schema {
	var s schema
	for range d.count(2) {
		s.types = append(s.types, valueType{d.ref(strings), d.ref(strings)})
	}
	s.byDefault, s.drop, s.keep, s.doc = d.ref(strings), d.ref(strings), d.ref(strings), d.ref(strings)
	s.hasPeriod = d.ref(2) == 1
	s.periodType = valueType{d.ref(strings), d.ref(strings)}
	s.period = d.int()
	for range d.count(1) {
		s.comments = append(s.comments, d.ref(strings))
	}
	return s
}

// decoder reads numbers and strings; after an error it reads zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) want(ok bool, what string) {
	if !ok && d.err == nil {
		d.err = fmt.Errorf("%s: %w", what, errDamaged)
		d.b = nil
	}
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.want(n > 0, "number"); n <= 0 {
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *decoder) int32() int {
	v := d.uint()
	if d.want(v <= math.MaxInt32, "size"); v > math.MaxInt32 {
		return 0
	}
	return int(v)
}

// ref is a place below n.
func (d *decoder) ref(n int) uint32 {
	v := d.uint()
	if ok := v < uint64(n); !ok {
		d.want(false, "reference")
		return 0
	}
	return uint32(v)
}

// count is how many items of at least size bytes follow.
func (d *decoder) count(size int) int {
	n := d.int32()
	if d.want(n <= len(d.b)/size, "count"); d.err != nil {
		return 0
	}
	return n
}

func (d *decoder) byte() byte {
	if d.want(len(d.b) > 0, "byte"); d.err != nil {
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) text() string {
	n := d.count(1)
	if d.err != nil {
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
