package query

import (
	"fmt"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/guanlan-io/guanlan/internal/store"
)

// A filter is a list of conditions that must all hold:
//
//	filter = [ cond { [ "and" | "," ] cond } ]
//	cond   = key op value | "exists" key | key "exists" | text
//	op     = "=" | "!=" | "=~" | "!~" | "<" | "<=" | ">" | ">="
//	key    = word | quoted
//	value  = word | quoted
//	text   = word | quoted
//
// A word ends at white space, a comma or a quote, a key also before an
// operator. A quoted string is written in double quotes with the escapes of
// Go, or raw between backticks. Keywords are case-insensitive; quoted, they
// are ordinary strings.

// Filter is the conditions of a parsed filter.
type Filter []store.Cond

const (
	// maxFilter bounds the text, so that a parse stays far below a millisecond.
	maxFilter = 16 << 10
	// maxConds bounds the work per row; people write fewer than ten.
	maxConds = 64
)

// ParseFilter reads the text form of a filter for rows of a signal. The error
// is a *FieldError for field "filter" with the position in Pos.
func ParseFilter(s string, signal Signal) (Filter, error) {
	p := filterParser{in: s, signal: signal}
	f, err := p.parse()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Text is a form that ParseFilter reads back, for the same signal, to the same
// conditions.
func (f Filter) Text(signal Signal) string {
	var b strings.Builder
	for i, c := range f {
		if i > 0 {
			b.WriteString(" and ")
		}
		switch c.Op {
		case store.OpText:
			b.WriteString(quoteWord(c.Value, isKeyRune))
		case store.OpExists:
			b.WriteString("exists " + quoteWord(c.Field, isKeyRune))
		default:
			value := c.Value
			if kind, known := special[signal][c.Field]; known && kind.packed && kind.ordered {
				value = formatNanos(value)
			}
			b.WriteString(quoteWord(c.Field, isKeyRune) + " " + string(c.Op) + " " + quoteWord(value, isValueRune))
		}
	}
	return b.String()
}

// quoteWord quotes s unless it reads back as a word.
func quoteWord(s string, plain func(rune) bool) string {
	if s == "" || keyword(s) != "" || !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	for i, r := range s {
		if !plain(r) || i == 0 && (isOpRune(r) || r == '(' || r == ')') {
			return strconv.Quote(s)
		}
	}
	return s
}

func keyword(s string) string {
	switch l := strings.ToLower(s); l {
	case "and", "or", "not", "exists":
		return l
	}
	return ""
}

func isOpRune(r rune) bool { return strings.ContainsRune("=!<>~", r) }

// isValueRune reports whether r may stand in an unquoted value. Characters that
// this version of Unicode does not know may: the grammar must be the same for
// all who read it, the browser among them.
func isValueRune(r rune) bool {
	return !unicode.IsSpace(r) && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs) && r != ',' && r != '"' && r != '`' && r != utf8.RuneError
}

// isKeyRune reports whether r may stand in an unquoted key or text.
func isKeyRune(r rune) bool {
	return isValueRune(r) && !isOpRune(r) && r != '(' && r != ')'
}

type filterParser struct {
	in     string
	at     int // byte offset of the next rune
	signal Signal
}

// fail makes the error at byte offset at.
func (p *filterParser) fail(at int, msg, next string) error {
	pos := utf8.RuneCountInString(p.in[:at]) + 1
	return &FieldError{Field: "filter", Value: p.in, Pos: pos, Msg: fmt.Sprintf("at position %d: %s", pos, msg), Next: next}
}

func (p *filterParser) parse() (Filter, error) {
	if len(p.in) > maxFilter {
		return nil, p.fail(maxFilter, fmt.Sprintf("longer than %d bytes", maxFilter), "ask for less at once")
	}
	var f Filter
	for {
		p.space()
		if p.at == len(p.in) {
			return f, nil
		}
		if len(f) > 0 {
			joined, err := p.join()
			if err != nil {
				return nil, err
			}
			if joined && p.at == len(p.in) {
				return nil, p.fail(p.at, "want a condition after and", "for example status = error")
			}
		}
		if len(f) == maxConds {
			return nil, p.fail(p.at, fmt.Sprintf("more than %d conditions", maxConds), "join values of one field with =~ a|b")
		}
		c, err := p.cond()
		if err != nil {
			return nil, err
		}
		f = append(f, c)
	}
}

// join skips one "and" or comma and the space after it.
func (p *filterParser) join() (bool, error) {
	start := p.at
	if p.in[p.at] == ',' {
		p.at++
		p.space()
		return true, nil
	}
	word := p.word(isKeyRune)
	switch keyword(word) {
	case "and":
		p.space()
		return true, nil
	case "or":
		return false, p.fail(start, "or is not part of the grammar", `write service.name =~ "^(order|stock)$" for one of several values`)
	}
	p.at = start
	return false, nil
}

// cond reads one condition; there is at least one rune left.
func (p *filterParser) cond() (store.Cond, error) {
	start := p.at
	first, quoted, err := p.term("a field or a word", "for example service.name = order", isKeyRune)
	if err != nil {
		return store.Cond{}, err
	}
	if !quoted {
		switch keyword(first) {
		case "exists":
			p.space()
			at := p.at
			key, _, err := p.term("a field after exists", "for example exists http.route", isKeyRune)
			if err != nil {
				return store.Cond{}, err
			}
			return p.exists(at, key)
		case "and":
			return store.Cond{}, p.fail(start, "want a condition before and", "for example status = error and duration > 200ms")
		case "or":
			return store.Cond{}, p.fail(start, "want a condition, not or", `write service.name =~ "^(order|stock)$" for one of several values`)
		case "not":
			return store.Cond{}, p.fail(start, "not is not part of the grammar", "write status != error, or !~ for a pattern")
		}
	}
	p.space()
	at := p.at
	if op := p.op(); op != "" {
		p.space()
		valueAt := p.at
		if key := keyOf(first); key == "" {
			return store.Cond{}, p.fail(start, "want a field before "+op, "for example service.name = order")
		}
		value, _, err := p.term("a value after "+op, `for example status = error; an empty value is ""`, isValueRune)
		if err != nil {
			return store.Cond{}, err
		}
		return p.compare(start, at, valueAt, first, op, value)
	}
	if keyword(p.word(isKeyRune)) == "exists" {
		return p.exists(start, first)
	}
	p.at = at
	if strings.TrimSpace(first) == "" {
		return store.Cond{}, p.fail(start, "want words to search for", `for example "connection refused"`)
	}
	return store.Cond{Op: store.OpText, Value: first}, nil
}

func keyOf(s string) string { return strings.TrimSpace(s) }

func (p *filterParser) exists(at int, key string) (store.Cond, error) {
	if keyOf(key) == "" {
		return store.Cond{}, p.fail(at, "want a field to exist", "for example exists http.route")
	}
	return store.Cond{Field: key, Op: store.OpExists}, nil
}

// compare checks what can be known of a condition without looking at data.
func (p *filterParser) compare(keyAt, opAt, valueAt int, key, opText, value string) (store.Cond, error) {
	op, ok := map[string]store.Op{
		"=": store.OpEq, "==": store.OpEq, "!=": store.OpNe, "=~": store.OpRe, "!~": store.OpNre,
		"<": store.OpLt, "<=": store.OpLe, ">": store.OpGt, ">=": store.OpGe,
	}[opText]
	if !ok {
		return store.Cond{}, p.fail(opAt, fmt.Sprintf("no operator %s", opText), "operators are = != =~ !~ < <= > >= and exists")
	}
	c := store.Cond{Field: key, Op: op, Value: value}
	kind, known := special[p.signal][key]
	if op == store.OpRe || op == store.OpNre {
		if kind.packed {
			return c, p.fail(opAt, key+" takes no pattern", kind.example)
		}
		if _, err := syntax.Parse(value, syntax.Perl); err != nil {
			return c, p.fail(valueAt, "not a regular expression: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "), `quote it, for example name =~ "^GET /api"`)
		}
		return c, nil
	}
	ordered := op == store.OpLt || op == store.OpLe || op == store.OpGt || op == store.OpGe
	if known {
		if ordered && !kind.ordered {
			return c, p.fail(opAt, key+" has no order", kind.example)
		}
		v, err := kind.read(value)
		if err != nil {
			return c, p.fail(valueAt, err.Error(), kind.example)
		}
		c.Value = v
		return c, nil
	}
	if ordered {
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			return c, p.fail(valueAt, fmt.Sprintf("%s compares numbers, %q is none", opText, value), "for example http.response.status_code >= 500")
		}
	}
	return c, nil
}

// term reads a word or a quoted string.
func (p *filterParser) term(want, example string, plain func(rune) bool) (text string, quoted bool, err error) {
	if p.at == len(p.in) {
		return "", false, p.fail(p.at, "want "+want, example)
	}
	start := p.at
	switch p.in[p.at] {
	case '"':
		prefix, err := strconv.QuotedPrefix(p.in[p.at:])
		if err != nil {
			return "", false, p.fail(start, "the quote does not end, or holds a wrong escape", `write \" for a quote and \\ for a backslash inside, or use backticks`)
		}
		text, err = strconv.Unquote(prefix)
		if err != nil {
			return "", false, p.fail(start, "not a quoted string", `write \" for a quote and \\ for a backslash inside`)
		}
		p.at += len(prefix)
		return text, true, nil
	case '`':
		end := strings.IndexByte(p.in[p.at+1:], '`')
		if end < 0 {
			return "", false, p.fail(start, "the quote does not end", "close it with a backtick")
		}
		text = p.in[p.at+1 : p.at+1+end]
		p.at += end + 2
		return text, true, nil
	}
	if text = p.word(plain); text == "" {
		r, _ := utf8.DecodeRuneInString(p.in[p.at:])
		if r == '(' || r == ')' {
			return "", false, p.fail(start, "parentheses are not part of the grammar", "conditions are joined by and; quote a text that holds parentheses")
		}
		return "", false, p.fail(start, fmt.Sprintf("want %s, not %q", want, r), example)
	}
	return text, false, nil
}

func (p *filterParser) word(plain func(rune) bool) string {
	start := p.at
	for p.at < len(p.in) {
		r, n := utf8.DecodeRuneInString(p.in[p.at:])
		if !plain(r) {
			break
		}
		p.at += n
	}
	return p.in[start:p.at]
}

func (p *filterParser) op() string {
	start := p.at
	for p.at < len(p.in) && isOpRune(rune(p.in[p.at])) {
		p.at++
	}
	return p.in[start:p.at]
}

func (p *filterParser) space() {
	for p.at < len(p.in) {
		r, n := utf8.DecodeRuneInString(p.in[p.at:])
		if !unicode.IsSpace(r) {
			return
		}
		p.at += n
	}
}
