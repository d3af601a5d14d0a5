package query

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Metrics that the pipeline's RED connector derives from spans, before sampling.
const (
	spanCalls    = "traces_span_metrics_calls_total"
	spanDuration = "traces_span_metrics_duration_milliseconds_bucket"
)

// Related looks around an anchor. Parts that have nothing are returned with
// count 0, so that the UI shows them as empty.
func (e *engine) Related(ctx context.Context, a Anchor) (*Related, error) {
	ctx, done := e.begin(ctx)
	defer done()
	if !a.Start.Before(a.End) {
		return nil, &FieldError{Field: "start", Value: a.Start.Format(time.RFC3339Nano), Msg: "not before end", Next: "start is inclusive, end exclusive"}
	}
	r := around{e: e, tenant: TenantOf(ctx), Anchor: a, from: a.Start, to: a.End}
	if a.TraceID != "" {
		if err := r.locate(ctx); err != nil {
			return nil, err
		}
	}
	var ofTrace, ofService, metrics, kernel, profiles []RelatedItem
	err := together(ctx,
		func(ctx context.Context) (err error) { ofTrace, err = r.ofTrace(ctx); return err },
		func(ctx context.Context) (err error) { ofService, err = r.ofService(ctx); return err },
		func(ctx context.Context) (err error) { metrics, err = r.ofMetrics(ctx); return err },
		func(ctx context.Context) (err error) { kernel, err = r.ofKernel(ctx); return err },
		func(ctx context.Context) (err error) { profiles, err = r.ofProfiles(ctx); return err },
	)
	if err != nil {
		return nil, err
	}
	out := &Related{Items: []RelatedItem{}}
	out.Items = slices.Concat(out.Items, ofTrace, ofService, metrics, kernel, profiles)
	for i := range out.Items {
		out.Items[i].Level = cmp.Or(out.Items[i].Level, LevelOK)
	}
	return out, nil
}

// around is an anchor with what the store knows of it.
type around struct {
	Anchor
	e         *engine
	tenant    store.Tenant
	trace     pcommon.TraceID
	spans     int
	operation string // name of the span, if one is named
	// from and to are when the span ran, else what Start and End say.
	from, to time.Time
}

// locate finds the trace and takes service and times from it or from the span.
func (r *around) locate(ctx context.Context) error {
	id, err := ParseTraceID(r.TraceID)
	if err != nil {
		return &FieldError{Field: "traceId", Value: r.TraceID, Msg: err.Error(), Next: "for example 4bf92f3577b34da6a3ce929d0e0e4736"}
	}
	r.trace, r.TraceID = id, id.String()
	var span pcommon.SpanID
	if r.SpanID != "" {
		if n, err := hex.Decode(span[:], []byte(r.SpanID[:min(len(r.SpanID), 16)])); err != nil || n != 8 || len(r.SpanID) != 16 {
			return &FieldError{Field: "spanId", Value: r.SpanID, Msg: "not 16 hexadecimal digits", Next: "for example 00f067aa0ba902b7"}
		}
		r.SpanID = span.String()
	}
	rows, err := r.e.traces.SpansOf(ctx, r.tenant, store.Range{Start: r.Start.Add(-logSlack), End: r.End.Add(logSlack)}, []pcommon.TraceID{id})
	if ignoreMissing(err) != nil {
		return err
	}
	if r.spans = len(rows); r.spans == 0 {
		return nil
	}
	s := summarize(rows)
	if r.Service == "" {
		r.Service = s.Service
	}
	r.Start, r.End = s.Start, s.Start.Add(time.Duration(s.DurationNs)+time.Nanosecond)
	r.from, r.to = r.Start, r.End
	for _, row := range rows {
		if row.SpanID == span {
			r.Service, r.operation = row.Service, row.Name
			r.from, r.to = row.Start, row.Start.Add(row.Duration+time.Nanosecond)
		}
	}
	return nil
}

func (r *around) item(kind, title, filter string, count uint64) RelatedItem {
	return RelatedItem{Kind: kind, Title: title, Filter: filter, Count: count, Start: r.Start, End: r.End}
}

func (r *around) ofTrace(ctx context.Context) ([]RelatedItem, error) {
	if r.TraceID == "" {
		return nil, nil
	}
	trace := r.item("trace", "Trace", "", uint64(r.spans))
	trace.TraceID = r.TraceID
	items := []RelatedItem{trace}
	whole := Filter{eq("trace_id", r.TraceID)}
	sets := []struct {
		title string
		where Filter
	}{{"Logs of the trace", whole}}
	if r.SpanID != "" {
		sets = append(sets, struct {
			title string
			where Filter
		}{"Logs of the span", append(whole[:1:1], eq("span_id", r.SpanID))})
	}
	within := store.Range{Start: r.Start.Add(-logSlack), End: r.End.Add(logSlack)}
	for _, s := range sets {
		n, err := r.e.countLogs(ctx, store.Select{Tenant: r.tenant, Range: within, Where: s.where})
		if err != nil {
			return nil, fmt.Errorf("count logs of trace %s: %w", r.TraceID, err)
		}
		item := r.item("logs", s.title, s.where.Text(Logs), n)
		item.Start, item.End, item.TraceID = within.Start, within.End, r.TraceID
		items = append(items, item)
	}
	return items, nil
}

// contextSlack widens the stretch of a trace to what happened around it.
const contextSlack = 5 * time.Minute

// context is the time in which what happens around the anchor may matter for it.
func (r *around) context() store.Range {
	if r.TraceID != "" {
		return store.Range{Start: r.Start.Add(-contextSlack), End: r.End.Add(contextSlack)}
	}
	return store.Range{Start: r.Start, End: r.End}
}

func (r *around) ofService(ctx context.Context) ([]RelatedItem, error) {
	if r.Service == "" {
		return nil, nil
	}
	within := r.context()
	of := Filter{eq("service.name", r.Service)}
	failing := append(of[:1:1], eq("status", "error"))
	loud := append(of[:1:1], store.Cond{Field: "severity", Op: store.OpGe, Value: "error"})
	var spans, failed, records, complaints uint64
	spansOf := func(where Filter, n *uint64) func(context.Context) error {
		return func(ctx context.Context) error {
			groups, err := r.e.traces.Services(ctx, store.Select{Tenant: r.tenant, Range: within, Where: where}, 0)
			for _, g := range groups {
				*n += g.Stored
			}
			return err
		}
	}
	recordsOf := func(where Filter, n *uint64) func(context.Context) (err error) {
		return func(ctx context.Context) (err error) {
			*n, err = r.e.countLogs(ctx, store.Select{Tenant: r.tenant, Range: within, Where: where})
			return err
		}
	}
	err := together(ctx, spansOf(of, &spans), spansOf(failing, &failed), recordsOf(of, &records), recordsOf(loud, &complaints))
	if err != nil {
		return nil, fmt.Errorf("count signals of service %q: %w", r.Service, err)
	}
	items := []RelatedItem{
		r.item("service", r.Service, of.Text(Traces), spans),
		r.item("traces", "Traces of the service", of.Text(Traces), spans),
		r.item("errors", "Failed spans of the service", failing.Text(Traces), failed),
		r.item("logs", "Logs of the service", of.Text(Logs), records),
		r.item("errors", "Error logs of the service", loud.Text(Logs), complaints),
	}
	for i := range items {
		items[i].Start, items[i].End = within.Start, within.End
	}
	return items, nil
}

// ofMetrics names the figures of the service, or of the span's operation.
func (r *around) ofMetrics(ctx context.Context) ([]RelatedItem, error) {
	if r.Service == "" {
		return nil, nil
	}
	match := "service_name=" + quoteLabel(r.Service)
	if r.operation != "" {
		match += ", span_name=" + quoteLabel(r.operation)
	}
	// The rate needs a few scrapes even where the anchor is a moment.
	window := fmt.Sprintf("{%s}[%ds]", match, max(300, int64(r.End.Sub(r.Start).Seconds())))
	count, err := r.series(ctx, fmt.Sprintf("count(last_over_time(%s%s))", spanCalls, window))
	if err != nil {
		return nil, err
	}
	items := []RelatedItem{}
	for _, m := range []struct{ title, expr string }{
		{"Request rate", fmt.Sprintf("sum by (span_name) (rate(%s{%s}[5m]))", spanCalls, match)},
		{"Failed requests", fmt.Sprintf("sum by (span_name) (rate(%s{%s, status_code=\"STATUS_CODE_ERROR\"}[5m]))", spanCalls, match)},
		{"Latency, 95th percentile", fmt.Sprintf("histogram_quantile(0.95, sum by (span_name, le) (rate(%s{%s}[5m])))", spanDuration, match)},
	} {
		item := r.item("metrics", m.title, "", count)
		item.Query = m.expr
		items = append(items, item)
	}
	return items, nil
}

// series evaluates an expression that counts series.
func (r *around) series(ctx context.Context, expr string) (uint64, error) {
	if r.e.metrics == nil {
		return 0, nil
	}
	samples, err := r.e.metrics.Instant(ctx, r.tenant, expr, r.End)
	if err != nil {
		return 0, fmt.Errorf("count series of service %q: %w", r.Service, err)
	}
	var n uint64
	for _, s := range samples {
		n += uint64(s.Value)
	}
	return n, nil
}

// ofKernel counts what the kernel saw of the service: nothing at all where no
// kernel receiver reported.
func (r *around) ofKernel(ctx context.Context) ([]RelatedItem, error) {
	if r.Service == "" {
		return nil, nil
	}
	within := r.context()
	of := Filter{eq("service.name", r.Service)}
	sel := store.Select{Tenant: r.tenant, Range: within, Where: of}
	network := RelatedItem{Kind: "network", Title: "Connections of the service", Filter: of.Text(Network)}
	sockets := Filter{{Field: "event_name", Op: store.OpRe, Value: tcpEvents}, of[0]}
	events := r.item("sockets", "Events of its sockets", sockets.Text(Logs), 0)
	kills := RelatedItem{Kind: "oom", Title: "Kills for want of memory", Filter: of.Text(Logs)}
	audit := RelatedItem{Kind: "audit", Title: "Audit findings", Filter: of.Text(Logs)}
	seen := false
	count := func(sel store.Select, n *uint64) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			*n, err = r.e.countLogs(ctx, sel)
			return err
		}
	}
	around := sel
	if r.TraceID != "" { // of the span or the trace itself
		around.Range = store.Range{Start: r.from.Add(-reportEvery), End: r.to.Add(reportEvery)}
	}
	around.Where = sockets
	err := together(ctx,
		func(ctx context.Context) error {
			n, err := r.e.NetworkHealth(ctx, Window{Start: within.Start, End: within.End, Filter: network.Filter})
			if err != nil {
				return err
			}
			network.Count, seen = uint64(n.Total), len(n.Features) > 0
			for _, f := range n.Flows {
				network.Level = worse(network.Level, f.Health)
			}
			return nil
		},
		count(around, &events.Count),
		count(and(sel, eq("event_name", oomEvent)), &kills.Count),
		count(findings(sel, auditSeverities[0]), &audit.Count),
	)
	if err != nil {
		return nil, fmt.Errorf("count what the kernel saw of service %q: %w", r.Service, err)
	}
	if !seen && network.Count+events.Count+kills.Count+audit.Count == 0 {
		return nil, nil
	}
	items := []RelatedItem{network, events, kills, audit}
	for i := range items {
		items[i].Start, items[i].End = within.Start, within.End
	}
	items[1].Start, items[1].End = around.Range.Start, around.Range.End
	return items, nil
}

// ofProfiles counts the profiles that were taken of the span's process or of the
// service at the time, and those with samples of the trace.
func (r *around) ofProfiles(ctx context.Context) ([]RelatedItem, error) {
	if r.Service == "" || r.e.profiles == nil {
		return nil, nil
	}
	p := profiledProcess{service: r.Service, resource: pcommon.NewMap(), start: r.from, end: r.to, trace: r.TraceID}
	if r.operation != "" {
		td, _, err := r.e.traces.Trace(ctx, r.tenant, r.trace, store.Range{Start: r.Start.Add(-nearby), End: r.End.Add(nearby)})
		if ignoreMissing(err) != nil {
			return nil, err
		}
		if err == nil {
			p.resource = resourceOf(td, r.SpanID)
		}
	}
	found, err := r.e.found(ctx, p)
	if err != nil {
		return nil, err
	}
	titles := map[string]string{profilesOfTrace: "Profiles of the trace", profilesOfProcess: "Profiles of the process", profilesOfService: "Profiles of the service"}
	var items []RelatedItem
	for _, f := range found {
		items = append(items, RelatedItem{Kind: "profiles", Title: titles[f.Of], Count: uint64(max(0, f.Profiles)), Filter: f.Filter, Type: f.Type, Start: f.Start, End: f.End})
	}
	if len(items) == 0 {
		items = append(items, r.item("profiles", titles[profilesOfService], Filter{eq("service.name", r.Service)}.Text(Profiles), 0))
	}
	return items, nil
}

// resourceOf is the resource of a span; empty when it is not there.
func resourceOf(td ptrace.Traces, span string) pcommon.Map {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				if s.SpanID().String() == span {
					return rs.Resource().Attributes()
				}
			}
		}
	}
	return pcommon.NewMap()
}
