package query

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxPatterned is how many records are looked at, newest first.
	maxPatterned = store.MaxPage
	// maxPatterns is how many shapes are returned.
	maxPatterns = 100
	// maxShape bounds the part of a body that is looked at, in bytes: shapes
	// differ at the beginning, and stack traces are long.
	maxShape = 1024
	// maxAlike bounds the shapes that one is compared with.
	maxAlike = 50
	// alike is the share of equal words from which two shapes are one.
	alike = 0.7
)

// wild stands for a variable part.
const wild = "<*>"

// LogPatterns groups the newest records by shape: words that look variable
// (numbers, ids, times, addresses) are masked, then shapes that differ in few
// words become one, after the idea of Drain (He et al., ICWS 2017).
func (e *engine) LogPatterns(ctx context.Context, w Window) (*PatternList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Logs)
	if err != nil {
		return nil, err
	}
	var p patterns
	out := &PatternList{Patterns: []Pattern{}}
	for after := store.Cursor(""); out.Sampled < maxPatterned; {
		rows, next, err := e.logs.Logs(ctx, sel, min(1000, maxPatterned-out.Sampled), after)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			p.add(r)
		}
		out.Sampled += len(rows)
		if next == "" {
			break
		}
		after = next
	}
	for _, s := range p.top(maxPatterns) {
		out.Patterns = append(out.Patterns, Pattern{Pattern: strings.Join(s.tokens, ""), Count: s.count, Severity: s.severity(), Example: logOf(s.example)})
	}
	return out, nil
}

// patterns collects shapes. The zero value is empty.
type patterns struct {
	exact   map[string]*shape
	similar map[shapeKey][]*shape
	all     []*shape
}

// shapeKey puts shapes in one bucket that could be alike.
type shapeKey struct {
	tokens int
	first  string
}

type shape struct {
	tokens     []string
	count      int
	severities map[string]int
	example    store.LogRow // the newest
}

func (s *shape) severity() string {
	best := "unset"
	for name, n := range s.severities {
		if n > s.severities[best] || n == s.severities[best] && name < best {
			best = name
		}
	}
	return best
}

func (p *patterns) add(r store.LogRow) {
	if p.exact == nil {
		p.exact, p.similar = map[string]*shape{}, map[shapeKey][]*shape{}
	}
	tokens := mask(text(r.Record.Body()))
	key := strings.Join(tokens, "")
	s := p.exact[key]
	if s == nil {
		s = p.like(tokens)
		p.exact[key] = s
	}
	if s.count == 0 {
		s.example = r
	}
	s.count++
	s.severities[severityName(r.Record.SeverityNumber())]++
}

// like finds a shape that tokens can join, or makes one.
func (p *patterns) like(tokens []string) *shape {
	key := shapeKey{tokens: len(tokens)}
	if len(tokens) > 0 {
		key.first = tokens[0]
	}
	bucket := p.similar[key]
	for _, s := range bucket {
		if s.join(tokens) {
			return s
		}
	}
	s := &shape{tokens: tokens, severities: map[string]int{}}
	p.all = append(p.all, s)
	if len(bucket) < maxAlike {
		p.similar[key] = append(bucket, s)
	}
	return s
}

// join widens s to tokens, of the same number, when they are alike.
func (s *shape) join(tokens []string) bool {
	words, same := 0, 0
	for i, t := range tokens {
		switch a := s.tokens[i]; {
		case a == t:
			if isWord(t) {
				words, same = words+1, same+1
			}
		case !isWord(t) && t != wild || !isWord(a) && a != wild:
			return false // punctuation must agree
		default:
			words++
		}
	}
	if words == 0 || float64(same)/float64(words) < alike {
		return false
	}
	for i, t := range tokens {
		if s.tokens[i] != t {
			s.tokens[i] = wild
		}
	}
	return true
}

// top is the n most frequent shapes.
func (p *patterns) top(n int) []*shape {
	slices.SortStableFunc(p.all, func(a, b *shape) int { return cmp.Compare(b.count, a.count) })
	return p.all[:min(n, len(p.all))]
}

// isWord tells words from punctuation and marks.
func isWord(t string) bool {
	return strings.ContainsFunc(t, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

func isWordRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-' || r == '.' || r == '+' || r == '%'
}

// mask cuts the first line of a body into words and what stands between them,
// with a mark for words that look variable. Marks joined by punctuation alone
// (the parts of a time or an address) become one.
func mask(body string) []string {
	body, _, _ = strings.Cut(strings.TrimSpace(body), "\n")
	if len(body) > maxShape {
		body = strings.ToValidUTF8(body[:maxShape], "")
	}
	var tokens []string
	for body != "" {
		n := strings.IndexFunc(body, func(r rune) bool { return !isWordRune(r) })
		if n == 0 { // punctuation and space, up to the next word
			if n = strings.IndexFunc(body, isWordRune); n < 0 {
				n = len(body)
			}
			tokens = append(tokens, body[:n])
			body = body[n:]
			continue
		}
		if n < 0 {
			n = len(body)
		}
		// A full stop that ends a sentence is not part of the word.
		word := strings.TrimRight(body[:n], ".")
		stops := body[len(word):n]
		if variable(word) {
			word = wild
		}
		if k := len(tokens); word == wild && k >= 2 && tokens[k-2] == wild && joins(tokens[k-1]) {
			tokens = tokens[:k-1]
		} else if word != "" {
			tokens = append(tokens, word)
		}
		if stops != "" {
			tokens = append(tokens, stops)
		}
		body = body[n:]
	}
	return tokens
}

// joins holds for punctuation inside of times, dates and addresses.
func joins(s string) bool { return len(s) == 1 && strings.Contains(":/@", s) }

// variable holds for words that change from record to record: those with
// digits, unless they look like names (utf8, s3, HTTP-2), and long hexadecimal ones.
func variable(word string) bool {
	digits, letters, hex := 0, 0, 0
	for _, r := range word {
		switch {
		case unicode.IsDigit(r):
			digits++
			hex++
		case unicode.IsLetter(r):
			letters++
			if r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F' {
				hex++
			}
		}
	}
	switch {
	case digits == 0:
		return hex >= 16 && hex == letters
	case letters == 0:
		return true
	}
	first, _ := utf8.DecodeRuneInString(word)
	return !unicode.IsLetter(first) || digits > 2 || len(word) > 8
}
