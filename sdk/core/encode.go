package core

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"
)

// The protobuf encoding, as far as OTLP needs it. Everything appends to a
// buffer that the caller reuses.

// Wire types.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func appendTag(b []byte, field, wire int) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|uint64(wire))
}

func appendVarint(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(appendTag(b, field, wireVarint), v)
}

func appendFixed64(b []byte, field int, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(appendTag(b, field, wireFixed64), v)
}

func appendFixed32(b []byte, field int, v uint32) []byte {
	return binary.LittleEndian.AppendUint32(appendTag(b, field, wireFixed32), v)
}

func appendBytes[T string | []byte](b []byte, field int, v T) []byte {
	b = binary.AppendUvarint(appendTag(b, field, wireBytes), uint64(len(v)))
	return append(b, v...)
}

// appendString appends a string field. Receivers refuse a whole request for one
// that is not UTF-8, so bytes that are not become U+FFFD.
func appendString(b []byte, field int, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return appendBytes(b, field, s)
}

// openField begins a message field whose size is not known yet, and closeField
// writes the size. Most are shorter than 128 bytes, for which one byte was left
// free; others are moved.
func openField(b []byte, field int) (_ []byte, at int) {
	b = append(appendTag(b, field, wireBytes), 0)
	return b, len(b)
}

func closeField(b []byte, at int) []byte {
	size := len(b) - at
	if size < 0x80 {
		b[at-1] = byte(size)
		return b
	}
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(size))
	b = append(b, head[:n-1]...) // makes room
	copy(b[at+n-1:], b[at:at+size])
	copy(b[at-1:], head[:n])
	return b
}

// Fields of OTLP messages.
// Source: opentelemetry-proto 1.9, common/v1/common.proto.
const (
	keyValueKey   = 1
	keyValueValue = 2

	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyArray  = 5
	anyMap    = 6
	anyBytes  = 7

	listValues = 1 // of an array and of a map
)

// Kind tells the type of a Value.
type Kind uint8

// Kinds of values.
const (
	KindEmpty Kind = iota
	KindBool
	KindInt
	KindFloat
	KindString
	KindBytes
	KindBools
	KindInts
	KindFloats
	KindStrings
	KindSlice // of Value
	KindMap   // []Attr
)

// Value is the value of an attribute. Scalars take no memory beside it.
type Value struct {
	kind Kind
	num  uint64
	str  string
	list any
}

// Attr is an attribute. An Attr with an empty key is not kept.
type Attr struct {
	Key   string
	Value Value
}

// Bool makes an attribute.
func Bool(key string, v bool) Attr { return Attr{key, BoolValue(v)} }

// Int makes an attribute.
func Int(key string, v int64) Attr { return Attr{key, IntValue(v)} }

// Float makes an attribute.
func Float(key string, v float64) Attr { return Attr{key, FloatValue(v)} }

// String makes an attribute.
func String(key, v string) Attr { return Attr{key, StringValue(v)} }

// Of makes an attribute of a value.
func Of(key string, v Value) Attr { return Attr{key, v} }

// BoolValue makes a value.
func BoolValue(v bool) Value {
	if v {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// IntValue makes a value.
func IntValue(v int64) Value { return Value{kind: KindInt, num: uint64(v)} }

// FloatValue makes a value.
func FloatValue(v float64) Value { return Value{kind: KindFloat, num: math.Float64bits(v)} }

// StringValue makes a value.
func StringValue(v string) Value { return Value{kind: KindString, str: v} }

// BytesValue makes a value; v must not change afterwards.
func BytesValue(v []byte) Value { return Value{kind: KindBytes, list: v} }

// BoolsValue, IntsValue, FloatsValue and StringsValue make arrays; v must not
// change afterwards.
func BoolsValue(v []bool) Value { return Value{kind: KindBools, list: v} }

// IntsValue makes an array.
func IntsValue(v []int64) Value { return Value{kind: KindInts, list: v} }

// FloatsValue makes an array.
func FloatsValue(v []float64) Value { return Value{kind: KindFloats, list: v} }

// StringsValue makes an array.
func StringsValue(v []string) Value { return Value{kind: KindStrings, list: v} }

// SliceValue makes an array of values of any kinds.
func SliceValue(v []Value) Value { return Value{kind: KindSlice, list: v} }

// MapValue makes a map.
func MapValue(v []Attr) Value { return Value{kind: KindMap, list: v} }

// Kind is the type of the value.
func (v *Value) Kind() Kind { return v.kind }

// Any is the value as it was given: a bool, int64, float64, string, slice of
// these, []byte, []Value or []Attr; nil for the zero Value.
func (v *Value) Any() any {
	switch v.kind {
	case KindBool:
		return v.num != 0
	case KindInt:
		return int64(v.num)
	case KindFloat:
		return math.Float64frombits(v.num)
	case KindString:
		return v.str
	}
	return v.list
}

// appendAttr appends an attribute as the given field. Strings beyond limit
// characters are cut; a limit below 0 is none.
func appendAttr(b []byte, field int, a *Attr, limit int) []byte {
	b, at := openField(b, field)
	b = appendString(b, keyValueKey, a.Key)
	b, value := openField(b, keyValueValue)
	b = appendValue(b, &a.Value, limit)
	return closeField(closeField(b, value), at)
}

// appendValue appends the fields of an AnyValue.
func appendValue(b []byte, v *Value, limit int) []byte {
	switch v.kind {
	case KindBool:
		return appendVarint(b, anyBool, v.num)
	case KindInt:
		return appendVarint(b, anyInt, v.num)
	case KindFloat:
		return appendFixed64(b, anyDouble, v.num)
	case KindString:
		return appendString(b, anyString, cut(v.str, limit))
	case KindBytes:
		bytes := v.list.([]byte)
		if limit >= 0 && len(bytes) > limit {
			bytes = bytes[:limit]
		}
		return appendBytes(b, anyBytes, bytes)
	case KindBools:
		return appendList(b, v.list.([]bool), func(x *bool) Value { return BoolValue(*x) }, limit)
	case KindInts:
		return appendList(b, v.list.([]int64), func(x *int64) Value { return IntValue(*x) }, limit)
	case KindFloats:
		return appendList(b, v.list.([]float64), func(x *float64) Value { return FloatValue(*x) }, limit)
	case KindStrings:
		return appendList(b, v.list.([]string), func(x *string) Value { return StringValue(*x) }, limit)
	case KindSlice:
		return appendList(b, v.list.([]Value), func(x *Value) Value { return *x }, limit)
	case KindMap:
		b, at := openField(b, anyMap)
		for i := range v.list.([]Attr) {
			b = appendAttr(b, listValues, &v.list.([]Attr)[i], limit)
		}
		return closeField(b, at)
	}
	return b
}

func appendList[T any](b []byte, list []T, value func(*T) Value, limit int) []byte {
	b, at := openField(b, anyArray)
	for i := range list {
		item := 0
		b, item = openField(b, listValues)
		v := value(&list[i])
		b = closeField(appendValue(b, &v, limit), item)
	}
	return closeField(b, at)
}

// cut keeps the first limit characters.
func cut(s string, limit int) string {
	if limit < 0 || len(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n == limit {
			return s[:i]
		}
		n++
	}
	return s
}
