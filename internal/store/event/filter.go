package event

import (
	"encoding/hex"
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
	"go.opentelemetry.io/collector/pdata/pcommon"
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

// textColumn is a fixed column; rows where it is empty do not have the field.
type textColumn string

func (c textColumn) exists() string { return hasText(string(c)) }

func (c textColumn) equals(text string) string {
	if text == "" {
		return never
	}
	return equalText(string(c), text)
}

func (c textColumn) matches(re *regexp.Regexp) (string, error) {
	return matchGuarded(string(c), re), nil
}

func (c textColumn) compares(op store.Op, value string) string {
	return compareNumbers(string(c), op, value)
}

// attribute is a value whose column may lack while it exists: texts can be
// empty.
type attribute struct {
	column  string
	section section
	key     string
}

func attributeOperand(nameOf func(section, string) string, s section, key string) operand {
	column := nameOf(s, key)
	if !columnKey(key) || len(column) > maxColumnName {
		return nothing{}
	}
	return attribute{column, s, key}
}

func (a attribute) emptyText() string {
	return contains(colTypes, string(typesEntry(nil, typesWithoutText, a.section, a.key)))
}

func (a attribute) exists() string { return anyOf(hasText(a.column), a.emptyText()) }

func (a attribute) equals(text string) string {
	if text == "" {
		return a.emptyText()
	}
	return equalText(a.column, text)
}

func (a attribute) matches(re *regexp.Regexp) (string, error) {
	f := matchGuarded(a.column, re)
	if re.MatchString("") {
		f = anyOf(f, a.emptyText())
	}
	return f, nil
}

func (a attribute) compares(op store.Op, value string) string {
	return compareNumbers(a.column, op, value)
}

// nothing is an attribute that cannot be searched.
type nothing struct{}

func (nothing) exists() string                           { return never }
func (nothing) equals(string) string                     { return never }
func (nothing) matches(*regexp.Regexp) (string, error)   { return never, nil }
func (nothing) compares(_ store.Op, value string) string { return never }

// eitherOr is the first attribute or, where a row does not have it, the second.
type eitherOr struct{ first, second operand }

func (e eitherOr) combine(first, second string) string {
	if e.first == (nothing{}) {
		return second
	}
	return anyOf(first, allOf(not(e.first.exists()), second))
}

func (e eitherOr) exists() string { return anyOf(e.first.exists(), e.second.exists()) }

func (e eitherOr) equals(text string) string {
	return e.combine(e.first.equals(text), e.second.equals(text))
}

func (e eitherOr) matches(re *regexp.Regexp) (string, error) {
	first, err := e.first.matches(re)
	if err != nil {
		return "", err
	}
	second, err := e.second.matches(re)
	return e.combine(first, second), err
}

func (e eitherOr) compares(op store.Op, value string) string {
	return e.combine(e.first.compares(op, value), e.second.compares(op, value))
}

// wordColumn has a word for rows where the column is empty; all rows have the
// field.
type wordColumn struct{ column, absent string }

func (c wordColumn) exists() string { return always }

func (c wordColumn) equals(text string) string {
	switch text {
	case "":
		return never
	case c.absent:
		return not(hasText(c.column))
	}
	return equalText(c.column, text)
}

func (c wordColumn) matches(re *regexp.Regexp) (string, error) {
	f := allOf(hasText(c.column), matchText(c.column, re.String()))
	if re.MatchString(c.absent) {
		f = anyOf(f, not(hasText(c.column)))
	}
	return f, nil
}

func (c wordColumn) compares(op store.Op, value string) string {
	return compareNumbers(c.column, op, value)
}

// severity is a word column with an order.
type severity struct{ wordColumn }

func (s severity) compares(op store.Op, value string) string {
	rank := slices.Index(severityWords[:], value)
	if rank < 0 {
		return never
	}
	words := severityWords[:]
	switch op {
	case store.OpLt:
		words = words[:rank]
	case store.OpLe:
		words = words[:rank+1]
	case store.OpGt:
		words = words[rank+1:]
	case store.OpGe:
		words = words[rank:]
	}
	if len(words) == 0 {
		return never
	}
	var fs []string
	for _, w := range words {
		fs = append(fs, equalText(s.column, w))
	}
	return anyOf(fs...)
}

// duration is the duration of spans; every row has it.
type duration struct{}

func (duration) exists() string { return always }

func (duration) equals(text string) string {
	d, err := strconv.ParseInt(text, 10, 64)
	if err != nil || d < 0 || strconv.FormatInt(d, 10) != text {
		return never
	}
	return "(" + colDuration + `:="` + string(appendDuration(nil, d)) + `")`
}

func (duration) matches(*regexp.Regexp) (string, error) { return "", errNoExpression("duration") }

func (duration) compares(op store.Op, value string) string {
	return compareColumn(colDuration, op, value)
}

// idColumn holds hexadecimal identifiers.
type idColumn struct {
	textColumn
	size int // in bytes
}

func (c idColumn) equals(text string) string {
	if _, ok := parseHex(text, c.size); !ok {
		return never
	}
	return c.textColumn.equals(strings.ToLower(text))
}

func (c idColumn) compares(store.Op, string) string { return never }

func parseHex(text string, size int) ([]byte, bool) {
	id, err := hex.DecodeString(text)
	return id, err == nil && len(id) == size
}

// traceID is the trace id of spans, in its two columns.
type traceID struct{}

func (traceID) exists() string { return hasText(colTraceLow) }

func (c traceID) equals(text string) string {
	b, ok := parseHex(text, 16)
	if !ok || pcommon.TraceID(b).IsEmpty() {
		return never
	}
	return c.is(pcommon.TraceID(b))
}

func (traceID) is(id pcommon.TraceID) string {
	high, low := traceHalves(id)
	f := "(" + strconv.Quote(colTraceLow) + `:="` + strconv.FormatUint(low, 10) + `")`
	if high == 0 {
		return allOf(f, not(hasText(colTraceHigh)))
	}
	return allOf(f, packedID(colTraceHigh).is(high))
}

func (traceID) matches(*regexp.Regexp) (string, error) { return "", errNoExpression("trace_id") }

func (traceID) compares(store.Op, string) string { return never }

func errNoExpression(field string) error {
	return fmt.Errorf("%s cannot be matched by an expression: %w", field, store.ErrInvalid)
}

// packedID holds the span ids of spans.
type packedID string

func (c packedID) exists() string { return hasText(string(c)) }

func (c packedID) equals(text string) string {
	id, ok := parseHex(text, 8)
	if !ok || pcommon.SpanID(id).IsEmpty() {
		return never
	}
	return c.is(spanIDNumber(pcommon.SpanID(id)))
}

func (c packedID) is(id uint64) string {
	return "(" + strconv.Quote(string(c)) + ":=" + strconv.Quote(string(appendID(nil, id))) + ")"
}

func (c packedID) matches(*regexp.Regexp) (string, error) {
	return "", errNoExpression(string(c))
}

func (c packedID) compares(store.Op, string) string { return never }

// isRoot is whether a span has no parent.
type isRoot struct{}

func (isRoot) exists() string { return always }

func (isRoot) equals(text string) string {
	switch text {
	case "true":
		return not(hasText(colParentSpanID))
	case "false":
		return hasText(colParentSpanID)
	}
	return never
}

func (r isRoot) matches(re *regexp.Regexp) (string, error) {
	f := []string{never}
	for _, text := range [...]string{"true", "false"} {
		if re.MatchString(text) {
			f = append(f, r.equals(text))
		}
	}
	return anyOf(f...), nil
}

func (isRoot) compares(store.Op, string) string { return never }

// eventName is the names of a span's events, one a line; a condition holds
// when it holds for one of them.
type eventName struct{}

func (eventName) exists() string { return hasText(colEventName) }

func (eventName) equals(text string) string {
	if text == "" || strings.Contains(text, "\n") {
		return never
	}
	// A single name is guarded, of several none is.
	return anyOf(equalText(colEventName, text), matchText(colEventName, `(?:\A|\n)`+regexp.QuoteMeta(text)+`(?:\n|\z)`))
}

func (eventName) matches(re *regexp.Regexp) (string, error) {
	byLine, err := lineExpression(re.String())
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, store.ErrInvalid)
	}
	fs := append([]string{matchText(colEventName, byLine)}, pastGuards(colEventName, re.String())...)
	return allOf(hasText(colEventName), anyOf(fs...)), nil
}

func (eventName) compares(store.Op, string) string { return never }

// lineExpression makes an expression match within single lines.
func lineExpression(expr string) (string, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "", err
	}
	var walk func(*syntax.Regexp)
	walk = func(r *syntax.Regexp) {
		switch r.Op {
		case syntax.OpBeginText:
			r.Op = syntax.OpBeginLine
		case syntax.OpEndText:
			r.Op = syntax.OpEndLine
			r.Flags &^= syntax.WasDollar
		case syntax.OpAnyChar:
			r.Op = syntax.OpAnyCharNotNL
		case syntax.OpCharClass:
			r.Rune = withoutNewline(r.Rune)
			if len(r.Rune) == 0 {
				r.Op = syntax.OpNoMatch
			}
		}
		for _, s := range r.Sub {
			walk(s)
		}
	}
	walk(re)
	return re.String(), nil
}

// withoutNewline takes the newline out of a class, which is pairs of bounds.
func withoutNewline(class []rune) []rune {
	var out []rune
	for i := 0; i+1 < len(class); i += 2 {
		lo, hi := class[i], class[i+1]
		if lo > '\n' || hi < '\n' {
			out = append(out, lo, hi)
			continue
		}
		if lo < '\n' {
			out = append(out, lo, '\n'-1)
		}
		if hi > '\n' {
			out = append(out, '\n'+1, hi)
		}
	}
	return out
}

func spanOperand(field string) (operand, error) {
	switch field {
	case "trace_id":
		return traceID{}, nil
	case "span_id":
		return packedID(colSpanID), nil
	case "parent_span_id":
		return packedID(colParentSpanID), nil
	case "name", "status.message", "scope.name", "scope.version", "service.name":
		return textColumn(field), nil // the columns have the names of the fields
	case "kind":
		return wordColumn{colKind, "unspecified"}, nil
	case "duration":
		return duration{}, nil
	case "status":
		return wordColumn{colStatus, "unset"}, nil
	case "root":
		return isRoot{}, nil
	case "event.name":
		return eventName{}, nil
	}
	return attributeField(field, "span.", spanColumn), nil
}

func logOperand(field string) (operand, error) {
	switch field {
	case "trace_id":
		return idColumn{colTraceID, 16}, nil
	case "span_id":
		return idColumn{colLogSpanID, 8}, nil
	case "severity":
		return severity{wordColumn{colSeverity, "unset"}}, nil
	case "body":
		return attribute{colBody, sectionBody, ""}, nil
	case "severity_text", "event_name", "scope.name", "service.name":
		return textColumn(field), nil
	}
	return attributeField(field, "log.", logColumn), nil
}

// attributeField resolves resource.KEY, the own prefix, and a bare key.
func attributeField(field, own string, nameOf func(section, string) string) operand {
	if key, ok := strings.CutPrefix(field, "resource."); ok {
		return resourceOperand(nameOf, key)
	}
	if key, ok := strings.CutPrefix(field, own); ok {
		return attributeOperand(nameOf, sectionOwn, key)
	}
	return eitherOr{attributeOperand(nameOf, sectionOwn, field), resourceOperand(nameOf, field)}
}

func resourceOperand(nameOf func(section, string) string, key string) operand {
	if key == colService {
		// A plain service name has no column as an attribute.
		return eitherOr{attributeOperand(nameOf, sectionResource, key), textColumn(colService)}
	}
	return attributeOperand(nameOf, sectionResource, key)
}
