package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// The engine keeps every value as a string, drops empty ones, and re-encodes
// blocks of strings that look like numbers, addresses or timestamps. This file
// is the text form that survives that: what a value looks like in its column,
// how its type is told again, and which strings need a guard because the
// engine would change them ("0.3" comes back as "0.30000000000000004", "1.10"
// as "1.1", "1_000" as "1000").

// Type codes of the exceptions column, for values whose type does not follow
// from their text. See FORMAT.md.
const (
	codeString      = 's' // a string that looks like an int, a double or a bool
	codeInt         = 'i' // bodies only
	codeDouble      = 'd' // a double that looks like an int (integral)
	codeBool        = 't' // bodies only
	codeBytes       = 'b' // base64
	codeArray       = 'a' // JSON
	codeMap         = 'm' // JSON
	codeEmptyString = 'e'
	codeEmptyBytes  = 'z'
	codeNone        = 'n' // the empty value: key without value
)

// withoutText: values with these codes have an empty text.
func withoutText(code byte) bool {
	return code == codeEmptyString || code == codeEmptyBytes || code == codeNone
}

// maxJSONDepth bounds natural JSON; deeper values go to the overflow column.
// encoding/json gives up at 10,000.
const maxJSONDepth = 500

// appendText appends the text of v, without guard, and tells its type code, 0
// when the code follows from the text (inferred says from which). exact is
// false when the text does not say everything about the value.
func appendText(dst []byte, v pcommon.Value) (out []byte, code byte, exact bool) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		s := v.Str()
		if s == "" {
			return dst, codeEmptyString, true
		}
		if inferType(s) != pcommon.ValueTypeStr {
			code = codeString
		}
		return append(dst, s...), code, true
	case pcommon.ValueTypeInt:
		return strconv.AppendInt(dst, v.Int(), 10), 0, true
	case pcommon.ValueTypeDouble:
		n := len(dst)
		dst = appendDouble(dst, v.Double())
		if looksIntegral(dst[n:]) {
			code = codeDouble
		}
		return dst, code, true
	case pcommon.ValueTypeBool:
		return strconv.AppendBool(dst, v.Bool()), 0, true
	case pcommon.ValueTypeBytes:
		b := v.Bytes()
		if b.Len() == 0 {
			return dst, codeEmptyBytes, true
		}
		return base64.StdEncoding.AppendEncode(dst, b.AsRaw()), codeBytes, true
	case pcommon.ValueTypeSlice:
		dst, exact = appendJSON(dst, v, 0)
		return dst, codeArray, exact
	case pcommon.ValueTypeMap:
		dst, exact = appendJSON(dst, v, 0)
		return dst, codeMap, exact
	default:
		return dst, codeNone, true
	}
}

// putText sets v from a text of appendText. It reports false when the text
// does not fit the code, which only damaged data can cause; v is then the text
// as a string.
func putText(v pcommon.Value, text string, code byte) bool {
	switch code {
	case 0:
		switch inferType(text) {
		case pcommon.ValueTypeInt:
			n, _ := strconv.ParseInt(text, 10, 64)
			v.SetInt(n)
		case pcommon.ValueTypeDouble:
			f, _ := strconv.ParseFloat(text, 64)
			v.SetDouble(f)
		case pcommon.ValueTypeBool:
			v.SetBool(text == "true")
		default:
			v.SetStr(text)
		}
		return true
	case codeString:
		v.SetStr(text)
		return true
	case codeEmptyString:
		v.SetStr("")
		return true
	case codeEmptyBytes:
		v.SetEmptyBytes()
		return true
	case codeNone:
		return true
	case codeInt:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			v.SetInt(n)
			return true
		}
	case codeDouble:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			v.SetDouble(f)
			return true
		}
	case codeBool:
		if text == "true" || text == "false" {
			v.SetBool(text == "true")
			return true
		}
	case codeBytes:
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			v.SetEmptyBytes().FromRaw(b)
			return true
		}
	case codeArray, codeMap:
		if parseJSON(v, text) == nil {
			return true
		}
	}
	v.SetStr(text)
	return false
}

// inferType is the type of a value whose text stands in a column without an
// exception: canonical integers, canonical doubles and booleans are what they
// look like, all else is a string.
func inferType(s string) pcommon.ValueType {
	if s == "" {
		return pcommon.ValueTypeStr
	}
	switch c := s[0]; {
	case c >= '0' && c <= '9' || c == '-':
		if len(s) > 25 { // -1.7976931348623157e+308 has 24
			return pcommon.ValueTypeStr
		}
		digits, plain, dots := strings.TrimPrefix(s, "-"), true, 0
		for i := range len(digits) {
			switch d := digits[i]; {
			case d >= '0' && d <= '9':
			case d == '.' && dots == 0:
				plain, dots = false, 1
			case d == 'e' || d == '+' || d == '-' || d == 'I' || d == 'n' || d == 'f':
				plain = false
			default:
				return pcommon.ValueTypeStr
			}
		}
		if plain {
			n, err := strconv.ParseInt(s, 10, 64)
			if err == nil && (digits[0] != '0' || s == "0") && (n != math.MinInt64 || s == "-9223372036854775808") {
				return pcommon.ValueTypeInt
			}
		}
		return inferDouble(s)
	case c == 't' && s == "true", c == 'f' && s == "false":
		return pcommon.ValueTypeBool
	case c == 'N' && s == "NaN", c == '+' && s == "+Inf":
		return pcommon.ValueTypeDouble
	}
	return pcommon.ValueTypeStr
}

func inferDouble(s string) pcommon.ValueType {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return pcommon.ValueTypeStr
	}
	var buf [40]byte
	canonical := appendDouble(buf[:0], f)
	if string(canonical) != s || looksIntegral(canonical) {
		return pcommon.ValueTypeStr
	}
	return pcommon.ValueTypeDouble
}

// appendDouble appends the shortest decimal that is read back as f.
func appendDouble(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}

// looksIntegral reports whether a text of appendDouble has neither point nor
// exponent, so that it would be taken for an int.
func looksIntegral(text []byte) bool {
	return !bytes.ContainsAny(text, ".eNI")
}

// A guard makes a text something that the engine keeps as it is and that still
// reads as the same number where it is one: a plus sign in front, or, behind a
// minus, a zero exponent at the end.
const (
	guardPrefix = "+"
	guardSuffix = "e0"
)

// needsGuard reports whether the engine may give s back changed once it finds
// itself in a block of values of the same look. It repeats the decisions of
// the pinned engine's value encoder and errs towards true. A text that has the
// look of a guarded one needs a guard itself, so that unguarding is
// unambiguous.
func needsGuard(s string) bool {
	if s == "" {
		return false
	}
	switch c := s[0]; {
	case c == '-':
		for strings.HasSuffix(s, guardSuffix) {
			s = s[:len(s)-len(guardSuffix)]
		}
	case c == '+':
		s = strings.TrimLeft(s, guardPrefix)
		if s == "" || s[0] == '-' {
			return false
		}
	}
	if c := s[0]; c != '-' && c != '_' && (c < '0' || c > '9') {
		return false
	}
	if len(s) > 27 { // the longest number the engine tries
		return false
	}
	dots, underscores, other := 0, 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			dots++
		case c == '_':
			underscores++
		case c == '-' && i == 0, c >= '0' && c <= '9':
		default:
			other = true
		}
	}
	switch {
	case other:
		return changesAsTimestamp(s)
	case underscores > 0 || s == "-0":
		return true
	case dots == 1:
		return changesAsFloat(s)
	case dots == 3:
		return changesAsAddress(s)
	}
	return false
}

// appendGuarded appends the column's text for a text that needs a guard.
func appendGuarded(dst []byte, s string) []byte {
	if s[0] == '-' {
		return append(append(dst, s...), guardSuffix...)
	}
	return append(append(dst, guardPrefix...), s...)
}

// guarded is the column's text for a text.
func guarded(s string) string {
	if needsGuard(s) {
		return string(appendGuarded(nil, s))
	}
	return s
}

// unguarded is the text for a column's text.
func unguarded(s string) string {
	if len(s) < 2 {
		return s
	}
	switch s[0] {
	case '+':
		if s[1] != '-' && needsGuard(s[1:]) {
			return s[1:]
		}
	case '-':
		if text, ok := strings.CutSuffix(s, guardSuffix); ok && needsGuard(text) {
			return text
		}
	}
	return s
}

// changesAsFloat: s is digits with one dot in it, and perhaps a minus.
func changesAsFloat(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole == "" || fraction == "" || len(whole) > 1 && whole[0] == '0' {
		return false // the engine keeps these as strings
	}
	w, err1 := strconv.ParseUint(whole, 10, 64)
	f, err2 := strconv.ParseUint(fraction, 10, 64)
	if err1 != nil || err2 != nil {
		return false
	}
	x := math.FMA(float64(f), math.Pow10(-len(fraction)), float64(w))
	if len(digits) < len(s) {
		x = -x
	}
	var buf [64]byte
	return string(strconv.AppendFloat(buf[:0], x, 'f', -1, 64)) != s
}

// changesAsAddress: s is digits with three dots in it.
func changesAsAddress(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if len(part) > 1 && part[0] == '0' {
			return true
		}
	}
	return false
}

// changesAsTimestamp: the engine reads 24 bytes of the shape
// 2006-01-02T15:04:05.000Z, also with a space for the T and with impossible
// dates, and writes them normalized.
func changesAsTimestamp(s string) bool {
	const layout = "2006-01-02T15:04:05.000Z"
	if len(s) != len(layout) || s[4] != '-' || s[len(s)-1] != 'Z' {
		return false
	}
	t, err := time.Parse(layout, s)
	return err != nil || t.Format(layout) != s
}

// appendJSON appends v as natural JSON. exact is false when the JSON does not
// say everything: bytes, NaN and infinities inside, or too deep.
func appendJSON(dst []byte, v pcommon.Value, depth int) (out []byte, exact bool) {
	if depth > maxJSONDepth {
		return append(dst, "null"...), false
	}
	exact = true
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return appendJSONString(dst, v.Str()), true
	case pcommon.ValueTypeInt:
		return strconv.AppendInt(dst, v.Int(), 10), true
	case pcommon.ValueTypeBool:
		return strconv.AppendBool(dst, v.Bool()), true
	case pcommon.ValueTypeDouble:
		f := v.Double()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			dst = append(dst, '"')
			dst = appendDouble(dst, f)
			return append(dst, '"'), false
		}
		n := len(dst)
		dst = appendDouble(dst, f)
		if looksIntegral(dst[n:]) {
			dst = append(dst, ".0"...)
		}
		return dst, true
	case pcommon.ValueTypeBytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes().AsRaw())
		return append(dst, '"'), false
	case pcommon.ValueTypeSlice:
		dst = append(dst, '[')
		for i, e := range v.Slice().All() {
			if i > 0 {
				dst = append(dst, ',')
			}
			var ok bool
			dst, ok = appendJSON(dst, e, depth+1)
			exact = exact && ok
		}
		return append(dst, ']'), exact
	case pcommon.ValueTypeMap:
		dst = append(dst, '{')
		first := true
		for k, e := range v.Map().All() {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendJSONString(dst, k), ':')
			var ok bool
			dst, ok = appendJSON(dst, e, depth+1)
			exact = exact && ok
		}
		return append(dst, '}'), exact
	default:
		return append(dst, "null"...), true
	}
}

func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	s = validText(s)
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		from = i + 1
	}
	return append(append(dst, s[from:]...), '"')
}

// parseJSON sets v from natural JSON: numbers with a point or an exponent are
// doubles, others are ints.
func parseJSON(v pcommon.Value, text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return parseJSONValue(v, d)
}

func parseJSONValue(v pcommon.Value, d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return fmt.Errorf("parse value: %w", err)
	}
	switch t := t.(type) {
	case string:
		v.SetStr(t)
	case bool:
		v.SetBool(t)
	case json.Number:
		s := t.String()
		if strings.ContainsAny(s, ".eE") {
			f, err := strconv.ParseFloat(s, 64)
			v.SetDouble(f)
			return err
		}
		n, err := strconv.ParseInt(s, 10, 64)
		v.SetInt(n)
		return err
	case json.Delim:
		if t == '[' {
			for a := v.SetEmptySlice(); d.More(); {
				if err := parseJSONValue(a.AppendEmpty(), d); err != nil {
					return err
				}
			}
		} else {
			for m := v.SetEmptyMap(); d.More(); {
				k, err := d.Token()
				if err != nil {
					return fmt.Errorf("parse value: %w", err)
				}
				name, _ := k.(string)
				e, found := m.GetOrPutEmpty(name)
				if found { // of two equal keys the first one counts
					e = pcommon.NewValueEmpty()
				}
				if err := parseJSONValue(e, d); err != nil {
					return err
				}
			}
		}
		_, err := d.Token()
		return err
	}
	return nil
}
