// Package jaeger answers the questions that Jaeger's user interface and
// Grafana's Jaeger data source ask: the JSON API of the UI ("v1", below
// /jaeger/api) and the stable query service ("v3", over HTTP below
// /jaeger/api/v3 and over gRPC).
//
// Differences from Jaeger: times select spans by their end; tags match
// attributes of spans and resources, not of events; traces are returned as
// they are stored, without adjusting clocks.
package jaeger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc"

	"github.com/guanlan-io/guanlan/internal/api/jaeger/apiv3"
	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// catalogue is how far back services and operations are looked for, for
	// requests that name no time; the same as in Jaeger with Elasticsearch.
	catalogue = 72 * time.Hour
	// maxOperations bounds the operations of a service.
	maxOperations = 2000
	// defaultLimit and maxLimit are traces of a search, as in Jaeger's UI.
	defaultLimit, maxLimit = 100, 1500
	// maxSpans bounds the spans of one answer to a search: their JSON is
	// about a KiB each, and the UI holds them all.
	maxSpans = 200_000
	// fetchers read traces of a search at a time.
	fetchers = 4
	// timeLimit ends a request.
	timeLimit = 30 * time.Second
)

// Options are what the door reads from. Engine and Traces must be set.
type Options struct {
	Engine query.Engine
	Traces store.TraceReader
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default()
}

// Door answers Jaeger's requests. The tenant is the one in the request's
// context. Safe for concurrent use.
type Door struct {
	apiv3.UnimplementedQueryServiceServer
	engine query.Engine
	traces store.TraceReader
	now    func() time.Time
	log    *slog.Logger
}

// New returns a door over o.
func New(o Options) *Door {
	d := &Door{engine: o.Engine, traces: o.Traces, now: o.Now, log: o.Logger}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	return d
}

// Handler answers below /jaeger/api.
func (d *Door) Handler() http.Handler {
	mux := http.NewServeMux()
	d.routesV1(mux)
	d.routesV3(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := context.WithTimeout(r.Context(), timeLimit)
		defer done()
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Register offers the query service, version 3, over gRPC.
func (d *Door) Register(s grpc.ServiceRegistrar) { apiv3.RegisterQueryServiceServer(s, d) }

// services lists the names of services.
func (d *Door) services(ctx context.Context) ([]string, error) {
	now := d.now()
	list, err := d.engine.Services(ctx, query.Window{Start: now.Add(-catalogue), End: now}, 0)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list.Services))
	for i, s := range list.Services {
		names[i] = s.Name
	}
	return names, nil
}

// operation is a span name with a kind in lower case; "" for unspecified.
type operation struct {
	Name string `json:"name"`
	Kind string `json:"spanKind"`
}

// operations lists those of a service, of one kind if given, by name.
func (d *Door) operations(ctx context.Context, service, kind string) ([]operation, error) {
	now := d.now()
	sel := store.Select{
		Tenant: query.TenantOf(ctx),
		Range:  store.Range{Start: now.Add(-catalogue), End: now},
		Where:  []store.Cond{{Field: "service.name", Op: store.OpEq, Value: service}},
	}
	groups, err := d.traces.Operations(ctx, sel, 0, maxOperations)
	if err != nil {
		return nil, err
	}
	ops := make([]operation, 0, len(groups))
	for _, g := range groups {
		op := operation{g.Name, ""}
		if g.Kind != ptrace.SpanKindUnspecified {
			op.Kind = strings.ToLower(g.Kind.String())
		}
		if kind == "" || kind == op.Kind {
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b operation) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Kind, b.Kind))
	})
	return ops, nil
}

// call is how often one service called another.
type call struct {
	Parent string `json:"parent"`
	Child  string `json:"child"`
	Count  uint64 `json:"callCount"`
}

func (d *Door) dependencies(ctx context.Context, start, end time.Time) ([]call, error) {
	g, err := d.engine.Graph(ctx, query.Window{Start: start, End: end}, "")
	if err != nil {
		return nil, err
	}
	sums := map[[2]string]float64{}
	for _, e := range g.Edges {
		sums[[2]string{e.From, e.To}] += e.Count
	}
	calls := make([]call, 0, len(sums))
	for k, n := range sums {
		calls = append(calls, call{k[0], k[1], uint64(math.Round(n))})
	}
	slices.SortFunc(calls, func(a, b call) int {
		return cmp.Or(strings.Compare(a.Parent, b.Parent), strings.Compare(a.Child, b.Child))
	})
	return calls, nil
}

// trace reads one trace, around hint first if that is given.
func (d *Door) trace(ctx context.Context, id pcommon.TraceID, hint store.Range) (ptrace.Traces, bool, error) {
	if hint.Start.Before(hint.End) {
		td, cut, err := d.traces.Trace(ctx, query.TenantOf(ctx), id, hint)
		if !errors.Is(err, store.ErrNotFound) {
			return td, cut, err
		}
	}
	return d.traces.Trace(ctx, query.TenantOf(ctx), id, store.Range{})
}

// search is what both versions ask of traces.
type search struct {
	service, operation string
	attributes         map[string]string
	start, end         time.Time
	min, max           time.Duration // 0: no bound
	limit              int           // 0: defaultLimit
}

// filter is the conditions on a span. Tags that Jaeger makes of an OTLP span's
// own fields are conditions on those.
func (s search) filter() query.Filter {
	var f query.Filter
	add := func(field string, op store.Op, value string) {
		f = append(f, store.Cond{Field: field, Op: op, Value: value})
	}
	if s.service != "" {
		add("service.name", store.OpEq, s.service)
	}
	if s.operation != "" {
		add("name", store.OpEq, s.operation)
	}
	if s.min > 0 {
		add("duration", store.OpGe, strconv.FormatInt(int64(s.min), 10))
	}
	if s.max > 0 {
		add("duration", store.OpLe, strconv.FormatInt(int64(s.max), 10))
	}
	for _, k := range slices.Sorted(maps.Keys(s.attributes)) {
		v := s.attributes[k]
		switch k {
		case "error":
			op := store.OpEq
			if strings.EqualFold(v, "false") {
				op = store.OpNe
			}
			add("status", op, "error")
		case "span.kind":
			add("kind", store.OpEq, strings.ToLower(v))
		case "otel.status_code":
			add("status", store.OpEq, strings.ToLower(v))
		case "otel.status_description":
			add("status.message", store.OpEq, v)
		case "otel.scope.name", "otel.library.name":
			add("scope.name", store.OpEq, v)
		case "otel.scope.version", "otel.library.version":
			add("scope.version", store.OpEq, v)
		default:
			add(k, store.OpEq, v)
		}
	}
	return f
}

// slack is how far around a found trace's known spans its others are read.
const slack = 10 * time.Minute

// find calls yield with every trace found, newest first, until it has spans
// enough.
func (d *Door) find(ctx context.Context, s search, yield func(td ptrace.Traces, cut bool) error) error {
	limit := min(s.limit, maxLimit)
	if limit <= 0 {
		limit = defaultLimit
	}
	w := query.Window{Start: s.start, End: s.end, Filter: s.filter().Text(query.Traces)}
	spans := 0
	for p := (query.Page{}); limit > 0; {
		p.Limit = min(limit, 1000)
		list, err := d.engine.Traces(ctx, w, p)
		if err != nil {
			return err
		}
		page := list.Traces[:min(len(list.Traces), limit)]
		limit -= len(page)
		for len(page) > 0 {
			n := min(fetchers, len(page))
			got, err := d.fetch(ctx, page[:n])
			if err != nil {
				return err
			}
			for _, g := range got {
				if g.err != nil {
					continue // retention took it between the two reads
				}
				if spans += g.td.SpanCount(); spans > maxSpans && spans > g.td.SpanCount() {
					return nil
				}
				if err := yield(g.td, g.cut); err != nil {
					return err
				}
			}
			page = page[n:]
		}
		if p.Cursor = list.Next; p.Cursor == "" {
			return nil
		}
	}
	return nil
}

type fetched struct {
	td  ptrace.Traces
	cut bool
	err error // ErrNotFound at most, once fetch has returned
}

// fetch reads a few traces at once.
func (d *Door) fetch(ctx context.Context, page []query.TraceSummary) ([]fetched, error) {
	got := make([]fetched, len(page))
	var wg sync.WaitGroup
	for i, s := range page {
		wg.Go(func() {
			g := &got[i]
			defer func() {
				if p := recover(); p != nil { // the server recovers in its own goroutines only
					g.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			id, err := query.ParseTraceID(s.TraceID)
			if err != nil {
				g.err = err
				return
			}
			hint := store.Range{Start: s.Start.Add(-slack), End: s.Start.Add(time.Duration(s.DurationNs) + slack)}
			g.td, g.cut, g.err = d.trace(ctx, id, hint)
		})
	}
	wg.Wait()
	for i := range got {
		if err := got[i].err; err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read trace %s: %w", page[i].TraceID, err)
		}
	}
	return got, nil
}

// status is the HTTP status of an error of the engine or of the store.
func (d *Door) status(ctx context.Context, err error) int {
	switch {
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrLimit):
		return http.StatusBadRequest
	case errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	}
	d.log.ErrorContext(ctx, "answer a Jaeger request", "error", err)
	return http.StatusInternalServerError
}

// malformed is the error for a parameter.
func malformed(name, value, want string) error {
	return fmt.Errorf("malformed parameter %s=%q: want %s: %w", name, value, want, store.ErrInvalid)
}
