package event

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Conditions are compiled to the engine's query language as text. Names and
// values only ever enter it as quoted tokens, and every condition becomes one
// expression in parentheses, so that no value can add or end a condition.
//
// A condition is about the text of a value (see value.go): of an int or a
// double its shortest decimal, of an array or map its JSON.

// operand is what a field of a condition means in columns. The methods give
// filters that match rows that have the field.
type operand interface {
	exists() string
	equals(text string) string
	matches(re *regexp.Regexp) (string, error)
	// compares takes one of < <= > >= and a number.
	compares(op store.Op, value string) string
}

// dialect is how fields are named in one of the two storages.
type dialect struct {
	operand func(field string) (operand, error)
	// text is a full-text search.
	text func(phrase string) string
}

var (
	spanDialect = dialect{spanOperand, func(p string) string {
		return anyOf(phrase(colName, p), phrase(colEvents, p))
	}}
	logDialect = dialect{logOperand, func(p string) string { return phrase(colBody, p) }}
)

// where compiles conditions. stream is a filter that narrows the search to
// streams; it must stand by itself in front of the query and only repeats what
// filter says. Both may be empty.
func (d dialect) where(conds []store.Cond) (stream, filter string, err error) {
	var parts []string
	for _, c := range conds {
		f, err := d.cond(c)
		if err != nil {
			return "", "", err
		}
		parts = append(parts, f)
		if c.Field == colService && c.Op == store.OpEq && c.Value != "" && stream == "" {
			stream = "{" + strconv.Quote(colService) + "=" + strconv.Quote(guarded(c.Value)) + " or " + strconv.Quote(colShared) + `="1" or ` + freshStreams() + "}"
		}
	}
	return stream, strings.Join(parts, " "), nil
}

// freshStreams is an alternative of a stream filter that no stream meets. It
// changes every second: the engine remembers the streams of a filter for up to
// ten seconds, in which new streams would not be found.
func freshStreams() string {
	return `"_g_no"="` + strconv.FormatInt(time.Now().Unix(), 36) + `"`
}

func (d dialect) cond(c store.Cond) (string, error) {
	if c.Op == store.OpText {
		if c.Field != "" {
			return "", fmt.Errorf("condition on %q: operator %q takes no field: %w", c.Field, c.Op, store.ErrInvalid)
		}
		if c.Value == "" {
			return always, nil
		}
		return d.text(c.Value), nil
	}
	if c.Field == "" {
		return "", fmt.Errorf("condition %q %q: field missing: %w", c.Op, c.Value, store.ErrInvalid)
	}
	o, err := d.operand(c.Field)
	if err != nil {
		return "", err
	}
	switch c.Op {
	case store.OpEq:
		return o.equals(c.Value), nil
	case store.OpNe:
		return not(o.equals(c.Value)), nil
	case store.OpExists:
		return o.exists(), nil
	case store.OpRe, store.OpNre:
		re, err := regexp.Compile(c.Value)
		if err != nil {
			return "", fmt.Errorf("condition on %q: %w: %w", c.Field, err, store.ErrInvalid)
		}
		f, err := o.matches(re)
		if err != nil {
			return "", fmt.Errorf("condition on %q: %w", c.Field, err)
		}
		if c.Op == store.OpNre {
			f = not(f)
		}
		return f, nil
	case store.OpLt, store.OpLe, store.OpGt, store.OpGe:
		return o.compares(c.Op, c.Value), nil
	}
	return "", fmt.Errorf("condition on %q: unknown operator %q: %w", c.Field, c.Op, store.ErrInvalid)
}

// The building blocks. No column is called _g_no.
const (
	always = `(!"_g_no":*)`
	never  = `("_g_no":*)`
)

func not(f string) string { return "(!" + f + ")" }

func allOf(fs ...string) string { return "(" + strings.Join(fs, " ") + ")" }

func anyOf(fs ...string) string { return "(" + strings.Join(fs, " or ") + ")" }

func hasText(column string) string {
	if column == colBody { // the engine takes _msg:* for a filter that matches all
		return `(!` + equalText(column, "") + `)`
	}
	return "(" + strconv.Quote(column) + ":*)"
}

func equalText(column, text string) string {
	return "(" + strconv.Quote(column) + ":=" + strconv.Quote(guarded(text)) + ")"
}

// matchText matches by a regular expression, exactly as package regexp does.
// The engine's own reading differs: its shortcuts lose word boundaries and
// multi-line mode, which an alternative that never matches keeps it from
// taking, and its point also matches newlines. A plain substring has its own
// filter, which uses the word filters of blocks, and goes ahead of an expression
// that requires one.
func matchText(column string, expr string) string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return never // callers compile the expression first
	}
	if re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0 {
		return contains(column, string(re.Rune))
	}
	literal := requiredLiteral(re)
	spellOutPoints(re)
	f := "(" + strconv.Quote(column) + ":~" + strconv.Quote("(?:"+re.String()+`)|\z.`) + ")"
	if literal != "" {
		f = allOf(contains(column, literal), f)
	}
	return f
}

// requiredLiteral is the longest text that every match contains, as far as
// that is easily told.
func requiredLiteral(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune)
		}
	case syntax.OpCapture, syntax.OpPlus:
		return requiredLiteral(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredLiteral(re.Sub[0])
		}
	case syntax.OpConcat:
		longest := ""
		for _, s := range re.Sub {
			if l := requiredLiteral(s); len(l) > len(longest) {
				longest = l
			}
		}
		return longest
	}
	return ""
}

func spellOutPoints(re *syntax.Regexp) {
	if re.Op == syntax.OpAnyCharNotNL {
		re.Op, re.Rune = syntax.OpCharClass, []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	}
	for _, s := range re.Sub {
		spellOutPoints(s)
	}
}

func phrase(column, text string) string {
	return "(" + strconv.Quote(column) + ":" + strconv.Quote(text) + ")"
}

func contains(column, text string) string {
	return "(" + strconv.Quote(column) + ":*" + strconv.Quote(text) + "*)"
}

// matchGuarded matches texts by a regular expression. Guarded texts are longer
// at one end, which an expression that is tied to that end must be let past.
func matchGuarded(column string, re *regexp.Regexp) string {
	return allOf(hasText(column), anyOf(append([]string{matchText(column, re.String())}, pastGuards(column, re.String())...)...))
}

func pastGuards(column, expr string) (fs []string) {
	for _, g := range [...]struct {
		begin string // of texts guarded so
		at    syntax.Op
		guard string
	}{{guardPrefix, syntax.OpBeginText, guardPrefix}, {"-", syntax.OpEndText, guardSuffix}} {
		re, err := syntax.Parse(expr, syntax.Perl)
		if err != nil || !tieBeyond(re, g.at, g.guard) {
			continue
		}
		begins := "(" + strconv.Quote(column) + ":=" + strconv.Quote(g.begin) + "*)"
		fs = append(fs, allOf(begins, matchText(column, re.String())))
	}
	return fs
}

// tieBeyond moves what ties an expression to an end of the text to the other
// side of a guard. It reports whether there was such a tie.
func tieBeyond(re *syntax.Regexp, end syntax.Op, guard string) bool {
	if re.Op == end {
		tie, literal := &syntax.Regexp{Op: end, Flags: re.Flags}, &syntax.Regexp{Op: syntax.OpLiteral, Rune: []rune(guard)}
		*re = syntax.Regexp{Op: syntax.OpConcat, Sub: []*syntax.Regexp{tie, literal}}
		if end == syntax.OpEndText {
			slices.Reverse(re.Sub)
		}
		return true
	}
	tied := false
	for _, s := range re.Sub {
		tied = tieBeyond(s, end, guard) || tied
	}
	return tied
}

// parseNumber reads a decimal number as conditions understand it.
func parseNumber(s string) (float64, bool) {
	if s == "" || strings.ContainsAny(s, "xXpP_") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsNaN(f) && (!math.IsInf(f, 0) || strings.HasSuffix(s, "Inf"))
}

// numeric matches texts that parseNumber takes. The engine's range filter also
// takes durations, sizes and addresses for numbers.
const numeric = `^(?:[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?Inf)$`

// compareNumbers compares a column whose texts may be anything.
func compareNumbers(column string, op store.Op, value string) string {
	f := compareColumn(column, op, value)
	if f == never {
		return never
	}
	isNumber := []string{}
	for _, t := range [...]string{"uint8", "uint16", "uint32", "uint64", "int64", "float64"} { // whole blocks at once
		isNumber = append(isNumber, "("+strconv.Quote(column)+":value_type("+t+"))")
	}
	return allOf(f, anyOf(append(isNumber, matchText(column, numeric))...))
}

// compareColumn compares a column that holds numbers only.
func compareColumn(column string, op store.Op, value string) string {
	f, ok := parseNumber(value)
	if !ok {
		return never
	}
	// With an exponent the engine reads the number exactly; plain decimals it
	// computes from their parts.
	return "(" + strconv.Quote(column) + ":" + string(op) + strconv.Quote(strconv.FormatFloat(f, 'e', -1, 64)) + ")"
}
