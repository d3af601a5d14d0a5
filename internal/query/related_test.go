package query

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

func relatedLines(r *Related) (out []string) {
	for _, i := range r.Items {
		what := i.Filter
		if i.Query != "" {
			what = i.Query
		}
		out = append(out, fmt.Sprintf("%s %d: %s", i.Kind, i.Count, what))
	}
	return out
}

func TestRelated(t *testing.T) {
	e, _ := ask(spans(
		sp{trace: 5, id: 1, service: "gate", name: "GET /", kind: server, to: time.Second},
		sp{trace: 5, id: 2, parent: 1, service: "order", name: "list \"x\"", kind: server, to: time.Second, failed: true},
		sp{trace: 6, id: 3, service: "order", name: "other", kind: server, from: time.Minute, to: time.Minute + 1},
	), records(
		rec{service: "order", trace: 5, severity: plog.SeverityNumberError, body: "x"},
		rec{service: "order", severity: plog.SeverityNumberInfo, body: "y"},
		rec{service: "gate", trace: 5, body: "z"},
	))
	anchor := Anchor{TraceID: "5", SpanID: "0000000000000002", Start: hour.Start, End: hour.End}
	got, err := e.Related(t.Context(), anchor)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"trace 2: ",
		"logs 2: trace_id = " + hexTrace(5),
		"logs 0: trace_id = " + hexTrace(5) + " and span_id = 0000000000000002",
		"service 2: service.name = order",
		"traces 2: service.name = order",
		"errors 1: service.name = order and status = error",
		"logs 2: service.name = order",
		"errors 1: service.name = order and severity >= error",
		`metrics 0: sum by (span_name) (rate(traces_span_metrics_calls_total{service_name="order", span_name="list \"x\""}[5m]))`,
		`metrics 0: sum by (span_name) (rate(traces_span_metrics_calls_total{service_name="order", span_name="list \"x\"", status_code="STATUS_CODE_ERROR"}[5m]))`,
		`metrics 0: histogram_quantile(0.95, sum by (span_name, le) (rate(traces_span_metrics_duration_milliseconds_bucket{service_name="order", span_name="list \"x\""}[5m])))`,
	}
	if diff := cmp.Diff(want, relatedLines(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// What an item counts is what its page then shows.
	for _, i := range got.Items {
		w := Window{Start: i.Start, End: i.End, Filter: i.Filter}
		switch {
		case i.Kind == "logs" || i.Title == "Error logs of the service":
			l, err := e.Logs(t.Context(), w, Page{})
			if err != nil || uint64(len(l.Logs)) != i.Count {
				t.Errorf("%s: the page shows %d, %v; counted %d", i.Title, len(l.Logs), err, i.Count)
			}
		case i.Kind == "errors":
			l, err := e.Traces(t.Context(), w, Page{})
			if err != nil || len(l.Traces) != 1 {
				t.Errorf("%s: the page shows %d, %v", i.Title, len(l.Traces), err)
			}
		}
	}
	// A trace that is not there leaves what the anchor itself says.
	got, err = e.Related(t.Context(), Anchor{TraceID: "99", Start: hour.Start, End: hour.End})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"trace 0: ", "logs 0: trace_id = " + hexTrace(0x99)}, relatedLines(got)); diff != "" {
		t.Errorf("missing trace (-want +got):\n%s", diff)
	}
	for _, bad := range []Anchor{{TraceID: "x"}, {TraceID: "5", SpanID: "12"}, {TraceID: "5", SpanID: "00000000000000zz"}} {
		bad.Start, bad.End = hour.Start, hour.End
		if _, err := e.Related(t.Context(), bad); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
}

func TestRelatedMetrics(t *testing.T) {
	m := &memory{}
	e := New(Options{Traces: m, Logs: m, Metrics: metricsOf(t, `load 1m
  traces_span_metrics_calls_total{service_name="order", span_name="a"}  0+1x120
  traces_span_metrics_calls_total{service_name="order", span_name="b"}  0+1x120
  traces_span_metrics_calls_total{service_name="stock", span_name="a"}  0+1x120
`)})
	start := time.Unix(0, 0)
	got, err := e.Related(t.Context(), Anchor{Service: "order", Start: start, End: start.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, i := range got.Items {
		if i.Kind == "metrics" {
			n++
			if i.Count != 2 {
				t.Errorf("%s: got %d series, want 2", i.Title, i.Count)
			}
		}
	}
	if n != 3 {
		t.Errorf("got %d metrics", n)
	}
}

// slow is a store that answers when its context ends.
type slow struct{ *memory }

func (slow) Services(ctx context.Context, _ store.Select, _ int) ([]store.Group, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestQuestionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Traces: slow{&memory{}}, Logs: &memory{}})
		start := time.Now()
		for name, f := range map[string]func() error{
			"services": func() error { _, err := e.Services(t.Context(), hour, 0); return err },
			"service":  func() error { _, err := e.Service(t.Context(), hour, "x", 0); return err },
			"graph":    func() error { _, err := e.Graph(t.Context(), hour, ""); return err },
			"related": func() error {
				_, err := e.Related(t.Context(), Anchor{Service: "x", Start: hour.Start, End: hour.End})
				return err
			},
		} {
			if err := f(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want a deadline", name, err)
			}
		}
		if got := time.Since(start); got != 4*defaultTimeout {
			t.Errorf("four questions took %v, want %v", got, 4*defaultTimeout)
		}
	})
}

func TestTogether(t *testing.T) {
	first := errors.New("first")
	err := together(t.Context(),
		func(context.Context) error { return first },
		func(ctx context.Context) error { <-ctx.Done(); return errors.New("second") },
	)
	if err != first {
		t.Errorf("got %v, want the first error", err)
	}
	defer func() {
		if p := recover(); p == nil || !strings.HasPrefix(p.(string), "boom\n") {
			t.Errorf("recovered %v", p)
		}
	}()
	together(t.Context(), func(context.Context) error { panic("boom") }, func(context.Context) error { return nil })
	t.Error("the panic was lost")
}

func TestTenantReachesTheStore(t *testing.T) {
	seen := tenants{memory: &memory{}}
	want := store.Tenant{Account: 7, Project: 2}
	e := New(Options{Traces: &seen, Logs: &seen})
	if _, err := e.Services(WithTenant(t.Context(), want), hour, 0); err != nil {
		t.Fatal(err)
	}
	if seen.last != want {
		t.Errorf("got tenant %v, want %v", seen.last, want)
	}
	if TenantOf(t.Context()) != (store.Tenant{}) {
		t.Error("a context without a tenant has one")
	}
}

type tenants struct {
	*memory
	mu   sync.Mutex
	last store.Tenant
}

func (s *tenants) Services(_ context.Context, sel store.Select, _ int) ([]store.Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = sel.Tenant
	return nil, nil
}

func TestHeat(t *testing.T) {
	e, _ := ask(spans(sp{trace: 1, id: 1, service: "a", to: 5 * time.Minute}, sp{trace: 1, id: 2, service: "b", to: -30 * time.Minute}), plog.NewLogs())
	got, err := e.Heat(t.Context(), hour, 60)
	if err != nil {
		t.Fatal(err)
	}
	want := &Heat{Start: hour.Start, StepNs: int64(time.Minute), Columns: 60, Exact: true, Cells: []HeatCell{{X: 35, Count: 1}, {X: 0, Count: 1}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	empty, _ := ask(ptrace.NewTraces(), plog.NewLogs())
	if got, err := empty.Heat(t.Context(), hour, 60); err != nil || got.Cells == nil {
		t.Errorf("empty: got %+v, %v", got, err)
	}
}
