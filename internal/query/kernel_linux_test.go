package query

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/event"
	"github.com/guanlan-io/guanlan/internal/store/metric"
)

func TestMain(m *testing.M) {
	flag.Parse() // the event store's engine refuses to work before
	flag.Set("loggerLevel", "ERROR")
	os.Exit(m.Run())
}

// stored gives package query the metric store in its own words.
type stored struct{ *metric.Store }

func (s stored) Instant(ctx context.Context, tenant store.Tenant, expr string, at time.Time) ([]Sample, error) {
	found, err := s.Store.Instant(ctx, tenant, expr, at)
	out := make([]Sample, len(found))
	for i, x := range found {
		out[i] = Sample{Labels: x.Labels, Value: x.Value}
	}
	return out, err
}

// doors are real stores, written to as the pipeline does.
type doors struct {
	t       *testing.T
	events  *event.Store
	metrics *metric.Store
	network *telemetry.Network
	origin  telemetry.Origin
	start   time.Time
}

func openDoors(t *testing.T) (*doors, Engine) {
	t.Helper()
	events, err := event.Open(event.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	metrics, err := metric.Open(metric.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { metrics.Close(context.Background()) })
	o := telemetry.Origin{Host: "node-a", Service: "guanlan", Version: "test"}
	d := &doors{t: t, events: events, metrics: metrics, network: telemetry.NewNetwork(o), origin: o, start: time.Now().Add(-10 * time.Minute).Truncate(time.Second)}
	return d, New(Options{Traces: events, Logs: events, Metrics: stored{metrics}})
}

// at is a moment in the tests' window, which holds it.
func (d *doors) at(after time.Duration) time.Time { return d.start.Add(after) }

func (d *doors) window(filter string) Window {
	return Window{Start: d.start.Add(-time.Minute), End: d.start.Add(5 * time.Minute), Filter: filter}
}

// report sends what the kernel receiver makes of a report: ten seconds from
// after on.
func (d *doors) report(after time.Duration, flows []tcp.Flow, namespaces ...tcp.Namespace) {
	d.t.Helper()
	r := &tcp.Report{From: d.at(after), To: d.at(after + 10*time.Second), Flows: flows, Namespaces: namespaces}
	if err := d.metrics.Write(d.t.Context(), store.Tenant{}, d.network.Metrics(r)); err != nil {
		d.t.Fatal(err)
	}
	records := telemetry.Records{Origin: d.origin}
	records.Signals(r, tcp.DefaultLimits())
	d.logs(&records)
}

func (d *doors) logs(r *telemetry.Records) {
	d.t.Helper()
	if r.Len() == 0 {
		return
	}
	if err := d.events.WriteLogs(d.t.Context(), store.Tenant{}, r.Take()); err != nil {
		d.t.Fatal(err)
	}
	d.flush()
}

func (d *doors) spans(list ...sp) {
	d.t.Helper()
	td := spans(list...)
	for _, rs := range td.ResourceSpans().All() { // the builder's times are from noon
		s := rs.ScopeSpans().At(0).Spans().At(0)
		for _, move := range []struct {
			from func() int64
			to   func(int64)
		}{
			{func() int64 { return int64(s.StartTimestamp()) }, func(n int64) { s.SetStartTimestamp(stamp(time.Duration(n))) }},
			{func() int64 { return int64(s.EndTimestamp()) }, func(n int64) { s.SetEndTimestamp(stamp(time.Duration(n))) }},
		} {
			move.to(move.from() - 2*noon.UnixNano() + d.start.UnixNano())
		}
	}
	if err := d.events.WriteTraces(d.t.Context(), store.Tenant{}, td); err != nil {
		d.t.Fatal(err)
	}
	d.flush()
}

func (d *doors) flush() {
	d.t.Helper()
	if err := d.events.Flush(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
}

// flowOf is a flow of a service to an endpoint.
func flowOf(service, to string, edit func(*tcp.Flow)) tcp.Flow {
	f := tcp.Flow{Identity: tcp.Identity{
		Process: kernel.Process{PID: 100, Comm: service, Exe: "/usr/bin/" + service, Service: service},
		NetNS:   7, Role: tcp.Client, Local: netip.MustParseAddrPort("10.0.0.1:0"), Remote: netip.MustParseAddrPort(to),
	}, Open: 2, BytesSent: 1000, BytesReceived: 5000, DataSegments: 400}
	f.RTT[6], f.RTTs, f.RTTSum = 40, 40, 40*time.Millisecond
	if edit != nil {
		edit(&f)
	}
	return f
}

func flowLine(f Flow) string {
	var signals []string
	for _, s := range f.Signals {
		signals = append(signals, s.Name+"/"+string(s.Level)+"/"+s.Over)
	}
	return fmt.Sprintf("%s → %s:%s (%s) %s %.0f/%.0f bytes %.0f/%.0f %v", f.Source.Name(), cmp.Or(f.Target.Service, f.Target.Address), f.Target.Port, f.Target.NamedBy, f.Health,
		f.BytesSent, f.BytesReceived, f.Retransmits, f.Segments, signals)
}

func TestNetworkHealth(t *testing.T) {
	d, e := openDoors(t)
	lossy := flowOf("shop", "10.0.0.9:5432", func(f *tcp.Flow) { f.Retransmits = 9 })
	slow := flowOf("shop", "10.0.0.8:6379", func(f *tcp.Flow) {
		f.RTT, f.RTTs, f.RTTOver = tcp.RTTHistogram{}, 50, 50
		f.RTT[30] = 50 // some 2 s
	})
	refused := flowOf("shop", "10.9.9.9:81", func(f *tcp.Flow) {
		f.BytesSent, f.BytesReceived, f.DataSegments, f.Open = 0, 0, 0, 0
		f.RTT, f.RTTs = tcp.RTTHistogram{}, 0
		f.Failed[tcp.Refused] = 3
	})
	fine := flowOf("shop", "10.0.0.7:80", nil)
	served := flowOf("gate", "10.0.0.5:0", func(f *tcp.Flow) {
		f.Role, f.Local = tcp.Server, netip.MustParseAddrPort("10.0.0.2:8080")
		f.Accepts, f.Waits, f.WaitSum = 4, 4, 40*time.Millisecond
	})
	// The lossy flow is fine in the second interval and later: over the window it still is not.
	d.report(0, []tcp.Flow{lossy, slow, refused, fine, served})
	d.report(10*time.Second, []tcp.Flow{fine, served})
	// Redis is slow in one interval only and has the answers of many thereafter.
	quick := flowOf("shop", "10.0.0.8:6379", func(f *tcp.Flow) { f.RTT[6], f.RTTs = 20_000, 20_000 })
	d.report(20*time.Second, []tcp.Flow{quick})
	// Spans know whom the shop calls at two of the addresses.
	client := map[string]any{"network.peer.address": "10.0.0.9", "server.address": "db.internal"}
	d.spans(
		sp{trace: 1, id: 1, service: "shop", name: "SELECT", kind: ptrace.SpanKindClient, to: time.Second, attrs: client},
		sp{trace: 1, id: 2, service: "stock", name: "GET /", kind: server, to: time.Second, resource: map[string]any{"host.ip": []any{"10.0.0.7", "fe80::1"}}},
	)
	got, err := e.NetworkHealth(t.Context(), d.window(""))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got.Flows {
		lines = append(lines, flowLine(f))
	}
	want := []string{
		"shop → db.internal:5432 (spans) bad 1000/5000 bytes 9/400 [tcp.retransmits/bad/window]",
		"shop → 10.9.9.9:81 (none) bad 0/0 bytes 0/0 [tcp.connect_failures/bad/window]",
		"shop → 10.0.0.8:6379 (none) warning 2000/10000 bytes 0/800 [tcp.rtt_p99/warning/moment]",
		"10.0.0.5 → gate:8080 (kernel) ok 10000/2000 bytes 0/800 []",
		"shop → stock:80 (resource) ok 2000/10000 bytes 0/800 []",
	}
	if diff := gocmp.Diff(want, lines); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	f := got.Flows[0]
	if len(f.Signals) == 1 && (len(f.Signals[0].Evidence) == 0 || !strings.Contains(f.Signals[0].Evidence[0], "9 of 400 segments")) {
		t.Errorf("evidence: got %q", f.Signals[0].Evidence)
	}
	if f.RTTP50 < 3e5 || f.RTTP50 > 2e6 || f.ConnectP99 != -1 || f.Ratio != 9.0/400 {
		t.Errorf("timings: got %+v", f)
	}
	if r := got.Flows[1].FailureKinds; len(r) != 1 || r[0] != (Tally{Value: "refused", Count: 3}) {
		t.Errorf("failures: got %v", r)
	}
	if w := got.Flows[3].AcceptWait; w < 9.9e6 || w > 10.1e6 {
		t.Errorf("accept wait: got %v", w)
	}
	// The links of a flow show what it counts.
	samples, err := stored{d.metrics}.Instant(t.Context(), store.Tenant{}, "sum(last_over_time(kernel_tcp_retransmits_total{"+f.Match+"}[10m]))", d.window("").End)
	if err != nil || len(samples) != 1 || samples[0].Value != 9 {
		t.Errorf("series of %s: got %v, %v", f.Match, samples, err)
	}
	records, err := e.Logs(t.Context(), Window{Start: d.window("").Start, End: d.window("").End, Filter: f.Records}, Page{})
	if err != nil || len(records.Logs) != 1 { // the signal
		t.Errorf("records of %s: got %d, %v", f.Records, len(records.Logs), err)
	}

	for filter, want := range map[string]int{
		"health = bad": 2, "health != ok": 3, "service.name = gate": 1, "target = db.internal": 0, "service.name = db.internal": 1, `target =~ "5432"`: 0,
		"port = 5432": 1, "rtt_p99 > 100ms": 0, "rtt_p99 >= 0ns": 4, "error.type = refused": 1, "signal = tcp.rtt_p99": 1, "10.0.0.9": 1,
		"retransmit_ratio > 0.01": 1, "role = server": 1, "exists signal": 3, "host.name = elsewhere": 0,
	} {
		if filter == "target = db.internal" {
			want = 1 // the name stands for the address
		}
		got, err := e.NetworkHealth(t.Context(), d.window(filter))
		if err != nil || len(got.Flows) != want {
			t.Errorf("%s: got %d flows, %v, want %d", filter, len(got.Flows), err, want)
		}
	}
	if _, err := e.NetworkHealth(t.Context(), d.window("health = great")); err == nil {
		t.Error("a health that is none was taken")
	}
}

// What the cluster and name servers call an address is shown; who the services
// themselves say is there is believed before, and names of hosts in spans are not.
func TestNamesOfPeersBySurety(t *testing.T) {
	d, e := openDoors(t)
	o := d.origin
	o.Names = &telemetry.Names{
		Asked: func(_ kernel.Process, _ uint32, a netip.Addr) string {
			return map[string]string{"10.2.3.4": "orders-db.internal", "10.2.3.6": "mail.example"}[a.String()]
		},
		Workload: func(a netip.AddrPort) (string, string) {
			if w := map[string]string{"10.1.0.5": "cart", "10.1.0.6": "pay"}[a.Addr().String()]; w != "" {
				return w, "shop"
			}
			return "", ""
		},
	}
	d.network = telemetry.NewNetwork(o)
	d.report(0, []tcp.Flow{
		flowOf("shop", "10.2.3.4:5432", nil), flowOf("shop", "10.2.3.6:25", nil), flowOf("shop", "10.1.0.5:80", nil), flowOf("shop", "10.1.0.6:80", nil),
	})
	attrs := func(address, key, name string) map[string]any {
		return map[string]any{"network.peer.address": address, key: name}
	}
	d.spans(
		sp{trace: 1, id: 1, service: "shop", name: "SELECT", kind: ptrace.SpanKindClient, to: time.Second, attrs: attrs("10.2.3.4", "server.address", "db")},
		sp{trace: 1, id: 2, service: "shop", name: "SEND", kind: ptrace.SpanKindClient, to: time.Second, attrs: attrs("10.2.3.6", "service.peer.name", "mailer")},
		sp{trace: 1, id: 3, service: "shop", name: "GET", kind: ptrace.SpanKindClient, to: time.Second, attrs: attrs("10.1.0.5", "server.address", "cart.shop.svc")},
		sp{trace: 1, id: 4, service: "payments", name: "GET /", kind: server, to: time.Second, resource: map[string]any{"k8s.pod.ip": "10.1.0.6"}},
		sp{trace: 2, id: 5, service: "shop", name: "SELECT", kind: ptrace.SpanKindClient, to: time.Second, attrs: map[string]any{"server.address": "orders-db.internal", "server.port": 5432}},
	)
	got, err := e.NetworkHealth(t.Context(), d.window(""))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got.Flows {
		lines = append(lines, fmt.Sprintf("%s:%s %s (%s)", f.Target.Address, f.Target.Port, f.Target.Name(), f.Target.NamedBy))
		samples, err := stored{d.metrics}.Instant(t.Context(), store.Tenant{}, "count(last_over_time(kernel_tcp_connections{"+f.Match+"}[10m]))", d.window("").End)
		if err != nil || len(samples) != 1 || samples[0].Value != 1 {
			t.Errorf("series of %s: got %v, %v", f.Match, samples, err)
		}
	}
	slices.Sort(lines)
	want := []string{
		"10.1.0.5:80 cart (kubernetes)", "10.1.0.6:80 payments (resource)",
		"10.2.3.4:5432 orders-db.internal (dns)", "10.2.3.6:25 mailer (spans)",
	}
	if diff := gocmp.Diff(want, lines); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for filter, want := range map[string]int{"target = orders-db.internal": 1, "service.name = cart": 1, "orders-db": 1, "address = 10.2.3.4": 1} {
		if got, err := e.NetworkHealth(t.Context(), d.window(filter)); err != nil || len(got.Flows) != want {
			t.Errorf("%s: got %d flows, %v, want %d", filter, len(got.Flows), err, want)
		}
	}
	// A span that tells a name and no address finds the socket by what was asked for.
	facts, err := e.KernelFacts(t.Context(), KernelAnchor{TraceID: "2"})
	if err != nil || len(facts.Spans) != 1 {
		t.Errorf("facts by name: got %+v, %v", facts, err)
	}
}

func TestNamespacesAndFeatures(t *testing.T) {
	d, e := openDoors(t)
	gate := kernel.Process{PID: 9, Comm: "java", Exe: "/usr/bin/java", Service: "gate"}
	crowded := tcp.Namespace{ID: 7, ListenOverflows: 3, ListenDrops: 5, Listeners: []tcp.Listener{{Process: gate, Addr: netip.MustParseAddrPort("[::]:8080"), Waiting: 129, Max: 128}}}
	crowded.States[tcp.TimeWait], crowded.States[tcp.Established], crowded.States[tcp.Listen] = 200, 100, 9
	calm := tcp.Namespace{ID: 8}
	calm.States[tcp.Established] = 5
	d.report(0, nil, crowded, calm)
	later := crowded
	later.ListenOverflows, later.ListenDrops = 0, 0
	later.Listeners = []tcp.Listener{{Process: gate, Addr: netip.MustParseAddrPort("[::]:8080"), Waiting: 1, Max: 128}}
	d.report(280*time.Second, nil, later, calm)
	health := []telemetry.Health{
		{Status: kernel.Status{Name: "tcp"}},
		{Status: kernel.Status{Name: "audit", Err: &kernel.Unsupported{Feature: "audit", Missing: "CAP_BPF"}}},
	}
	if err := d.metrics.Write(t.Context(), store.Tenant{}, telemetry.HealthMetrics(d.origin, health, d.at(0), d.at(10*time.Second))); err != nil {
		t.Fatal(err)
	}
	got, err := e.NetworkHealth(t.Context(), d.window(""))
	if err != nil {
		t.Fatal(err)
	}
	wantFeatures := []KernelFeature{{Host: "node-a", Feature: "audit", Missing: "CAP_BPF"}, {Host: "node-a", Feature: "tcp", Up: true}}
	if diff := gocmp.Diff(wantFeatures, got.Features); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
	if len(got.Namespaces) != 2 {
		t.Fatalf("got %d namespaces", len(got.Namespaces))
	}
	n := got.Namespaces[0]
	if n.ID != "7" || n.Health != LevelBad || n.Overflows != 3 || n.Drops != 5 || n.Sockets != 300 || n.TimeWaitShare < 0.66 || n.TimeWaitShare > 0.67 {
		t.Errorf("got %+v", n)
	}
	var signals, evidence []string
	for _, s := range n.Signals {
		evidence = append(evidence, s.Evidence...)
		signals = append(signals, fmt.Sprint(s.Name, " ", len(s.Evidence) > 0))
	}
	if diff := gocmp.Diff([]string{"tcp.time_wait true", "tcp.listen_overflow true"}, signals); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
	if want := "gate (pid 9) on [::]:8080: 0 dropped, 129 of 128 wait to be accepted"; !slices.Contains(evidence, want) {
		t.Errorf("%q is not in %q", want, evidence)
	}
	if want := (ListeningSocket{Service: "gate", Address: "::", Port: "8080", Queue: 1, Peak: 129, Limit: 128}); len(n.Listeners) != 1 || n.Listeners[0] != want {
		t.Errorf("listeners: got %+v", n.Listeners)
	}
	if c := got.Namespaces[1]; c.Health != LevelOK || c.TimeWaitShare != 0 {
		t.Errorf("calm: got %+v", c)
	}
}

// The limits of a window are those of the receiver's intervals.
func TestLimitsAgree(t *testing.T) {
	l := tcp.DefaultLimits()
	want := []any{l.TimeWaitShare, l.TimeWaitSockets, l.RetransmitShare, l.RetransmitSegments, l.Retransmits, l.RTTShare, l.RTTs, l.RTTsOver, l.SlowRTT, l.SlowConnect}
	got := []any{timeWaitShare, uint32(timeWaitSockets), retransmitShare, uint32(retransmitSegments), uint32(fewestRetransmit), slowShare, uint32(fewestRTTs), uint32(fewestSlow), slowRTT, slowConnect}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAuditAndOOM(t *testing.T) {
	d, e := openDoors(t)
	r := telemetry.Records{Origin: d.origin}
	shell := audit.Event{
		Seq: 1, Time: d.at(time.Second), Kind: audit.Exec, PID: 42, Parent: 41, UID: 1000, Comm: "sh", Exe: "/bin/sh", Args: []string{"sh", "-c", "id"},
		Container: strings.Repeat("ab", 32), Image: "shop:1.2", ContainerName: "shop", Service: "shop",
		Ancestors: []audit.Ancestor{{PID: 41, Comm: "nginx"}, {PID: 1, Comm: "we(ir)d"}},
		Findings: []audit.Finding{
			{Rule: "shell_in_container", Title: "A shell started in a container", Severity: audit.Notice, Technique: "T1059.004"},
			{Rule: "shell_from_server", Title: "A server process started a shell", Severity: audit.Warning, Technique: "T1190"},
		},
	}
	plain := audit.Event{Seq: 2, Time: d.at(2 * time.Second), Kind: audit.Open, PID: 43, Comm: "cat", Exe: "/bin/cat", Path: "/etc/hosts", Service: "cat"}
	lost := audit.Event{Seq: 3, Time: d.at(3 * time.Second), Kind: audit.Lost, Lost: 17}
	r.Audit(&shell)
	r.Audit(&plain)
	r.Audit(&lost)
	r.OOM(&oom.Event{
		Time: d.at(4 * time.Second), Lag: 3 * time.Millisecond, PID: 77, Comm: "shop", Exe: "/shop", Args: []string{"/shop", "serve"}, Service: "shop", By: 78, ByComm: "helper",
		Container: shell.Container, ContainerName: "shop-1", Image: "shop:1.2",
		Anonymous: 60 << 20, File: 4 << 20, Limit: 64 << 20, Usage: 64 << 20, PageCache: 1 << 20, LimitCgroup: "/pod/shop",
		Top:     []oom.Usage{{PID: 77, Comm: "shop", Exe: "/shop", Resident: 64 << 20}},
		History: []oom.Sample{{Time: d.at(0), Usage: 32 << 20}, {Time: d.at(2 * time.Second), Usage: 60 << 20, Cache: 1 << 20}},
	})
	d.logs(&r)

	got, err := e.Audit(t.Context(), d.window(""), "", Page{})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, a := range got.Events {
		kinds = append(kinds, a.Kind+" "+a.Severity)
	}
	if diff := gocmp.Diff([]string{"lost none", "open none", "exec warning"}, kinds); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	if got.Events[0].Lost != 17 {
		t.Errorf("lost: got %v", got.Events[0].Lost)
	}
	a := got.Events[2]
	want := AuditEvent{
		ID: a.ID, Time: shell.Time.UTC(), Kind: "exec", Severity: "warning", Text: a.Text, Service: "shop", Host: "node-a", PID: 42, ParentPID: 41,
		Executable: "/bin/sh", CommandLine: "sh -c id", User: "1000", Container: shell.Container, ContainerName: "shop", Image: "shop:1.2", Result: "0",
		Ancestors: []Ancestor{{41, "nginx"}, {1, "we(ir)d"}},
		Findings: []AuditFinding{
			{"shell_from_server", "A server process started a shell", "warning", "T1190"},
			{"shell_in_container", "A shell started in a container", "notice", "T1059.004"},
		},
	}
	if diff := gocmp.Diff(want, a); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]Tally{{"warning", 1}}, got.Severities); diff != "" {
		t.Errorf("severities (-want +got):\n%s", diff)
	}
	for atLeast, n := range map[string]int{"none": 3, "info": 1, "warning": 1, "critical": 0} {
		got, err := e.Audit(t.Context(), d.window("service.name != nobody"), atLeast, Page{})
		if err != nil || len(got.Events) != n {
			t.Errorf("at least %s: got %d, %v, want %d", atLeast, len(got.Events), err, n)
		}
		// The filter that is told shows the same records.
		logs, err := e.Logs(t.Context(), d.window(got.Filter), Page{})
		if err != nil || len(logs.Logs) != n {
			t.Errorf("logs of %s: got %d, %v", got.Filter, len(logs.Logs), err)
		}
	}
	if _, err := e.Audit(t.Context(), d.window(""), "loud", Page{}); err == nil {
		t.Error("a severity that is none was taken")
	}

	kills, err := e.OOM(t.Context(), d.window("service.name = shop"), Page{})
	if err != nil || len(kills.Stories) != 1 {
		t.Fatalf("got %+v, %v", kills, err)
	}
	s := kills.Stories[0]
	wantStory := OOMStory{
		ID: s.ID, Time: d.at(4 * time.Second).UTC(), Text: s.Text, Service: "shop", Host: "node-a", PID: 77, Executable: "/shop", CommandLine: "/shop serve",
		Container: shell.Container, ContainerName: "shop-1", Image: "shop:1.2",
		RSS: 64 << 20, Anonymous: 60 << 20, File: 4 << 20, LimitCgroup: "/pod/shop", Limit: 64 << 20, Usage: 64 << 20, PageCache: 1 << 20, By: "helper(78)", LagNs: 3e6,
		Top:     []MemoryUser{{77, "shop", "/shop", 64 << 20, 0}},
		History: []MemorySample{{d.at(0).UTC(), 32 << 20, 0}, {d.at(2 * time.Second).UTC(), 60 << 20, 1 << 20}},
	}
	if diff := gocmp.Diff(wantStory, s); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}

	facts, err := e.KernelFacts(t.Context(), KernelAnchor{Service: "shop", Start: d.window("").Start, End: d.window("").End})
	if err != nil || facts.Kills != 1 || len(facts.OOM) != 1 || len(facts.Audit) != 1 || facts.Findings != 1 || !facts.Seen {
		t.Errorf("facts: got %+v, %v", facts, err)
	}
	if diff := gocmp.Diff([]Tally{{"shell_from_server", 1}, {"shell_in_container", 1}}, facts.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestFactsOfTrace(t *testing.T) {
	d, e := openDoors(t)
	d.report(0, []tcp.Flow{
		flowOf("shop", "10.0.0.9:5432", func(f *tcp.Flow) { f.Retransmits = 4 }),
		flowOf("shop", "10.0.0.8:6379", nil),
		flowOf("other", "10.0.0.9:5432", func(f *tcp.Flow) { f.Retransmits = 50 }),
	})
	r := telemetry.Records{Origin: d.origin}
	socket := func(kind tcp.Kind, local, remote string, after time.Duration, n uint32) {
		r.TCP(&tcp.Event{Kind: kind, Time: d.at(after), Identity: tcp.Identity{
			Process: kernel.Process{PID: 1, Comm: "shop", Service: "shop"}, Role: tcp.Client,
			Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
		}, Retransmits: n, MaxRTT: 300 * time.Millisecond, State: tcp.Established, Duration: time.Minute})
	}
	socket(tcp.ClosedBad, "10.0.0.1:40001", "10.0.0.7:80", 60*time.Second, 2) // the span's own, kept for a minute
	socket(tcp.ClosedBad, "10.0.0.1:40002", "10.0.0.7:80", 6*time.Second, 70) // a neighbour
	socket(tcp.ResetReceived, "10.0.0.1:40003", "10.0.0.6:80", 5*time.Second, 0)
	socket(tcp.ResetReceived, "10.0.0.1:40004", "10.0.0.6:80", 5*time.Minute, 0) // much later
	d.logs(&r)
	peer := func(address string, port int, more ...any) map[string]any {
		m := map[string]any{"network.peer.address": address, "network.peer.port": port}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	client := ptrace.SpanKindClient
	d.spans(
		sp{trace: 9, id: 1, service: "shop", name: "GET /", kind: server, from: time.Second, to: 8 * time.Second, attrs: peer("10.0.0.9", 5432)},
		sp{trace: 9, id: 2, parent: 1, service: "shop", name: "db", kind: client, from: 2 * time.Second, to: 3 * time.Second, attrs: peer("10.0.0.9", 5432)},
		sp{trace: 9, id: 3, parent: 1, service: "shop", name: "cache", kind: client, from: 2 * time.Second, to: 3 * time.Second, attrs: peer("10.0.0.8", 6379)},
		sp{trace: 9, id: 4, parent: 1, service: "shop", name: "exact", kind: client, from: 2 * time.Second, to: 4 * time.Second, attrs: peer("10.0.0.7", 80, "network.local.port", 40001)},
		sp{trace: 9, id: 5, parent: 1, service: "shop", name: "reset", kind: client, from: 4 * time.Second, to: 6 * time.Second, attrs: peer("10.0.0.6", 80)},
		sp{trace: 9, id: 6, parent: 1, service: "shop", name: "unseen", kind: client, from: 4 * time.Second, to: 6 * time.Second, attrs: peer("10.0.0.5", 80)},
		sp{trace: 9, id: 7, parent: 1, service: "shop", name: "addressless", kind: client, from: 4 * time.Second, to: 6 * time.Second},
	)
	got, err := e.KernelFacts(t.Context(), KernelAnchor{TraceID: "9"})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got.Spans, func(a, b SpanSockets) int { return strings.Compare(a.SpanID, b.SpanID) })
	var lines []string
	for _, s := range got.Spans {
		var events []string
		for _, r := range s.Records {
			events = append(events, r.Event)
		}
		lines = append(lines, fmt.Sprintf("%s exact=%v %s retransmits %.0f of %.0f resets %.0f rtt %v %v", s.SpanID[15:], s.Exact, s.Health, s.Retransmits, s.Segments, s.Resets, time.Duration(s.RTTP99).Round(100*time.Millisecond), events))
	}
	want := []string{
		"2 exact=false bad retransmits 4 of 400 resets 0 rtt 0s []",
		"3 exact=false ok retransmits 0 of 400 resets 0 rtt 0s []",
		"4 exact=true bad retransmits 2 of 0 resets 0 rtt 300ms [closed_bad]",
		"5 exact=false warning retransmits 0 of 0 resets 1 rtt 0s [reset_received]",
	}
	if diff := gocmp.Diff(want, lines); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if got.Health != LevelBad || !got.Seen {
		t.Errorf("got health %s, seen %v", got.Health, got.Seen)
	}
}

// TestAuditRules reads which rules the hosts judge by, as the receiver tells them.
func TestAuditRules(t *testing.T) {
	d, e := openDoors(t)
	if none, err := e.AuditRules(t.Context(), d.window("")); err != nil || len(none.Rules) != 0 || len(none.Hosts) != 0 {
		t.Errorf("before any told: %+v, %v", none, err)
	}
	own := []byte(`version: 1
rules:
  - {id: own, title: Our own, severity: critical, attack: T1611, on: mount, source: /dev/sda}
allow: [{rule: shell_in_container, reason: scripts, image: "batch:*"}]
disable: kernel_module_in_container
`)
	builtin := string(audit.Builtin())
	if !strings.Contains(builtin, "id: kernel_module_in_container") {
		t.Fatal("a rule has another name now")
	}
	changed, err := audit.ParseRules([]byte(builtin), own)
	if err != nil {
		t.Fatal(err)
	}
	tell := func(host string, after time.Duration, rules *audit.Rules, sources ...string) {
		r := telemetry.Records{Origin: telemetry.Origin{Host: host, Service: "guanlan-agent"}}
		r.Rules(d.at(after), rules, sources)
		d.logs(&r)
	}
	tell("a", -time.Hour, audit.DefaultRules(), "") // an hour before the window
	tell("b", -time.Minute, audit.DefaultRules(), "")
	tell("b", time.Minute, changed, "", "/etc/own.yaml")
	got, err := e.AuditRules(t.Context(), d.window(""))
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]string{"a", "b"}, got.Hosts); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	f := func(id string, want ...string) {
		t.Helper()
		var lines []string
		for _, r := range got.Rules {
			if r.ID == id {
				lines = append(lines, fmt.Sprintf("%v %q %s %s unless %d on %v", r.Enabled, r.Source, r.Severity, r.Technique, len(r.Unless), r.Hosts))
			}
		}
		if diff := gocmp.Diff(want, lines); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	f("shell_with_terminal", `true "" warning T1609 unless 0 on [a b]`)
	f("shell_in_container", `true "" notice T1059.004 unless 2 on [b]`, `true "" notice T1059.004 unless 1 on [a]`)
	f("own", `true "/etc/own.yaml" critical T1611 unless 0 on [b]`)
	last := got.Rules[len(got.Rules)-1]
	if last.ID != "kernel_module_in_container" || last.Enabled || len(last.Hosts) != 1 {
		t.Errorf("disabled rules are last: %+v", last)
	}
	// They are no events of the audit.
	if l, err := e.Audit(t.Context(), d.window(""), "none", Page{}); err != nil || len(l.Events) != 0 {
		t.Errorf("events %+v, %v", l, err)
	}
}

// TestRelatedKernel counts what the pages of the kernel then show.
func TestRelatedKernel(t *testing.T) {
	d, e := openDoors(t)
	lines := func(a Anchor) (out []string) {
		t.Helper()
		a.Start, a.End = d.window("").Start, d.window("").End
		r, err := e.Related(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range r.Items {
			if slices.Contains([]string{"network", "sockets", "oom", "audit"}, i.Kind) {
				out = append(out, fmt.Sprintf("%s %d %s: %s", i.Kind, i.Count, i.Level, i.Filter))
			}
		}
		return out
	}
	if got := lines(Anchor{Service: "order"}); got != nil {
		t.Errorf("nobody watches: %q", got)
	}
	d.report(0, []tcp.Flow{flowOf("order", "10.0.0.9:5432", nil)})
	r := telemetry.Records{Origin: d.origin}
	r.OOM(&oom.Event{Time: d.at(time.Minute), PID: 9, Comm: "order", Service: "order"})
	r.Audit(&audit.Event{Time: d.at(time.Minute), Kind: audit.Exec, Comm: "order", Service: "order", Findings: []audit.Finding{{Rule: "x", Title: "X", Severity: audit.Notice, Technique: "T1059"}}})
	r.Audit(&audit.Event{Time: d.at(time.Minute), Kind: audit.Exec, Comm: "order", Service: "order"})
	r.Audit(&audit.Event{Time: d.at(time.Minute), Kind: audit.Exec, Comm: "sh", Service: "stock", Findings: []audit.Finding{{Rule: "x", Title: "X", Severity: audit.Notice, Technique: "T1059"}}})
	d.logs(&r)
	want := []string{
		"network 1 ok: service.name = order",
		`sockets 0 ok: event_name =~ ^kernel\.tcp\. and service.name = order`,
		"oom 1 ok: service.name = order", "audit 1 ok: service.name = order",
	}
	if diff := gocmp.Diff(want, lines(Anchor{Service: "order"})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
