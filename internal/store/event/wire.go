package event

import (
	"errors"
	"iter"
	"math"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Batches reach the codecs as they stand in the journal: OTLP messages in the
// protobuf encoding. Rows are built right from those bytes: an object tree
// would only be made to be walked once.
//
// The journal holds what pdata encoded, and its records have checksums, so
// malformed bytes come from another version at worst: errWire is for the
// levels down to the span or record, where it costs the batch. Below, what
// cannot be read counts as the end of its message.

var errWire = errors.New("malformed OTLP message")

// message is the rest of a protobuf message. After a malformed field it is
// empty, and bad.
type message struct {
	s   string
	bad bool
}

// messageOf is a view of b, which must not change while texts from it are in
// use.
func messageOf(b []byte) message { return message{s: unsafe.String(unsafe.SliceData(b), len(b))} }

// field is a field of a message: a number, or text where it is
// length-delimited.
type field struct {
	id   int
	num  uint64
	text string
}

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// next reads the next field; false at the end.
func (m *message) next(f *field) bool {
	if m.s == "" {
		return false
	}
	tag, ok := m.varint()
	if !ok {
		return false
	}
	f.id, f.num, f.text = int(tag>>3), 0, ""
	switch tag & 7 {
	case wireVarint:
		f.num, ok = m.varint()
		return ok
	case wireFixed64:
		return m.fixed(f, 8)
	case wireFixed32:
		return m.fixed(f, 4)
	case wireBytes:
		n, ok := m.varint()
		if !ok {
			return false
		}
		if n > uint64(len(m.s)) {
			return m.fail()
		}
		f.text, m.s = m.s[:n], m.s[n:]
		return true
	}
	return m.fail()
}

func (m *message) fail() bool {
	m.s, m.bad = "", true
	return false
}

func (m *message) varint() (uint64, bool) {
	if m.s != "" && m.s[0] < 0x80 {
		c := m.s[0]
		m.s = m.s[1:]
		return uint64(c), true
	}
	var n uint64
	for i := 0; i < len(m.s) && i < 10; i++ {
		c := m.s[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			m.s = m.s[i+1:]
			return n, true
		}
	}
	return 0, m.fail()
}

func (m *message) fixed(f *field, size int) bool {
	if len(m.s) < size {
		return m.fail()
	}
	for i := size - 1; i >= 0; i-- {
		f.num = f.num<<8 | uint64(m.s[i])
	}
	m.s = m.s[size:]
	return true
}

// value is an AnyValue.
type value struct {
	kind pcommon.ValueType
	text string // of strings and bytes; of arrays and maps the message
	bits uint64 // of ints, doubles and bools
}

// Fields of AnyValue; the field of the elements of ArrayValue and
// KeyValueList; fields of KeyValue.
const (
	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyArray  = 5
	anyMap    = 6
	anyBytes  = 7

	listElement = 1

	pairKey   = 1
	pairValue = 2
)

func parseValue(s string) (v value) {
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		v.text, v.bits = f.text, f.num
		switch f.id {
		case anyString:
			v.kind = pcommon.ValueTypeStr
		case anyBool:
			v.kind = pcommon.ValueTypeBool
		case anyInt:
			v.kind = pcommon.ValueTypeInt
		case anyDouble:
			v.kind = pcommon.ValueTypeDouble
		case anyArray:
			v.kind = pcommon.ValueTypeSlice
		case anyMap:
			v.kind = pcommon.ValueTypeMap
		case anyBytes:
			v.kind = pcommon.ValueTypeBytes
		}
	}
	return v
}

// scalarOf is the value of a string, int, double or bool; ok is false for
// others.
func scalarOf(v pcommon.Value) (_ value, ok bool) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return value{kind: v.Type(), text: v.Str()}, true
	case pcommon.ValueTypeInt:
		return value{kind: v.Type(), bits: uint64(v.Int())}, true
	case pcommon.ValueTypeDouble:
		return value{kind: v.Type(), bits: math.Float64bits(v.Double())}, true
	case pcommon.ValueTypeBool:
		if v.Bool() {
			return value{kind: v.Type(), bits: 1}, true
		}
		return value{kind: v.Type()}, true
	}
	return value{}, false
}

func (v value) integer() int64  { return int64(v.bits) }
func (v value) double() float64 { return math.Float64frombits(v.bits) }
func (v value) boolean() bool   { return v.bits != 0 }

// elements are the elements of an array.
func (v value) elements() iter.Seq[value] {
	return func(yield func(value) bool) {
		m := message{s: v.text}
		for f := (field{}); m.next(&f); {
			if f.id == listElement && !yield(parseValue(f.text)) {
				return
			}
		}
	}
}

// pairs are the attributes of a map.
func (v value) pairs() iter.Seq[pair] {
	return func(yield func(pair) bool) {
		m := message{s: v.text}
		for f := (field{}); m.next(&f); {
			if f.id == listElement && !yield(parsePair(f.text)) {
				return
			}
		}
	}
}

// len is the number of elements of an array or map.
func (v value) len() (n int) {
	m := message{s: v.text}
	for f := (field{}); m.next(&f); {
		if f.id == listElement {
			n++
		}
	}
	return n
}

// pair is a KeyValue.
type pair struct {
	key   string
	value value
}

func parsePair(s string) (a pair) {
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case pairKey:
			a.key = f.text
		case pairValue:
			a.value = parseValue(f.text)
		}
	}
	return a
}

// resource is a Resource with the schema URL that stands beside it.
type resource struct {
	attributes []pair
	dropped    uint32
	schemaURL  string
}

// parse reads the message, into the memory of the resource before.
func (r *resource) parse(s string) {
	*r = resource{attributes: r.attributes[:0]}
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 1:
			r.attributes = append(r.attributes, parsePair(f.text))
		case 2:
			r.dropped = uint32(f.num)
		}
	}
}

// service is what rows of the resource are filed under: the text of
// service.name.
func (r *resource) service() string {
	for _, a := range r.attributes {
		if a.key != colService {
			continue
		}
		if a.value.kind == pcommon.ValueTypeStr {
			return a.value.text
		}
		text, _, _ := appendText(nil, a.value)
		return string(text)
	}
	return ""
}

// scope is an InstrumentationScope with the schema URL that stands beside it.
type scope struct {
	name, version string
	attributes    []pair
	dropped       uint32
	schemaURL     string
}

func (c *scope) parse(s string) {
	*c = scope{attributes: c.attributes[:0]}
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 1:
			c.name = f.text
		case 2:
			c.version = f.text
		case 3:
			c.attributes = append(c.attributes, parsePair(f.text))
		case 4:
			c.dropped = uint32(f.num)
		}
	}
}

// envelope walks what TracesData and LogsData have in common. Resources and
// scopes precede their items; the schema URLs, which belong to them, follow.
type envelope struct {
	resource resource
	scope    scope
	scopes   []string
	items    []string
}

// walk calls inResource and inScope when resource and scope change, and item
// with the message of every span or record.
func (e *envelope) walk(payload []byte, inResource, inScope func(), item func(string) error) error {
	data := messageOf(payload)
	for f := (field{}); data.next(&f); {
		if f.id != 1 {
			continue
		}
		if err := e.walkResource(f.text, inResource, inScope, item); err != nil {
			return err
		}
	}
	return data.err()
}

func (e *envelope) walkResource(s string, inResource, inScope func(), item func(string) error) error {
	var head, url string
	var err error
	if head, url, e.scopes, err = level(s, e.scopes[:0]); err != nil {
		return err
	}
	e.resource.parse(head)
	e.resource.schemaURL = url
	inResource()
	for _, s := range e.scopes {
		if head, url, e.items, err = level(s, e.items[:0]); err != nil {
			return err
		}
		e.scope.parse(head)
		e.scope.schemaURL = url
		inScope()
		for _, s := range e.items {
			if err := item(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// level reads a message with a resource or scope, what is below it, appended
// to below, and a schema URL. Messages of resources and of scopes, of traces
// and of logs, have the same fields.
func level(s string, below []string) (head, url string, _ []string, err error) {
	m := message{s: s}
	for f := (field{}); m.next(&f); {
		switch f.id {
		case 1:
			head = f.text
		case 2:
			below = append(below, f.text)
		case 3:
			url = f.text
		}
	}
	return head, url, below, m.err()
}

func (m *message) err() error {
	if m.bad {
		return errWire
	}
	return nil
}

// identifier copies an id; one of another length is none.
func identifier(dst []byte, s string) {
	if len(s) == len(dst) {
		copy(dst, s)
	}
}
