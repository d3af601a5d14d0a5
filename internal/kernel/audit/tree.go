package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxSteps is the size of the kernel's map of paths.
	maxSteps = 4096
	// maxName is what a step holds of a name: longer ones are cut there, so that
	// they must not be equal to a name in the tree.
	maxName = 26
	// maxDepth is how many names the kernel looks at.
	maxDepth = 16
)

var errTooManyPaths = errors.New("too many or too varied paths")

// tree is the folders and files of interest as the kernel's programs walk them:
// from state 0, name by name, to a state that is of interest or to none. It
// accepts at least what the patterns say; rules look again.
type tree map[step]next

// step is where the walk is and what comes; the kernel's struct step.
type step struct {
	state uint32
	name  string
}

// next is the kernel's struct next.
type next struct {
	state      uint32
	any, write bool  // of interest with all that lies below, or if opened for writing
	reads      bool  // any holds somewhere below: worth walking on for an open that does not write
	wild       uint8 // the state goes on with any name (anyName), with names by how they begin (byStart)
}

const (
	anyName = 1 << iota
	byStart

	// startLen is how many bytes of a name before a star count.
	startLen = 2
)

// general is the name in the tree that stands for name, with its star.
func general(name string) string {
	star := strings.IndexByte(name, '*')
	if star < 0 && len(name) > maxName {
		star = startLen
	}
	switch {
	case star < 0:
		return name
	case star < startLen:
		return "*"
	}
	return name[:startLen] + "*"
}

// above lists the names in the tree, more general than name, that stand for it as well.
func above(name string) []string {
	switch {
	case name == "*":
		return nil
	case len(name) == startLen+1 && name[startLen] == '*' || len(name) < startLen:
		return []string{"*"}
	}
	return []string{name[:startLen] + "*", "*"}
}

type watchedPath struct {
	pattern   string
	writeOnly bool
}

// node is the tree before states with wildcards are made certain.
type node struct {
	children   map[string]*node // by name, "*" for any
	any, write bool
}

// reads reports whether n or a node below is of interest to opens that do not write.
func (n *node) reads() bool {
	if n.any {
		return true
	}
	for _, c := range n.children {
		if c.reads() {
			return true
		}
	}
	return false
}

// compileTree makes the tree of absolute path patterns. A name with a star
// keeps two bytes before it or none, and a ** ends the pattern.
func compileTree(paths []watchedPath) (tree, error) {
	root := &node{children: map[string]*node{}}
	for _, p := range paths {
		rest, ok := strings.CutPrefix(p.pattern, "/")
		if !ok || rest == "" {
			return nil, fmt.Errorf("path %q: must be absolute and below /", p.pattern)
		}
		at := root
		for i, name := range strings.Split(rest, "/") {
			if strings.Contains(name, "**") {
				break
			}
			if name == "" || name == "." || name == ".." {
				return nil, fmt.Errorf("path %q: empty and relative names are never seen", p.pattern)
			}
			if i >= maxDepth {
				return nil, fmt.Errorf("path %q: deeper than %d folders", p.pattern, maxDepth)
			}
			name = general(name)
			if at.children[name] == nil {
				at.children[name] = &node{children: map[string]*node{}}
			}
			at = at.children[name]
		}
		if at == root {
			return nil, fmt.Errorf("path %q: every file would be of interest", p.pattern)
		}
		if p.writeOnly {
			at.write = true
		} else {
			at.any = true
		}
	}
	for name := range root.children {
		if strings.Contains(name, "*") {
			return nil, errors.New("a path's first name has a star or is too long: every file would be looked at")
		}
	}
	b := builder{tree: tree{}, states: map[string]uint32{}}
	b.state([]*node{root})
	return b.tree, b.err
}

// builder turns sets of nodes into states: below /home/* and /home/anna the
// name anna leads to both.
type builder struct {
	tree   tree
	states map[string]uint32
	err    error
}

func (b *builder) state(set []*node) uint32 {
	key := fmt.Sprint(set) // the addresses of the nodes
	if s, ok := b.states[key]; ok {
		return s
	}
	id := uint32(len(b.states))
	b.states[key] = id
	names := map[string]bool{}
	for _, n := range set {
		for name := range n.children {
			names[name] = true
		}
	}
	for name := range names {
		var to []*node
		for _, n := range set {
			if c := n.children[name]; c != nil {
				to = append(to, c)
			}
			for _, more := range above(name) {
				if c := n.children[more]; c != nil {
					to = append(to, c)
				}
			}
		}
		var out next
		deeper := false
		for _, n := range to {
			out.any = out.any || n.any
			out.write = out.write || n.write
			for c := range n.children {
				if c == "*" {
					out.wild |= anyName
				} else if strings.HasSuffix(c, "*") {
					out.wild |= byStart
				}
			}
			out.reads = out.reads || n.reads()
			deeper = deeper || len(n.children) > 0
		}
		if len(b.tree) >= maxSteps {
			b.err = errTooManyPaths
			return id
		}
		if deeper && !out.any {
			out.state = b.state(to)
		}
		b.tree[step{id, name}] = out
	}
	return id
}

// of reports whether a path, absolute and clean, is of interest.
func (t tree) of(path string, write bool) bool {
	var at next
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		to, ok := t[step{at.state, name}]
		for _, more := range above(name) {
			if ok {
				break
			}
			to, ok = t[step{at.state, more}]
		}
		switch {
		case !ok:
			return false
		case to.any || to.write && write:
			return true
		case to.state == 0, !write && !to.reads:
			return false
		}
		at = to
	}
	return false
}

// sorted is for tests and listings.
func (t tree) sorted() []step {
	all := make([]step, 0, len(t))
	for s := range t {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b step) int {
		if a.state != b.state {
			return int(a.state) - int(b.state)
		}
		return strings.Compare(a.name, b.name)
	})
	return all
}
