package store

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Op compares a field with a value.
type Op string

// The operators of a condition. Ordered operators compare as numbers when
// both sides are numbers, and never match a value that is not one.
const (
	OpEq     Op = "="
	OpNe     Op = "!=" // also matches rows without the field
	OpRe     Op = "=~" // RE2, unanchored
	OpNre    Op = "!~"
	OpLt     Op = "<"
	OpLe     Op = "<="
	OpGt     Op = ">"
	OpGe     Op = ">="
	OpExists Op = "exists"
	// OpText is full-text: the words of Value stand next to each other in the
	// log body (logs), or in the span name or any event (traces). Field is empty.
	OpText Op = "text"
)

// Cond is one condition. All conditions of a query must hold.
//
// Fields of spans: trace_id, span_id, parent_span_id, name, kind (internal,
// server, client, producer, consumer, unspecified), duration (nanoseconds, as
// a decimal integer), status (unset, ok, error), status.message, scope.name,
// scope.version, service.name, root ("true": no parent), event.name,
// resource.KEY, span.KEY; a bare KEY matches the span attribute or, where the
// span has none, the resource attribute.
//
// Fields of logs: trace_id, span_id, severity (trace, debug, info, warn,
// error, fatal; ordered), severity_text, body, event_name, scope.name,
// service.name, resource.KEY, log.KEY; a bare KEY as for spans.
// log.KEY may also be the whole name of an attribute: a condition on it holds
// when it holds for one of the two readings.
type Cond struct {
	Field string
	Op    Op
	Value string
}

// Select names the rows a read is about.
type Select struct {
	Tenant Tenant
	Range  Range
	Where  []Cond
}

// Cursor continues a paged read. The zero value starts at the newest row. It
// is opaque to all but the engine that made it; its text form is URL-safe.
type Cursor string

// Limits of reads; requests above them fail with ErrLimit or are clamped as
// each method says.
const (
	// MaxTraceSpans bounds one trace: above it Trace answers with the first
	// MaxTraceSpans spans in time and marks the result cut.
	MaxTraceSpans = 100_000
	// MaxPage bounds the rows of one page.
	MaxPage = 5_000
)

// SpanRow is a span as lists need it, without its attributes.
type SpanRow struct {
	TraceID      pcommon.TraceID
	SpanID       pcommon.SpanID
	ParentSpanID pcommon.SpanID
	Service      string
	Name         string
	Kind         ptrace.SpanKind
	Status       ptrace.StatusCode
	Start        time.Time
	Duration     time.Duration
	// Ended is what Spans orders by and ranges refer to: the end, or where the
	// sender's clock told none that can be, the start or the time of arrival.
	Ended time.Time
	// Weight is how many spans this one stands for: 1/probability as told by
	// tracestate ot=th; 1 when it was not sampled.
	Weight float64
}

// Count is a value and how many rows carry it.
type Count struct {
	Value string
	Count uint64
}

// HeatMap counts spans by time and by duration. Durations fall in bands of a
// quarter octave: band b holds [2^(b/4), 2^((b+1)/4)) nanoseconds.
type HeatMap struct {
	Start time.Time
	Step  time.Duration
	// Cells in no order; those without spans are left out.
	Cells []HeatCell
	// Exact is false when the counts came from the rollup, whose time
	// resolution is a minute.
	Exact bool
}

// HeatCell is one non-empty cell. X counts steps from HeatMap.Start, Band is a
// quarter-octave of duration.
type HeatCell struct {
	X      int
	Band   int
	Count  uint64
	Errors uint64
}

// Group is the statistics of a group of spans (a service, an operation…).
// Counts are weighted by sampling; quantiles are within 9 % (quarter octaves).
type Group struct {
	Service string
	Name    string          // empty when grouped by service
	Kind    ptrace.SpanKind // unspecified when grouped by service
	Count   float64         // estimated spans
	Errors  float64         // estimated spans with status error
	Stored  uint64          // rows behind the estimate
	P50     time.Duration
	P95     time.Duration
	P99     time.Duration
	// Series has one point a step over the range; nil unless asked for.
	Series []GroupPoint
}

// GroupPoint is one step of a Group's series.
type GroupPoint struct {
	Count, Errors float64
	P95           time.Duration
}

// Difference is how often one value of a field occurs in a selection and in
// its baseline.
type Difference struct {
	Field    string // span.KEY, resource.KEY, name, service.name, kind, status
	Value    string
	Selected uint64
	Baseline uint64
}

// TraceReader reads spans. All methods are safe for concurrent use, stop when
// ctx ends, and answer with an error that wraps one of the sentinels.
type TraceReader interface {
	// Trace returns all stored spans of one trace as they came in (resource,
	// scope, attribute types, events, links), or ErrNotFound. Spans that were
	// delivered twice (same span id and identical content) appear once. hint may be
	// zero; when given, only spans that end in it are looked for. cut reports
	// that MaxTraceSpans was reached.
	Trace(ctx context.Context, tenant Tenant, id pcommon.TraceID, hint Range) (traces ptrace.Traces, cut bool, err error)
	// Spans pages through matching spans, newest end first. next is empty at
	// the end. limit is clamped to MaxPage.
	Spans(ctx context.Context, sel Select, limit int, after Cursor) (rows []SpanRow, next Cursor, err error)
	// SpansOf returns the list rows of whole traces, all spans of each id that
	// end within the range, at most MaxPage in all; for summaries of a page.
	SpansOf(ctx context.Context, tenant Tenant, within Range, ids []pcommon.TraceID) ([]SpanRow, error)
	// Heat counts matching spans in about columns steps. It answers from the
	// rollup when sel.Where only constrains service.name by "=".
	Heat(ctx context.Context, sel Select, columns int) (HeatMap, error)
	// Services groups by service; steps > 0 asks for a series of that many
	// points. Sorted by name. Answers from the rollup.
	Services(ctx context.Context, sel Select, steps int) ([]Group, error)
	// Operations groups by service, name and kind, most frequent first, at
	// most limit groups.
	Operations(ctx context.Context, sel Select, steps, limit int) ([]Group, error)
	// Compare counts field values in the selection and in the baseline (rows
	// of baseline that are not in selection are up to the caller to choose by
	// its conditions), for up to maxFields fields with the most rows.
	Compare(ctx context.Context, selection, baseline Select, maxFields int) (diffs []Difference, selected, base uint64, err error)
	// SpanFields lists fields (as in Cond) with how many matching rows have
	// them; SpanValues the values of one, most frequent first.
	SpanFields(ctx context.Context, sel Select) ([]Count, error)
	SpanValues(ctx context.Context, sel Select, field string, limit int) ([]Count, error)
}

// LogRow is a log record with what is needed to show it. Record, Resource and
// Scope are owned by the caller.
type LogRow struct {
	Time     time.Time // record time, or observed time where the record had none
	Resource pcommon.Resource
	Scope    pcommon.InstrumentationScope
	Record   plog.LogRecord
	// ID names the row within its tenant, for links and context reads.
	ID Cursor
}

// Volume is the number of logs by time and severity.
type Volume struct {
	Start  time.Time
	Step   time.Duration
	Series []VolumeSeries
}

// VolumeSeries is one severity (trace, debug, info, warn, error, fatal, unset).
type VolumeSeries struct {
	Severity string
	Counts   []uint64
}

// LogReader reads logs. The general rules of TraceReader hold.
type LogReader interface {
	// Logs pages through matching records, newest first.
	Logs(ctx context.Context, sel Select, limit int, after Cursor) (rows []LogRow, next Cursor, err error)
	// Around returns up to n records before and n after the row id, of the
	// same resource stream, oldest first, the row itself included.
	Around(ctx context.Context, tenant Tenant, id Cursor, n int) ([]LogRow, error)
	// Volume counts matching records in about columns steps by severity.
	Volume(ctx context.Context, sel Select, columns int) (Volume, error)
	// LogFields and LogValues as SpanFields and SpanValues.
	LogFields(ctx context.Context, sel Select) ([]Count, error)
	LogValues(ctx context.Context, sel Select, field string, limit int) ([]Count, error)
	// Tail calls yield with every matching record that is accepted after the
	// call, in order of acceptance, until ctx ends or yield returns false. A
	// slow reader loses records rather than slowing the writer; lost is how
	// many were skipped since the last call.
	Tail(ctx context.Context, sel Select, yield func(row LogRow, lost uint64) bool) error
}

// Writer takes telemetry in. Data is durable as configured when a method
// returns nil. On ErrUnavailable nothing was kept. Writers do not modify or
// keep the argument.
type Writer interface {
	WriteTraces(ctx context.Context, tenant Tenant, td ptrace.Traces) error
	WriteLogs(ctx context.Context, tenant Tenant, ld plog.Logs) error
}
