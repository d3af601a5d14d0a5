package query

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

func TestServices(t *testing.T) {
	e, _ := ask(spans(
		sp{trace: 1, id: 1, service: "order", name: "GET", kind: server, from: -time.Minute, to: -time.Minute + 100, failed: true},
		sp{trace: 2, id: 2, service: "order", name: "GET", kind: server, from: 0, to: 300},
		// Steps inside and calls out are not requests to order.
		sp{trace: 2, id: 3, parent: 2, service: "order", name: "sql", kind: client, from: 10, to: 90},
		sp{trace: 3, id: 4, service: "job", name: "run", kind: internal, from: 0, to: 50, edit: func(s ptrace.Span) { s.TraceState().FromRaw("ot=th:c") }},
	), plog.NewLogs())
	got, err := e.Services(t.Context(), hour, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := &Services{Start: hour.Start, StepNs: int64(30 * time.Minute), Services: []Service{
		{Name: "job", RED: RED{Rate: 4.0 / 3600, P50: 50, P95: 50, P99: 50, Count: 4, Stored: 1},
			Spark: Spark{Rate: []float64{0, 4.0 / 1800}, Errors: []float64{0, 0}, P95: []float64{-1, 0}}},
		{Name: "order", RED: RED{Rate: 2.0 / 3600, ErrorRate: 0.5, P50: 300, P95: 300, P99: 300, Count: 2, Stored: 2},
			Spark: Spark{Rate: []float64{1.0 / 1800, 1.0 / 1800}, Errors: []float64{1.0 / 1800, 0}, P95: []float64{0, 0}}},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, err := e.Services(t.Context(), hour, 0); err != nil || got.StepNs != 0 || len(got.Services[0].Spark.Rate) != 0 {
		t.Errorf("no steps: got %+v, %v", got, err)
	}
}

func TestServiceErrors(t *testing.T) {
	exception := func(kind string) func(ptrace.Span) {
		return func(s ptrace.Span) {
			ev := s.Events().AppendEmpty()
			ev.SetName("exception")
			ev.Attributes().PutStr("exception.type", kind)
		}
	}
	message := func(m string) func(ptrace.Span) { return func(s ptrace.Span) { s.Status().SetMessage(m) } }
	e, _ := ask(spans(
		sp{trace: 1, id: 1, service: "order", name: "GET", kind: server, failed: true, to: 1, attrs: map[string]any{"error.type": "timeout"}},
		sp{trace: 2, id: 2, service: "order", name: "GET", kind: server, failed: true, to: 2, attrs: map[string]any{"error.type": "timeout"}},
		sp{trace: 3, id: 3, service: "order", name: "GET", kind: server, failed: true, to: 3, edit: message("out of stock")},
		sp{trace: 4, id: 4, service: "order", name: "PUT", kind: server, failed: true, to: 4, edit: exception("*net.OpError")},
		sp{trace: 5, id: 5, service: "order", name: "PUT", kind: server, to: 5},
		sp{trace: 6, id: 6, service: "other", name: "GET", kind: server, failed: true, to: 6},
	), plog.NewLogs())
	got, err := e.Service(t.Context(), hour, "order", 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []ErrorKind{
		{"timeout", "GET", 2, hexTrace(2)},
		{"out of stock", "GET", 1, hexTrace(3)},
		{"*net.OpError", "PUT", 1, hexTrace(4)},
	}
	if diff := cmp.Diff(want, got.Errors); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if len(got.Operations) != 2 || got.Operations[0].Name != "GET" || got.Operations[0].Kind != "server" {
		t.Errorf("operations: got %+v", got.Operations)
	}
}

func TestServiceInstances(t *testing.T) {
	e, _ := ask(spans(
		sp{trace: 1, id: 1, service: "order", resource: map[string]any{"host.name": "h1", "k8s.pod.name": "p1"}},
		sp{trace: 1, id: 2, service: "order", resource: map[string]any{"host.name": "h2"}},
		sp{trace: 1, id: 3, service: "order", resource: map[string]any{"host.name": "h2"}},
	), plog.NewLogs())
	got, err := e.Service(t.Context(), hour, "order", 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Tally{{"h2", 2}, {"h1", 1}}, got.Instances); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// A service that is not there is empty, not an error: the page says so.
	got, err = e.Service(t.Context(), hour, "none", 0)
	if err != nil || got.Name != "none" || got.Count != 0 || got.P95 != -1 || got.Instances == nil || got.Errors == nil {
		t.Errorf("unknown service: got %+v, %v", got, err)
	}
}

// promMetrics evaluates PromQL with Prometheus' own engine.
type promMetrics struct {
	engine *promql.Engine
	series storage.Queryable
}

func (m promMetrics) Instant(ctx context.Context, _ store.Tenant, expr string, at time.Time) ([]Sample, error) {
	q, err := m.engine.NewInstantQuery(ctx, m.series, nil, expr, at)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	v, err := q.Exec(ctx).Vector()
	var out []Sample
	for _, s := range v {
		sample := Sample{Labels: map[string]string{}, Value: s.F}
		s.Metric.Range(func(l labels.Label) { sample.Labels[l.Name] = l.Value })
		out = append(out, sample)
	}
	return out, err
}

func metricsOf(t *testing.T, series string) Metrics {
	s := promqltest.LoadedStorage(t, series)
	t.Cleanup(func() { s.Close() })
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	return promMetrics{engine, s}
}

const calls = `load 1m
  traces_service_graph_request_total{client="gate", server="order", connection_type=""}  0+60x120
  traces_service_graph_request_failed_total{client="gate", server="order", connection_type=""}  0+15x120
  traces_service_graph_request_server_seconds_bucket{client="gate", server="order", connection_type="", le="0.1"}  0+30x120
  traces_service_graph_request_server_seconds_bucket{client="gate", server="order", connection_type="", le="0.2"}  0+60x120
  traces_service_graph_request_server_seconds_bucket{client="gate", server="order", connection_type="", le="+Inf"}  0+60x120
  traces_service_graph_request_total{client="order", server="mysql", connection_type="database"}  0+120x120
  traces_service_graph_request_total{client="stock", server="mysql", connection_type="database"}  0+60x120
  traces_service_graph_request_total{client="order", server="topic", connection_type="messaging_system"}  0+6x120
  traces_service_graph_request_total{client="order", server="pay.example", connection_type="virtual_node"}  0+6x120
  traces_service_graph_request_total{client="user", server="gate", connection_type="virtual_node"}  0+6x120
  traces_service_graph_request_total{client="old", server="order", connection_type=""}  5x120
`

func graphEngine(t *testing.T) (Engine, Window) {
	m := &memory{}
	start := time.Unix(0, 0)
	td := spans(
		sp{trace: 1, id: 1, service: "gate", kind: server}, sp{trace: 1, id: 2, service: "order", kind: server},
		sp{trace: 1, id: 3, service: "stock", kind: server},
	)
	for _, rs := range td.ResourceSpans().All() {
		s := rs.ScopeSpans().At(0).Spans().At(0)
		s.SetStartTimestamp(5e9)
		s.SetEndTimestamp(6e9)
	}
	m.addTraces(td)
	return New(Options{Traces: m, Logs: m, Metrics: metricsOf(t, calls)}), Window{Start: start, End: start.Add(time.Hour)}
}

func TestGraph(t *testing.T) {
	e, w := graphEngine(t)
	got, err := e.Graph(t.Context(), w, "")
	if err != nil {
		t.Fatal(err)
	}
	var nodes, edges []string
	for _, n := range got.Nodes {
		nodes = append(nodes, n.Name+" "+n.Kind)
	}
	for _, x := range got.Edges {
		edges = append(edges, fmt.Sprintf("%s→%s %s %.2f", x.From, x.To, x.Kind, x.Rate))
	}
	wantNodes := []string{"gate service", "mysql database", "order service", "pay.example external", "stock service", "topic messaging", "user client"}
	wantEdges := []string{"gate→order call 1.00", "order→mysql database 2.00", "order→pay.example external 0.10", "order→topic messaging 0.10", "stock→mysql database 1.00", "user→gate client 0.10"}
	if diff := cmp.Diff(wantNodes, nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantEdges, edges); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	first := got.Edges[0].RED
	want := RED{Rate: 1, ErrorRate: 0.25, P50: 1e8, P95: 1.9e8, P99: 1.98e8, Count: 3600}
	if diff := cmp.Diff(want, first, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
		t.Errorf("edge figures (-want +got):\n%s", diff)
	}
	// A node that sends nothing has the figures of all calls to it.
	for _, n := range got.Nodes {
		if n.Name == "mysql" && (n.Count < 10799 || n.Count > 10801 || n.P95 != -1) {
			t.Errorf("mysql: got %+v", n.RED)
		}
	}
}

func TestGraphFocusAndFilter(t *testing.T) {
	e, w := graphEngine(t)
	names := func(g *Graph, err error) (out []string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range g.Nodes {
			out = append(out, n.Name)
		}
		return out
	}
	if diff := cmp.Diff([]string{"gate", "order", "user"}, names(e.Graph(t.Context(), w, "gate"))); diff != "" {
		t.Errorf("focus (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"stock"}, names(e.Graph(t.Context(), w, "stock"))[1:]); diff != "" {
		t.Errorf("focus (-want +got):\n%s", diff)
	}
	w.Filter = "service.name = stock"
	if diff := cmp.Diff([]string{"mysql", "stock"}, names(e.Graph(t.Context(), w, ""))); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
}

func TestServiceEdges(t *testing.T) {
	e, w := graphEngine(t)
	got, err := e.Service(t.Context(), w, "order", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Upstream) != 1 || got.Upstream[0].From != "gate" || len(got.Downstream) != 3 {
		t.Errorf("got upstream %+v, downstream %+v", got.Upstream, got.Downstream)
	}
	// Names are data, not PromQL.
	if got, err := e.Service(t.Context(), w, `x"} or vector(1) #`, 0); err != nil || len(got.Upstream) != 0 {
		t.Errorf("hostile name: got %+v, %v", got, err)
	}
}
