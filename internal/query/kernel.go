package query

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Network is the filter signal of flows: who talks to whom.
const Network Signal = "network"

// Level says how well something does, the worst of its signals.
type Level string

// The levels, from the best to the worst.
const (
	LevelOK      Level = "ok"
	LevelWarning Level = "warning"
	LevelBad     Level = "bad"
)

func (l Level) rank() int { return slices.Index([]Level{LevelOK, LevelWarning, LevelBad}, l) }

func worse(a, b Level) Level {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

// NetworkHealth is who talks to whom as the kernels of the hosts saw it.
type NetworkHealth struct {
	Flows      []Flow          `json:"flows" nullable:"false" doc:"Worst first, then by bytes."`
	Total      int             `json:"total" doc:"Flows that meet the filter; above the limit only the first are in flows."`
	Namespaces []NetNamespace  `json:"namespaces" nullable:"false"`
	Features   []KernelFeature `json:"features" nullable:"false" doc:"What runs where; empty when no kernel receiver reported in the window."`
}

// KernelFeature is one part of the kernel receiver on one host.
type KernelFeature struct {
	Host    string `json:"host"`
	Feature string `json:"feature" doc:"tcp, dns, oom, audit, profile or attach."`
	Up      bool   `json:"up"`
	Missing string `json:"missing" doc:"What this kernel or process lacks for it; empty while it is up."`
}

// Endpoint is one side of a flow.
type Endpoint struct {
	Service string `json:"service" doc:"Empty when only the address is known."`
	Address string `json:"address" doc:"Empty for the side that was observed: it may have many."`
	Port    string `json:"port" doc:"Empty for ephemeral ports."`
	NamedBy string `json:"namedBy" enum:"kernel,spans,resource,kubernetes,dns,none" doc:"How the service is known: by the kernel (its own process or a process of the same host), by client spans to the address, by the address in a service's resource, as the workload or service that has the address in Kubernetes, as the name that the client asked a name server for, or not."`
}

// Name is what people call the endpoint.
func (p Endpoint) Name() string {
	switch {
	case p.Service != "":
		return p.Service
	case p.Port != "" && strings.Contains(p.Address, ":"):
		return "[" + p.Address + "]:" + p.Port
	case p.Port != "":
		return p.Address + ":" + p.Port
	}
	return p.Address
}

// Flow is the connections of one service to one endpoint, or from one address
// to one port of a service, over the window. Durations are nanoseconds, -1
// where nothing was measured.
type Flow struct {
	ID     string   `json:"id" doc:"Names the flow within an answer and in the next one."`
	Source Endpoint `json:"source"`
	Target Endpoint `json:"target"`
	Role   string   `json:"role" enum:"client,server,unknown" doc:"Which side the observed process is."`
	Host   string   `json:"host" doc:"Where it was observed."`

	BytesSent     float64 `json:"bytesSent" doc:"From source to target."`
	BytesReceived float64 `json:"bytesReceived" doc:"From target to source."`
	Segments      float64 `json:"segments" doc:"Segments with data that the observed side sent."`
	Retransmits   float64 `json:"retransmits" doc:"Of them those sent again."`
	Ratio         float64 `json:"retransmitRatio" doc:"Retransmits of segments, 0 to 1; -1 without segments."`
	OutOfOrder    float64 `json:"outOfOrder" doc:"Segments that came out of order."`
	RTTs          float64 `json:"rtts" doc:"Samples of the round-trip time."`
	RTTP50        float64 `json:"rttP50"`
	RTTP99        float64 `json:"rttP99"`
	Connects      float64 `json:"connects" doc:"Connections that came about, as the client saw it."`
	ConnectP99    float64 `json:"connectP99" doc:"From SYN to SYN-ACK."`
	Accepts       float64 `json:"accepts" doc:"Connections that the server took."`
	AcceptWait    float64 `json:"acceptWait" doc:"Mean wait of accepted connections for the process, nanoseconds; -1 without any."`
	Failures      float64 `json:"failures" doc:"Connections that did not come about."`
	FailureKinds  []Tally `json:"failureKinds" nullable:"false" doc:"Failures by reason."`
	Resets        float64 `json:"resets" doc:"Resets sent and received."`
	ZeroWindows   float64 `json:"zeroWindows" doc:"Times a receiver closed its window: it reads too slowly."`
	TimeWaits     float64 `json:"timeWaits" doc:"Closed connections that left a socket in TIME_WAIT here."`
	Connections   float64 `json:"connections" doc:"Open at the end of the window."`

	Health  Level          `json:"health" enum:"ok,warning,bad"`
	Signals []KernelSignal `json:"signals" nullable:"false"`
	Match   string         `json:"match" doc:"PromQL matchers of the flow's series kernel_tcp_*."`
	Records string         `json:"records" doc:"Filter of logs that shows the flow's events."`
}

// KernelSignal is a limit that was passed, with what it stands on.
type KernelSignal struct {
	Name     string    `json:"name" enum:"tcp.time_wait,tcp.retransmits,tcp.rtt_p99,tcp.syn_ack,tcp.listen_overflow,tcp.connect_failures,tcp.resets"`
	Level    Level     `json:"level" enum:"ok,warning,bad"`
	Over     string    `json:"over" enum:"window,moment" doc:"Whether the whole window is above the limit or only some interval in it."`
	Value    float64   `json:"value" doc:"In unit."`
	Limit    float64   `json:"limit" doc:"In unit; 0 where any is too many."`
	Unit     string    `json:"unit" enum:"ratio,ns,count"`
	Evidence []string  `json:"evidence" nullable:"false" doc:"English sentences of the host that saw it; empty for a finding over the window, whose figures stand in the flow."`
	Time     time.Time `json:"time" doc:"The newest interval above the limit; the end of the window for a finding over the window."`
}

// NetNamespace is one network namespace of a host.
type NetNamespace struct {
	ID            string            `json:"id" doc:"Inode number; empty where the sender does not tell."`
	Host          string            `json:"host"`
	States        []Tally           `json:"states" nullable:"false" doc:"Sockets by state at the end of the window, most first."`
	Sockets       float64           `json:"sockets" doc:"Of them those with a connection: without listening and closed ones."`
	TimeWaitShare float64           `json:"timeWaitShare" doc:"Share of sockets in TIME_WAIT, 0 to 1; -1 without sockets."`
	Overflows     float64           `json:"listenOverflows" doc:"Connections that found a full accept queue."`
	Drops         float64           `json:"listenDrops" doc:"Connections and SYNs that listening sockets dropped."`
	Listeners     []ListeningSocket `json:"listeners" nullable:"false"`
	Health        Level             `json:"health" enum:"ok,warning,bad"`
	Signals       []KernelSignal    `json:"signals" nullable:"false"`
	Match         string            `json:"match" doc:"PromQL matchers of the namespace's series."`
}

// ListeningSocket is a listening socket.
type ListeningSocket struct {
	Service string  `json:"service"`
	Address string  `json:"address"`
	Port    string  `json:"port"`
	Queue   float64 `json:"queue" doc:"Connections that nobody accepted yet, at the end of the window."`
	Peak    float64 `json:"peak" doc:"Most such connections in the window."`
	Limit   float64 `json:"limit" doc:"How many there may be."`
	Drops   float64 `json:"drops" doc:"Connections and SYNs that it dropped."`
}

// AuditList is a page of audit events.
type AuditList struct {
	Events     []AuditEvent `json:"events" nullable:"false" doc:"Newest first."`
	Next       string       `json:"next" doc:"Cursor of the next page; empty at the end."`
	Severities []Tally      `json:"severities" nullable:"false" doc:"Findings of the whole window by severity."`
	Rules      []Tally      `json:"rules" nullable:"false" doc:"Events of the whole window by rule, most first; one that meets two rules counts for both."`
	Filter     string       `json:"filter" doc:"The filter of logs that shows exactly these events."`
}

// AuditEvent is one act of one process.
type AuditEvent struct {
	ID            string         `json:"id" doc:"Names the log record."`
	Time          time.Time      `json:"time"`
	Kind          string         `json:"kind" doc:"exec, exit, fork, open, connect, namespace, mount, ptrace, bpf, module, io_uring or lost."`
	Severity      string         `json:"severity" enum:"none,info,notice,warning,critical" doc:"Of the worst finding; none where no rule is met."`
	Findings      []AuditFinding `json:"findings" nullable:"false" doc:"Worst first."`
	Text          string         `json:"text" doc:"One English sentence."`
	Service       string         `json:"service"`
	Host          string         `json:"host"`
	PID           int64          `json:"pid"`
	ParentPID     int64          `json:"parentPid"`
	Executable    string         `json:"executable"`
	CommandLine   string         `json:"commandLine"`
	User          string         `json:"user" doc:"User id."`
	Container     string         `json:"container" doc:"Container id."`
	ContainerName string         `json:"containerName"`
	Pod           string         `json:"pod" doc:"Name, else uid."`
	Image         string         `json:"image"`
	Path          string         `json:"path" doc:"File or socket that the event is about."`
	Call          string         `json:"call" doc:"System call."`
	Result        string         `json:"result" doc:"What the call returned; negative is an error number."`
	Denied        bool           `json:"denied" doc:"The kernel refused the call for want of permission."`
	Detail        string         `json:"detail"`
	Ancestors     []Ancestor     `json:"ancestors" nullable:"false" doc:"The parent first."`
	Lost          float64        `json:"lost" doc:"Events lost at this place."`
}

// AuditFinding is a rule that an event meets.
type AuditFinding struct {
	Rule      string `json:"rule"`
	Title     string `json:"title"`
	Severity  string `json:"severity" enum:"info,notice,warning,critical"`
	Technique string `json:"technique" doc:"MITRE ATT&CK id, for example T1059.004."`
}

// Ancestor is a parent, or a parent's parent.
type Ancestor struct {
	PID  int64  `json:"pid"`
	Name string `json:"name"`
}

// OOMList is a page of kills for want of memory.
type OOMList struct {
	Stories  []OOMStory      `json:"stories" nullable:"false" doc:"Newest first."`
	Next     string          `json:"next" doc:"Cursor of the next page; empty at the end."`
	Features []KernelFeature `json:"features" nullable:"false" doc:"Where the watch runs."`
}

// OOMStory is one victim and what led to it. Sizes are bytes.
type OOMStory struct {
	ID            string         `json:"id" doc:"Names the log record."`
	Time          time.Time      `json:"time"`
	Text          string         `json:"text" doc:"One English sentence."`
	Service       string         `json:"service"`
	Host          string         `json:"host"`
	PID           int64          `json:"pid"`
	Executable    string         `json:"executable"`
	CommandLine   string         `json:"commandLine"`
	Container     string         `json:"container"`
	ContainerName string         `json:"containerName"`
	Image         string         `json:"image"`
	Pod           string         `json:"pod"`
	RSS           float64        `json:"rss" doc:"What the victim held."`
	Anonymous     float64        `json:"anonymous"`
	File          float64        `json:"file"`
	Swap          float64        `json:"swap"`
	OfHost        bool           `json:"ofHost" doc:"No limit was hit: the machine had no memory left."`
	LimitCgroup   string         `json:"limitCgroup" doc:"Whose limit was hit."`
	Limit         float64        `json:"limit"`
	Usage         float64        `json:"usage"`
	PageCache     float64        `json:"pageCache"`
	By            string         `json:"by" doc:"Process whose request for memory could not be met."`
	ScoreAdj      float64        `json:"scoreAdj" doc:"oom_score_adj of the victim."`
	LagNs         float64        `json:"lagNs" doc:"From the kill until the story was complete."`
	Top           []MemoryUser   `json:"top" nullable:"false" doc:"Largest processes below the limit."`
	History       []MemorySample `json:"history" nullable:"false" doc:"Memory below the limit in the minutes before, the oldest first."`
}

// MemoryUser is a process and what it held.
type MemoryUser struct {
	PID        int64   `json:"pid"`
	Name       string  `json:"name"`
	Executable string  `json:"executable"`
	Resident   float64 `json:"resident"`
	Shared     float64 `json:"shared"`
}

// MemorySample is memory at one moment.
type MemorySample struct {
	Time  time.Time `json:"time"`
	Usage float64   `json:"usage"`
	Cache float64   `json:"cache"`
}

// KernelAnchor is what kernel facts are asked about: a trace, or a service in
// a window.
type KernelAnchor struct {
	TraceID    string
	Near       time.Time // a time close to the trace; may be zero
	Service    string
	Start, End time.Time
}

// KernelFacts is what the kernel knows of a trace or of a service.
type KernelFacts struct {
	Spans    []SpanSockets `json:"spans" nullable:"false" doc:"Of a trace: its client spans whose sockets were seen, by span id."`
	Flows    []Flow        `json:"flows" nullable:"false" doc:"Of a service: its flows, worst first, at most 50."`
	Health   Level         `json:"health" enum:"ok,warning,bad" doc:"The worst of the flows."`
	OOM      []OOMStory    `json:"oom" nullable:"false" doc:"Newest first, at most 10."`
	Kills    uint64        `json:"kills" doc:"All kills for want of memory."`
	Audit    []AuditEvent  `json:"audit" nullable:"false" doc:"The newest findings, at most 10."`
	Findings uint64        `json:"findings" doc:"Audit events that meet a rule."`
	Rules    []Tally       `json:"rules" nullable:"false" doc:"Audit findings by rule."`
	Seen     bool          `json:"seen" doc:"Whether any kernel receiver reported around that time."`
	Skipped  int           `json:"skipped" doc:"Client spans of the trace that were not looked at."`
	// Profiles may be there without any kernel receiver.
	Profiles []FoundProfiles `json:"profiles" nullable:"false" doc:"Of a trace: profiles with samples of it, and of the processes that had spans in it while they had, the busiest 12. Of a service: by type."`
}

// SpanSockets is what was seen of the sockets behind a client span.
type SpanSockets struct {
	SpanID      string         `json:"spanId"`
	Service     string         `json:"service"`
	Peer        Endpoint       `json:"peer"`
	Exact       bool           `json:"exact" doc:"True: the very socket, by its local port. False: connections of this service to this peer in these seconds."`
	Retransmits float64        `json:"retransmits"`
	Segments    float64        `json:"segments" doc:"0 where only events are known."`
	RTTP50      float64        `json:"rttP50" doc:"Nanoseconds; -1 when not measured."`
	RTTP99      float64        `json:"rttP99" doc:"Nanoseconds; the longest sample where the socket is exact; -1 when not measured."`
	ConnectP99  float64        `json:"connectP99" doc:"Nanoseconds; -1 when not measured."`
	Failures    float64        `json:"failures"`
	Resets      float64        `json:"resets"`
	Health      Level          `json:"health" enum:"ok,warning,bad"`
	Start       time.Time      `json:"start" doc:"What time the figures are of."`
	End         time.Time      `json:"end"`
	Records     []SocketRecord `json:"records" nullable:"false" doc:"Events of the sockets, the oldest first."`
	Match       string         `json:"match" doc:"PromQL matchers of the flow's series; empty when there are none."`
}

// SocketRecord is one event of a socket.
type SocketRecord struct {
	ID    string    `json:"id" doc:"Names the log record."`
	Time  time.Time `json:"time"`
	Event string    `json:"event" doc:"For example connect_slow."`
	Text  string    `json:"text"`
}

// features reads what runs where, newest state of each.
func (e *engine) features(ctx context.Context, w Window) ([]KernelFeature, error) {
	out := []KernelFeature{}
	if e.metrics == nil {
		return out, nil
	}
	// Translation appends the unit of a ratio where the sender gave unit 1.
	name := `__name__=~"guanlan_kernel_feature_up(_ratio)?"`
	expr := fmt.Sprintf("max by (host_name, kernel_feature, kernel_missing) (last_over_time({%s}%s))", name, rangeOf(w))
	samples, err := e.metrics.Instant(ctx, TenantOf(ctx), expr, w.End)
	if err != nil {
		return nil, fmt.Errorf("read features of kernel receivers: %w", err)
	}
	type key struct{ host, feature string }
	found := map[key]KernelFeature{}
	for _, s := range samples {
		k := key{s.Labels["host_name"], s.Labels["kernel_feature"]}
		f := KernelFeature{Host: k.host, Feature: k.feature, Up: s.Value > 0, Missing: s.Labels["kernel_missing"]}
		if f.Up {
			f.Missing = ""
		}
		// A feature that came up after it was refused is up.
		if old, ok := found[k]; !ok || !old.Up {
			found[k] = f
		}
	}
	out = slices.AppendSeq(out, maps.Values(found))
	slices.SortFunc(out, func(a, b KernelFeature) int {
		if c := strings.Compare(a.Host, b.Host); c != 0 {
			return c
		}
		return strings.Compare(a.Feature, b.Feature)
	})
	return out, nil
}

// rangeOf is the window as a PromQL range: whole seconds, at least one.
func rangeOf(w Window) string {
	return fmt.Sprintf("[%ds]", max(1, int64(math.Ceil(w.End.Sub(w.Start).Seconds()))))
}
