package label

import (
	"fmt"
	"strings"
)

// Routes labels paths of URLs by their template.
type Routes struct {
	root node
	rest *Limiter
}

// node is a segment of the known patterns.
type node struct {
	literal map[string]*node
	any     *node  // {name}
	here    string // pattern that ends here
	slash   string // pattern that ends here with {$}: a slash and nothing behind it
	below   string // pattern that ends in a slash or {name...}: all that is below
}

// NewRoutes takes patterns as http.ServeMux has them: "GET /orders/{id}",
// "/static/", "/files/{path...}", "/{$}". Methods and hosts do not matter here. A
// path has the label of the most specific pattern that it matches, without method
// and host. Paths that match none are made a template by Template, of which the
// first most get a label, 0 is DefaultMost; the others are Other.
func NewRoutes(most int, patterns ...string) (*Routes, error) {
	r := &Routes{rest: NewLimiter(most)}
	for _, p := range patterns {
		if err := r.add(p); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	return r, nil
}

func (r *Routes) add(pattern string) error {
	_, rest, found := strings.Cut(pattern, " ")
	if !found {
		rest = pattern
	}
	rest = strings.TrimLeft(rest, " \t")
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return fmt.Errorf("has no path; it begins with /")
	}
	path := rest[slash:]
	at, left := &r.root, path[1:]
	for {
		segment, after, more := strings.Cut(left, "/")
		switch {
		case segment == "" && !more:
			at.below = path
			return nil
		case segment == "{$}" && !more:
			at.slash = path
			return nil
		case strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "...}") && !more:
			at.below = path
			return nil
		case segment == "{$}" || strings.HasSuffix(segment, "...}"):
			return fmt.Errorf("%s must come last", segment)
		case len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}':
			if at.any == nil {
				at.any = &node{}
			}
			at = at.any
		case strings.ContainsAny(segment, "{}"):
			return fmt.Errorf("segment %s is neither text nor {name}", segment)
		default:
			if at.literal == nil {
				at.literal = map[string]*node{}
			}
			if at.literal[segment] == nil {
				at.literal[segment] = &node{}
			}
			at = at.literal[segment]
		}
		if !more {
			at.here = path
			return nil
		}
		left = after
	}
}

// match finds the most specific pattern: text goes before {name}, and that before
// what takes all that is below. left is what follows the slash behind n.
func (n *node) match(left string) string {
	segment, after, more := strings.Cut(left, "/")
	if segment == "" && !more && n.slash != "" {
		return n.slash
	}
	for i := range 2 {
		next := n.any
		if i == 0 {
			next = n.literal[segment]
		}
		if next == nil || i == 1 && segment == "" {
			continue
		}
		found := next.here
		if more {
			found = next.match(after)
		}
		if found != "" {
			return found
		}
	}
	return n.below
}

// Of is the label of a path, as in url.URL.Path; Invalid of what does not begin
// with a slash.
func (r *Routes) Of(path string) string {
	if path == "" || path[0] != '/' {
		return Invalid
	}
	if found := r.root.match(path[1:]); found != "" {
		return found
	}
	var buf [MaxLength + 64]byte
	return limited(r.rest, appendTemplate(buf[:0], path))
}

// Folded is how many times a path was Other because as many templates as are
// wanted had a label already.
func (r *Routes) Folded() uint64 { return r.rest.Folded() }

// Placeholders of a template.
const (
	placeNumber = "{number}" // 4711, 2026-11-20, 1.5
	placeUUID   = "{uuid}"
	placeHex    = "{hex}"     // 8 digits or more
	placeID     = "{id}"      // other that hardly is a word
	placeRest   = "{rest...}" // what is too deep
)

const (
	maxSegments = 8  // of a template
	maxWord     = 32 // bytes; longer ones are no words
	manyDigits  = 3  // in a word; "oauth2" and "s3" are words, "ord-471" is not
	shortestHex = 8
)

// Template replaces what looks like an id in a path: numbers, dates, UUIDs,
// hexadecimal and other words that hold many digits or odd characters. What
// follows a question mark is left out, and so is what is deeper than eight
// segments. A guess: names that users give cannot be told from words. Keep it
// behind a limit, as Routes does.
func Template(path string) string {
	return string(appendTemplate(make([]byte, 0, len(path)), path))
}

func appendTemplate(b []byte, path string) []byte {
	if at := strings.IndexAny(path, "?#"); at >= 0 {
		path = path[:at]
	}
	left := strings.TrimPrefix(path, "/")
	for n := 0; ; n++ {
		b = append(b, '/')
		if n == maxSegments && left != "" {
			return append(b, placeRest...)
		}
		segment, after, more := strings.Cut(left, "/")
		b = append(b, classify(segment)...)
		if !more {
			return b
		}
		left = after
	}
}

// classify is the segment itself, or what stands for it.
func classify(s string) string {
	if isUUID(s) {
		return placeUUID
	}
	digits, hex, numeric, odd := 0, 0, 0, false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits, hex, numeric = digits+1, hex+1, numeric+1
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			hex++
		case c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z' || c == '_' || c == '~':
		case c == '-' || c == '.' || c == ':' || c == ',' || c == '+':
			numeric++
		default:
			odd = true
		}
	}
	switch {
	case odd || len(s) > maxWord && hex != len(s):
		if s == placeNumber || s == placeUUID || s == placeHex || s == placeID || s == placeRest {
			return s // a template is its own template
		}
		return placeID
	case digits > 0 && numeric == len(s):
		return placeNumber
	case digits > 0 && hex == len(s) && len(s) >= shortestHex, hex == len(s) && len(s) > maxWord/2:
		return placeHex
	case digits >= manyDigits:
		return placeID
	}
	return s
}

// isUUID tells whether s has the form 8-4-4-4-12 of hexadecimal digits.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}
