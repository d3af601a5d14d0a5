//go:build linux

package telemetry

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what %s has (-want +got):\n%s", name, path, d)
	}
}

// attributes are sorted: their order means nothing.
func attributes(m pcommon.Map) string {
	var all []string
	for k, v := range m.All() {
		all = append(all, k+"="+v.AsString())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// times are seconds after noon.
func times(p interface {
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
}) string {
	after := func(t pcommon.Timestamp) float64 { return t.AsTime().Sub(noon).Seconds() }
	if p.StartTimestamp() == 0 {
		return fmt.Sprintf("@%g", after(p.Timestamp()))
	}
	return fmt.Sprintf("%g..%g", after(p.StartTimestamp()), after(p.Timestamp()))
}

func metricsText(all pmetric.Metrics) string {
	var b strings.Builder
	for _, rm := range all.ResourceMetrics().All() {
		fmt.Fprintf(&b, "resource %s\n", attributes(rm.Resource().Attributes()))
		for _, sm := range rm.ScopeMetrics().All() {
			fmt.Fprintf(&b, " scope %s %s\n", sm.Scope().Name(), sm.Scope().Version())
			for _, m := range sm.Metrics().All() {
				temporality := ""
				var numbers pmetric.NumberDataPointSlice
				switch m.Type() {
				case pmetric.MetricTypeGauge:
					numbers = m.Gauge().DataPoints()
				case pmetric.MetricTypeSum:
					numbers, temporality = m.Sum().DataPoints(), m.Sum().AggregationTemporality().String()
				case pmetric.MetricTypeExponentialHistogram:
					numbers, temporality = pmetric.NewNumberDataPointSlice(), m.ExponentialHistogram().AggregationTemporality().String()
				}
				fmt.Fprintf(&b, "  %s (%s) %s %s\n", m.Name(), m.Unit(), m.Type(), temporality)
				for _, p := range numbers.All() {
					value := fmt.Sprint(p.IntValue())
					if p.ValueType() == pmetric.NumberDataPointValueTypeDouble {
						value = fmt.Sprint(p.DoubleValue(), "f")
					}
					fmt.Fprintf(&b, "   %s %s = %s\n", times(p), attributes(p.Attributes()), value)
				}
				if m.Type() == pmetric.MetricTypeExponentialHistogram {
					for _, p := range m.ExponentialHistogram().DataPoints().All() {
						fmt.Fprintf(&b, "   %s %s = n %d sum %g scale %d from %d %v\n", times(p), attributes(p.Attributes()),
							p.Count(), p.Sum(), p.Scale(), p.Positive().Offset(), p.Positive().BucketCounts().AsRaw())
					}
				}
			}
		}
	}
	return b.String()
}

func logsText(all plog.Logs) string {
	var b strings.Builder
	for _, rl := range all.ResourceLogs().All() {
		fmt.Fprintf(&b, "resource %s\n", attributes(rl.Resource().Attributes()))
		for _, sl := range rl.ScopeLogs().All() {
			fmt.Fprintf(&b, " scope %s %s\n", sl.Scope().Name(), sl.Scope().Version())
			for _, l := range sl.LogRecords().All() {
				fmt.Fprintf(&b, "  @%g %s %s %s: %s\n", l.Timestamp().AsTime().Sub(noon).Seconds(), l.EventName(), l.SeverityNumber(), l.SeverityText(), l.Body().AsString())
				for _, kv := range sorted(l.Attributes()) {
					fmt.Fprintf(&b, "   %s\n", kv)
				}
			}
		}
	}
	return b.String()
}

func sorted(m pcommon.Map) []string {
	var all []string
	for k, v := range m.All() {
		all = append(all, k+" = "+v.AsString())
	}
	slices.Sort(all)
	return all
}

var (
	origin = Origin{Host: "node-1", Service: "guanlan-agent", Version: "1.2.3"}
	noon   = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

	pod       = "6b7d2a4e-0c1f-4b7a-9f0e-2d3c4b5a6f70"
	container = "4f2a9c0d1e3b5a7f4f2a9c0d1e3b5a7f4f2a9c0d1e3b5a7f4f2a9c0d1e3b5a7f"
	order     = kernel.Process{PID: 4711, Comm: "order", Exe: "/app/order", Service: "order", Container: container, Pod: pod}
	postgres  = kernel.Process{PID: 812, Comm: "postgres", Exe: "/usr/lib/postgresql/15/bin/postgres"}
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// toDatabase is a client's flow.
func toDatabase() tcp.Flow {
	f := tcp.Flow{
		Identity: tcp.Identity{Process: order, PeerProcess: postgres, NetNS: 4026531840, Role: tcp.Client, Local: addr("10.0.0.5:0"), Remote: addr("10.0.0.9:5432")},
		Open:     4, BytesSent: 120_000, BytesReceived: 3_400_000, DataSegments: 400, Retransmits: 6, OutOfOrder: 2,
		RTTs: 30, RTTOver: 3, RTTSum: 90 * time.Millisecond,
		Connects: 3, ConnectOver: 1, ConnectSum: 150 * time.Millisecond, SYNsAgain: 1,
		Closed: 2, TimeWaits: 1, ResetsReceived: 1, ZeroPeer: 1,
	}
	f.Failed[tcp.Refused], f.Failed[tcp.TimedOut] = 2, 1
	f.RTT[5], f.RTT[6], f.RTT[24] = 20, 7, 3
	f.Connect[1], f.Connect[11] = 2, 1
	return f
}

// atDatabase is the same from the other side.
func atDatabase() tcp.Flow {
	return tcp.Flow{
		Identity: tcp.Identity{Process: postgres, PeerProcess: order, NetNS: 4026531840, Role: tcp.Server, Local: addr("10.0.0.9:5432"), Remote: addr("10.0.0.5:0")},
		Open:     4, BytesSent: 3_400_000, BytesReceived: 120_000, DataSegments: 3000,
		Accepts: 3, HandshakeSum: 3 * time.Millisecond, Waits: 3, WaitSum: 4500 * time.Microsecond,
	}
}

func report(from time.Time, flows ...tcp.Flow) *tcp.Report {
	ns := tcp.Namespace{ID: 4026531840, ListenOverflows: 2, ListenDrops: 3}
	ns.States[tcp.Established], ns.States[tcp.TimeWait] = 8, 1
	ns.Listeners = []tcp.Listener{
		{Process: postgres, NetNS: 4026531840, Addr: addr("[::]:5432"), Waiting: 1, Max: 200},
		{Process: postgres, NetNS: 4026531840, Addr: addr("[::]:5432"), Waiting: 2, Max: 200}, // SO_REUSEPORT
	}
	return &tcp.Report{From: from, To: from.Add(10 * time.Second), Flows: flows, Namespaces: []tcp.Namespace{ns}}
}

func TestMetricsOfAReport(t *testing.T) {
	n := NewNetwork(origin)
	golden(t, "report", metricsText(n.Metrics(report(noon, toDatabase(), atDatabase()))))
	// Nothing moved: what was told before is told as it is now, without zeros in front.
	quiet := toDatabase()
	quiet = tcp.Flow{Identity: quiet.Identity, Open: 4}
	golden(t, "report_quiet", metricsText(n.Metrics(report(noon.Add(10*time.Second), quiet))))
}

func TestRecordsOfConnections(t *testing.T) {
	r := Records{Origin: origin}
	at := tcp.Event{Time: noon, Identity: toDatabase().Identity}
	at.Local = addr("10.0.0.5:40112")
	for _, change := range []func(*tcp.Event){
		func(e *tcp.Event) { e.Kind, e.Duration = tcp.ConnectSlow, 231*time.Millisecond },
		func(e *tcp.Event) {
			e.Kind, e.Failure, e.Duration, e.Retransmits = tcp.ConnectFailed, tcp.TimedOut, 7*time.Second, 3
			e.PeerProcess = kernel.Process{}
		},
		func(e *tcp.Event) { e.Kind, e.State = tcp.ResetReceived, tcp.Established },
		func(e *tcp.Event) {
			e.Kind, e.State, e.Role, e.Process, e.PeerProcess = tcp.ResetSent, tcp.CloseWait, tcp.Server, postgres, order
			e.Local, e.Remote = e.Remote, e.Local
		},
		func(e *tcp.Event) {
			e.Kind, e.Duration, e.Retransmits, e.SRTT, e.MaxRTT = tcp.ClosedBad, time.Minute, 1, 12*time.Millisecond, 412345*time.Microsecond
		},
		func(e *tcp.Event) {
			e.Kind, e.Duration, e.Retransmits, e.SRTT, e.MaxRTT = tcp.Connection, time.Hour, 7, 12*time.Millisecond, 412345*time.Microsecond
		},
	} {
		e := at
		change(&e)
		r.TCP(&e)
	}
	// Nobody is seen to have a full queue; then somebody is.
	r.Signals(report(noon, toDatabase(), atDatabase()), tcp.DefaultLimits())
	full := report(noon)
	full.Namespaces[0].Listeners[1].Drops = 3
	r.Signals(full, tcp.DefaultLimits())
	golden(t, "connections", logsText(r.Take()))
	if r.Len() != 0 || r.Take().LogRecordCount() != 0 {
		t.Error("records are told twice")
	}
}

func TestRecordOfAKill(t *testing.T) {
	r := Records{Origin: origin}
	e := oom.Event{Time: noon, Lag: 1500 * time.Microsecond, PID: 4711, Parent: 4700, UID: 1000, Comm: "order", Exe: "/app/order", Args: []string{"/app/order", "--cache=all"},
		Service: "order", By: 4712, ByComm: "order", Anonymous: 500 << 20, File: 3 << 20, Shared: 1 << 20, Swap: 4096,
		Cgroup: "/kubepods/pod" + pod + "/" + container, Container: container, Pod: pod, Image: "registry.example/order:1.4", ContainerName: "order",
		LimitCgroup: "/kubepods/pod" + pod, Limit: 512 << 20, Usage: 512 << 20, PageCache: 2 << 20, ScoreAdj: 980,
		Top:     []oom.Usage{{PID: 4711, Comm: "order", Exe: "/app/order", Resident: 504 << 20, Shared: 4 << 20}, {PID: 4720, Comm: "sh", Resident: 1 << 20}},
		History: []oom.Sample{{Time: noon.Add(-5 * time.Second), Usage: 480 << 20, Cache: 5 << 20}, {Time: noon.Add(-10 * time.Second), Usage: 200 << 20}}}
	r.OOM(&e)
	e = oom.Event{Time: noon, PID: 9, Comm: "leak", Host: true, Anonymous: 7 << 30, By: 1, ByComm: "init"}
	r.OOM(&e)
	golden(t, "oom", logsText(r.Take()))
}

func TestRecordsOfTheAudit(t *testing.T) {
	r := Records{Origin: origin}
	at := audit.Event{Time: noon, PID: 31, Parent: 12, UID: 0, Comm: "bash", Exe: "/bin/bash", Args: []string{"bash", "-i"},
		Ancestors: []audit.Ancestor{{PID: 12, Comm: "runc"}, {PID: 3, Comm: "containerd-shim"}},
		Cgroup:    "/kubepods/x", Container: container, Pod: pod, Image: "registry.example/order:1.4", ContainerName: "order", Service: "order"}
	for i, change := range []func(*audit.Event){
		func(e *audit.Event) {
			e.Kind, e.Path, e.Terminal = audit.Exec, "/bin/bash", true
			e.Findings = []audit.Finding{{Rule: "shell_in_container", Title: "A shell started in a container", Severity: audit.Notice, Technique: "T1059.004"},
				{Rule: "shell_with_terminal", Title: "Somebody opened an interactive shell in a container", Severity: audit.Warning, Technique: "T1609"}}
		},
		func(e *audit.Event) {
			e.Kind, e.Call, e.Path, e.Write, e.Result = audit.Open, "openat", "/etc/shadow", true, -13
			e.Findings = []audit.Finding{{Rule: "write_accounts", Title: "Users were written", Severity: audit.Critical, Technique: "T1136.001"}}
		},
		func(e *audit.Event) { e.Kind, e.Call, e.Path = audit.Connect, "connect", "/run/docker.sock" },
		func(e *audit.Event) { e.Kind, e.Call, e.Namespaces = audit.Namespace, "setns", []string{"net", "mnt"} },
		func(e *audit.Event) {
			e.Kind, e.Call, e.Source, e.FSType, e.Path = audit.Mount, "mount", "/dev/sda1", "ext4", "/mnt"
		},
		func(e *audit.Event) { e.Kind, e.Call, e.TargetPID, e.Detail = audit.Ptrace, "ptrace", 7, "attach" },
		func(e *audit.Event) { e.Kind, e.Call, e.Detail = audit.BPF, "bpf", "snoop" },
		func(e *audit.Event) { e.Kind, e.Call, e.Detail = audit.Module, "finit_module", "debug=1" },
		func(e *audit.Event) { e.Kind, e.Call = audit.URing, "io_uring_setup" },
		func(e *audit.Event) { e.Kind, e.TargetPID, e.Exe, e.Args = audit.Fork, 32, "", nil },
		func(e *audit.Event) { e.Kind, e.Result = audit.Exit, 256 },
		func(e *audit.Event) { *e = audit.Event{Kind: audit.Lost, Time: noon, Lost: 12, Seq: e.Seq} },
	} {
		e := at
		e.Seq = uint64(i + 1)
		change(&e)
		r.Audit(&e)
	}
	golden(t, "audit", logsText(r.Take()))
}

func TestRecordOfRules(t *testing.T) {
	rules, err := audit.ParseRules([]byte(`version: 1
rules:
  - {id: shell, title: A shell, why: It is rare., severity: warning, attack: T1059.004, on: [exec], in: container, exe: [sh, bash], unless: [{first: true}]}
  - {id: mount, title: A mount, severity: info, attack: T1611, on: mount}
`), []byte(`version: 1
rules:
  - {id: own, title: Our own, severity: critical, attack: T1611, on: mount, source: /dev/sda}
disable: mount
`))
	if err != nil {
		t.Fatal(err)
	}
	r := Records{Origin: origin}
	r.Rules(noon, rules, []string{"", "/etc/guanlan/rules.yaml"})
	golden(t, "rules", logsText(r.Take()))
}

func TestMetricsOfHealth(t *testing.T) {
	all := []Health{
		{Status: kernel.Status{Name: "tcp", Stats: kernel.Stats{Events: 12, Dropped: 3,
			Programs: []kernel.ProgramStats{{Name: "on_state", Runs: 1000, Time: 200 * time.Microsecond}, {Name: "idle"}}}}, Lost: 4, Folded: 2},
		{Status: kernel.Status{Name: "audit", Err: &kernel.Unsupported{Feature: "audit", Missing: "CAP_BPF, CAP_PERFMON", Next: "grant it"}}},
	}
	golden(t, "health", metricsText(HealthMetrics(origin, all, noon, noon.Add(time.Minute))))
}
