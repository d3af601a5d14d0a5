package sqltext

// Shape is what queries that differ in their values have in common. Names are
// as the query has them.
type Shape struct {
	// Summary is the operations of the query, each with its targets:
	// "INSERT orders SELECT carts". It is empty for what is no SQL.
	Summary string
	// Operation is the operation, if there is only one.
	Operation string
	// Collection is the table, if there is only one, and Procedure what is
	// called.
	Collection, Procedure string
}

const (
	// maxSummary is the length of a summary that the semantic conventions set.
	maxSummary = 255
	// maxSummarized bounds how much of a query is looked at for its summary: what
	// it does to which tables stands at its beginning.
	maxSummarized = 4 << 10
	// maxDepth bounds the parentheses in which lists of tables are told apart.
	maxDepth = 63
)

// operation is what a query is doing where it is being read.
type operation uint8

const (
	other operation = iota
	selects
	inserts
	updates
	deletes
	merges
	defines // CREATE, ALTER, DROP: what, comes next
	indexes // CREATE INDEX: the table comes after ON
	calls
)

// reader reads a query for its summary.
type reader struct {
	scanner
	out  [maxSummary]byte
	n    int
	full bool

	operations, targets int
	operationEnd        int // in out, of the first operation
	targetFrom          int // in out, of the first target
	calls               bool

	doing   operation
	start   bool   // a statement begins here
	wants   bool   // the next name is a target
	depth   int    // of parentheses
	lists   uint64 // by depth: a comma is followed by another target
	special uint64 // by depth: within a function that has a FROM of its own
}

// add appends a word to the summary, all of it or nothing.
func (r *reader) add(w string) (from int) {
	if r.full = r.full || r.n+1+len(w) > len(r.out); r.full {
		return r.n
	}
	if r.n > 0 {
		r.out[r.n] = ' '
		r.n++
	}
	from = r.n
	r.n += copy(r.out[r.n:], w)
	return from
}

func (r *reader) operate(w string, doing operation) {
	r.add(w)
	if r.operations++; r.operations == 1 {
		r.operationEnd = r.n
	}
	r.doing, r.start, r.wants = doing, false, doing != other && doing != selects && doing != defines
	r.lists &^= 1 << r.depth
}

// target reads the rest of a name that may have several parts.
func (r *reader) target(t token) {
	r.wants = false
	from, to := t.from, t.to
	compact := true // the name stands in the query as it is shown
	var parts [maxSummary]byte
	n := copy(parts[:], r.src[from:to])
	for {
		ahead := r.scanner
		dot, part := ahead.next(), ahead.next()
		if dot.kind != punct || r.src[dot.from] != '.' || part.kind != word && part.kind != quoted {
			break
		}
		compact = compact && !dot.spaced && !part.spaced
		n += copy(parts[n:], ".")
		n += copy(parts[n:], r.src[part.from:part.to])
		to = part.to
		r.scanner = ahead
	}
	name := r.src[from:to]
	if !compact {
		name = string(parts[:n])
	}
	at := r.add(name)
	if r.targets++; r.targets == 1 {
		r.targetFrom = at
	}
}

// read reads the query to its end, or as far as it can be read.
func (r *reader) read() {
	r.start = true
	var before string // the keyword or punctuation that is before, in capitals
	var few [16]byte
	for !r.full {
		t := r.next()
		switch t.kind {
		case end, unsure:
			return
		case punct:
			before = r.punct(r.src[t.from], before)
			continue
		case word:
			w := r.src[t.from:t.to]
			before = r.word(t, upper(few[:0], w), before)
			continue
		case quoted:
			if r.wants {
				r.target(t)
			}
		}
		before = ""
		r.start = false
	}
}

func (r *reader) punct(c byte, before string) string {
	bit := uint64(1) << min(r.depth, maxDepth)
	switch c {
	case '(':
		r.wants = false
		if r.depth < maxDepth {
			r.depth++
		}
		bit = 1 << r.depth
		r.lists, r.special = r.lists&^bit, r.special&^bit
		switch before {
		case "EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION":
			r.special |= bit
		}
		return "("
	case ')':
		if r.lists, r.special = r.lists&^bit, r.special&^bit; r.depth > 0 {
			r.depth--
		}
		return ")"
	case ',':
		if r.lists&bit != 0 {
			r.wants = true
		}
	case ';':
		r.start, r.wants, r.doing, r.lists, r.special, r.depth = true, false, other, 0, 0, 0
	case '.':
		return "."
	}
	return ""
}

// word takes a word, which keyword is in capitals, and returns what the next one
// has before it.
func (r *reader) word(t token, keyword, before string) string {
	w := r.src[t.from:t.to]
	if before == "." { // a part of a name, whatever it is
		return ""
	}
	bit := uint64(1) << r.depth
	begins := r.start || before == ")" || before == "(" || before == "EXPLAIN" || before == "ANALYZE"
	started := r.start
	switch keyword {
	case "SELECT":
		r.operate(w, selects)
		return "SELECT"
	case "INSERT":
		if begins {
			r.operate(w, inserts)
			return "INSERT"
		}
	case "REPLACE":
		if started {
			r.operate(w, inserts)
			return "REPLACE"
		}
	case "UPDATE":
		if begins {
			r.operate(w, updates)
			r.lists |= bit
			return "UPDATE"
		}
	case "DELETE":
		if begins {
			r.operate(w, deletes)
			return "DELETE"
		}
	case "MERGE":
		if begins {
			r.operate(w, merges)
			return "MERGE"
		}
	case "TRUNCATE":
		if started {
			r.operate(w, updates)
			r.lists |= bit
			return "TRUNCATE"
		}
	case "CREATE", "ALTER", "DROP":
		if started {
			r.operate(w, defines)
			return keyword
		}
	case "CALL", "EXEC", "EXECUTE":
		if started {
			r.operate(w, calls)
			r.calls = true
			return keyword
		}
	case "WITH":
		if started {
			r.start = false
			return "WITH"
		}
	case "FROM":
		if r.special&bit == 0 && before != "DISTINCT" && (r.doing == selects || r.doing == deletes || r.doing == updates) {
			r.wants = true
			r.lists |= bit
		}
		return "FROM"
	case "JOIN":
		r.wants = true
		return "JOIN"
	case "USING":
		r.wants = r.doing == merges || r.doing == deletes
		return "USING"
	case "ON":
		if r.wants = r.doing == indexes; r.wants {
			r.doing = other
		}
		return "ON"
	case "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "WINDOW", "RETURNING", "SET", "VALUES", "FOR", "OFFSET", "FETCH":
		if !started {
			r.lists &^= bit
			r.wants = false
			return keyword
		}
	}
	switch {
	case started:
		r.operate(w, other)
		return keyword
	case r.doing == defines:
		switch keyword {
		case "OR", "REPLACE", "TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "UNLOGGED", "UNIQUE", "FULLTEXT", "SPATIAL", "MATERIALIZED", "VIRTUAL", "EXTERNAL", "FOREIGN", "RECURSIVE", "CLUSTERED", "NONCLUSTERED", "ALGORITHM", "DEFINER", "SECURITY":
			return keyword
		}
		r.add(w)
		if r.operations == 1 {
			r.operationEnd = r.n
		}
		r.doing, r.wants = other, true
		if keyword == "INDEX" {
			r.doing = indexes
		}
		return keyword
	case r.wants:
		switch keyword {
		case "INTO", "ONLY", "OR", "IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK", "LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IF", "NOT", "EXISTS", "TABLE", "LATERAL", "CONCURRENTLY", "OVERWRITE":
			return keyword
		}
		r.target(t)
		return ""
	}
	return keyword
}

// upper is a short word in capitals, and "" for a longer one: keywords are
// short.
func upper(dst []byte, w string) string {
	if len(w) > cap(dst) {
		return ""
	}
	for i := range len(w) {
		c := w[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return keywords[string(dst)]
}

// keywords are those that reading looks for, so that a word in capitals needs no
// memory.
var keywords = func() map[string]string {
	m := map[string]string{}
	for _, k := range []string{
		"SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP", "CALL", "EXEC", "EXECUTE", "WITH", "FROM", "JOIN", "USING", "ON",
		"WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "WINDOW", "RETURNING", "SET", "VALUES", "FOR", "OFFSET", "FETCH", "DISTINCT", "EXPLAIN", "ANALYZE",
		"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION",
		"OR", "TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "UNLOGGED", "UNIQUE", "FULLTEXT", "SPATIAL", "MATERIALIZED", "VIRTUAL", "EXTERNAL", "FOREIGN", "RECURSIVE", "CLUSTERED", "NONCLUSTERED", "ALGORITHM", "DEFINER", "SECURITY",
		"INTO", "ONLY", "IGNORE", "ABORT", "FAIL", "ROLLBACK", "LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IF", "NOT", "EXISTS", "TABLE", "LATERAL", "CONCURRENTLY", "OVERWRITE", "INDEX",
	} {
		m[k] = k
	}
	return m
}()

// shape is what was read; a Shape of its own memory.
func (r *reader) shape() *Shape {
	s := &Shape{Summary: string(r.out[:r.n])}
	if r.operations == 1 {
		s.Operation = s.Summary[:r.operationEnd]
	}
	if r.targets == 1 && !r.full {
		// A target is the last word, as the one operation is before it.
		if name := s.Summary[r.targetFrom:]; r.calls {
			s.Procedure = name
		} else if r.operations == 1 {
			s.Collection = name
		}
	}
	return s
}
