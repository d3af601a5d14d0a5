package red

import (
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Defaults of a Graph.
const (
	// DefaultWait is how long a span waits for its other side. Services send
	// in batches, every five seconds by default in the OpenTelemetry SDKs: two
	// of them can be apart by that and the time on the way.
	DefaultWait = 10 * time.Second
	// DefaultMaxWaiting bounds the spans that wait, at 88 bytes and 8 to 16 in
	// the index: 26 MB. It is enough for 25,000 client spans a second over
	// DefaultWait. With more of them, those go first that have their server
	// and wait for another one only.
	DefaultMaxWaiting = 250_000
	// DefaultMaxEdges bounds the edges of one tenant: a thousand services
	// that each call five others. An edge takes 2 KiB and, with the default
	// buckets, 40 series in Prometheus.
	DefaultMaxEdges = 5_000
	// maxWaiting is what an index of int32 can hold with room to spare.
	maxWaiting = 1 << 28
)

// User is the client of requests that begin a trace.
const User = "user"

// GraphOptions says how a Graph is made. The zero value works.
type GraphOptions struct {
	Histogram HistogramOptions
	// Wait is how long a span waits for its other side; default DefaultWait.
	Wait time.Duration
	// MaxWaiting bounds the spans that wait; default DefaultMaxWaiting. When
	// more come, those that wait longest are given up.
	MaxWaiting int
	// PeerAttributes name, in this order, what a client span called, when
	// that sends no spans itself; default DefaultPeerAttributes.
	PeerAttributes []string
	// InstanceID as in Options.
	InstanceID string
	// Expiration is how long an edge without calls is kept; default
	// DefaultExpiration, negative for ever.
	Expiration time.Duration
	// MaxEdges bounds the edges; default DefaultMaxEdges.
	MaxEdges int
	// MaxExemplars as in Options.
	MaxExemplars int
}

// Validate tells what NewGraph would refuse.
func (o GraphOptions) Validate() error {
	if o.Wait < 0 {
		return fmt.Errorf("wait %s: want none below 0", o.Wait)
	}
	if o.MaxWaiting < 0 || o.MaxWaiting > maxWaiting {
		return fmt.Errorf("%d waiting spans: want 0 to %d", o.MaxWaiting, maxWaiting)
	}
	if o.MaxEdges < 0 {
		return fmt.Errorf("%d edges: want none below 0", o.MaxEdges)
	}
	if len(o.PeerAttributes) > maxPeerAttributes {
		return fmt.Errorf("%d peer attributes: want at most %d", len(o.PeerAttributes), maxPeerAttributes)
	}
	return o.Histogram.validate()
}

func (o GraphOptions) withDefaults() GraphOptions {
	if o.Wait == 0 {
		o.Wait = DefaultWait
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = DefaultMaxWaiting
	}
	if len(o.PeerAttributes) == 0 {
		o.PeerAttributes = DefaultPeerAttributes()
	}
	if o.Expiration == 0 {
		o.Expiration = DefaultExpiration
	}
	if o.MaxEdges == 0 {
		o.MaxEdges = DefaultMaxEdges
	}
	if o.MaxExemplars == 0 {
		o.MaxExemplars = DefaultMaxExemplars
	}
	return o
}

// Graph finds the calls between services. A call has two sides: the client (or
// producer) span of one service and the server (or consumer) span of another,
// which is its child. Whichever comes first waits for the other; the order and
// the batches they come in make no difference.
//
//   - Both sides: an edge between the two services. A message that many
//     consume gives an edge to each of them.
//   - A call to a database: an edge at once, for databases send no spans.
//   - A client whose server does not come: an edge to the peer that the span
//     names (connection type virtual_node), to the messaging product for a
//     producer; without a name it counts as unpaired.
//   - A server that begins the trace: an edge from "user". A consumer that
//     begins a trace is paired by its first link, and without links it is an
//     edge from the messaging product.
//   - Any other server whose client does not come counts as unpaired.
//
// A call stands for as many as the rarer of its sides: both were kept only if
// that one was.
type Graph struct {
	opts   GraphOptions
	layout *layout
	peers  peers
	stats  *Stats
	clock  flushClock

	mu       sync.Mutex
	names    names
	waiting  waiting
	edges    map[edgeKey]*edge
	list     []*edge // of edges, and those that ended in this flush
	overflow int     // how many of edges are overflow edges
	losses   map[lossKey]*loss
	lost     []*loss // of losses, as list
}

// connection is the type of an edge.
type connection uint8

const (
	direct connection = iota
	messaging
	database
	virtual
	connections
)

var connectionNames = [connections]string{"", "messaging_system", "database", "virtual_node"}

type edgeKey struct {
	client, server int32 // names
	connection     connection
	failed         bool
	overflow       bool
}

// edge is the calls from one service to another.
type edge struct {
	key    edgeKey
	life   life
	round  rounder
	calls  uint64
	client histogram // empty where the client is not known
	server histogram
}

// lossKey is a side that was not paired.
type lossKey struct {
	service    int32 // name
	client     bool
	connection connection
	overflow   bool
}

type loss struct {
	key               lossKey
	life              life
	unpaired, dropped uint64
}

// NewGraph returns a Graph that counts from now on. stats may be nil.
func NewGraph(o GraphOptions, now time.Time, stats *Stats) (*Graph, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if stats == nil {
		stats = &Stats{}
	}
	g := &Graph{
		opts:    o,
		layout:  newLayout(o.Histogram, Seconds, o.MaxExemplars),
		peers:   newPeers(o.PeerAttributes),
		stats:   stats,
		names:   newNames(),
		waiting: newWaiting(o.MaxWaiting),
		edges:   map[edgeKey]*edge{},
		losses:  map[lossKey]*loss{},
	}
	g.clock.init(now)
	return g, nil
}

// Observe takes in the spans of td. It keeps nothing of td.
func (g *Graph) Observe(now time.Time, td ptrace.Traces) {
	at := g.clock.elapsed(now)
	spans := uint64(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.waiting.len()
	g.expire(at)
	resources := td.ResourceSpans()
	for i := range resources.Len() {
		rs := resources.At(i)
		service := int32(-1) // known with the first span that needs it
		scopes := rs.ScopeSpans()
		for j := range scopes.Len() {
			list := scopes.At(j).Spans()
			for k := range list.Len() {
				span := list.At(k)
				kind := span.Kind()
				if kind < ptrace.SpanKindServer || kind > ptrace.SpanKindConsumer {
					continue
				}
				if service < 0 {
					service = g.names.acquire(serviceOf(rs.Resource().Attributes()).name)
				}
				spans++
				if kind == ptrace.SpanKindClient || kind == ptrace.SpanKindProducer {
					g.observeClient(at, service, span)
				} else {
					g.observeServer(at, service, span)
				}
			}
		}
		if service >= 0 {
			g.names.release(service)
		}
	}
	g.stats.Spans.Add(spans)
	g.stats.Waiting.Add(int64(g.waiting.len() - before))
}

// sideOf reads what both sides have in common.
func (g *Graph) sideOf(at time.Duration, service int32, span ptrace.Span) side {
	s := side{
		trace: span.TraceID(), self: span.SpanID(), service: service,
		duration: durationOf(span), end: span.EndTimestamp(), weight: 1,
		failed: span.Status().Code() == ptrace.StatusCodeError, deadline: at + g.opts.Wait,
	}
	if state := span.TraceState().AsRaw(); state != "" {
		s.weight = weight(state)
	}
	return s
}

func (g *Graph) observeClient(at time.Duration, service int32, span ptrace.Span) {
	s := g.sideOf(at, service, span)
	s.client, s.key = true, s.self
	p := g.peers.of(span.Attributes())
	s.messaging = span.Kind() == ptrace.SpanKindProducer || p.messaging != ""
	if p.database != "" {
		node := g.names.acquire(p.database)
		g.call(at, service, node, database, &s, &s)
		g.names.release(node)
		return
	}
	for {
		id, _ := g.waiting.find(&s.trace, &s.key, -1)
		if id == 0 {
			break
		}
		if g.waiting.sides[id].client {
			return // delivered twice
		}
		server := g.waiting.remove(id)
		g.pair(at, &s, &server)
		s.paired = true
		g.names.release(server.service)
		g.names.release(server.peer)
	}
	if !s.paired { // a paired one will not be asked
		s.peer = g.names.acquire(first(p.messaging, p.other))
	}
	g.wait(at, s)
}

func (g *Graph) observeServer(at time.Duration, service int32, span ptrace.Span) {
	s := g.sideOf(at, service, span)
	s.key = span.ParentSpanID()
	if span.Kind() == ptrace.SpanKindConsumer {
		s.messaging = true
		if links := span.Links(); s.key.IsEmpty() && links.Len() > 0 {
			s.trace, s.key, s.linked = links.At(0).TraceID(), links.At(0).SpanID(), true
		}
	}
	if s.key.IsEmpty() {
		from, how := User, virtual
		if s.messaging {
			if p := g.peers.of(span.Attributes()); p.messaging != "" {
				from, how = p.messaging, messaging
			}
		}
		client := g.names.acquire(from)
		g.call(at, client, service, how, nil, &s)
		g.names.release(client)
		return
	}
	for from := -1; ; {
		id, slot := g.waiting.find(&s.trace, &s.key, from)
		if id == 0 {
			break
		}
		other := &g.waiting.sides[id]
		if other.client {
			g.pair(at, other, &s)
			other.paired = true
			return
		}
		if other.self == s.self {
			return // delivered twice
		}
		from = slot
	}
	if s.messaging {
		s.peer = g.names.acquire(g.peers.of(span.Attributes()).messaging)
	}
	g.wait(at, s)
}

// wait keeps s, which holds s.peer already, until its other side comes.
func (g *Graph) wait(at time.Duration, s side) {
	if g.waiting.full() {
		g.giveUp(at, g.waiting.remove(g.waiting.oldest()), true)
	}
	g.names.hold(s.service)
	g.waiting.add(s)
}

// expire gives up what waited long enough.
func (g *Graph) expire(at time.Duration) {
	for {
		id := g.waiting.oldest()
		if id == 0 || g.waiting.sides[id].deadline > at {
			return
		}
		g.giveUp(at, g.waiting.remove(id), false)
	}
}

// giveUp ends the wait of a side: in time, or early because there was no room.
// In the latter case it says nothing about its peer, which may be well
// instrumented.
func (g *Graph) giveUp(at time.Duration, s side, early bool) {
	switch {
	case s.paired:
	case early:
		g.stats.Dropped.Add(1)
		g.lose(at, s).dropped++
	default:
		g.stats.Expired.Add(1)
		how := virtual
		if s.messaging {
			how = messaging
		}
		switch {
		case s.peer == 0:
			g.lose(at, s).unpaired++
		case s.client:
			g.call(at, s.service, s.peer, how, &s, &s)
		default:
			g.call(at, s.peer, s.service, how, nil, &s)
		}
	}
	g.names.release(s.service)
	g.names.release(s.peer)
}

func (g *Graph) pair(at time.Duration, client, server *side) {
	how := direct
	if client.messaging || server.messaging {
		how = messaging
	}
	g.call(at, client.service, server.service, how, client, server)
}

// call counts a call. client is nil where its view is not known; for a server
// that sends no spans, server is the client's view, which is the closest there
// is.
func (g *Graph) call(at time.Duration, from, to int32, how connection, client, server *side) {
	w, failed := server.weight, server.failed
	if client != nil {
		w, failed = max(w, client.weight), failed || client.failed
	}
	e := g.edge(edgeKey{client: from, server: to, connection: how, failed: failed})
	e.life.touch(at)
	n := e.round.round(w)
	e.calls += n
	e.server.add(g.layout, server.duration, n, w)
	e.server.noteSide(g.layout, server)
	if client != nil {
		e.client.add(g.layout, client.duration, n, w)
		e.client.noteSide(g.layout, client)
	}
}

// edge returns the edge for key, or the overflow edge of its kind when there
// are too many.
func (g *Graph) edge(key edgeKey) *edge {
	if e := g.edges[key]; e != nil {
		return e
	}
	if len(g.edges)-g.overflow >= g.opts.MaxEdges {
		g.stats.Overflowed.Add(1)
		key = edgeKey{connection: key.connection, failed: key.failed, overflow: true}
		if e := g.edges[key]; e != nil {
			return e
		}
		g.overflow++
	}
	e := &edge{key: key, life: g.clock.born(), round: newRounder(), client: newHistogram(g.layout), server: newHistogram(g.layout)}
	g.names.hold(key.client)
	g.names.hold(key.server)
	g.edges[key] = e
	g.list = append(g.list, e)
	g.stats.Series.Add(1)
	return e
}

// lose returns the counters for a side that was not paired.
func (g *Graph) lose(at time.Duration, s side) *loss {
	key := lossKey{service: s.service, client: s.client}
	if s.messaging {
		key.connection = messaging
	}
	l := g.losses[key]
	if l == nil && len(g.losses) >= g.opts.MaxEdges {
		key = lossKey{client: s.client, connection: key.connection, overflow: true}
		l = g.losses[key]
	}
	if l == nil {
		l = &loss{key: key, life: g.clock.born()}
		g.names.hold(key.service)
		g.losses[key] = l
		g.lost = append(g.lost, l)
	}
	l.life.touch(at)
	return l
}

// Idle tells that the graph holds nothing.
func (g *Graph) Idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.list) == 0 && len(g.lost) == 0 && g.waiting.len() == 0
}
