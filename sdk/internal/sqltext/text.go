package sqltext

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxText bounds the text that is shown: more than anybody reads, and what
	// a span may cost.
	maxText = 2 << 10
	// maxScanned bounds how much of a query is looked at for its text; an
	// insert of many rows may have megabytes.
	maxScanned = 64 << 10
)

// Text is the query with a ? for every value in it, without comments and
// needless space. A list of values, as IN has them, becomes one, and of rows
// after VALUES the first stands for all. It is cut at about 2 KiB. What cannot
// be read with certainty is shown as one ?.
func (d Dialect) Text(query string) string {
	var b strings.Builder
	b.Grow(min(len(query), maxText))
	s := scanner{Dialect: d, src: query[:min(len(query), maxScanned)]}
	in, values := false, false // the word before
	named := false             // what is next can only be a name
	row, rows := -1, -1        // where the first row ends, and the last one
	for first := true; ; first = false {
		t := s.next()
		if t.kind == end {
			break
		}
		if b.Len() >= maxText {
			b.WriteString(" ...")
			break
		}
		if t.spaced && !first {
			b.WriteByte(' ')
		}
		w := s.src[t.from:t.to]
		switch {
		case t.kind == unsure, t.kind == literal, t.kind == quoted && d.maybeString2 && w[0] == '"' && !named:
			b.WriteByte('?')
		default:
			b.WriteString(w[:min(len(w), maxText)])
		}
		if t.kind == punct && w == "(" && (in || values) {
			ahead := s
			switch {
			case !ahead.list():
			case in:
				s = ahead
				b.WriteString("?)")
			default:
				row = ahead.at
				ahead.rows()
				rows = ahead.at
			}
		}
		if s.at == row {
			s.at = rows
		}
		named = t.kind == punct && w == "." || t.kind == word && (is(w, "FROM") || is(w, "JOIN") || is(w, "INTO") || is(w, "UPDATE") || is(w, "TABLE"))
		in, values = t.kind == word && is(w, "IN"), t.kind == word && is(w, "VALUES")
	}
	text := b.String()
	if !utf8.ValidString(text) { // of a name that was cut, or of what came in
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	return text
}

// list passes the rest of (1, ?, 'x') and reports whether it is one of values
// only.
func (s *scanner) list() bool {
	for {
		t := s.next()
		switch t.kind {
		case literal, param:
			continue
		case word:
			if w := s.src[t.from:t.to]; is(w, "NULL") || is(w, "TRUE") || is(w, "FALSE") || is(w, "DEFAULT") {
				continue
			}
			return false
		case punct:
			switch s.src[t.from] {
			case ',', '-', '+':
				continue
			case ')':
				return true
			}
		}
		return false
	}
}

// rows passes more rows of values.
func (s *scanner) rows() {
	for {
		ahead := *s
		comma, open := ahead.next(), ahead.next()
		if comma.kind != punct || open.kind != punct || s.src[comma.from] != ',' || s.src[open.from] != '(' || !ahead.list() {
			return
		}
		*s = ahead
	}
}

// is compares with a keyword in capitals.
func is(w, keyword string) bool { return len(w) == len(keyword) && strings.EqualFold(w, keyword) }
