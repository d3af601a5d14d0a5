package core

import (
	"maps"
	"slices"
	"strings"
)

// operations are the names that a policy treats by themselves, made once for a
// policy.
type operations struct {
	named  map[string]namedOperation
	routes []namedRoute // those with wildcards
	keys   []string     // of weights, in order
}

type namedOperation struct {
	name string
	own  *ByThreshold // nil: critical
}

// namedRoute is the name of an HTTP operation whose path has wildcards.
type namedRoute struct {
	name, method string
	path         string   // up to the first wildcard
	rest         []string // segments from there on
}

func newOperations(p *Policy) *operations {
	o := &operations{named: map[string]namedOperation{}, keys: slices.Sorted(maps.Keys(p.Weights))}
	for _, name := range p.Critical {
		o.named[name] = namedOperation{name: name}
	}
	for name, share := range p.Operations {
		o.named[name] = namedOperation{name, NewByThreshold(share)}
	}
	for name := range o.named {
		method, path, ok := strings.Cut(name, " ")
		if at := strings.Index(path, "/{"); ok && at >= 0 {
			o.routes = append(o.routes, namedRoute{name, method, path[:at+1], strings.Split(path[at+1:], "/")})
		}
	}
	// Of several that match, the one that says most of its path holds.
	slices.SortFunc(o.routes, func(a, b namedRoute) int {
		if d := len(b.path) - len(a.path); d != 0 {
			return d
		}
		return strings.Compare(b.name, a.name)
	})
	return o
}

// matches reports whether a path is one of the route, as http.ServeMux has it:
// {name} stands for a segment, {name...} for all that is left, {$} for the end.
func (r *namedRoute) matches(method, path string) bool {
	if method != r.method || !strings.HasPrefix(path, r.path) {
		return false
	}
	path = path[len(r.path):]
	for i, want := range r.rest {
		wildcard := strings.HasPrefix(want, "{") && strings.HasSuffix(want, "}")
		switch {
		case want == "{$}":
			return path == ""
		case wildcard && strings.HasSuffix(want, "...}"):
			return true
		}
		segment, rest, more := strings.Cut(path, "/")
		if wildcard && segment == "" || !wildcard && segment != want || more != (i < len(r.rest)-1) {
			return false
		}
		path = rest
	}
	return true
}

// Operation is the name by which the policy treats an HTTP request by itself, as
// "GET /orders/{id}", and the method where it has none. It is for servers, which
// do not know yet what route a request takes when its trace begins.
func (a *Adaptive) Operation(method, path string) string {
	o := a.rates.Load().names
	if len(o.named) == 0 {
		return method
	}
	var few [128]byte
	name := append(append(append(few[:0], method...), ' '), path...)
	if n, ok := o.named[string(name)]; ok {
		return n.name
	}
	for i := range o.routes {
		if o.routes[i].matches(method, path) {
			return o.routes[i].name
		}
	}
	return method
}

// WeightKeys are the keys of attributes that have weights, for instrumentation
// that can look further than at the attributes of a span. They must not be
// changed.
func (a *Adaptive) WeightKeys() []string { return a.rates.Load().names.keys }

// Weighs reports whether traces with this attribute have a weight of their own.
func (a *Adaptive) Weighs(key, value string) bool {
	return a.rates.Load().weights[key][value] != nil
}
