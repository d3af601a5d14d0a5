package event

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// appendJSON appends v as natural JSON. exact is false when the JSON does not
// say everything: bytes, NaN and infinities inside, or too deep.
func appendJSON(dst []byte, v value, depth int) (out []byte, exact bool) {
	if depth > maxJSONDepth {
		return append(dst, "null"...), false
	}
	exact = true
	switch v.kind {
	case pcommon.ValueTypeStr:
		return appendJSONString(dst, v.text), true
	case pcommon.ValueTypeInt:
		return strconv.AppendInt(dst, v.integer(), 10), true
	case pcommon.ValueTypeBool:
		return strconv.AppendBool(dst, v.boolean()), true
	case pcommon.ValueTypeDouble:
		f := v.double()
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
		dst = base64.StdEncoding.AppendEncode(dst, []byte(v.text))
		return append(dst, '"'), false
	case pcommon.ValueTypeSlice:
		dst = append(dst, '[')
		first, ok := true, false
		for e := range v.elements() {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst, ok = appendJSON(dst, e, depth+1)
			exact = exact && ok
		}
		return append(dst, ']'), exact
	case pcommon.ValueTypeMap:
		dst = append(dst, '{')
		first, ok := true, false
		for a := range v.pairs() {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendJSONString(dst, a.key), ':')
			dst, ok = appendJSON(dst, a.value, depth+1)
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
