package core

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the value as JSON, as encoding/json writes its like: bytes
// in base64, an empty value as null. What JSON has no number for is a string.
func (v *Value) AppendJSON(b []byte) []byte {
	switch v.kind {
	case KindBool:
		return strconv.AppendBool(b, v.num != 0)
	case KindInt:
		return strconv.AppendInt(b, int64(v.num), 10)
	case KindFloat:
		return appendJSONFloat(b, math.Float64frombits(v.num))
	case KindString:
		return AppendJSONString(b, v.str)
	case KindBytes:
		b = base64.StdEncoding.AppendEncode(append(b, '"'), v.list.([]byte))
		return append(b, '"')
	case KindBools:
		return appendJSONList(b, v.list.([]bool), func(b []byte, x *bool) []byte { return strconv.AppendBool(b, *x) })
	case KindInts:
		return appendJSONList(b, v.list.([]int64), func(b []byte, x *int64) []byte { return strconv.AppendInt(b, *x, 10) })
	case KindFloats:
		return appendJSONList(b, v.list.([]float64), func(b []byte, x *float64) []byte { return appendJSONFloat(b, *x) })
	case KindStrings:
		return appendJSONList(b, v.list.([]string), func(b []byte, x *string) []byte { return AppendJSONString(b, *x) })
	case KindSlice:
		return appendJSONList(b, v.list.([]Value), func(b []byte, x *Value) []byte { return x.AppendJSON(b) })
	case KindMap:
		b = append(b, '{')
		for i := range v.list.([]Attr) {
			a := &v.list.([]Attr)[i]
			if i > 0 {
				b = append(b, ',')
			}
			b = append(AppendJSONString(b, a.Key), ':')
			b = a.Value.AppendJSON(b)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// Text is a string as it is, and anything else as JSON.
func (v *Value) Text() string {
	if v.kind == KindString {
		return v.str
	}
	return string(v.AppendJSON(nil))
}

func appendJSONList[T any](b []byte, list []T, value func([]byte, *T) []byte) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = value(b, &list[i])
	}
	return append(b, ']')
}

func appendJSONFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		b = strconv.AppendFloat(append(b, '"'), f, 'g', -1, 64)
		return append(b, '"')
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// plainJSON are the bytes that stand for themselves in a string of JSON.
var plainJSON = func() (set [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		set[c] = c != '"' && c != '\\'
	}
	return set
}()

// AppendJSONString appends a JSON string. Bytes that are not UTF-8 become
// U+FFFD.
func AppendJSONString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	i := 0
	for i < len(s) && plainJSON[s[i]] {
		i++
	}
	if i == len(s) { // as nearly always
		return append(append(dst, s...), '"')
	}
	from := 0
	for i < len(s) {
		c := s[i]
		if plainJSON[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[from:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, s[from:i]...), "\uFFFD"...)
			from = i + 1
		}
		i += size
	}
	return append(append(dst, s[from:]...), '"')
}
