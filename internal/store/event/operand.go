package event

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/guanlan-io/guanlan/internal/store"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

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
	// The second stands before the look for the first: most blocks have no
	// column for one of them, and end there.
	return anyOf(first, allOf(second, not(e.first.exists())))
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

// eitherReading is a prefixed name, which may also be an attribute's own name
// in full. A condition holds when it holds for one of the two.
type eitherReading struct{ prefixed, whole operand }

func (e eitherReading) exists() string { return anyOf(e.prefixed.exists(), e.whole.exists()) }

func (e eitherReading) equals(text string) string {
	return anyOf(e.prefixed.equals(text), e.whole.equals(text))
}

func (e eitherReading) matches(re *regexp.Regexp) (string, error) {
	prefixed, err := e.prefixed.matches(re)
	if err != nil {
		return "", err
	}
	whole, err := e.whole.matches(re)
	return anyOf(prefixed, whole), err
}

func (e eitherReading) compares(op store.Op, value string) string {
	return anyOf(e.prefixed.compares(op, value), e.whole.compares(op, value))
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

// logPrefix is how conditions name attributes of records.
const logPrefix = "log."

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
	o := attributeField(field, logPrefix, logColumn)
	if strings.HasPrefix(field, logPrefix) {
		// Receivers name attributes log.file.name, and nobody writes
		// log.log.file.name. Attributes of spans do not begin with span.
		return eitherReading{o, bareKey(field, logColumn)}, nil
	}
	return o, nil
}

// attributeField resolves resource.KEY, the own prefix, and a bare key.
func attributeField(field, own string, nameOf func(section, string) string) operand {
	if key, ok := strings.CutPrefix(field, "resource."); ok {
		return resourceOperand(nameOf, key)
	}
	if key, ok := strings.CutPrefix(field, own); ok {
		return attributeOperand(nameOf, sectionOwn, key)
	}
	return bareKey(field, nameOf)
}

func bareKey(key string, nameOf func(section, string) string) operand {
	return eitherOr{attributeOperand(nameOf, sectionOwn, key), resourceOperand(nameOf, key)}
}

func resourceOperand(nameOf func(section, string) string, key string) operand {
	if key == colService {
		// A plain service name has no column as an attribute.
		return eitherOr{attributeOperand(nameOf, sectionResource, key), textColumn(colService)}
	}
	return attributeOperand(nameOf, sectionResource, key)
}
