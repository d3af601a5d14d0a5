package event

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Some texts come back from the engine changed: "0.3" as "0.30000000000000004",
// "1.10" as "1.1", "1_000" as "1000". A guard makes of them something that the
// engine keeps as it is and that still reads as the same number where it is
// one: a plus sign in front, or, behind a minus, a zero exponent at the end.
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
