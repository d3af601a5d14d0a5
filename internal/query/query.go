// Package query answers what people ask of the store: services and their
// health, traces, logs, and how they belong together. It composes the typed
// reads of package store with PromQL over the metric store; it knows nothing
// of HTTP and nothing of how rows are laid out.
//
// Its result types are the wire types of the JSON API (see docs/adr): package
// api only adds routes, so that a result is described once.
package query

import (
	"context"
	"time"
)

// Window is the time range and filter shared by most questions.
type Window struct {
	Start, End time.Time
	// Filter is the text form of the filter grammar, for example
	//   service.name = order and duration > 200ms and status = error
	// Empty matches all.
	Filter string
}

// Engine answers questions. Implemented by New's result; the interface is what
// package api and the CLI need.
type Engine interface {
	Services(ctx context.Context, w Window, steps int) (*Services, error)
	Service(ctx context.Context, w Window, service string, steps int) (*ServiceDetail, error)
	Graph(ctx context.Context, w Window, focus string) (*Graph, error)
	Traces(ctx context.Context, w Window, page Page) (*TraceList, error)
	Trace(ctx context.Context, id string, near time.Time) (*Trace, error)
	Heat(ctx context.Context, w Window, columns int) (*Heat, error)
	Compare(ctx context.Context, w Window, selection Box) (*Comparison, error)
	Fields(ctx context.Context, w Window, signal Signal) (*FieldList, error)
	Values(ctx context.Context, w Window, signal Signal, field, prefix string, limit int) (*ValueList, error)
	Logs(ctx context.Context, w Window, page Page) (*LogList, error)
	LogContext(ctx context.Context, id string, n int) (*LogList, error)
	LogVolume(ctx context.Context, w Window, columns int) (*LogVolume, error)
	LogPatterns(ctx context.Context, w Window) (*PatternList, error)
	Tail(ctx context.Context, filter string, yield func(TailEvent) bool) error
	Related(ctx context.Context, a Anchor) (*Related, error)
	NetworkHealth(ctx context.Context, w Window) (*NetworkHealth, error)
	Audit(ctx context.Context, w Window, atLeast string, page Page) (*AuditList, error)
	AuditRules(ctx context.Context, w Window) (*AuditRules, error)
	OOM(ctx context.Context, w Window, page Page) (*OOMList, error)
	KernelFacts(ctx context.Context, a KernelAnchor) (*KernelFacts, error)
}

// Signal names a kind of telemetry.
type Signal string

// The signals that have fields to list.
const (
	Traces Signal = "traces"
	Logs   Signal = "logs"
)

// Profiles names profiles to ParseFilter.
const Profiles Signal = "profiles"

// Page asks for part of a list.
type Page struct {
	Limit  int    // default 50, at most 1000
	Cursor string // empty: from the newest
}

// RED is request, error and duration figures of something. Rates are per
// second; durations in nanoseconds; -1 where there was no request.
type RED struct {
	Rate      float64 `json:"rate" doc:"Requests per second, scaled back to before sampling."`
	ErrorRate float64 `json:"errorRate" doc:"Share of requests that failed, 0 to 1."`
	P50       float64 `json:"p50" doc:"Median duration in nanoseconds; -1 without requests."`
	P95       float64 `json:"p95" doc:"95th percentile of duration in nanoseconds; -1 without requests."`
	P99       float64 `json:"p99" doc:"99th percentile of duration in nanoseconds; -1 without requests."`
	Count     float64 `json:"count" doc:"Estimated requests in the window."`
	Stored    uint64  `json:"stored" doc:"Spans in the store behind the estimate."`
}

// Spark is a series of figures, one a step.
type Spark struct {
	Rate   []float64 `json:"rate" nullable:"false"`
	Errors []float64 `json:"errors" nullable:"false" doc:"Failed requests per second."`
	P95    []float64 `json:"p95" nullable:"false" doc:"Nanoseconds; -1 without requests."`
}

// Services is the table of services.
type Services struct {
	Start    time.Time `json:"start"`
	StepNs   int64     `json:"stepNs" doc:"Width of one spark step in nanoseconds."`
	Services []Service `json:"services" nullable:"false"`
}

// Service is one row of the table.
type Service struct {
	Name string `json:"name"`
	RED
	Spark Spark `json:"spark"`
}

// ServiceDetail is the page of one service.
type ServiceDetail struct {
	Service
	Start      time.Time   `json:"start"`
	StepNs     int64       `json:"stepNs"`
	Operations []Operation `json:"operations" nullable:"false"`
	Upstream   []Edge      `json:"upstream" nullable:"false" doc:"Who calls it."`
	Downstream []Edge      `json:"downstream" nullable:"false" doc:"Whom it calls."`
	Instances  []Tally     `json:"instances" nullable:"false" doc:"Values of service.instance.id, else host.name or k8s.pod.name, with span counts."`
	Errors     []ErrorKind `json:"errors" nullable:"false"`
}

// Operation is a span name of a service.
type Operation struct {
	Name string `json:"name"`
	Kind string `json:"kind" enum:"internal,server,client,producer,consumer,unspecified"`
	RED
	Spark Spark `json:"spark"`
}

// ErrorKind is failing spans grouped by what failed.
type ErrorKind struct {
	Type      string `json:"type" doc:"error.type, else exception.type of the newest example and the status message; empty when none is told."`
	Operation string `json:"operation"`
	Count     uint64 `json:"count"`
	TraceID   string `json:"traceId" doc:"The newest example."`
}

// Tally is a value with how often it occurs.
type Tally struct {
	Value string `json:"value"`
	Count uint64 `json:"count"`
}

// Graph is services and the calls between them.
type Graph struct {
	Nodes []GraphNode `json:"nodes" nullable:"false"`
	Edges []Edge      `json:"edges" nullable:"false"`
}

// GraphNode is a service, or something called that sends no telemetry.
type GraphNode struct {
	Name string `json:"name"`
	Kind string `json:"kind" enum:"service,database,messaging,external,client"`
	RED
}

// Edge is calls from one service to another.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Kind string `json:"kind" enum:"call,database,messaging,external,client"`
	RED
}

// TraceList is a page of traces.
type TraceList struct {
	Traces []TraceSummary `json:"traces" nullable:"false"`
	Next   string         `json:"next" doc:"Cursor of the next page; empty at the end."`
}

// TraceSummary is a trace as lists show it.
type TraceSummary struct {
	TraceID     string         `json:"traceId"`
	Service     string         `json:"service" doc:"Service of the root span, or of the earliest span when the root is missing."`
	Name        string         `json:"name" doc:"Name of that span."`
	Start       time.Time      `json:"start"`
	DurationNs  int64          `json:"durationNs" doc:"From the earliest start to the latest end."`
	Spans       int            `json:"spans"`
	Errors      int            `json:"errors"`
	Matched     int            `json:"matched" doc:"Spans of the page that met the filter."`
	RootMissing bool           `json:"rootMissing" doc:"True when no span without a parent has arrived."`
	Weight      float64        `json:"weight" doc:"How many traces this one stands for."`
	Services    []TraceService `json:"services" nullable:"false"`
}

// TraceService is a service's part in a trace.
type TraceService struct {
	Name   string `json:"name"`
	Spans  int    `json:"spans"`
	Errors int    `json:"errors"`
}

// Trace is a whole trace, spans in order of start, parents before children
// that start at the same time.
type Trace struct {
	TraceSummary
	Cut       bool       `json:"cut" doc:"True when the trace had more spans than the limit."`
	Resources []Resource `json:"resources" nullable:"false" doc:"Spans refer to these by index."`
	SpanList  []Span     `json:"spanList" nullable:"false"`
	Logs      uint64     `json:"logs" doc:"Log records that carry this trace id."`
}

// Resource is what sent spans or logs.
type Resource struct {
	Service    string      `json:"service"`
	Attributes []Attribute `json:"attributes" nullable:"false"`
}

// Attribute is a typed key and value.
type Attribute struct {
	Key   string `json:"key"`
	Type  string `json:"type" enum:"string,int,double,bool,bytes,array,map,empty"`
	Value any    `json:"value" doc:"string, number, boolean, array or object; int as a string when beyond 2^53; bytes as base64; null when empty."`
}

// Span is one span of a trace.
type Span struct {
	SpanID            string      `json:"spanId"`
	ParentSpanID      string      `json:"parentSpanId" doc:"Empty for a root."`
	Resource          int         `json:"resource"`
	Scope             string      `json:"scope" doc:"Instrumentation scope, name and version."`
	Service           string      `json:"service"`
	Name              string      `json:"name"`
	Kind              string      `json:"kind"`
	Status            string      `json:"status" enum:"unset,ok,error"`
	StatusMessage     string      `json:"statusMessage"`
	OffsetNs          int64       `json:"offsetNs" doc:"Start, from the start of the trace."`
	DurationNs        int64       `json:"durationNs"`
	SelfNs            int64       `json:"selfNs" doc:"Time not covered by children."`
	Critical          []Interval  `json:"critical" nullable:"false" doc:"Parts of the span on the critical path, offsets from the start of the trace."`
	Depth             int         `json:"depth"`
	Children          int         `json:"children"`
	Skewed            bool        `json:"skewed" doc:"True when the span starts before its parent or ends after a synchronous parent: clocks differ."`
	TraceState        string      `json:"traceState"`
	Attributes        []Attribute `json:"attributes" nullable:"false"`
	Events            []Event     `json:"events" nullable:"false"`
	Links             []Link      `json:"links" nullable:"false"`
	DroppedAttributes uint32      `json:"droppedAttributes"`
	DroppedEvents     uint32      `json:"droppedEvents"`
	DroppedLinks      uint32      `json:"droppedLinks"`
}

// Interval is a stretch of time in nanoseconds.
type Interval struct {
	FromNs int64 `json:"fromNs"`
	ToNs   int64 `json:"toNs"`
}

// Event is something that happened in a span.
type Event struct {
	Name       string      `json:"name"`
	OffsetNs   int64       `json:"offsetNs"`
	Attributes []Attribute `json:"attributes" nullable:"false"`
}

// Link points to another span.
type Link struct {
	TraceID    string      `json:"traceId"`
	SpanID     string      `json:"spanId"`
	TraceState string      `json:"traceState"`
	Attributes []Attribute `json:"attributes" nullable:"false"`
}

// Heat is the duration heat map. Band b holds durations from 2^(b/4) up to
// 2^((b+1)/4) nanoseconds.
type Heat struct {
	Start   time.Time  `json:"start"`
	StepNs  int64      `json:"stepNs"`
	Columns int        `json:"columns"`
	Cells   []HeatCell `json:"cells" nullable:"false"`
	Exact   bool       `json:"exact" doc:"False when time is rounded to minutes (rollup)."`
}

// HeatCell is a non-empty cell of a heat map.
type HeatCell struct {
	X      int    `json:"x"`
	Band   int    `json:"band"`
	Count  uint64 `json:"count"`
	Errors uint64 `json:"errors"`
}

// Box is a selection in a chart: a stretch of time and of duration, and more
// conditions if any.
type Box struct {
	Start, End time.Time
	MinNs      int64 // 0: no lower bound
	MaxNs      int64 // 0: no upper bound
	Filter     string
}

// Comparison ranks attributes by how much a selection differs from the rest.
type Comparison struct {
	Selected uint64      `json:"selected" doc:"Spans in the selection."`
	Baseline uint64      `json:"baseline" doc:"Spans of the window outside the selection."`
	Fields   []FieldDiff `json:"fields" nullable:"false"`
}

// FieldDiff is one field, its values ordered by how much they differ.
type FieldDiff struct {
	Field  string      `json:"field"`
	Score  float64     `json:"score" doc:"0 (same distribution) to 1 (disjoint)."`
	Values []ValueDiff `json:"values" nullable:"false"`
}

// ValueDiff is one value's share on both sides.
type ValueDiff struct {
	Value    string  `json:"value" doc:"Empty stands for spans without the field."`
	Selected float64 `json:"selected" doc:"Share of the selection, 0 to 1."`
	Baseline float64 `json:"baseline" doc:"Share of the baseline, 0 to 1."`
}

// FieldList is the fields that rows have.
type FieldList struct {
	Fields []Tally `json:"fields" nullable:"false"`
}

// ValueList is the values of a field.
type ValueList struct {
	Values []Tally `json:"values" nullable:"false"`
}

// LogList is a page of log records.
type LogList struct {
	Logs []Log  `json:"logs" nullable:"false"`
	Next string `json:"next" doc:"Cursor of the next page; empty at the end."`
}

// Log is one record.
type Log struct {
	ID           string      `json:"id" doc:"Names the record, for links and context."`
	Time         time.Time   `json:"time"`
	Observed     time.Time   `json:"observed"`
	Severity     string      `json:"severity" enum:"trace,debug,info,warn,error,fatal,unset"`
	SeverityText string      `json:"severityText"`
	Body         string      `json:"body" doc:"The body; JSON when it is not a string."`
	Service      string      `json:"service"`
	TraceID      string      `json:"traceId" doc:"Empty when the record has none."`
	SpanID       string      `json:"spanId"`
	EventName    string      `json:"eventName"`
	Scope        string      `json:"scope"`
	Attributes   []Attribute `json:"attributes" nullable:"false"`
	Resource     []Attribute `json:"resource" nullable:"false"`
}

// LogVolume is the number of records by time and severity.
type LogVolume struct {
	Start   time.Time      `json:"start"`
	StepNs  int64          `json:"stepNs"`
	Columns int            `json:"columns"`
	Series  []VolumeSeries `json:"series" nullable:"false"`
}

// VolumeSeries is one severity's counts.
type VolumeSeries struct {
	Severity string   `json:"severity"`
	Counts   []uint64 `json:"counts" nullable:"false"`
}

// PatternList is log bodies with their variable parts taken out.
type PatternList struct {
	Sampled  int       `json:"sampled" doc:"Records looked at; the newest."`
	Patterns []Pattern `json:"patterns" nullable:"false"`
}

// Pattern is one shape of log body.
type Pattern struct {
	Pattern  string `json:"pattern" doc:"Variable parts stand as <*>."`
	Count    int    `json:"count"`
	Severity string `json:"severity"`
	Example  Log    `json:"example"`
}

// TailEvent is one record of the live tail.
type TailEvent struct {
	Log  Log    `json:"log"`
	Lost uint64 `json:"lost" doc:"Records skipped since the last event because the reader was slow."`
}

// Anchor is what the user looks at when asking what belongs to it.
type Anchor struct {
	Service string
	TraceID string
	SpanID  string
	Start   time.Time
	End     time.Time
}

// Related counts the other signals around an anchor.
type Related struct {
	Items []RelatedItem `json:"items" nullable:"false"`
}

// RelatedItem is one other signal with a count and where to see it.
type RelatedItem struct {
	Kind  string `json:"kind" enum:"trace,traces,logs,errors,metrics,profiles,service,network,sockets,oom,audit"`
	Title string `json:"title" doc:"English name of the set; the UI translates by kind."`
	Count uint64 `json:"count"`
	// Window and filter with which the target page shows exactly these.
	Filter  string    `json:"filter"`
	TraceID string    `json:"traceId"`
	Query   string    `json:"query" doc:"PromQL, for kind metrics."`
	Type    string    `json:"type" doc:"Type of profile, for kind profiles; empty where there are none." example:"cpu"`
	Level   Level     `json:"level" enum:"ok,warning,bad" doc:"For kind network: how the worst of them does; else ok."`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
}
