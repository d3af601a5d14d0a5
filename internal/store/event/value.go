package event

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// The engine keeps every value as a string, drops empty ones, and re-encodes
// blocks of strings that look like numbers, addresses or timestamps. This file
// is the text form that survives that: what a value looks like in its column
// and how its type is told again; guard.go is about the texts that the engine
// would change.

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
func appendText(dst []byte, v value) (out []byte, code byte, exact bool) {
	switch v.kind {
	case pcommon.ValueTypeStr:
		if v.text == "" {
			return dst, codeEmptyString, true
		}
		if inferType(v.text) != pcommon.ValueTypeStr {
			code = codeString
		}
		return append(dst, v.text...), code, true
	case pcommon.ValueTypeInt:
		return strconv.AppendInt(dst, v.integer(), 10), 0, true
	case pcommon.ValueTypeDouble:
		n := len(dst)
		dst = appendDouble(dst, v.double())
		if looksIntegral(dst[n:]) {
			code = codeDouble
		}
		return dst, code, true
	case pcommon.ValueTypeBool:
		return strconv.AppendBool(dst, v.boolean()), 0, true
	case pcommon.ValueTypeBytes:
		if v.text == "" {
			return dst, codeEmptyBytes, true
		}
		return base64.StdEncoding.AppendEncode(dst, []byte(v.text)), codeBytes, true
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
