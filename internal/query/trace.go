package query

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

// nearby is how far from the hint a trace is looked for before everywhere
// else is: long enough for the links that people paste a while later.
const nearby = 3 * time.Hour

// ParseTraceID reads a trace id of up to 32 hexadecimal digits; shorter ones,
// as 64-bit tracers write them, are filled with zeros on the left.
func ParseTraceID(s string) (pcommon.TraceID, error) {
	var id pcommon.TraceID
	if len(s) > 32 {
		return id, errors.New("longer than 32 digits")
	}
	if _, err := hex.Decode(id[:], []byte(strings.Repeat("0", 32-len(s))+s)); err != nil {
		return id, errors.New("not hexadecimal")
	}
	if id.IsEmpty() {
		return id, errors.New("zero")
	}
	return id, nil
}

func (e *engine) Trace(ctx context.Context, text string, near time.Time) (*Trace, error) {
	ctx, done := e.begin(ctx)
	defer done()
	id, err := ParseTraceID(text)
	if err != nil {
		return nil, &FieldError{Field: "traceId", Value: text, Msg: err.Error(), Next: "for example 4bf92f3577b34da6a3ce929d0e0e4736"}
	}
	td, cut, err := e.find(ctx, id, near)
	if err != nil {
		return nil, err
	}
	t := assemble(td)
	if t == nil {
		return nil, fmt.Errorf("trace %s: %w", id, store.ErrNotFound)
	}
	t.TraceID, t.Cut = id.String(), cut
	t.Logs, err = e.logsOf(ctx, id, t.Start, t.Start.Add(time.Duration(t.DurationNs)))
	if err != nil {
		return nil, fmt.Errorf("count logs of trace %s: %w", id, err)
	}
	return t, nil
}

// find looks for a trace around near first, then everywhere.
func (e *engine) find(ctx context.Context, id pcommon.TraceID, near time.Time) (ptrace.Traces, bool, error) {
	if !near.IsZero() {
		td, cut, err := e.traces.Trace(ctx, TenantOf(ctx), id, store.Range{Start: near.Add(-nearby), End: near.Add(nearby)})
		if !errors.Is(err, store.ErrNotFound) {
			return td, cut, err
		}
	}
	return e.traces.Trace(ctx, TenantOf(ctx), id, store.Range{})
}

// logSlack is how far from its trace a record may lie: clocks differ, and
// records without a time have the time of their arrival.
const logSlack = time.Hour

func (e *engine) logsOf(ctx context.Context, id pcommon.TraceID, start, end time.Time) (uint64, error) {
	return e.countLogs(ctx, store.Select{
		Tenant: TenantOf(ctx),
		Range:  store.Range{Start: start.Add(-logSlack), End: end.Add(logSlack)},
		Where:  []store.Cond{eq("trace_id", id.String())},
	})
}

// node is a span in the tree that assemble builds.
type node struct {
	Span
	start, end int64 // Unix nanoseconds; end >= start
	id, parent pcommon.SpanID
	kind       ptrace.SpanKind
	up         *node
	down       []*node // by start
	seen       bool    // reached from a root
}

// assemble makes the tree of a trace; nil when td holds no span.
//
// A span whose parent is not there stands at depth 0 with its ParentSpanID,
// and so does the earliest span of a cycle. Where a client and a server share
// one span id (as Zipkin's tracers do), the server becomes the client's child.
func assemble(td ptrace.Traces) *Trace {
	t := &Trace{Resources: []Resource{}}
	nodes := t.read(td)
	if len(nodes) == 0 {
		return nil
	}
	slices.SortStableFunc(nodes, func(a, b *node) int { return compareInt(a.start, b.start) })
	roots := link(nodes)
	start, end := nodes[0].start, nodes[0].end
	for _, n := range nodes {
		end = max(end, n.end)
	}
	t.Start, t.DurationNs = time.Unix(0, start).UTC(), end-start
	for _, n := range nodes {
		n.OffsetNs = n.start - start
		for i := range n.Events {
			n.Events[i].OffsetNs -= start
		}
		n.Children = len(n.down)
		n.SelfNs = n.self()
		n.Skewed = n.skewed()
		n.Critical = []Interval{}
	}
	main := mainRoot(roots)
	for n, iv := range criticalPath(main) {
		n.Critical = append(n.Critical, Interval{FromNs: iv.FromNs - start, ToNs: iv.ToNs - start})
	}
	t.Service, t.Name, t.Weight = main.Service, main.Name, stateWeight(main.TraceState)
	t.RootMissing = !main.parent.IsEmpty()
	// Children after their parents where both start at once.
	slices.SortStableFunc(nodes, func(a, b *node) int {
		if c := compareInt(a.start, b.start); c != 0 {
			return c
		}
		return a.Depth - b.Depth
	})
	services := map[string]*TraceService{}
	t.SpanList = make([]Span, len(nodes))
	for i, n := range nodes {
		slices.SortFunc(n.Critical, func(a, b Interval) int { return compareInt(a.FromNs, b.FromNs) })
		t.SpanList[i] = n.Span
		s := services[n.Service]
		if s == nil {
			s = &TraceService{Name: n.Service}
			services[n.Service] = s
		}
		s.Spans++
		if n.Status == "error" {
			s.Errors++
			t.Errors++
		}
	}
	t.Spans, t.Matched, t.Services = len(nodes), len(nodes), servicesByShare(services)
	return t
}

// read makes a node of every span and collects the distinct resources. Event
// offsets are left as absolute times.
func (t *Trace) read(td ptrace.Traces) []*node {
	nodes := make([]*node, 0, td.SpanCount())
	storage := make([]node, td.SpanCount())
	resources := map[string]int{}
	for _, rs := range td.ResourceSpans().All() {
		key := mapKey(rs.Resource().Attributes())
		at, ok := resources[key]
		if !ok {
			at = len(t.Resources)
			resources[key] = at
			t.Resources = append(t.Resources, Resource{Service: serviceOf(rs.Resource().Attributes()), Attributes: attributes(rs.Resource().Attributes())})
		}
		service := t.Resources[at].Service
		for _, ss := range rs.ScopeSpans().All() {
			scope := scopeName(ss.Scope())
			for _, s := range ss.Spans().All() {
				n := &storage[len(nodes)]
				n.fill(s)
				n.Resource, n.Service, n.Scope = at, service, scope
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

// mapKey is equal for maps with equal members in the same order.
func mapKey(m pcommon.Map) string {
	var b []byte
	for k, v := range m.All() {
		b = append(b, k...)
		b = append(b, 0, byte(v.Type()))
		b = append(b, v.AsString()...)
		b = append(b, 0)
	}
	return string(b)
}

func (n *node) fill(s ptrace.Span) {
	n.start = int64(s.StartTimestamp())
	n.end = max(n.start, int64(s.EndTimestamp()))
	n.id, n.parent, n.kind = s.SpanID(), s.ParentSpanID(), s.Kind()
	n.Span = Span{
		SpanID: spanIDText(n.id), ParentSpanID: spanIDText(n.parent),
		Name: s.Name(), Kind: kindName(n.kind),
		Status: statusName(s.Status().Code()), StatusMessage: s.Status().Message(),
		DurationNs: n.end - n.start, TraceState: s.TraceState().AsRaw(),
		Attributes:        attributes(s.Attributes()),
		Events:            make([]Event, 0, s.Events().Len()),
		Links:             make([]Link, 0, s.Links().Len()),
		DroppedAttributes: s.DroppedAttributesCount(), DroppedEvents: s.DroppedEventsCount(), DroppedLinks: s.DroppedLinksCount(),
	}
	for _, ev := range s.Events().All() {
		n.Events = append(n.Events, Event{Name: ev.Name(), OffsetNs: int64(ev.Timestamp()), Attributes: attributes(ev.Attributes())})
	}
	for _, l := range s.Links().All() {
		n.Links = append(n.Links, Link{TraceID: traceIDText(l.TraceID()), SpanID: spanIDText(l.SpanID()), TraceState: l.TraceState().AsRaw(), Attributes: attributes(l.Attributes())})
	}
}

// link joins nodes (in order of start) to trees and returns those at depth 0.
func link(nodes []*node) []*node {
	byID := make(map[pcommon.SpanID][]*node, len(nodes))
	for _, n := range nodes {
		byID[n.id] = append(byID[n.id], n)
	}
	var roots []*node
	for _, n := range nodes {
		if n.up = parentOf(n, byID); n.up == nil {
			roots = append(roots, n)
		} else {
			n.up.down = append(n.up.down, n)
		}
	}
	reached := 0
	walk := func(root *node) {
		for stack := []*node{root}; len(stack) > 0; {
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			n.seen = true
			reached++
			for _, c := range n.down {
				c.Depth = n.Depth + 1
				stack = append(stack, c)
			}
		}
	}
	for _, r := range roots {
		walk(r)
	}
	if reached == len(nodes) {
		return roots
	}
	// What no root reaches hangs below a cycle.
	for _, n := range nodes {
		if n.seen {
			continue
		}
		first := earliestOfCycle(n)
		first.up.down = slices.DeleteFunc(first.up.down, func(c *node) bool { return c == first })
		first.up = nil
		roots = append(roots, first)
		walk(first)
	}
	return roots
}

// earliestOfCycle goes up from n until it has been round the cycle there.
func earliestOfCycle(n *node) *node {
	met := map[*node]bool{}
	for !met[n] {
		met[n] = true
		n = n.up
	}
	first := n
	for m := n.up; m != n; m = m.up {
		if m.start < first.start {
			first = m
		}
	}
	return first
}

// parentOf finds the parent among spans of that id.
func parentOf(n *node, byID map[pcommon.SpanID][]*node) *node {
	if twins := byID[n.id]; len(twins) > 1 && n.kind == ptrace.SpanKindServer {
		for _, t := range twins {
			if t != n && t.kind == ptrace.SpanKindClient {
				return t
			}
		}
	}
	if n.parent.IsEmpty() || n.parent == n.id {
		return nil
	}
	var up *node
	for _, c := range byID[n.parent] {
		// Of several with that id, the one in the same service made the child.
		if up == nil || c.Service == n.Service && up.Service != n.Service {
			up = c
		}
	}
	return up
}

// mainRoot is the earliest span without a parent, else the earliest of all.
func mainRoot(roots []*node) *node {
	var best *node
	for _, r := range roots {
		switch {
		case best == nil:
			best = r
		case best.parent.IsEmpty() != r.parent.IsEmpty():
			if r.parent.IsEmpty() {
				best = r
			}
		case r.start < best.start:
			best = r
		}
	}
	return best
}
