package sqltext

// Dialect is what has to be known of a database to tell its literals from the
// rest of a query. Where the databases differ and the dialect is not known, the
// scanner gives up rather than show what may be a value.
type Dialect struct {
	known bool
	// stringQuotes2 has "x" for a string; elsewhere it is a name.
	stringQuotes2 bool
	// maybeString2 has "x" for a name, and for a string where no such name is.
	maybeString2 bool
	// backslash escapes in strings.
	backslash bool
	// brackets has [x] for a name.
	brackets bool
	// dollar has $tag$x$tag$ for a string.
	dollar bool
	// nested comments.
	nested bool
	// hash begins a comment; hashName begins a name.
	hash, hashName bool
	// dashSpace has -- begin a comment only before a space.
	dashSpace bool
	// money has $1.50 for a number; elsewhere $1 is a parameter.
	money bool
	// colon has :name for a parameter; elsewhere it may be a slice.
	colon bool
	// quoting has q'[x]' for a string.
	quoting bool
}

// DialectOf is the dialect of a database by its db.system.name.
func DialectOf(system string) Dialect {
	switch system {
	case "mysql", "mariadb":
		return Dialect{known: true, stringQuotes2: true, backslash: true, hash: true, dashSpace: true}
	case "postgresql", "cockroachdb", "aws.redshift":
		return Dialect{known: true, dollar: true, nested: true}
	case "sqlite":
		return Dialect{known: true, maybeString2: true, brackets: true, colon: true}
	case "microsoft.sql_server":
		return Dialect{known: true, brackets: true, nested: true, hashName: true, money: true}
	case "oracle.db":
		return Dialect{known: true, colon: true, quoting: true}
	case "clickhouse":
		return Dialect{known: true, backslash: true, dollar: true, nested: true, hash: true}
	}
	return Dialect{stringQuotes2: true, dollar: true, colon: true}
}

type kind uint8

const (
	end     kind = iota
	unsure       // what follows may be anything: show none of it
	word         // a name or keyword
	quoted       // a name in quotes
	literal      // a value
	param        // a placeholder
	punct        // one other byte
)

// token is src[from:to]; spaced tells that a space or comment was before it.
type token struct {
	kind     kind
	spaced   bool
	from, to int
}

// scanner cuts a query into tokens. It is a value: a copy looks ahead.
type scanner struct {
	Dialect
	src string
	at  int
}

func (s *scanner) peek(n int) byte {
	if s.at+n < len(s.src) {
		return s.src[s.at+n]
	}
	return 0
}

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func (s *scanner) next() token {
	spaced, sure := s.skip()
	t := token{spaced: spaced, from: s.at}
	if !sure {
		return s.giveUp(t)
	}
	if s.at >= len(s.src) {
		t.to = s.at
		return t
	}
	c := s.src[s.at]
	switch {
	case isLetter(c) || c == '#' && s.hashName:
		return s.word(t)
	case isDigit(c) || c == '.' && isDigit(s.peek(1)) && !s.follows():
		return s.number(t)
	case c == '\'':
		return s.quote(t, '\'', literal, s.backslash, !s.known)
	case c == '"' && s.stringQuotes2:
		return s.quote(t, '"', literal, s.backslash, !s.known)
	case c == '"':
		return s.quote(t, '"', quoted, s.backslash, false)
	case c == '`':
		return s.quote(t, '`', quoted, false, !s.known)
	case c == '[' && s.brackets:
		return s.quote(t, ']', quoted, false, false)
	case c == '$':
		return s.dollars(t)
	case c == '?':
		s.at++
		s.digits()
		return s.done(t, param)
	case c == ':' && s.peek(1) == ':':
		s.at += 2
		return s.done(t, punct)
	case c == ':' && s.colon && (isLetter(s.peek(1)) || isDigit(s.peek(1))), c == ':' && isLetter(s.peek(1)), c == '@' && isLetter(s.peek(1)):
		s.at++
		s.name()
		return s.done(t, param)
	case c == '#' && !s.known: // a comment of one database, an operator of another
		return s.giveUp(t)
	}
	s.at++
	return s.done(t, punct)
}

func (s *scanner) done(t token, k kind) token {
	t.kind, t.to = k, s.at
	return t
}

// giveUp ends the scanning.
func (s *scanner) giveUp(t token) token {
	s.at = len(s.src)
	return s.done(t, unsure)
}

// follows reports whether what is before is a name, of which .5 would be a part.
func (s *scanner) follows() bool {
	if s.at == 0 {
		return false
	}
	c := s.src[s.at-1]
	return isLetter(c) || isDigit(c) || c == '"' || c == '`' || c == ']' || c == ')'
}

// skip passes spaces and comments.
func (s *scanner) skip() (spaced, sure bool) {
	for s.at < len(s.src) {
		c, then := s.src[s.at], s.peek(1)
		switch {
		case isSpace(c):
			s.at++
		case c == '#' && s.hash:
			s.line()
		case c == '-' && then == '-':
			third := s.peek(2)
			blank := s.at+2 >= len(s.src) || isSpace(third) || third < ' '
			if s.dashSpace && !blank {
				return spaced, true
			}
			if !s.known && !blank {
				return spaced, false
			}
			s.line()
		case c == '/' && then == '*':
			if !s.comment() {
				return true, false
			}
		default:
			return spaced, true
		}
		spaced = true
	}
	return spaced, true
}

func (s *scanner) line() {
	for s.at < len(s.src) && s.src[s.at] != '\n' {
		s.at++
	}
}

// comment passes /* */.
func (s *scanner) comment() (sure bool) {
	depth := 0
	for s.at < len(s.src) {
		switch {
		case s.src[s.at] == '*' && s.peek(1) == '/':
			s.at += 2
			if depth--; depth == 0 {
				return true
			}
		case s.src[s.at] == '/' && s.peek(1) == '*':
			if depth > 0 && !s.known {
				return false
			}
			if depth == 0 || s.nested {
				depth++
			}
			s.at += 2
		default:
			s.at++
		}
	}
	return true // it has no end, and so nothing is after it
}

func (s *scanner) digits() {
	for isDigit(s.peek(0)) {
		s.at++
	}
}

// name passes what a name may go on with.
func (s *scanner) name() {
	for s.at < len(s.src) {
		if c := s.src[s.at]; !isLetter(c) && !isDigit(c) && c != '$' && (c != '#' || !s.hashName) {
			return
		}
		s.at++
	}
}

// word is a name, or the prefix of a string that goes on at once.
func (s *scanner) word(t token) token {
	s.at++
	s.name()
	w := s.src[t.from:s.at]
	q := s.peek(0)
	if q == '&' && (w == "U" || w == "u") && (s.peek(1) == '\'' || s.peek(1) == '"') {
		s.at++
		if s.peek(0) == '"' {
			return s.quote(t, '"', quoted, false, false)
		}
		return s.quote(t, '\'', literal, s.backslash, !s.known)
	}
	if q != '\'' && (q != '"' || !s.stringQuotes2) {
		return s.done(t, word)
	}
	switch {
	case (w == "q" || w == "Q" || w == "nq" || w == "NQ" || w == "Nq" || w == "nQ") && s.quoting:
		return s.alternative(t)
	case len(w) == 1:
		switch w[0] | 0x20 {
		case 'e':
			return s.quote(t, q, literal, true, false)
		case 'n', 'x', 'b':
			return s.quote(t, q, literal, s.backslash, !s.known)
		}
		if !s.known { // r'', q'' …
			return s.giveUp(t)
		}
	case w[0] == '_': // a character set
		return s.quote(t, q, literal, s.backslash, !s.known)
	}
	return s.done(t, word)
}

// quote passes to the closing quote; the opening one is the byte here. A quote
// within is written twice, or after a backslash where that escapes. If it may
// escape or not, nothing is sure any more.
func (s *scanner) quote(t token, q byte, k kind, escapes, mayEscape bool) token {
	s.at++
	for s.at < len(s.src) {
		c := s.src[s.at]
		switch {
		case c == '\\' && escapes:
			s.at++
		case c == '\\' && mayEscape && (s.peek(1) == q || s.peek(1) == '\\'):
			return s.giveUp(t)
		case c == q && s.peek(1) == q:
			s.at++
		case c == q:
			s.at++
			return s.done(t, k)
		}
		s.at++
	}
	return s.giveUp(t)
}

// alternative passes q'[it's]'.
func (s *scanner) alternative(t token) token {
	s.at++
	open := s.peek(0)
	switch open {
	case '[':
		open = ']'
	case '{':
		open = '}'
	case '(':
		open = ')'
	case '<':
		open = '>'
	}
	for s.at++; s.at < len(s.src); s.at++ {
		if s.src[s.at] == open && s.peek(1) == '\'' {
			s.at += 2
			return s.done(t, literal)
		}
	}
	return s.giveUp(t)
}

// number passes 12, 1.5e-3, 0xff, 1_000, and whatever letters go on with it.
func (s *scanner) number(t token) token {
	hex := s.src[s.at] == '0' && s.peek(1)|0x20 == 'x'
	for s.at < len(s.src) {
		c := s.src[s.at]
		if !isDigit(c) && !isLetter(c) && c != '.' {
			if c != '+' && c != '-' || hex || s.src[s.at-1]|0x20 != 'e' || !isDigit(s.peek(1)) {
				break
			}
		}
		s.at++
	}
	return s.done(t, literal)
}

// dollars is a parameter $1, money $1.50, or a string $tag$x$tag$.
func (s *scanner) dollars(t token) token {
	s.at++
	switch c := s.peek(0); {
	case isDigit(c) && s.money:
		return s.number(t)
	case isDigit(c):
		s.digits()
		return s.done(t, param)
	case !s.dollar && isLetter(c):
		s.name()
		return s.done(t, param)
	case !s.dollar:
		return s.done(t, punct)
	}
	for isLetter(s.peek(0)) || isDigit(s.peek(0)) {
		s.at++
	}
	if s.peek(0) != '$' {
		if !s.known {
			return s.giveUp(t)
		}
		return s.done(t, punct)
	}
	s.at++
	tag := s.src[t.from:s.at]
	for ; s.at+len(tag) <= len(s.src); s.at++ {
		if s.src[s.at] == '$' && s.src[s.at:s.at+len(tag)] == tag {
			s.at += len(tag)
			return s.done(t, literal)
		}
	}
	return s.giveUp(t)
}
