package query

import (
	"cmp"
	"iter"
	"slices"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

func compareInt(a, b int64) int { return cmp.Compare(a, b) }

// self is the time of n that no child covers. Children come by start.
func (n *node) self() int64 {
	var covered int64
	at := n.start
	for _, c := range n.down {
		from, to := max(c.start, at), min(c.end, n.end)
		if from < to {
			covered += to - from
			at = to
		}
	}
	return n.end - n.start - covered
}

// skewed reports times that one clock cannot have told: a child before its
// parent, or a server that answers after its client had the answer. A server
// that worked longer than the client waited proves nothing: the client may
// have given up.
func (n *node) skewed() bool {
	p := n.up
	if p == nil {
		return false
	}
	sync := p.kind == ptrace.SpanKindClient && n.kind == ptrace.SpanKindServer
	return n.start < p.start || sync && n.end > p.end && n.DurationNs <= p.DurationNs
}

// criticalPath yields the stretches of time, in Unix nanoseconds, in which the
// end of root waited for a span: from the end backwards, always in the child
// that ended last, and in the span itself where no child ran. The stretches
// do not overlap and together cover root.
//
// A child counts only where it lies within its parent; one that runs beyond
// counts as ending with the parent.
func criticalPath(root *node) iter.Seq2[*node, Interval] {
	// A task looks for the path in n between from and to.
	type task struct {
		n        *node
		from, to int64
	}
	return func(yield func(*node, Interval) bool) {
		for stack := []task{{root, root.start, root.end}}; len(stack) > 0; {
			t := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			byEnd := slices.Clone(t.n.down)
			slices.SortStableFunc(byEnd, func(a, b *node) int { return cmp.Compare(b.end, a.end) })
			at := t.to
			for _, c := range byEnd {
				from, to := max(c.start, t.from), min(c.end, t.to)
				if from >= to || to > at {
					continue // outside, or beside a later one
				}
				if to < at && !yield(t.n, Interval{to, at}) {
					return
				}
				stack = append(stack, task{c, from, to})
				at = from
			}
			if t.from < at && !yield(t.n, Interval{t.from, at}) {
				return
			}
		}
	}
}
