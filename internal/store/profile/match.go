package profile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Prefixes of fields. A bare field is the label of a sample or, where the
// sample has none, the attribute of the resource.
const (
	resourcePrefix = "resource."
	labelPrefix    = "label."
	// typeField is the kind of profile.
	typeField = "type"
)

// matcher decides by conditions which samples are meant.
type matcher struct{ conds []cond }

type cond struct {
	op      store.Op
	key     string // of label and resource; empty for text and typeField
	kind    bool   // typeField
	labels  bool   // the label counts
	outer   bool   // the resource counts
	value   string
	number  float64
	pattern *regexp.Regexp
}

func newMatcher(where []store.Cond) (*matcher, error) {
	m := &matcher{}
	for _, w := range where {
		c := fieldOf(w.Field)
		if c.op, c.value = w.Op, w.Value; w.Op == store.OpText {
			c.value = strings.ToLower(w.Value)
		}
		var err error
		switch w.Op {
		case store.OpRe, store.OpNre:
			c.pattern, err = regexp.Compile(w.Value)
		case store.OpLt, store.OpLe, store.OpGt, store.OpGe:
			c.number, err = strconv.ParseFloat(w.Value, 64)
		case store.OpEq, store.OpNe, store.OpExists, store.OpText:
		default:
			err = fmt.Errorf("no operator %q", w.Op)
		}
		if err != nil {
			return nil, fmt.Errorf("condition on %q: %w: %w", w.Field, err, store.ErrInvalid)
		}
		m.conds = append(m.conds, c)
	}
	return m, nil
}

// fieldOf reads the name of a field.
func fieldOf(name string) cond {
	c := cond{key: name, labels: true, outer: true}
	switch key, ok := strings.CutPrefix(name, resourcePrefix); {
	case name == typeField:
		c.kind = true
	case ok:
		c.key, c.labels = key, false
	default:
		if key, ok := strings.CutPrefix(name, labelPrefix); ok {
			c.key, c.outer = key, false
		}
	}
	return c
}

// holds decides by the values of a field; none stands for its absence.
func (c *cond) holds(values ...string) bool {
	any := func(f func(string) bool) bool { return slices.ContainsFunc(values, f) }
	equal := func(v string) bool { return v == c.value }
	less := func(f func(a, b float64) bool) bool {
		return any(func(v string) bool {
			n, err := strconv.ParseFloat(v, 64)
			return err == nil && f(n, c.number)
		})
	}
	switch c.op {
	case store.OpEq:
		return any(equal) || c.value == "" && len(values) == 0
	case store.OpNe:
		return !any(equal) && (c.value != "" || len(values) > 0)
	case store.OpRe:
		return any(c.pattern.MatchString)
	case store.OpNre:
		return !any(c.pattern.MatchString)
	case store.OpLt:
		return less(func(a, b float64) bool { return a < b })
	case store.OpLe:
		return less(func(a, b float64) bool { return a <= b })
	case store.OpGt:
		return less(func(a, b float64) bool { return a > b })
	case store.OpGe:
		return less(func(a, b float64) bool { return a >= b })
	case store.OpExists:
		return len(values) > 0
	}
	return false
}

func (c *cond) resource(s *series) bool {
	if v, ok := s.resource[c.key]; ok && c.outer {
		return c.holds(v)
	}
	return c.holds()
}

// series decides what can be without looking at samples: no, or the conditions
// that are left for these. labels tells which labels they may have.
func (m *matcher) series(s *series, labels func(string) bool) (left []cond, ok bool) {
	for _, c := range m.conds {
		holds := false
		switch {
		case c.kind:
			holds = c.holds(s.kind)
		case c.op == store.OpText, c.labels && labels(c.key):
			left = append(left, c)
			continue
		default:
			holds = c.resource(s)
		}
		if !holds {
			return nil, false
		}
	}
	return left, true
}

// samples decides the conditions that are left.
type samples struct {
	labels []bool // by label set; nil: all
	nodes  []bool // by node; nil: all
}

func (m *matcher) samples(left []cond, s *series, t *table) samples {
	var out samples
	for _, c := range left {
		if c.op == store.OpText {
			out.nodes = merge(out.nodes, c.text(t))
			continue
		}
		found := make([]bool, len(t.labels))
		for i, set := range t.labels {
			if values := t.valuesOf(set, c.key); len(values) > 0 {
				found[i] = c.holds(values...)
			} else {
				found[i] = c.resource(s)
			}
		}
		out.labels = merge(out.labels, found)
	}
	return out
}

func merge(a, b []bool) []bool {
	if a == nil {
		return b
	}
	for i := range a {
		a[i] = a[i] && b[i]
	}
	return a
}

// text finds the stacks with a function whose name contains the text, whatever
// its case.
func (c *cond) text(t *table) []bool {
	found := map[uint32]bool{}
	functions := make([]bool, len(t.functions))
	for i, f := range t.functions {
		has, known := found[f.name]
		if !known {
			has = strings.Contains(strings.ToLower(t.strings[f.name]), c.value)
			found[f.name] = has
		}
		functions[i] = has
	}
	locations := make([]bool, len(t.locations))
	for i, l := range t.locations {
		locations[i] = slices.ContainsFunc(l.lines, func(n line) bool { return functions[n.function] })
	}
	nodes := make([]bool, len(t.nodes))
	for i, n := range t.nodes[1:] {
		nodes[i+1] = nodes[n.parent] || locations[n.location]
	}
	return nodes
}

// all tells whether every sample is meant.
func (s samples) all() bool { return s.labels == nil && s.nodes == nil }

func (s samples) has(node, label uint32) bool {
	return (s.labels == nil || s.labels[label]) && (s.nodes == nil || s.nodes[node])
}

// rows keeps the samples that are meant, and the profiles that have such.
func (s samples) rows(t *table, rows []row) []row {
	if s.all() {
		return rows
	}
	var out []row
	for _, r := range rows {
		types := len(t.schemas[r.schema].types)
		n := row{time: r.time, duration: r.duration, schema: r.schema}
		for i := range r.nodes {
			if s.has(r.nodes[i], r.labels[i]) {
				n.nodes, n.labels = append(n.nodes, r.nodes[i]), append(n.labels, r.labels[i])
				n.values = append(n.values, r.values[i*types:(i+1)*types]...)
			}
		}
		if len(n.nodes) > 0 {
			out = append(out, n)
		}
	}
	return out
}
