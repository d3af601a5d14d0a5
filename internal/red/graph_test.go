package red

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"
)

const (
	server   = ptrace.SpanKindServer
	client   = ptrace.SpanKindClient
	producer = ptrace.SpanKindProducer
	consumer = ptrace.SpanKindConsumer
	internal = ptrace.SpanKindInternal
)

func newGraph(t interface{ Fatal(...any) }, o GraphOptions, stats *Stats) *Graph {
	g, err := NewGraph(o, t0, stats)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// edgesOf runs a graph over the batches, lets everything wait out and returns
// its counters, shortened: "client>server type" with "!" when failed.
func edgesOf(t interface {
	Fatal(...any)
	Errorf(string, ...any)
}, o GraphOptions, batches ...ptrace.Traces) (calls map[string]uint64, r *recorder, g *Graph) {
	g = newGraph(t, o, nil)
	for _, td := range batches {
		g.Observe(t0, td)
	}
	r = newRecorder()
	g.Flush(t0.Add(time.Hour), r.record)
	r.check(t)
	calls = map[string]uint64{}
	for key, n := range r.last("traces_service_graph_request_total") {
		calls[shorten(key)] += n
	}
	for key, n := range r.last("traces_service_graph_unpaired_spans_total") {
		if n > 0 {
			calls["unpaired "+shorten(key)] += n
		}
	}
	for key, n := range r.last("traces_service_graph_dropped_spans_total") {
		if n > 0 {
			calls["dropped "+shorten(key)] += n
		}
	}
	return calls, r, g
}

// shorten turns {client="a",…} into "a>b type!".
func shorten(key string) string {
	get := func(label string) string {
		_, rest, ok := strings.Cut(key, label+`="`)
		if !ok {
			return ""
		}
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	out := get("{client") + ">" + get(",server") + " " + get("connection_type")
	if !strings.Contains(key, "{client") {
		out = get("client") + ">" + get("server") + " " + get("connection_type")
	}
	if get("failed") == "true" {
		out += "!"
	}
	if get("otel.metric.overflow") == "true" {
		out += " overflow"
	}
	return out
}

func TestGraphEdges(t *testing.T) {
	at := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	for name, c := range map[string]struct {
		spans []testSpan
		want  map[string]uint64
	}{
		"pair": {
			[]testSpan{{service: "a", kind: client, trace: 1, id: 2, parent: 1}, {service: "b", kind: server, trace: 1, id: 3, parent: 2}},
			map[string]uint64{"a>b ": 1},
		},
		"either side failed": {
			[]testSpan{
				{service: "a", kind: client, trace: 1, id: 2, status: ptrace.StatusCodeError}, {service: "b", kind: server, trace: 1, id: 3, parent: 2},
				{service: "a", kind: client, trace: 2, id: 2}, {service: "b", kind: server, trace: 2, id: 3, parent: 2, status: ptrace.StatusCodeError},
			},
			map[string]uint64{"a>b !": 2},
		},
		"same span id in another trace": {
			[]testSpan{{service: "a", kind: client, trace: 1, id: 2}, {service: "b", kind: server, trace: 2, id: 3, parent: 2}},
			map[string]uint64{"unpaired a> ": 1, "unpaired >b ": 1},
		},
		"internal spans take no part": {
			[]testSpan{{service: "a", kind: internal, trace: 1, id: 2}, {service: "b", kind: server, trace: 1, id: 3, parent: 2}},
			map[string]uint64{"unpaired >b ": 1},
		},
		"user": {
			[]testSpan{{service: "a", kind: server, trace: 1, id: 1}, {service: "a", kind: server, trace: 2, id: 1, status: ptrace.StatusCodeError}},
			map[string]uint64{"user>a virtual_node": 1, "user>a virtual_node!": 1},
		},
		"database": {
			[]testSpan{
				{service: "a", kind: client, trace: 1, id: 1, attributes: at("db.system.name", "postgresql", "db.namespace", "orders", "server.address", "pg")},
				{service: "a", kind: client, trace: 1, id: 2, attributes: at("db.system", "mysql", "db.name", "stock")},
				{service: "a", kind: client, trace: 1, id: 3, attributes: at("db.system.name", "redis", "db.namespace", "0", "server.address", "cache")},
				{service: "a", kind: client, trace: 1, id: 4, attributes: at("db.system.name", "mongodb")},
				{service: "a", kind: client, trace: 1, id: 5, attributes: at("db.system.name", "redis", "db.namespace", "0", "server.address", "127.0.0.1")},
			},
			map[string]uint64{"a>redis database": 1, "a>orders database": 1, "a>stock database": 1, "a>cache database": 1, "a>mongodb database": 1},
		},
		"peer without telemetry": {
			[]testSpan{
				{service: "a", kind: client, trace: 1, id: 1, attributes: at("server.address", "api.example.com", "peer.service", "bank")},
				{service: "a", kind: client, trace: 1, id: 2, attributes: at("server.address", "api.example.com", "server.port", 443)},
				{service: "a", kind: client, trace: 1, id: 3, attributes: at("server.port", 443)},
				{service: "a", kind: client, trace: 1, id: 4, attributes: at("net.peer.name", "old.example.com")},
			},
			map[string]uint64{"a>bank virtual_node": 1, "a>api.example.com virtual_node": 1, "unpaired a> ": 1, "a>old.example.com virtual_node": 1},
		},
		"a peer that has telemetry counts by its own name": {
			[]testSpan{
				{service: "a", kind: client, trace: 1, id: 2, attributes: at("server.address", "b.internal")},
				{service: "b", kind: server, trace: 1, id: 3, parent: 2},
			},
			map[string]uint64{"a>b ": 1},
		},
		"messages": {
			[]testSpan{
				{service: "a", kind: producer, trace: 1, id: 2, attributes: at("messaging.system", "kafka")},
				{service: "b", kind: consumer, trace: 1, id: 3, parent: 2},
				{service: "c", kind: consumer, trace: 1, id: 4, parent: 2},
				{service: "d", kind: consumer, trace: 9, id: 5, link: [2]uint64{1, 2}},
			},
			map[string]uint64{"a>b messaging_system": 1, "a>c messaging_system": 1, "a>d messaging_system": 1},
		},
		"messages from and to elsewhere": {
			[]testSpan{
				{service: "a", kind: producer, trace: 1, id: 2, attributes: at("messaging.system", "kafka", "server.address", "broker-1")},
				{service: "b", kind: consumer, trace: 2, id: 3, attributes: at("messaging.system", "nats")},
				{service: "c", kind: consumer, trace: 3, id: 3, parent: 77, attributes: at("messaging.system", "nats")},
				{service: "d", kind: consumer, trace: 4, id: 3},
				{service: "e", kind: consumer, trace: 5, id: 3, parent: 77},
				{service: "f", kind: client, trace: 6, id: 3, attributes: at("messaging.system", "sqs", "server.address", "queue-1")},
				{service: "g", kind: producer, trace: 7, id: 3, attributes: at("server.address", "queue-2")},
			},
			map[string]uint64{"f>sqs messaging_system": 1, "g>queue-2 messaging_system": 1, "a>kafka messaging_system": 1, "nats>b messaging_system": 1, "nats>c messaging_system": 1,
				"user>d virtual_node": 1, "unpaired >e messaging_system": 1},
		},
		"delivered twice while it waits": {
			[]testSpan{
				{service: "a", kind: client, trace: 1, id: 2}, {service: "a", kind: client, trace: 1, id: 2},
				{service: "b", kind: server, trace: 2, id: 3, parent: 2}, {service: "b", kind: server, trace: 2, id: 3, parent: 2},
			},
			map[string]uint64{"unpaired a> ": 1, "unpaired >b ": 1},
		},
		"retries within a client span": {
			[]testSpan{
				{service: "b", kind: server, trace: 1, id: 3, parent: 2}, {service: "b", kind: server, trace: 1, id: 4, parent: 2},
				{service: "a", kind: client, trace: 1, id: 2}, {service: "b", kind: server, trace: 1, id: 5, parent: 2},
			},
			map[string]uint64{"a>b ": 3},
		},
		"weights: the rarer side counts": {
			[]testSpan{
				{service: "a", kind: client, trace: 1, id: 2, state: "ot=th:8"}, {service: "b", kind: server, trace: 1, id: 3, parent: 2, state: "ot=th:c"},
				{service: "c", kind: client, trace: 1, id: 4, state: "ot=th:c"}, {service: "d", kind: server, trace: 1, id: 5, parent: 4, state: "ot=th:8"},
				{service: "b", kind: server, trace: 2, id: 1, state: "ot=th:8"},
			},
			map[string]uint64{"a>b ": 4, "c>d ": 4, "user>b virtual_node": 2},
		},
		"no service name": {
			[]testSpan{{kind: server, trace: 1, id: 2}},
			map[string]uint64{"user>unknown_service virtual_node": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			together, _, g := edgesOf(t, GraphOptions{}, batch(c.spans...))
			if d := cmp.Diff(c.want, together); d != "" {
				t.Error("one batch (-want +got):", d)
			}
			var apart []ptrace.Traces
			for i := range c.spans {
				apart = append(apart, batch(c.spans[len(c.spans)-1-i]))
			}
			if got, _, _ := edgesOf(t, GraphOptions{}, apart...); !cmp.Equal(c.want, got) {
				t.Error("in batches of their own, last first (-want +got):", cmp.Diff(c.want, got))
			}
			// Nothing is held for ever.
			r := newRecorder()
			g.Flush(t0.Add(2*time.Hour), r.record)
			if !g.Idle() || len(g.names.ids) != 0 || len(g.edges) != 0 || len(g.losses) != 0 || g.overflow != 0 {
				t.Errorf("still there: names %v, %d edges, %d losses, %d waiting", g.names.ids, len(g.edges), len(g.losses), g.waiting.len())
			}
		})
	}
}

// The trace of a consumer that is paired by a link is another than the one it
// is paired in.
func TestNoExemplarUnderAWrongTrace(t *testing.T) {
	_, r, _ := edgesOf(t, GraphOptions{}, batch(
		testSpan{service: "a", kind: producer, trace: 1, id: 2},
		testSpan{service: "b", kind: consumer, trace: 9, id: 5, link: [2]uint64{1, 2}},
	))
	for key, points := range r.series {
		for _, e := range points[len(points)-1].exemplars {
			if e.TraceID() != traceID(1) || e.SpanID() != spanID(2) {
				t.Errorf("%s: exemplar %s of trace %s, which has no such span", key, e.SpanID(), e.TraceID())
			}
		}
	}
}

func TestPeerAttributes(t *testing.T) {
	o := GraphOptions{PeerAttributes: []string{"url.host", "db.system"}}
	got, _, _ := edgesOf(t, o, batch(
		testSpan{service: "a", kind: client, trace: 1, id: 1, attributes: map[string]any{"url.host": "x", "server.address": "y"}},
		testSpan{service: "a", kind: client, trace: 1, id: 2, attributes: map[string]any{"server.address": "y"}},
		testSpan{service: "a", kind: client, trace: 1, id: 3, attributes: map[string]any{"db.system": "mysql", "db.name": "stock"}},
	))
	if d := cmp.Diff(map[string]uint64{"a>x virtual_node": 1, "unpaired a> ": 1, "a>stock database": 1}, got); d != "" {
		t.Error("(-want +got):", d)
	}
}

func TestGraphMetrics(t *testing.T) {
	const ms = time.Millisecond
	_, r, _ := edgesOf(t, GraphOptions{InstanceID: "g1"}, batch(
		testSpan{service: "a", kind: client, trace: 1, id: 2, duration: 30 * ms},
		testSpan{service: "b", kind: server, trace: 1, id: 3, parent: 2, duration: 20 * ms, status: ptrace.StatusCodeError},
		testSpan{service: "b", kind: server, trace: 2, id: 1, duration: 10 * ms},
		testSpan{service: "a", kind: client, trace: 3, id: 2, duration: 40 * ms, attributes: map[string]any{"server.address": "x"}},
	))
	type seen struct {
		Count     uint64
		Sum       float64
		Exemplars string
	}
	got := map[string]seen{}
	for key, points := range r.series {
		p := points[len(points)-1]
		s := seen{Count: max(p.value, p.count), Sum: p.sum}
		for _, e := range p.exemplars {
			id := e.TraceID()
			s.Exemplars += fmt.Sprintf("%x/%s ", id[15:], e.SpanID())
		}
		got[key] = s
	}
	label := func(c, s, kind, failed string) string {
		return fmt.Sprintf(`{client=%q,collector.instance.id="g1",connection_type=%q,failed=%q,server=%q}`, c, kind, failed, s)
	}
	ab, ub, ax := label("a", "b", "", "true"), label("user", "b", "virtual_node", "false"), label("a", "x", "virtual_node", "false")
	want := map[string]seen{
		"traces_service_graph_request_total" + ab:        {Count: 1},
		"traces_service_graph_request_total" + ub:        {Count: 1},
		"traces_service_graph_request_total" + ax:        {Count: 1},
		"traces_service_graph_request_failed_total" + ab: {Count: 1},
		"traces_service_graph_request_server" + ab:       {1, 0.02, "01/0000000000000003 "},
		"traces_service_graph_request_client" + ab:       {1, 0.03, "01/0000000000000002 "},
		"traces_service_graph_request_server" + ub:       {1, 0.01, "02/0000000000000001 "},
		"traces_service_graph_request_server" + ax:       {1, 0.04, "03/0000000000000002 "}, // the client's view is all there is
		"traces_service_graph_request_client" + ax:       {1, 0.04, "03/0000000000000002 "},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("(-want +got):", d)
	}
	if u := r.units["traces_service_graph_request_server"]; u != "s" {
		t.Errorf("unit %q, want s", u)
	}
	for key, resource := range r.resource {
		if resource != "{}" {
			t.Errorf("resource of %s is %s, want none", key, resource)
		}
	}
}

func TestWaitsAndNoLonger(t *testing.T) {
	a := testSpan{service: "a", kind: client, trace: 1, id: 2, attributes: map[string]any{"server.address": "b.internal"}}
	b := testSpan{service: "b", kind: server, trace: 1, id: 3, parent: 2}
	for after, want := range map[time.Duration]map[string]uint64{
		DefaultWait - 1: {"a>b ": 1},
		DefaultWait:     {"a>b.internal virtual_node": 1, "unpaired >b ": 1},
	} {
		stats := &Stats{}
		g := newGraph(t, GraphOptions{}, stats)
		g.Observe(t0, batch(a))
		g.Observe(t0.Add(after), batch(b))
		g.Observe(t0.Add(time.Hour), batch(testSpan{service: "c", kind: internal}))
		r := newRecorder()
		g.Flush(t0.Add(time.Hour), r.record)
		got := map[string]uint64{}
		for key, n := range r.last("traces_service_graph_request_total") {
			got[shorten(key)] = n
		}
		for key, n := range r.last("traces_service_graph_unpaired_spans_total") {
			got["unpaired "+shorten(key)] = n
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after %s (-want +got): %s", after, d)
		}
		if after == DefaultWait && (stats.Expired.Load() != 2 || stats.Waiting.Load() != 0) {
			t.Errorf("%d expired, %d waiting; want 2 and 0", stats.Expired.Load(), stats.Waiting.Load())
		}
	}
}

func TestTooManyWaiting(t *testing.T) {
	stats := &Stats{}
	g := newGraph(t, GraphOptions{MaxWaiting: 2}, stats)
	peer := map[string]any{"server.address": "b.internal"}
	for trace := range uint64(5) {
		g.Observe(t0, batch(testSpan{service: "a", kind: client, trace: trace + 1, id: 2, attributes: peer}))
	}
	for trace := range uint64(5) { // the last two still wait
		g.Observe(t0, batch(testSpan{service: "b", kind: server, trace: 5 - trace, id: 3, parent: 2}))
	}
	r := newRecorder()
	g.Flush(t0.Add(time.Hour), r.record)
	if d := cmp.Diff(map[string]uint64{"a>b ": 2}, func() map[string]uint64 {
		got := map[string]uint64{}
		for key, n := range r.last("traces_service_graph_request_total") {
			got[shorten(key)] = n
		}
		return got
	}()); d != "" {
		t.Error("edges (-want +got):", d)
	}
	// Three clients made room; two servers pushed out paired clients, which
	// costs nothing, and the third a server.
	got := map[string]uint64{}
	for key, n := range r.last("traces_service_graph_dropped_spans_total") {
		if n > 0 {
			got[shorten(key)] = n
		}
	}
	if d := cmp.Diff(map[string]uint64{"a> ": 3, ">b ": 1}, got); d != "" {
		t.Error("dropped (-want +got):", d)
	}
	if stats.Dropped.Load() != 4 {
		t.Errorf("stats say %d dropped, want 4", stats.Dropped.Load())
	}
}

func TestTooManyEdges(t *testing.T) {
	stats := &Stats{}
	g := newGraph(t, GraphOptions{MaxEdges: 2}, stats)
	for i := range 5 {
		g.Observe(t0, batch(testSpan{service: fmt.Sprint("s", i), kind: server, trace: 1, id: 1},
			testSpan{service: fmt.Sprint("s", i), kind: client, trace: uint64(i + 1), id: 2}))
	}
	r := newRecorder()
	g.Flush(t0.Add(time.Minute), r.record)
	got := map[string]uint64{}
	for key, n := range r.last("traces_service_graph_request_total") {
		got[shorten(key)] = n
	}
	if d := cmp.Diff(map[string]uint64{"user>s0 virtual_node": 1, "user>s1 virtual_node": 1, "> virtual_node overflow": 3}, got); d != "" {
		t.Error("edges (-want +got):", d)
	}
	got = map[string]uint64{}
	for key, n := range r.last("traces_service_graph_unpaired_spans_total") {
		got[shorten(key)] = n
	}
	if d := cmp.Diff(map[string]uint64{"s0> ": 1, "s1> ": 1, ">  overflow": 3}, got); d != "" {
		t.Error("unpaired (-want +got):", d)
	}
	if stats.Overflowed.Load() != 3 {
		t.Errorf("%d calls overflowed, want 3", stats.Overflowed.Load())
	}
	r = newRecorder()
	g.Flush(t0.Add(time.Hour), r.record)
	if !g.Idle() || len(g.names.ids) != 0 || stats.Series.Load() != 0 {
		t.Errorf("not forgotten: %d edges in stats, names %v", stats.Series.Load(), g.names.ids)
	}
}

// forest draws whole traces and says what edges they have.
func forest(t *rapid.T) (spans []testSpan, want map[string]uint64) {
	services := []string{"a", "b", "c", "d"}
	want = map[string]uint64{}
	next := uint64(1)
	status := rapid.SampledFrom([]ptrace.StatusCode{0, 0, 1, 2})
	add := func(from, to, kind string, sides ...testSpan) {
		key := from + ">" + to + " " + kind
		for _, s := range sides {
			if s.status == ptrace.StatusCodeError {
				key += "!"
				break
			}
		}
		want[key]++
	}
	for trace := range uint64(rapid.IntRange(1, 4).Draw(t, "traces")) {
		trace++
		var grow func(service string, parent uint64, depth int)
		grow = func(service string, parent uint64, depth int) {
			for range rapid.IntRange(0, 3).Draw(t, "calls") {
				out := testSpan{service: service, trace: trace, id: next, parent: parent, kind: client, status: status.Draw(t, "status"),
					duration: time.Duration(next) * time.Millisecond}
				next++
				what := rapid.SampledFrom([]string{"call", "call", "message", "database", "external", "nowhere", "internal"}).Draw(t, "what")
				switch {
				case what == "database":
					out.attributes = map[string]any{"db.system.name": "postgresql", "db.namespace": "db"}
					add(service, "db", "database", out)
				case what == "external":
					out.attributes = map[string]any{"server.address": "ext"}
					add(service, "ext", "virtual_node", out)
				case what == "nowhere":
					want["unpaired "+service+"> "]++
				case what == "internal":
					out.kind = internal
				case depth < 3:
					in := testSpan{service: rapid.SampledFrom(services).Draw(t, "callee"), trace: trace, id: next, parent: out.id, kind: server, status: status.Draw(t, "status")}
					next++
					kind := ""
					if what == "message" {
						out.kind, in.kind, kind = producer, consumer, "messaging_system"
						if rapid.Bool().Draw(t, "link") {
							in.trace, in.parent, in.link = trace+100, 0, [2]uint64{trace, out.id}
						}
					}
					add(service, in.service, kind, out, in)
					spans = append(spans, in)
					grow(in.service, in.id, depth+1)
				default:
					out.kind = internal
				}
				spans = append(spans, out)
			}
		}
		root := testSpan{service: rapid.SampledFrom(services).Draw(t, "root"), trace: trace, id: next, kind: server, status: status.Draw(t, "status")}
		next++
		add("user", root.service, "virtual_node", root)
		spans = append(spans, root)
		grow(root.service, root.id, 0)
	}
	return spans, want
}

// The edges are those of the traces, in whatever order and batches the spans
// come, and the metrics of an edge agree with each other.
func TestGraphIsThatOfTheTraces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spans, want := forest(t)
		spans = rapid.Permutation(spans).Draw(t, "order")
		var batches []ptrace.Traces
		for len(spans) > 0 {
			n := rapid.IntRange(1, len(spans)).Draw(t, "batch")
			batches = append(batches, batch(spans[:n]...))
			spans = spans[n:]
		}
		got, r, _ := edgesOf(t, GraphOptions{Histogram: HistogramOptions{Exponential: rapid.Bool().Draw(t, "exponential")}}, batches...)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got): %s", d)
		}
		calls := r.last("traces_service_graph_request_total")
		if d := cmp.Diff(calls, r.last("traces_service_graph_request_server")); d != "" {
			t.Fatalf("server durations (-calls +got): %s", d)
		}
		for key, n := range r.last("traces_service_graph_request_client") {
			if n != calls[key] || strings.Contains(key, `"user"`) {
				t.Fatalf("client durations of %s: %d, %d calls", key, n, calls[key])
			}
		}
		for key, n := range r.last("traces_service_graph_request_failed_total") {
			if n != calls[key] || !strings.Contains(key, `failed="true"`) {
				t.Fatalf("failed of %s: %d, %d calls", key, n, calls[key])
			}
		}
	})
}

func TestGraphRefuses(t *testing.T) {
	for name, o := range map[string]GraphOptions{
		"wait":      {Wait: -1},
		"waiting":   {MaxWaiting: -1},
		"too many":  {MaxWaiting: maxWaiting + 1},
		"edges":     {MaxEdges: -1},
		"peers":     {PeerAttributes: make([]string, maxPeerAttributes+1)},
		"histogram": {Histogram: HistogramOptions{MaxSize: -1}},
	} {
		if _, err := NewGraph(o, t0, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestKnownEdgesAllocateNothing(t *testing.T) {
	g := newGraph(t, GraphOptions{MaxWaiting: 1000}, nil)
	td := batch(
		testSpan{service: "a", kind: server, id: 9},
		testSpan{service: "a", kind: client, id: 2, parent: 1, state: "ot=th:55", attributes: map[string]any{"server.address": "b.internal", "x": 1}},
		testSpan{service: "b", kind: server, id: 3, parent: 2},
		testSpan{service: "b", kind: client, id: 4, parent: 3, attributes: map[string]any{"db.system.name": "redis"}},
		testSpan{service: "b", kind: client, id: 5, parent: 3, attributes: map[string]any{"server.address": "external"}},
		testSpan{service: "b", kind: client, id: 6, parent: 3},
	)
	now := t0
	observe := func() {
		now = now.Add(time.Second)
		trace := traceID(rand.Uint64())
		for _, rs := range td.ResourceSpans().All() {
			rs.ScopeSpans().At(0).Spans().At(0).SetTraceID(trace)
		}
		g.Observe(now, td)
	}
	for range 1000 {
		observe()
	}
	if got := testing.AllocsPerRun(1000, observe); got != 0 {
		t.Errorf("%v allocations a batch, want none", got)
	}
}

func TestSizeOfASide(t *testing.T) {
	if got := unsafe.Sizeof(side{}); got != 88 { // stated at DefaultMaxWaiting
		t.Errorf("a side takes %d bytes", got)
	}
}
