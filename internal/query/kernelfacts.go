package query

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxSockets bounds the client spans of a trace whose sockets are looked
	// up; the longest come first.
	maxSockets = 500
	// maxSocketRecords bounds the events read around a trace.
	maxSocketRecords = 1000
	// reportEvery is how often the kernel receiver reports at most: what a
	// span caused stands in a report up to so much later.
	reportEvery = 15 * time.Second
	// closeLater is how long after a span its connection may end and still be
	// looked at: connections are kept for the next request.
	closeLater = 2 * time.Minute
	// eventSlack is how far an event may lie from its span: the kernel's clock
	// and that of the sender of spans are not the same.
	eventSlack = time.Second
	// factFlows, factEvents bound what a service page shows at once.
	factFlows, factEvents = 50, 10
)

// socketEvents are the names of events about one socket.
const socketEvents = `^kernel\.tcp\.(connect_slow|connect_failed|reset_sent|reset_received|closed_bad|connection)$`

// KernelFacts looks up what the kernel saw behind a trace or a service.
func (e *engine) KernelFacts(ctx context.Context, a KernelAnchor) (*KernelFacts, error) {
	ctx, done := e.begin(ctx)
	defer done()
	switch {
	case a.TraceID != "":
		return e.factsOfTrace(ctx, a)
	case a.Service != "":
		return e.factsOfService(ctx, a)
	}
	return nil, &FieldError{Field: "trace_id", Msg: "neither a trace nor a service", Next: "for example service=order"}
}

func noFacts() *KernelFacts {
	return &KernelFacts{Spans: []SpanSockets{}, Flows: []Flow{}, Health: LevelOK, OOM: []OOMStory{}, Audit: []AuditEvent{}, Rules: []Tally{}, Profiles: []FoundProfiles{}}
}

func (e *engine) factsOfService(ctx context.Context, a KernelAnchor) (*KernelFacts, error) {
	if !a.Start.Before(a.End) {
		return nil, &FieldError{Field: "start", Value: a.Start.Format(time.RFC3339Nano), Msg: "not before end", Next: "start is inclusive, end exclusive"}
	}
	out := noFacts()
	of := Filter{eq("service.name", a.Service)}
	network := Window{Start: a.Start, End: a.End, Filter: of.Text(Network)}
	records := Window{Start: a.Start, End: a.End, Filter: of.Text(Logs)}
	sel, err := selectOf(ctx, records, Logs)
	if err != nil {
		return nil, err
	}
	err = together(ctx,
		func(ctx context.Context) error {
			n, err := e.NetworkHealth(ctx, network)
			if err != nil {
				return err
			}
			out.Flows, out.Seen = n.Flows[:min(len(n.Flows), factFlows)], len(n.Features) > 0 || n.Total > 0
			for _, f := range n.Flows {
				out.Health = worse(out.Health, f.Health)
			}
			return nil
		},
		func(ctx context.Context) (err error) {
			out.OOM, _, err = e.stories(ctx, sel, factEvents, "")
			return err
		},
		func(ctx context.Context) (err error) {
			out.Kills, err = e.countLogs(ctx, and(sel, eq("event_name", oomEvent)))
			return err
		},
		func(ctx context.Context) error {
			l, err := e.Audit(ctx, records, auditSeverities[0], Page{Limit: factEvents})
			if err == nil {
				out.Audit, out.Rules = l.Events, l.Rules
				for _, s := range l.Severities {
					out.Findings += s.Count
				}
			}
			return err
		},
		func(ctx context.Context) (err error) {
			out.Profiles, err = e.foundFor(ctx, []profiledProcess{{service: a.Service, resource: pcommon.NewMap(), start: a.Start, end: a.End}})
			return err
		},
	)
	out.Seen = out.Seen || out.Kills > 0 || len(out.Rules) > 0
	return out, err
}

// socketSpan is a client span with what it tells of its socket.
type socketSpan struct {
	span          string
	service       string
	address, port string
	local         string // port of this end
	peer          string // name of the callee, if the span has one
	start, end    time.Time
}

var peerNames = []string{"service.peer.name", "peer.service", "server.address", "net.peer.name"}

func attributeOf(m pcommon.Map, keys ...string) string {
	for _, k := range keys {
		if v, ok := m.Get(k); ok && v.AsString() != "" {
			return v.AsString()
		}
	}
	return ""
}

// socketSpans are the client spans of a trace that tell whom they talked to,
// the longest first.
func socketSpans(td ptrace.Traces) []socketSpan {
	var out []socketSpan
	for _, rs := range td.ResourceSpans().All() {
		service := serviceOf(rs.Resource().Attributes())
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				if s.Kind() != ptrace.SpanKindClient && s.Kind() != ptrace.SpanKindProducer {
					continue
				}
				m := s.Attributes()
				x := socketSpan{
					span: s.SpanID().String(), service: service, start: s.StartTimestamp().AsTime(), end: s.EndTimestamp().AsTime(),
					address: attributeOf(m, "network.peer.address", "net.sock.peer.addr"),
					port:    attributeOf(m, "network.peer.port", "net.sock.peer.port"),
					local:   attributeOf(m, "network.local.port"),
				}
				if server := attributeOf(m, "server.address", "net.peer.name"); x.address == "" && isAddress(server) {
					x.address = server
				}
				if x.port == "" {
					x.port = attributeOf(m, "server.port", "net.peer.port")
				}
				x.peer = attributeOf(m, peerNames...)
				if isAddress(x.peer) {
					x.peer = ""
				}
				if x.address != "" || x.peer != "" {
					out = append(out, x)
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b socketSpan) int { return cmp.Compare(b.end.Sub(b.start), a.end.Sub(a.start)) })
	return out
}

func (e *engine) factsOfTrace(ctx context.Context, a KernelAnchor) (*KernelFacts, error) {
	id, err := ParseTraceID(a.TraceID)
	if err != nil {
		return nil, &FieldError{Field: "trace_id", Value: a.TraceID, Msg: err.Error(), Next: "for example 4bf92f3577b34da6a3ce929d0e0e4736"}
	}
	td, _, err := e.find(ctx, id, a.Near)
	if err != nil {
		return nil, err
	}
	out := noFacts()
	err = together(ctx,
		func(ctx context.Context) error { return e.socketsOf(ctx, out, socketSpans(td), id) },
		func(ctx context.Context) (err error) {
			out.Profiles, err = e.foundFor(ctx, profiledIn(td, id.String()))
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// socketsOf fills in what was seen of the sockets behind a trace's client spans.
func (e *engine) socketsOf(ctx context.Context, out *KernelFacts, spans []socketSpan, id pcommon.TraceID) error {
	if len(spans) == 0 {
		return nil
	}
	out.Skipped = max(0, len(spans)-maxSockets)
	spans = spans[:min(len(spans), maxSockets)]
	start, end, services := spans[0].start, spans[0].end, []string{}
	for _, s := range spans {
		if s.start.Before(start) {
			start = s.start
		}
		if s.end.After(end) {
			end = s.end
		}
		if !slices.Contains(services, s.service) {
			services = append(services, s.service)
		}
	}
	// The series of an interval stand at its end, one interval apart.
	around := Window{Start: start.Add(-reportEvery), End: end.Add(reportEvery)}
	var flows []*flow
	var rows []store.LogRow
	err := together(ctx,
		func(ctx context.Context) error {
			found, err := e.flows(ctx, around, `kernel_tcp_role!="server", job=~`+quoteLabel(jobsOf(services)))
			for _, f := range found {
				flows = append(flows, f)
			}
			sortFlows(flows)
			return err
		},
		func(ctx context.Context) (err error) {
			rows, _, err = e.logs.Logs(ctx, store.Select{
				Tenant: TenantOf(ctx), Range: store.Range{Start: around.Start, End: end.Add(closeLater)},
				Where: []store.Cond{{Field: "event_name", Op: store.OpRe, Value: socketEvents}, {Field: "service.name", Op: store.OpRe, Value: "^(" + alternatives(services) + ")$"}},
			}, maxSocketRecords, "")
			if err != nil {
				return fmt.Errorf("read events of sockets around trace %s: %w", id, err)
			}
			return nil
		},
		func(ctx context.Context) error {
			f, err := e.features(ctx, Window{Start: start.Add(-time.Hour), End: around.End})
			out.Seen = len(f) > 0
			return err
		},
	)
	if err != nil {
		return err
	}
	events := make([]socketEvent, len(rows))
	for i, row := range rows {
		events[i] = socketEventOf(row)
	}
	slices.Reverse(events) // oldest first
	for _, s := range spans {
		if x, ok := s.facts(flows, events, around); ok {
			out.Spans = append(out.Spans, x)
			out.Health = worse(out.Health, x.Health)
		}
	}
	out.Seen = out.Seen || len(out.Spans) > 0
	return nil
}

// jobsOf matches the services with or without a namespace before them.
func jobsOf(services []string) string { return "(.+/)?(" + alternatives(services) + ")" }

func alternatives(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	return strings.Join(quoted, "|")
}

// socketEvent is a record about one socket.
type socketEvent struct {
	SocketRecord
	service, address, port, local, peer string
	retransmits                         float64
	rtt, took                           float64 // nanoseconds, 0 when not told
}

func socketEventOf(row store.LogRow) socketEvent {
	r := recordOf(row)
	const second = float64(time.Second)
	return socketEvent{
		SocketRecord: SocketRecord{ID: string(row.ID), Time: row.Time.UTC(), Event: strings.TrimPrefix(row.Record.EventName(), "kernel.tcp."), Text: text(row.Record.Body())},
		service:      r.service, address: r.text("network.peer.address"), port: r.text("network.peer.port"), local: r.text("network.local.port"), peer: cmp.Or(r.text("service.peer.name"), r.text("server.address")),
		retransmits: r.number("kernel.tcp.retransmits"),
		rtt:         max(r.number("kernel.tcp.rtt.max"), r.number("kernel.tcp.srtt")) * second, took: r.number("kernel.tcp.duration") * second,
	}
}

// reaches reports whether a socket to this peer can be the span's.
func (s *socketSpan) reaches(address, port, peer string) bool {
	if s.port != "" && port != "" && s.port != port {
		// A name may stand for a proxy or a mapped port; an address may not.
		return false
	}
	if s.address != "" && address != "" {
		return s.address == address
	}
	return s.peer != "" && s.peer == peer
}

// facts gathers what is known of the span's socket; false without anything.
func (s *socketSpan) facts(flows []*flow, events []socketEvent, around Window) (SpanSockets, bool) {
	x := SpanSockets{
		SpanID: s.span, Service: s.service, Peer: Endpoint{Service: s.peer, Address: s.address, Port: s.port, NamedBy: "spans"},
		RTTP50: -1, RTTP99: -1, ConnectP99: -1, Health: LevelOK, Start: around.Start, End: around.End, Records: []SocketRecord{},
	}
	if s.peer == "" {
		x.Peer.NamedBy = "none"
	}
	var near, exact []socketEvent
	for _, v := range events {
		// A live connection is told of at the end of an interval.
		late := eventSlack
		very := s.local != "" && v.local == s.local
		switch {
		case v.Event == "closed_bad" && very:
			late = closeLater
		case v.Event == "closed_bad", v.Event == "connection":
			late = reportEvery
		}
		if v.service != s.service || !s.reaches(v.address, v.port, v.peer) || v.Time.Before(s.start.Add(-eventSlack)) || v.Time.After(s.end.Add(late)) {
			continue
		}
		near = append(near, v)
		if very {
			exact = append(exact, v)
		}
	}
	if len(exact) > 0 {
		x.Exact, near = true, exact
		x.Start, x.End = s.start, s.end
	}
	for _, v := range near {
		x.Records = append(x.Records, v.SocketRecord)
		if x.Exact {
			x.Retransmits = max(x.Retransmits, v.retransmits) // told once an interval and at the end, of the whole life
		}
		switch v.Event {
		case "connect_failed":
			x.Failures++
		case "connect_slow":
			x.ConnectP99 = max(x.ConnectP99, v.took)
		case "reset_sent", "reset_received":
			x.Resets++
		}
		if x.Exact && v.rtt > 0 {
			x.RTTP99 = max(x.RTTP99, v.rtt)
		}
	}
	found := false
	for _, f := range flows {
		if f.key.service() != s.service || !s.reaches(f.key.address, f.key.port, cmp.Or(f.key.peer, f.key.server)) {
			continue
		}
		found = true
		if x.Match == "" {
			x.Match = f.Match
			if x.Peer.Service == "" {
				x.Peer.Service = f.key.peer
			}
		}
		if x.Exact {
			continue
		}
		x.Retransmits += f.Retransmits
		x.Segments += f.Segments
		x.Failures = max(x.Failures, f.Failures)
		x.Resets = max(x.Resets, f.Resets)
		x.RTTP50, x.RTTP99, x.ConnectP99 = max(x.RTTP50, f.RTTP50), max(x.RTTP99, f.RTTP99), max(x.ConnectP99, f.ConnectP99)
	}
	switch {
	case x.Failures > 0 || x.RTTP99 > float64(slowRTT) || x.ConnectP99 > float64(slowConnect) || x.Exact && x.Retransmits > 0:
		x.Health = LevelBad
	case x.Retransmits > 0 || x.Resets > 0:
		x.Health = LevelWarning
		if x.Retransmits >= fewestRetransmit && x.Segments > 0 && x.Retransmits/x.Segments > retransmitShare {
			x.Health = LevelBad
		}
	}
	return x, found || len(near) > 0
}
