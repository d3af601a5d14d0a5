package query

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Metrics of the kernel receiver, as the metric store names them.
const (
	tcpBytes        = "kernel_tcp_io_bytes_total"
	tcpSegments     = "kernel_tcp_segments_total"
	tcpRetransmits  = "kernel_tcp_retransmits_total"
	tcpOutOfOrder   = "kernel_tcp_out_of_order_total"
	tcpRTT          = "kernel_tcp_rtt_seconds" // native histogram, as the next
	tcpConnect      = "kernel_tcp_connect_duration_seconds"
	tcpFailures     = "kernel_tcp_connect_failures_total"
	tcpAccepts      = "kernel_tcp_accepts_total"
	tcpAcceptWait   = "kernel_tcp_accept_wait_seconds_total"
	tcpAcceptWaits  = "kernel_tcp_accept_waits_total"
	tcpConnections  = "kernel_tcp_connections"
	tcpTimeWaits    = "kernel_tcp_time_waits_total"
	tcpResets       = "kernel_tcp_resets_total"
	tcpZeroWindows  = "kernel_tcp_zero_windows_total"
	tcpSockets      = "kernel_tcp_sockets"
	tcpOverflows    = "kernel_tcp_listen_overflows_total"
	tcpListenDrops  = "kernel_tcp_listen_drops_total"
	tcpListenQueue  = "kernel_tcp_listen_queue"
	tcpListenLimit  = "kernel_tcp_listen_limit"
	signalEventName = "kernel.tcp.signal"
)

// What is too much. Each share comes with the least that must have been seen:
// of three segments, one sent again is no finding. The kernel receiver judges
// its intervals by the same figures.
const (
	timeWaitShare, timeWaitSockets       = 0.30, 100
	retransmitShare                      = 0.005
	retransmitSegments, fewestRetransmit = 200, 3
	slowRTT, fewestRTTs                  = 200 * time.Millisecond, 20
	slowConnect                          = 100 * time.Millisecond
	// slowShare of samples above a limit puts their P99 above it; fewestSlow
	// keeps one slow sample of fifty from being a finding.
	slowShare, fewestSlow = 0.01, 3
	// failureShare of attempts without a connection is bad, a failure a warning:
	// one or two are refused while their server starts.
	failureShare, fewestFailures = 0.1, 3
)

const (
	// maxFlows bounds an answer; a table of more helps nobody, and the filter
	// narrows it.
	maxFlows = 2000
	// maxSignals bounds the findings of intervals that are read with a window.
	maxSignals = 500
	// maxListeners bounds the listening sockets told of one namespace.
	maxListeners = 200
	// streamPause is how long a delta stream may pause before the metric store
	// begins its sum anew.
	streamPause = "1h"
)

// flowLabels name a flow; the order is that of flowKey.
const flowLabels = "job, service_namespace, host_name, kernel_tcp_role, network_peer_address, network_peer_port, network_local_port, service_peer_name"

type flowKey struct{ job, namespace, host, role, address, port, local, peer string }

func flowKeyOf(l map[string]string) flowKey {
	return flowKey{l["job"], l["service_namespace"], l["host_name"], l["kernel_tcp_role"], l["network_peer_address"], l["network_peer_port"], l["network_local_port"], l["service_peer_name"]}
}

// service is what the service calls itself: job without its namespace.
func (k flowKey) service() string { return serviceOfJob(k.job, k.namespace) }

func serviceOfJob(job, namespace string) string {
	if namespace != "" {
		return strings.TrimPrefix(job, namespace+"/")
	}
	return job
}

// match selects the flow's series. A label that a series lacks equals "".
func (k flowKey) match() string {
	var b strings.Builder
	for _, p := range [...][2]string{
		{"job", k.job}, {"host_name", k.host}, {"kernel_tcp_role", k.role}, {"network_peer_address", k.address},
		{"network_peer_port", k.port}, {"network_local_port", k.local}, {"service_peer_name", k.peer},
	} {
		if p[1] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p[0] + "=" + quoteLabel(p[1]))
	}
	return b.String()
}

// records is the filter for the flow's events.
func (k flowKey) records() string {
	f := Filter{{Field: "event_name", Op: store.OpRe, Value: `^kernel\.tcp\.`}}
	if s := k.service(); s != "" {
		f = append(f, eq("service.name", s))
	}
	if k.address != "" && k.address != "other" {
		f = append(f, eq("network.peer.address", k.address))
	}
	if k.role == "client" && k.port != "" {
		f = append(f, eq("network.peer.port", k.port))
	}
	if k.role == "server" && k.local != "" {
		f = append(f, eq("network.local.port", k.local))
	}
	return f.Text(Logs)
}

// grown is by how much counters rose in the window. Series of the kernel
// receiver come and go with connections, and what they rose by before their
// first sample counts: increase() would lose it. A counter that began anew in
// the window counts from there.
func grown(metric, matcher string, w Window, by string) string {
	r := rangeOf(w)
	last := fmt.Sprintf("last_over_time(%s{%s}%s)", metric, matcher, r)
	before := fmt.Sprintf("last_over_time(%s{%s}[%s] offset %s)", metric, matcher, streamPause, strings.Trim(r, "[]"))
	return fmt.Sprintf("sum by (%s) ((%s - %s) >= 0 or %s)", by, last, before, last)
}

// read evaluates expressions at the end of the window and hands over their
// samples, in the order of the expressions.
func (e *engine) read(ctx context.Context, w Window, what string, exprs []string, take func(i int, s Sample)) error {
	if e.metrics == nil {
		return nil
	}
	answers := make([][]Sample, len(exprs))
	parts := make([]func(context.Context) error, len(exprs))
	tenant := TenantOf(ctx)
	for i, expr := range exprs {
		parts[i] = func(ctx context.Context) (err error) {
			if answers[i], err = e.metrics.Instant(ctx, tenant, expr, w.End); err != nil {
				return fmt.Errorf("read %s: %w", what, err)
			}
			return nil
		}
	}
	if err := together(ctx, parts...); err != nil {
		return err
	}
	for i, samples := range answers {
		for _, s := range samples {
			if !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0) {
				take(i, s)
			}
		}
	}
	return nil
}

// flow is a Flow under construction.
type flow struct {
	Flow
	key          flowKey
	sent, got    float64 // by the observed side
	rtt, connect timing
	wait, waits  float64
	failuresOf   map[string]float64
}

// flows reads all flows whose series meet the matcher, unnamed and unjudged.
func (e *engine) flows(ctx context.Context, w Window, matcher string) (map[flowKey]*flow, error) {
	out := map[flowKey]*flow{}
	type part struct {
		expr string
		add  func(f *flow, s Sample)
	}
	exprs := []part{
		{grown(tcpBytes, matcher, w, flowLabels+", network_io_direction"), func(f *flow, s Sample) {
			if s.Labels["network_io_direction"] == "receive" {
				f.got += s.Value
			} else {
				f.sent += s.Value
			}
		}},
		{grown(tcpSegments, matcher, w, flowLabels), func(f *flow, s Sample) { f.Segments = s.Value }},
		{grown(tcpRetransmits, matcher, w, flowLabels), func(f *flow, s Sample) { f.Retransmits = s.Value }},
		{grown(tcpOutOfOrder, matcher, w, flowLabels), func(f *flow, s Sample) { f.OutOfOrder = s.Value }},
		{grown(tcpFailures, matcher, w, flowLabels+", error_type"), func(f *flow, s Sample) {
			if s.Value > 0 {
				f.Failures += s.Value
				f.failuresOf[s.Labels["error_type"]] += s.Value
			}
		}},
		{grown(tcpAccepts, matcher, w, flowLabels), func(f *flow, s Sample) { f.Accepts = s.Value }},
		{grown(tcpAcceptWait, matcher, w, flowLabels), func(f *flow, s Sample) { f.wait = s.Value }},
		{grown(tcpAcceptWaits, matcher, w, flowLabels), func(f *flow, s Sample) { f.waits = s.Value }},
		{grown(tcpTimeWaits, matcher, w, flowLabels), func(f *flow, s Sample) { f.TimeWaits = s.Value }},
		{grown(tcpResets, matcher, w, flowLabels), func(f *flow, s Sample) { f.Resets = s.Value }},
		{grown(tcpZeroWindows, matcher, w, flowLabels), func(f *flow, s Sample) { f.ZeroWindows = s.Value }},
		{fmt.Sprintf("sum by (%s) (%s{%s})", flowLabels, tcpConnections, matcher), func(f *flow, s Sample) { f.Connections = s.Value }},
	}
	for i, expr := range timings(tcpRTT, matcher, w, slowRTT) {
		exprs = append(exprs, part{expr, func(f *flow, s Sample) { f.rtt.take(i, s.Value) }})
	}
	for i, expr := range timings(tcpConnect, matcher, w, slowConnect) {
		exprs = append(exprs, part{expr, func(f *flow, s Sample) { f.connect.take(i, s.Value) }})
	}
	texts := make([]string, len(exprs))
	for i, x := range exprs {
		texts[i] = x.expr
	}
	err := e.read(ctx, w, "flows", texts, func(i int, s Sample) {
		k := flowKeyOf(s.Labels)
		f := out[k]
		if f == nil {
			f = &flow{key: k, failuresOf: map[string]float64{}, rtt: timing{p50: -1, p99: -1}, connect: timing{p50: -1, p99: -1}}
			out[k] = f
		}
		exprs[i].add(f, s)
	})
	for _, f := range out {
		f.finish()
	}
	return out, err
}

// finish works out what follows from the figures.
func (f *flow) finish() {
	k := f.key
	f.Role, f.Host, f.Match, f.Records = k.role, k.host, k.match(), k.records()
	own := Endpoint{Service: k.service(), NamedBy: "kernel"}
	other := Endpoint{Service: k.peer, Address: k.address, NamedBy: "kernel"}
	if k.peer == "" {
		other.NamedBy = "none"
	}
	if k.role == "server" {
		own.Port = k.local
		f.Source, f.Target = other, own
		f.BytesSent, f.BytesReceived = f.got, f.sent
	} else {
		other.Port = k.port
		f.Source, f.Target = own, other
		f.BytesSent, f.BytesReceived = f.sent, f.got
	}
	if f.Role == "" {
		f.Role = "unknown"
	}
	f.ID = strings.Join([]string{k.host, k.job, k.role, k.address, k.port, k.local, k.peer}, " ")
	f.Ratio = -1
	if f.Segments > 0 {
		f.Ratio = min(1, f.Retransmits/f.Segments)
	}
	f.RTTs, f.RTTP50, f.RTTP99 = f.rtt.count, f.rtt.p50, f.rtt.p99
	f.Connects, f.ConnectP99 = f.connect.count, f.connect.p99
	f.AcceptWait = -1
	if f.waits > 0 {
		f.AcceptWait = f.wait / f.waits * float64(time.Second)
	}
	f.FailureKinds = []Tally{}
	for kind, n := range f.failuresOf {
		f.FailureKinds = append(f.FailureKinds, Tally{Value: cmp.Or(kind, "other"), Count: uint64(math.Round(n))})
	}
	slices.SortFunc(f.FailureKinds, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	f.judge()
}

// judge compares the window with the limits.
func (f *flow) judge() {
	f.Health, f.Signals = LevelOK, []KernelSignal{}
	if f.Retransmits >= fewestRetransmit && f.Segments >= retransmitSegments && f.Ratio > retransmitShare {
		f.find("tcp.retransmits", LevelBad, f.Ratio, retransmitShare, "ratio")
	}
	if f.RTTs >= fewestRTTs && f.rtt.tooMany() {
		f.find("tcp.rtt_p99", LevelBad, f.RTTP99, float64(slowRTT), "ns")
	}
	if f.connect.tooMany() {
		f.find("tcp.syn_ack", LevelBad, f.ConnectP99, float64(slowConnect), "ns")
	}
	if f.Failures > 0 {
		level := LevelWarning
		if f.Failures >= fewestFailures && f.Failures > failureShare*(f.Failures+f.Connects) {
			level = LevelBad
		}
		f.find("tcp.connect_failures", level, f.Failures, 0, "count")
	}
}

func (f *flow) find(name string, level Level, value, limit float64, unit string) {
	f.Signals = append(f.Signals, KernelSignal{Name: name, Level: level, Over: "window", Value: value, Limit: limit, Unit: unit, Evidence: []string{}})
	f.Health = worse(f.Health, level)
}

// timing is what is read of a histogram. Quantiles are nanoseconds, -1 without
// samples; over is the share of samples above a limit.
type timing struct{ count, p50, p99, over float64 }

// timings are the parts of a timing as expressions.
func timings(metric, matcher string, w Window, limit time.Duration) []string {
	// The shape matters, not the count: what increase extrapolates is even.
	h := fmt.Sprintf("sum by (%s) (increase(%s{%s}%s))", flowLabels, metric, matcher, rangeOf(w))
	return []string{
		"histogram_count(" + h + ")",
		"histogram_quantile(0.5, " + h + ")",
		"histogram_quantile(0.99, " + h + ")",
		fmt.Sprintf("histogram_fraction(%g, +Inf, %s)", limit.Seconds(), h),
	}
}

func (t *timing) take(part int, v float64) {
	switch part {
	case 0:
		t.count = math.Round(v)
	case 1:
		t.p50 = v * float64(time.Second)
	case 2:
		t.p99 = v * float64(time.Second)
	case 3:
		t.over = v
	}
}

// tooMany reports whether enough samples lie above the limit to put P99 there.
func (t *timing) tooMany() bool {
	return t.over > slowShare && t.over*t.count > fewestSlow-0.5
}

// NetworkHealth reads who talks to whom. The filter is about flows: see
// flowFields.
func (e *engine) NetworkHealth(ctx context.Context, w Window) (*NetworkHealth, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Network)
	if err != nil {
		return nil, err
	}
	var found map[flowKey]*flow
	var moments []signalRecord
	out := &NetworkHealth{Flows: []Flow{}}
	err = together(ctx,
		func(ctx context.Context) (err error) {
			found, err = e.flows(ctx, w, "")
			return err
		},
		func(ctx context.Context) (err error) {
			out.Namespaces, err = e.namespaces(ctx, w)
			return err
		},
		func(ctx context.Context) (err error) {
			out.Features, err = e.features(ctx, w)
			return err
		},
		func(ctx context.Context) (err error) {
			moments, err = e.signalRecords(ctx, w)
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	list := make([]*flow, 0, len(found))
	for _, f := range found {
		list = append(list, f)
	}
	if err := e.namePeers(ctx, w, list); err != nil {
		return nil, err
	}
	attach(list, out.Namespaces, moments, w.End)
	list = slices.DeleteFunc(list, func(f *flow) bool { return !f.meets(sel.Where) })
	sortFlows(list)
	out.Total = len(list)
	for _, f := range list[:min(len(list), maxFlows)] {
		out.Flows = append(out.Flows, f.Flow)
	}
	return out, nil
}

func sortFlows(list []*flow) {
	slices.SortFunc(list, func(a, b *flow) int {
		return cmp.Or(
			cmp.Compare(b.Health.rank(), a.Health.rank()),
			cmp.Compare(b.BytesSent+b.BytesReceived, a.BytesSent+a.BytesReceived),
			strings.Compare(a.ID, b.ID),
		)
	})
}

// signalRecord is a record of a limit passed in one interval.
type signalRecord struct {
	KernelSignal
	key   flowKey // as far as the record tells
	netns string
}

// signalRecords reads the findings of the intervals, newest first.
func (e *engine) signalRecords(ctx context.Context, w Window) ([]signalRecord, error) {
	sel := store.Select{Tenant: TenantOf(ctx), Range: store.Range{Start: w.Start, End: w.End}, Where: []store.Cond{eq("event_name", signalEventName)}}
	rows, _, err := e.logs.Logs(ctx, sel, maxSignals, "")
	if err != nil {
		return nil, fmt.Errorf("read findings of the kernel: %w", err)
	}
	out := make([]signalRecord, 0, len(rows))
	for _, row := range rows {
		r := recordOf(row)
		s := signalRecord{
			KernelSignal: KernelSignal{
				Name: r.text("kernel.signal"), Level: LevelWarning, Over: "moment",
				Value: r.number("kernel.signal.value"), Limit: r.number("kernel.signal.limit"),
				Evidence: r.list("kernel.signal.evidence"), Time: row.Time.UTC(),
			},
			key: flowKey{
				job: r.service, host: r.of("host.name"), role: r.text("kernel.tcp.role"),
				address: r.text("network.peer.address"), port: r.text("network.peer.port"), local: r.text("network.local.port"),
			},
			netns: r.text("kernel.netns"),
		}
		s.Unit = unitOf(s.Name)
		if s.Unit == "ns" { // records tell seconds
			s.Value, s.Limit = s.Value*float64(time.Second), s.Limit*float64(time.Second)
		}
		out = append(out, s)
	}
	return out, nil
}

func unitOf(signal string) string {
	switch signal {
	case "tcp.rtt_p99", "tcp.syn_ack":
		return "ns"
	case "tcp.time_wait", "tcp.retransmits":
		return "ratio"
	}
	return "count"
}

// attach gives the findings of intervals to the flows and namespaces that they
// are about. Of each kind only the newest is kept; a finding over the window
// takes its evidence.
func attach(list []*flow, namespaces []NetNamespace, moments []signalRecord, end time.Time) {
	byFlow := map[flowKey][]*flow{}
	reduced := func(k flowKey, service string) flowKey {
		r := flowKey{job: service, host: k.host, role: k.role, address: k.address}
		if k.role == "server" {
			r.local = k.local
		} else {
			r.port = k.port
		}
		return r
	}
	for _, f := range list {
		k := reduced(f.key, f.key.service())
		byFlow[k] = append(byFlow[k], f)
		for i := range f.Signals {
			f.Signals[i].Time = end
		}
	}
	for i := range namespaces {
		for j := range namespaces[i].Signals {
			namespaces[i].Signals[j].Time = end
		}
	}
	for _, m := range moments {
		if m.key.address != "" {
			for _, f := range byFlow[reduced(m.key, m.key.job)] {
				f.Signals, f.Health = merge(f.Signals, f.Health, m.KernelSignal)
			}
			continue
		}
		for i := range namespaces {
			n := &namespaces[i]
			if n.Host == m.key.host && (m.netns == "" || n.ID == "" || n.ID == m.netns) {
				n.Signals, n.Health = merge(n.Signals, n.Health, m.KernelSignal)
			}
		}
	}
}

func merge(signals []KernelSignal, health Level, s KernelSignal) ([]KernelSignal, Level) {
	for i := range signals {
		if signals[i].Name == s.Name {
			if len(signals[i].Evidence) == 0 {
				signals[i].Evidence = s.Evidence
			}
			return signals, health
		}
	}
	return append(signals, s), worse(health, s.Level)
}

// namespaces reads sockets by state and what listening sockets dropped.
func (e *engine) namespaces(ctx context.Context, w Window) ([]NetNamespace, error) {
	const by = "host_name, kernel_netns"
	const byListener = by + ", job, service_namespace, network_local_address, network_local_port"
	found := map[[2]string]*NetNamespace{}
	states := map[[2]string]map[string]uint64{}
	listeners := map[[5]string]*ListeningSocket{}
	at := func(s Sample) *NetNamespace {
		k := [2]string{s.Labels["host_name"], s.Labels["kernel_netns"]}
		if found[k] == nil {
			found[k] = &NetNamespace{Host: k[0], ID: k[1], Health: LevelOK, Signals: []KernelSignal{}, Listeners: []ListeningSocket{}, States: []Tally{}}
			states[k] = map[string]uint64{}
		}
		return found[k]
	}
	listener := func(s Sample) *ListeningSocket {
		at(s)
		k := [5]string{s.Labels["host_name"], s.Labels["kernel_netns"], s.Labels["job"], s.Labels["network_local_address"], s.Labels["network_local_port"]}
		if listeners[k] == nil {
			listeners[k] = &ListeningSocket{Service: serviceOfJob(k[2], s.Labels["service_namespace"]), Address: k[3], Port: k[4]}
		}
		return listeners[k]
	}
	of := `network_local_port!=""`
	err := e.read(ctx, w, "network namespaces", []string{
		fmt.Sprintf("sum by (%s, network_connection_state) (%s)", by, tcpSockets),
		grown(tcpOverflows, "", w, by),
		grown(tcpListenDrops, `network_local_port=""`, w, by),
		fmt.Sprintf("max by (%s) (%s{%s})", byListener, tcpListenQueue, of),
		fmt.Sprintf("max by (%s) (max_over_time(%s{%s}%s))", byListener, tcpListenQueue, of, rangeOf(w)),
		fmt.Sprintf("max by (%s) (%s{%s})", byListener, tcpListenLimit, of),
		grown(tcpListenDrops, of, w, byListener),
	}, func(i int, s Sample) {
		switch i {
		case 0:
			n := at(s)
			states[[2]string{n.Host, n.ID}][s.Labels["network_connection_state"]] += uint64(max(0, s.Value))
		case 1:
			at(s).Overflows = s.Value
		case 2:
			at(s).Drops = s.Value
		case 3:
			listener(s).Queue = s.Value
		case 4:
			listener(s).Peak = s.Value
		case 5:
			listener(s).Limit = s.Value
		case 6:
			listener(s).Drops = s.Value
		}
	})
	if err != nil {
		return nil, err
	}
	for k, l := range listeners {
		n := found[[2]string{k[0], k[1]}]
		n.Listeners = append(n.Listeners, *l)
	}
	out := make([]NetNamespace, 0, len(found))
	for k, n := range found {
		n.count(states[k])
		slices.SortFunc(n.Listeners, func(a, b ListeningSocket) int {
			return cmp.Or(cmp.Compare(b.Drops, a.Drops), cmp.Compare(b.Peak, a.Peak), strings.Compare(a.Service, b.Service), strings.Compare(a.Port, b.Port))
		})
		n.Listeners = n.Listeners[:min(len(n.Listeners), maxListeners)]
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b NetNamespace) int {
		return cmp.Or(cmp.Compare(b.Health.rank(), a.Health.rank()), cmp.Compare(b.Sockets, a.Sockets), strings.Compare(a.Host, b.Host), strings.Compare(a.ID, b.ID))
	})
	return out, nil
}

// count works out the shares of a namespace and judges it.
func (n *NetNamespace) count(states map[string]uint64) {
	for state, c := range states {
		if c == 0 {
			continue
		}
		n.States = append(n.States, Tally{Value: state, Count: c})
		if state != "listen" && state != "close" {
			n.Sockets += float64(c)
		}
	}
	slices.SortFunc(n.States, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	n.Match = "host_name=" + quoteLabel(n.Host)
	if n.ID != "" {
		n.Match += ", kernel_netns=" + quoteLabel(n.ID)
	}
	waiting := float64(states["time_wait"])
	n.TimeWaitShare = -1
	if n.Sockets > 0 {
		n.TimeWaitShare = waiting / n.Sockets
	}
	find := func(name string, value, limit float64, unit string) {
		n.Signals = append(n.Signals, KernelSignal{Name: name, Level: LevelBad, Over: "window", Value: value, Limit: limit, Unit: unit, Evidence: []string{}})
		n.Health = LevelBad
	}
	if waiting >= timeWaitSockets && n.TimeWaitShare > timeWaitShare {
		find("tcp.time_wait", n.TimeWaitShare, timeWaitShare, "ratio")
	}
	if n.Overflows > 0 {
		find("tcp.listen_overflow", n.Overflows, 0, "count")
	}
}
