package event

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Identifiers are random, so what counts is how the engine's columns take
// eight random bytes. Without matches its compressor leaves a column as it is:
// 64 bits cost 16 bytes as hexadecimal text, 8 as a number column, and each
// word (a number is one) 2 more in the block's word filter. The low half of a
// trace id is a number: lookups need the word filter. The other halves and
// span ids are nine digits of a base that has no letters, hence no words.

// idDigits are the bytes that never are part of a word: ASCII without letters,
// digits and underscore, and bytes that cannot stand in UTF-8 without a lead
// byte or at all.
var idDigits, idValues = func() (digits []byte, values [256]uint8) {
	for c := range 256 {
		word := c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		lead := c >= 0xc2 && c <= 0xf4
		if word || lead {
			values[c] = idBase
			continue
		}
		values[c] = uint8(len(digits))
		digits = append(digits, byte(c))
	}
	return digits, values
}()

const (
	idBase  = 142 // the number of idDigits
	idWidth = 9   // 142^9 is above 2^64
)

// appendID appends eight bytes as idWidth digits.
func appendID(dst []byte, id uint64) []byte {
	for range idWidth {
		dst = append(dst, idDigits[id%idBase])
		id /= idBase
	}
	return dst
}

// parseID reads what appendID wrote; an absent one is zero.
func parseID(s string) (uint64, bool) {
	if s == "" {
		return 0, true
	}
	if len(s) != idWidth {
		return 0, false
	}
	var id uint64
	for i := idWidth - 1; i >= 0; i-- {
		v := idValues[s[i]]
		if v == idBase {
			return 0, false
		}
		id = id*idBase + uint64(v)
	}
	return id, true
}

func spanIDNumber(id pcommon.SpanID) uint64 { return binary.BigEndian.Uint64(id[:]) }

func parseSpanID(s string) (id pcommon.SpanID, err error) {
	n, ok := parseID(s)
	if !ok {
		return id, errPacked
	}
	binary.BigEndian.PutUint64(id[:], n)
	return id, nil
}

// traceHalves is a trace id as its columns have it.
func traceHalves(id pcommon.TraceID) (high, low uint64) {
	return binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
}

// parseTraceID reads the two columns of a trace id; absent ones are zero.
func parseTraceID(high, low string) (id pcommon.TraceID, err error) {
	h, ok := parseID(high)
	if !ok {
		return id, errPacked
	}
	var l uint64
	if low != "" {
		if l, err = strconv.ParseUint(low, 10, 64); err != nil {
			return id, errPacked
		}
	}
	binary.BigEndian.PutUint64(id[:8], h)
	binary.BigEndian.PutUint64(id[8:], l)
	return id, nil
}

// A duration below 2^32 ns (4.3 s) is written as an IPv4 address: the engine
// keeps those as four bytes and compares them as numbers, just as decimals, but
// takes four words from each that repeat within a block, where every decimal is
// a word of its own for two bytes.

func appendDuration(dst []byte, d int64) []byte {
	if d > math.MaxUint32 {
		return strconv.AppendInt(dst, d, 10)
	}
	for shift := 24; shift >= 0; shift -= 8 {
		dst = strconv.AppendUint(dst, uint64(d>>shift&0xff), 10)
		if shift > 0 {
			dst = append(dst, '.')
		}
	}
	return dst
}

// parseDuration reads what appendDuration wrote, 0 for anything else.
func parseDuration(s string) int64 {
	if strings.IndexByte(s, '.') < 0 {
		d, _ := strconv.ParseInt(s, 10, 64)
		return d
	}
	var d int64
	for part := range strings.SplitSeq(s, ".") {
		n, _ := strconv.ParseUint(part, 10, 8)
		d = d<<8 | int64(n)
	}
	return d
}
