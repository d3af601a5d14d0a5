// Package jsonlog reads what a logger has written as JSON back into the fields of
// a record. It is also merged into packages of loggers in woven programs.
package jsonlog

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/guanlan-io/guanlan/sdk/core"
)

const (
	// maxDepth is how deep values are read that stand in each other: what is
	// deeper is text. It bounds the stack.
	maxDepth = 32
	// maxMembers is how many are read: twice as many as a record keeps, if it is
	// not told otherwise.
	maxMembers = 256
)

// Fields is what members are added to, an *sdk.LogFields.
type Fields interface {
	Add(core.Attr)
	OpenGroup(name string)
	CloseGroup()
}

// Add adds the members of an object, which may lack its end. Objects in it are
// groups, numbers stay numbers. Add stops at what is no JSON, and at a bounded
// number of members; the text from there on is what it returns.
func Add(f Fields, object string) (rest string) {
	r := reader{text: object, into: f, left: maxMembers}
	r.space()
	if !r.byte('{') {
		return object
	}
	if !r.members(0) {
		return object[r.member:]
	}
	return ""
}

type reader struct {
	text   string
	at     int
	member int // where the one begins that is being read
	left   int // members that may come
	into   Fields
}

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// byte goes past c, if that is next.
func (r *reader) byte(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

// members adds those of an object that has begun.
func (r *reader) members(depth int) bool {
	r.space()
	if r.byte('}') {
		return true
	}
	for {
		if r.space(); r.at == len(r.text) {
			return depth == 0
		}
		r.member = r.at
		key, ok := r.key()
		if !ok {
			return false
		}
		if depth < maxDepth && r.byte('{') {
			r.into.OpenGroup(key)
			ok = r.members(depth + 1)
			r.into.CloseGroup()
		} else {
			var v core.Value
			if v, ok = r.value(depth + 1); ok {
				r.into.Add(core.Of(key, v))
			}
		}
		if !ok {
			return false
		}
		r.space()
		if r.byte('}') {
			return true
		}
		if !r.byte(',') {
			return depth == 0 && r.at == len(r.text)
		}
	}
}

// key reads the name of a member, up to its value.
func (r *reader) key() (key string, ok bool) {
	if r.left--; r.left < 0 {
		return "", false
	}
	if key, ok = r.string(); !ok {
		return "", false
	}
	r.space()
	if !r.byte(':') {
		return "", false
	}
	r.space()
	return key, true
}

func (r *reader) value(depth int) (v core.Value, ok bool) {
	if r.at == len(r.text) {
		return v, false
	}
	begin := r.at
	switch c := r.text[r.at]; {
	case c == '"':
		s, ok := r.string()
		return core.StringValue(s), ok
	case (c == '{' || c == '[') && depth > maxDepth:
		ok = r.skip()
		return core.StringValue(r.text[begin:r.at]), ok
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.list(depth)
	}
	for r.at < len(r.text) && !strings.ContainsRune(",]} \t\r\n", rune(r.text[r.at])) {
		r.at++
	}
	switch text := r.text[begin:r.at]; text {
	case "null":
		return core.Value{}, true
	case "true", "false":
		return core.BoolValue(text == "true"), true
	default:
		return number(text)
	}
}

// number is one as JSON has it; an integer beyond 64 bits stays text.
func number(text string) (v core.Value, ok bool) {
	digit := strings.TrimPrefix(text, "-")
	if digit == "" || digit[0] < '0' || digit[0] > '9' {
		return v, false
	}
	if strings.Trim(digit, "0123456789") == "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return core.IntValue(n), true
		}
		return core.StringValue(text), true
	}
	if strings.ContainsAny(digit, "xXpP_") { // which Go has, and JSON has not
		return v, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return core.FloatValue(f), err == nil
}

// object reads one that stands in a list.
func (r *reader) object(depth int) (v core.Value, ok bool) {
	r.at++
	var members []core.Attr
	for r.space(); !r.byte('}'); r.space() {
		if len(members) > 0 {
			if !r.byte(',') {
				return v, false
			}
			r.space()
		}
		key, ok := r.key()
		if !ok {
			return v, false
		}
		m, ok := r.value(depth + 1)
		if !ok {
			return v, false
		}
		members = append(members, core.Of(key, m))
	}
	return core.MapValue(members), true
}

func (r *reader) list(depth int) (v core.Value, ok bool) {
	r.at++
	var list []core.Value
	for r.space(); !r.byte(']'); r.space() {
		if len(list) > 0 {
			if !r.byte(',') {
				return v, false
			}
			r.space()
		}
		one, ok := r.value(depth + 1)
		if !ok {
			return v, false
		}
		list = append(list, one)
	}
	return core.SliceValue(list), true
}

// string reads one. Without escapes it is a part of the text.
func (r *reader) string() (s string, ok bool) {
	begin := r.at
	escaped, ok := r.quoted()
	if !ok {
		return "", false
	}
	if !escaped {
		return r.text[begin+1 : r.at-1], true
	}
	return unescaped(r.text[begin:r.at])
}

func unescaped(quoted string) (s string, ok bool) {
	err := json.Unmarshal([]byte(quoted), &s)
	return s, err == nil
}

// quoted goes past a string.
func (r *reader) quoted() (escaped, ok bool) {
	if !r.byte('"') {
		return false, false
	}
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case '"':
			r.at++
			return escaped, true
		case '\\':
			escaped = true
			r.at++
		}
		r.at++
	}
	r.at = len(r.text)
	return escaped, false
}

// skip goes past an object or a list.
func (r *reader) skip() bool {
	open := 0
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case '"':
			if _, ok := r.quoted(); !ok {
				return false
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			open--
		}
		if r.at++; open == 0 {
			return true
		}
	}
	return false
}
