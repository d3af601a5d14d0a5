package event

import (
	"fmt"
	"math"

	"github.com/guanlan-io/guanlan/internal/store"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Packed columns hold what has no column of its own: events, links, attributes
// that cannot be columns, explicit times. They are sequences of tagged,
// length-prefixed items. All structure is made of the bytes 0x01 to 0x1f: the
// engine takes no words from those, so structure costs nothing in the word
// filters (2 bytes a word and block), and a full-text search over a packed
// column sees the strings in it between word boundaries, as they came in.
//
// Integers are digits of three bits, lowest first, 0x10 plus digit, plus 8
// while more follow. Identifiers and the bits of doubles are 0x10 plus each
// half byte.

const (
	packNone   = 0x01
	packString = 0x02
	packInt    = 0x03
	packDouble = 0x04
	packTrue   = 0x05
	packFalse  = 0x06
	packBytes  = 0x07
	packArray  = 0x08
	packMap    = 0x0e
)

// maxPackDepth bounds nesting, so that damaged data cannot exhaust the stack.
const maxPackDepth = 10_000

// errPacked is what reading rows fails with when they are not as written.
var errPacked = fmt.Errorf("row is damaged: %w", store.ErrUnavailable)

func packUint(dst []byte, u uint64) []byte {
	for u >= 8 {
		dst = append(dst, 0x18|byte(u&7))
		u >>= 3
	}
	return append(dst, 0x10|byte(u))
}

// packSint packs small numbers of either sign in few digits.
func packSint(dst []byte, n int64) []byte {
	return packUint(dst, uint64(n)<<1^uint64(n>>63))
}

// packNibbles packs bytes whose length the reader knows.
func packNibbles(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, 0x10|s[i]>>4, 0x10|s[i]&15)
	}
	return dst
}

func packText(dst []byte, s string) []byte {
	return append(packUint(dst, uint64(len(s))), s...)
}

// packValue packs any value; strings are taken through cut. What is nested
// deeper than maxPackDepth becomes the empty value.
func packValue(dst []byte, v value, cut *cutter, depth int) []byte {
	if depth > maxPackDepth {
		return append(dst, packNone)
	}
	switch v.kind {
	case pcommon.ValueTypeStr:
		return packText(append(dst, packString), cut.text(v.text))
	case pcommon.ValueTypeInt:
		return packSint(append(dst, packInt), v.integer())
	case pcommon.ValueTypeDouble:
		dst = append(dst, packDouble)
		for i := 60; i >= 0; i -= 4 {
			dst = append(dst, 0x10|byte(v.bits>>i)&15)
		}
		return dst
	case pcommon.ValueTypeBool:
		if v.boolean() {
			return append(dst, packTrue)
		}
		return append(dst, packFalse)
	case pcommon.ValueTypeBytes:
		return packNibbles(packUint(append(dst, packBytes), uint64(len(v.text))), v.text)
	case pcommon.ValueTypeSlice:
		dst = packUint(append(dst, packArray), uint64(v.len()))
		for e := range v.elements() {
			dst = packValue(dst, e, cut, depth+1)
		}
		return dst
	case pcommon.ValueTypeMap:
		dst = packUint(append(dst, packMap), uint64(v.len()))
		for a := range v.pairs() {
			dst = packAttribute(dst, a, cut, depth+1)
		}
		return dst
	default:
		return append(dst, packNone)
	}
}

func packAttribute(dst []byte, a pair, cut *cutter, depth int) []byte {
	return packValue(packText(dst, validText(a.key)), a.value, cut, depth)
}

func packAttributes(dst []byte, list []pair, cut *cutter) []byte {
	dst = packUint(dst, uint64(len(list)))
	for _, a := range list {
		dst = packAttribute(dst, a, cut, 0)
	}
	return dst
}

// unpacker reads a packed column. After the first damage all reads give zero
// values and err is set.
type unpacker struct {
	s   string
	err error
}

func (u *unpacker) fail() {
	u.err = errPacked
	u.s = ""
}

func (u *unpacker) more() bool { return len(u.s) > 0 }

func (u *unpacker) byte() byte {
	if u.s == "" {
		u.fail()
		return 0
	}
	c := u.s[0]
	u.s = u.s[1:]
	return c
}

func (u *unpacker) uint() uint64 {
	var n uint64
	for shift := 0; shift < 66; shift += 3 {
		c := u.byte()
		if c&^0x0f != 0x10 {
			break
		}
		n |= uint64(c&7) << shift
		if c&8 == 0 {
			return n
		}
	}
	u.fail()
	return 0
}

func (u *unpacker) sint() int64 {
	n := u.uint()
	return int64(n>>1) ^ -int64(n&1)
}

// count reads a number of items that take at least one byte each.
func (u *unpacker) count() int {
	n := u.uint()
	if n > uint64(len(u.s)) {
		u.fail()
		return 0
	}
	return int(n)
}

func (u *unpacker) text() string {
	n := u.count()
	s := u.s[:n]
	u.s = u.s[n:]
	return s
}

func (u *unpacker) nibbles(dst []byte) {
	if len(u.s) < 2*len(dst) {
		u.fail()
		return
	}
	for i := range dst {
		hi, lo := u.s[2*i], u.s[2*i+1]
		if hi&^0x0f != 0x10 || lo&^0x0f != 0x10 {
			u.fail()
			return
		}
		dst[i] = hi<<4 | lo&15
	}
	u.s = u.s[2*len(dst):]
}

func (u *unpacker) value(v pcommon.Value, depth int) {
	if depth > maxPackDepth {
		u.fail()
		return
	}
	switch u.byte() {
	case packNone:
	case packString:
		v.SetStr(u.text())
	case packInt:
		v.SetInt(u.sint())
	case packDouble:
		var b [8]byte
		u.nibbles(b[:])
		var bits uint64
		for _, c := range b {
			bits = bits<<8 | uint64(c)
		}
		v.SetDouble(math.Float64frombits(bits))
	case packTrue:
		v.SetBool(true)
	case packFalse:
		v.SetBool(false)
	case packBytes:
		n := u.count()
		if 2*n > len(u.s) {
			u.fail()
			return
		}
		b := make([]byte, n)
		u.nibbles(b)
		v.SetEmptyBytes().FromRaw(b)
	case packArray:
		a := v.SetEmptySlice()
		for range u.count() {
			u.value(a.AppendEmpty(), depth+1)
			if u.err != nil {
				return
			}
		}
	case packMap:
		u.attributes(v.SetEmptyMap(), depth+1)
	default:
		u.fail()
	}
}

// attributes reads what packAttributes wrote; of equal keys the first counts.
func (u *unpacker) attributes(m pcommon.Map, depth int) {
	for range u.count() {
		v, found := m.GetOrPutEmpty(u.text())
		if found {
			v = pcommon.NewValueEmpty()
		}
		u.value(v, depth)
		if u.err != nil {
			return
		}
	}
}

func (u *unpacker) damage(column string) error {
	if u.err == nil {
		return nil
	}
	return fmt.Errorf("read column %s: %w", column, u.err)
}
