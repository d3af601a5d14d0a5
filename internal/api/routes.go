package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guanlan-io/guanlan/internal/query"
)

// routes registers the described routes, in the order of the document's tags.
func (d *door) routes() {
	get(d, op{"listServices", "/services", "services", "List services",
		"Rate, errors and latency of every service, counted back to before sampling, with series for sparklines."},
		func(ctx context.Context, in *servicesInput) (*query.Services, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Services(ctx, w, in.Steps.Steps)
		})
	get(d, op{"getService", "/services/{service}", "services", "Show one service",
		"Golden signals, operations, callers, callees, instances and errors by kind."},
		func(ctx context.Context, in *serviceInput) (*query.ServiceDetail, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Service(ctx, w, in.Service, in.Steps.Steps)
		})
	get(d, op{"getGraph", "/graph", "services", "Show who calls whom",
		"Services, databases, queues and outside hosts as nodes, calls as edges."},
		func(ctx context.Context, in *graphInput) (*query.Graph, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Graph(ctx, w, in.Focus)
		})
	get(d, op{"getRelated", "/related", "services", "Find what belongs to a selection",
		"The other signals around a service, trace, span or stretch of time, each with a count and the filter that shows exactly these."},
		func(ctx context.Context, in *relatedInput) (*query.Related, error) {
			from, to, err := between(in.Start, in.End, d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Related(ctx, query.Anchor{Service: in.Service, TraceID: in.TraceID, SpanID: in.SpanID, Start: from, End: to})
		})
	d.traceRoutes()
	d.logRoutes()
	d.kernelRoutes()
	d.profileRoutes()
	get(d, op{"listFields", "/fields/{signal}", "fields", "List fields",
		"Fields that the matching rows have, most frequent first."},
		func(ctx context.Context, in *fieldsInput) (*query.FieldList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Fields(ctx, w, in.Signal)
		})
	get(d, op{"listValues", "/values/{signal}", "fields", "List values of a field",
		"Values that the matching rows have, most frequent first."},
		func(ctx context.Context, in *valuesInput) (*query.ValueList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Values(ctx, w, in.Signal, in.Field, in.Prefix, in.Limit)
		})
	d.policyRoutes()
	get(d, op{"getStatus", "/status", "system", "Show the state of Guanlan",
		"Version, listeners, sizes, limits, drops and how the last run ended."},
		func(ctx context.Context, _ *struct{}) (*Status, error) {
			if d.status == nil {
				return nil, huma.Error404NotFound("this process has no status to tell")
			}
			return d.status.Status(ctx)
		})
}

func (d *door) traceRoutes() {
	get(d, op{"listTraces", "/traces", "traces", "List traces",
		"Traces with at least one span that meets the filter, newest first. A trace appears on one page only."},
		func(ctx context.Context, in *listInput) (*query.TraceList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Traces(ctx, w, in.page())
		})
	get(d, op{"getTrace", "/traces/{traceId}", "traces", "Show one trace",
		"All spans in order of start, with self time, critical path and marks where clocks differ."},
		func(ctx context.Context, in *traceInput) (*query.Trace, error) {
			near, err := moment("near", in.Near, d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Trace(ctx, in.TraceID, near)
		})
	get(d, op{"getHeatmap", "/traces/heatmap", "traces", "Show durations over time",
		"Spans counted by time step and duration band (a quarter of an octave)."},
		func(ctx context.Context, in *chartInput) (*query.Heat, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Heat(ctx, w, in.Columns.Columns)
		})
	get(d, op{"compareTraces", "/traces/compare", "traces", "Compare a selection with the rest",
		"Fields ranked by how much their values differ between the selected spans and the other spans of the window."},
		func(ctx context.Context, in *compareInput) (*query.Comparison, error) {
			now := d.now()
			w, err := in.window(now)
			if err != nil {
				return nil, err
			}
			box := query.Box{Start: w.Start, End: w.End, MinNs: in.SelMinNs, MaxNs: in.SelMaxNs, Filter: in.SelFilter}
			if in.SelStart != "" {
				if box.Start, err = moment("selStart", in.SelStart, now); err != nil {
					return nil, err
				}
			}
			if in.SelEnd != "" {
				if box.End, err = moment("selEnd", in.SelEnd, now); err != nil {
					return nil, err
				}
			}
			if !box.Start.Before(box.End) {
				return nil, &query.FieldError{Field: "selStart", Value: in.SelStart, Msg: "not before selEnd", Next: "the selection is a stretch of time inside the window"}
			}
			if box.MaxNs != 0 && box.MaxNs <= box.MinNs {
				return nil, &query.FieldError{Field: "selMaxNs", Msg: "not above selMinNs", Next: "leave one of them out for an open bound"}
			}
			return d.engine.Compare(ctx, w, box)
		})
}

func (d *door) logRoutes() {
	get(d, op{"listLogs", "/logs", "logs", "List log records", "Matching records, newest first."},
		func(ctx context.Context, in *listInput) (*query.LogList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Logs(ctx, w, in.page())
		})
	get(d, op{"getLogVolume", "/logs/volume", "logs", "Count records over time", "Matching records by time step and severity."},
		func(ctx context.Context, in *chartInput) (*query.LogVolume, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.LogVolume(ctx, w, in.Columns.Columns)
		})
	get(d, op{"listLogPatterns", "/logs/patterns", "logs", "Group records by shape", "Bodies of the newest matching records with their variable parts taken out."},
		func(ctx context.Context, in *struct{ Window }) (*query.PatternList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.LogPatterns(ctx, w)
		})
	get(d, op{"getLogContext", "/logs/context", "logs", "Show records around one", "Records of the same source before and after one, oldest first."},
		func(ctx context.Context, in *contextInput) (*query.LogList, error) {
			return d.engine.LogContext(ctx, in.ID, in.N)
		})
	d.tailRoute()
}
