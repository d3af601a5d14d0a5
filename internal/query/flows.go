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

// flowLabels name a flow; the order is that of flowKey.
const flowLabels = "job, service_namespace, host_name, kernel_tcp_role, network_peer_address, network_peer_port, network_local_port, service_peer_name, service_peer_namespace, server_address"

type flowKey struct {
	job, namespace, host, role, address, port, local, peer string
	peerNamespace                                          string // of a name that the cluster gave
	server                                                 string // what the client asked a name server for
}

func flowKeyOf(l map[string]string) flowKey {
	return flowKey{l["job"], l["service_namespace"], l["host_name"], l["kernel_tcp_role"], l["network_peer_address"], l["network_peer_port"], l["network_local_port"], l["service_peer_name"],
		l["service_peer_namespace"], l["server_address"]}
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
		{"service_peer_namespace", k.peerNamespace}, {"server_address", k.server},
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
	f := Filter{{Field: "event_name", Op: store.OpRe, Value: tcpEvents}}
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
	switch {
	case k.peerNamespace != "":
		other.NamedBy = "kubernetes"
	case k.peer == "" && k.server != "":
		other.Service, other.NamedBy = k.server, "dns"
	case k.peer == "":
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
	f.ID = strings.Join([]string{k.host, k.job, k.role, k.address, k.port, k.local, k.peer, k.peerNamespace, k.server}, " ")
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

func sortFlows(list []*flow) {
	slices.SortFunc(list, func(a, b *flow) int {
		return cmp.Or(
			cmp.Compare(b.Health.rank(), a.Health.rank()),
			cmp.Compare(b.BytesSent+b.BytesReceived, a.BytesSent+a.BytesReceived),
			strings.Compare(a.ID, b.ID),
		)
	})
}
