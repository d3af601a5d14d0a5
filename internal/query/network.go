package query

import (
	"cmp"
	"context"
	"fmt"
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
	tcpEvents       = `^kernel\.tcp\.`
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
