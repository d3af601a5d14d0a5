package core

import (
	"encoding/binary"
	"math/rand/v2"
)

// TraceID identifies a trace; all zero is none.
type TraceID [16]byte

// SpanID identifies a span within its trace; all zero is none.
type SpanID [8]byte

// NewTraceID makes a random id. Its low 56 bits are what sampling decides by,
// so all of them are random, as W3C Trace Context level 2 asks for.
func NewTraceID() (id TraceID) {
	for id.IsZero() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

// NewSpanID makes a random id.
func NewSpanID() (id SpanID) {
	for id.IsZero() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// IsZero reports whether id is none.
func (id TraceID) IsZero() bool { return id == TraceID{} }

// IsZero reports whether id is none.
func (id SpanID) IsZero() bool { return id == SpanID{} }

// String is the id in 32 lower-case hexadecimal digits.
func (id TraceID) String() string { return string(appendHex(make([]byte, 0, 2*len(id)), id[:])) }

// String is the id in 16 lower-case hexadecimal digits.
func (id SpanID) String() string { return string(appendHex(make([]byte, 0, 2*len(id)), id[:])) }

// AppendHex appends what String says.
func (id *TraceID) AppendHex(dst []byte) []byte { return appendHex(dst, id[:]) }

// AppendHex appends what String says.
func (id *SpanID) AppendHex(dst []byte) []byte { return appendHex(dst, id[:]) }

// appendHex makes eight digits of four bytes at once: ids are in each log line and
// in each answer, and digit by digit they take twice as long.
func appendHex(dst, id []byte) []byte {
	for ; len(id) >= 4; id = id[4:] {
		// Each byte moves to the lower half of 16 bits, then its halves to bytes
		// of their own, the upper one first.
		x := uint64(binary.LittleEndian.Uint32(id))
		x = (x | x<<16) & 0x0000ffff0000ffff
		x = (x | x<<8) & 0x00ff00ff00ff00ff
		x = (x>>4 | x<<8) & 0x0f0f0f0f0f0f0f0f
		letters := (x + 6*ones) >> 4 & ones // digits from 10 on
		dst = binary.LittleEndian.AppendUint64(dst, x+'0'*ones+letters*('a'-'0'-10))
	}
	return dst
}

// ones is 1 in each byte.
const ones = 0x0101010101010101

// ParseTraceID reads 32 lower-case hexadecimal digits that are not all zero.
func ParseTraceID(s string) (id TraceID, ok bool) {
	return id, len(s) == 2*len(id) && decodeHex(id[:], s) && !id.IsZero()
}

// ParseSpanID reads 16 lower-case hexadecimal digits that are not all zero.
func ParseSpanID(s string) (id SpanID, ok bool) {
	return id, len(s) == 2*len(id) && decodeHex(id[:], s) && !id.IsZero()
}

// decodeHex fills dst from twice as many lower-case digits. W3C Trace Context
// forbids capitals, so encoding/hex, which takes them, will not do.
func decodeHex(dst []byte, s string) bool {
	_ = s[2*len(dst)-1]
	for i := range dst {
		high, low := hexValue(s[2*i]), hexValue(s[2*i+1])
		if high|low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// hexValue is 16 or more for what is no digit.
func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 16
}
