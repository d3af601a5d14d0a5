package query

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Metrics that the pipeline's graph connector derives from pairs of client
// and server spans, before sampling.
const (
	callsTotal   = "traces_service_graph_request_total"
	callsFailed  = "traces_service_graph_request_failed_total"
	callsSeconds = "traces_service_graph_request_server_seconds_bucket"
)

// maxGraph bounds the edges of a graph: above it no picture can be read.
const maxGraph = 2000

// Graph draws services from spans and calls from metrics. The filter chooses
// services; a call is drawn when it touches a chosen one.
func (e *engine) Graph(ctx context.Context, w Window, focus string) (*Graph, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Traces)
	if err != nil {
		return nil, err
	}
	nodes := map[string]GraphNode{}
	var edges []Edge
	outside := map[edgeKey]RED{}
	err = together(ctx,
		func(ctx context.Context) error {
			groups, err := e.services(ctx, sel, 0)
			for _, g := range groups {
				nodes[g.Service] = GraphNode{Name: g.Service, Kind: "service", RED: red(g, w)}
			}
			return err
		},
		func(ctx context.Context) (err error) {
			edges, err = e.edges(ctx, w, "")
			return err
		},
		func(ctx context.Context) (err error) {
			outside, err = e.calls(ctx, w, `connection_type!=""`, "server")
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	if len(sel.Where) > 0 {
		edges = slices.DeleteFunc(edges, func(x Edge) bool { return nodes[x.From].Kind != "service" && nodes[x.To].Kind != "service" })
	}
	if focus != "" {
		edges = slices.DeleteFunc(edges, func(x Edge) bool { return x.From != focus && x.To != focus })
	}
	if len(edges) > maxGraph {
		slices.SortStableFunc(edges, func(a, b Edge) int { return cmp.Compare(b.Count, a.Count) })
		edges = edges[:maxGraph]
	}
	for i := range edges {
		x := &edges[i]
		_, known := nodes[x.From]
		if x.Kind == "external" && !known && nodes[x.To].Kind == "service" {
			x.Kind = "client"
		}
		if !known {
			kind := "service"
			if x.Kind == "client" {
				kind = "client"
			}
			nodes[x.From] = GraphNode{Name: x.From, Kind: kind, RED: x.RED}
		}
		if _, known := nodes[x.To]; !known {
			node := GraphNode{Name: x.To, Kind: "service", RED: x.RED}
			if x.Kind != "call" {
				node.Kind = x.Kind
			}
			if r, ok := outside[edgeKey{to: x.To}]; ok {
				node.RED = r
			}
			nodes[x.To] = node
		}
	}
	g := &Graph{Nodes: []GraphNode{}, Edges: edges}
	near := map[string]bool{focus: true}
	for _, x := range edges {
		near[x.From], near[x.To] = true, true
	}
	for _, n := range nodes {
		if focus == "" || near[n.Name] {
			g.Nodes = append(g.Nodes, n)
		}
	}
	slices.SortFunc(g.Nodes, func(a, b GraphNode) int { return strings.Compare(a.Name, b.Name) })
	sortEdges(g.Edges)
	return g, nil
}

func sortEdges(edges []Edge) {
	slices.SortFunc(edges, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To), strings.Compare(a.Kind, b.Kind))
	})
}

// edgeKey names a call, or with some parts empty a group of calls.
type edgeKey struct{ from, to, kind string }

// edges lists calls whose labels meet matcher, sorted.
func (e *engine) edges(ctx context.Context, w Window, matcher string) ([]Edge, error) {
	stats, err := e.calls(ctx, w, matcher, "client, server, connection_type")
	if err != nil {
		return nil, err
	}
	edges := make([]Edge, 0, len(stats))
	for k, r := range stats {
		edges = append(edges, Edge{From: k.from, To: k.to, Kind: edgeKind(k.kind), RED: r})
	}
	sortEdges(edges)
	return edges, nil
}

func edgeKind(connection string) string {
	switch connection {
	case "database":
		return "database"
	case "messaging_system":
		return "messaging"
	case "virtual_node":
		return "external"
	}
	return "call"
}

// calls reads figures of calls in the window, grouped by labels.
func (e *engine) calls(ctx context.Context, w Window, matcher, by string) (map[edgeKey]RED, error) {
	out := map[edgeKey]RED{}
	if e.metrics == nil {
		return out, nil
	}
	seconds := w.End.Sub(w.Start).Seconds()
	// Whole seconds, at least one: shorter ranges hold no two samples anyway.
	window := fmt.Sprintf("{%s}[%ds]", matcher, max(1, int64(math.Ceil(seconds))))
	exprs := []string{
		fmt.Sprintf("sum by (%s) (increase(%s%s)) > 0", by, callsTotal, window),
		fmt.Sprintf("sum by (%s) (increase(%s%s))", by, callsFailed, window),
	}
	for _, q := range []string{"0.5", "0.95", "0.99"} {
		exprs = append(exprs, fmt.Sprintf("histogram_quantile(%s, sum by (%s, le) (increase(%s%s)))", q, by, callsSeconds, window))
	}
	answers := make([][]Sample, len(exprs))
	parts := make([]func(context.Context) error, len(exprs))
	tenant := TenantOf(ctx)
	for i, expr := range exprs {
		parts[i] = func(ctx context.Context) (err error) {
			answers[i], err = e.metrics.Instant(ctx, tenant, expr, w.End)
			if err != nil {
				err = fmt.Errorf("read calls between services: %w", err)
			}
			return err
		}
	}
	if err := together(ctx, parts...); err != nil {
		return nil, err
	}
	for i, samples := range answers {
		for _, s := range samples {
			k := edgeKey{s.Labels["client"], s.Labels["server"], s.Labels["connection_type"]}
			r, ok := out[k]
			switch {
			case math.IsNaN(s.Value) || math.IsInf(s.Value, 0):
				continue
			case i == 0:
				r = RED{Count: s.Value, Rate: s.Value / seconds, P50: -1, P95: -1, P99: -1}
			case !ok:
				continue // no calls in the window
			case i == 1:
				r.ErrorRate = min(1, s.Value/r.Count)
			case i == 2:
				r.P50 = s.Value * float64(time.Second)
			case i == 3:
				r.P95 = s.Value * float64(time.Second)
			case i == 4:
				r.P99 = s.Value * float64(time.Second)
			}
			out[k] = r
		}
	}
	return out, nil
}

// quoteLabel writes a PromQL string; its escapes are Go's.
func quoteLabel(s string) string { return strconv.Quote(s) }
