// Package storetest is the conformance suite of the event treaty: any engine
// that implements store.Writer, store.TraceReader and store.LogReader must
// pass it, whatever stands behind it.
package storetest

import (
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Store is what the suite tests.
type Store interface {
	store.Writer
	store.TraceReader
	store.LogReader
}

// visibleWithin is how long written data may take to show up.
const visibleWithin = 15 * time.Second

// Run runs the suite against a store that open makes; it may be empty or not.
// Every test uses a tenant of its own. Rows are written with times of the last
// hour.
func Run(t *testing.T, open func(t *testing.T) Store) {
	s := open(t)
	for i, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"TraceComesBackWhole", traceComesBackWhole},
		{"TraceOverHours", traceOverHours},
		{"TraceDeliveredTwice", traceDeliveredTwice},
		{"TraceNotFound", traceNotFound},
		{"SpanPages", spanPages},
		{"SpanConditions", spanConditions},
		{"SpansOfTraces", spansOfTraces},
		{"HeatMap", heatMap},
		{"ServicesAndOperations", servicesAndOperations},
		{"Compare", compare},
		{"SpanFieldsAndValues", spanFieldsAndValues},
		{"LogsComeBackWhole", logsComeBackWhole},
		{"LogPages", logPages},
		{"LogConditions", logConditions},
		{"LogsAround", logsAround},
		{"LogVolume", logVolume},
		{"LogFieldsAndValues", logFieldsAndValues},
		{"Tail", tail},
		{"ReadsWhileWriting", readsWhileWriting},
		{"Refusals", refusals},
		{"EndedContext", endedContext},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The minute is over, so that counts by minute are final.
			now := time.Now().Add(-2 * time.Minute).Truncate(time.Minute)
			c.test(t, &world{s, store.Tenant{Account: 4_000_000_000, Project: uint32(i + 1)}, now})
		})
	}
}

// world is the store as one test sees it.
type world struct {
	Store
	tenant store.Tenant
	now    time.Time // on a full minute, in the past
}

func (w *world) lastHour() store.Range {
	return store.Range{Start: w.now.Add(-time.Hour), End: w.now.Add(time.Minute)}
}

func (w *world) sel(where ...store.Cond) store.Select {
	return store.Select{Tenant: w.tenant, Range: w.lastHour(), Where: where}
}

// spans is a batch under construction.
type spans struct{ ptrace.Traces }

func newSpans() spans { return spans{ptrace.NewTraces()} }

// span adds a span of a service that ends ago before the world's time.
func (b *spans) span(w *world, service, name string, trace, id byte, ago, duration time.Duration) ptrace.Span {
	sp := b.scope(service).AppendEmpty()
	sp.SetTraceID(pcommon.TraceID{1: 7, 15: trace})
	sp.SetSpanID(pcommon.SpanID{7: id})
	sp.SetName(name)
	sp.SetKind(ptrace.SpanKindServer)
	end := w.now.Add(-ago)
	sp.SetStartTimestamp(pcommon.NewTimestampFromTime(end.Add(-duration)))
	sp.SetEndTimestamp(pcommon.NewTimestampFromTime(end))
	return sp
}

func (b *spans) scope(service string) ptrace.SpanSlice {
	for _, rs := range b.ResourceSpans().All() {
		if v, _ := rs.Resource().Attributes().Get("service.name"); v.Str() == service {
			return rs.ScopeSpans().At(0).Spans()
		}
	}
	rs := b.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", service)
	rs.Resource().Attributes().PutStr("region", "of-"+service)
	return rs.ScopeSpans().AppendEmpty().Spans()
}

// write writes spans and waits until they can be read.
func (w *world) write(t *testing.T, b spans) {
	t.Helper()
	if err := w.WriteTraces(t.Context(), w.tenant, b.Traces); err != nil {
		t.Fatalf("WriteTraces: %v", err)
	}
	want := map[string]int{"": b.SpanCount()}
	for _, rs := range b.ResourceSpans().All() {
		service, _ := rs.Resource().Attributes().Get("service.name")
		for _, ss := range rs.ScopeSpans().All() {
			want[service.Str()] += ss.Spans().Len()
		}
	}
	w.await(t, want, func(sel store.Select) (int, error) {
		rows, _, err := w.Spans(t.Context(), sel, store.MaxPage, "")
		return len(rows), err
	})
}

// await waits until count finds what was written, in all and of every service:
// a store may look these up in different ways.
func (w *world) await(t *testing.T, want map[string]int, count func(store.Select) (int, error)) {
	t.Helper()
	poll(t, func() error {
		for service, n := range want {
			sel := w.sel()
			if service != "" {
				sel = w.sel(store.Cond{Field: "service.name", Op: store.OpEq, Value: service})
			}
			if got, err := count(sel); err != nil || got < n {
				return fmt.Errorf("%d of %d rows of service %q visible, error %w", got, n, service, err)
			}
		}
		return nil
	})
}

func (w *world) writeLogs(t *testing.T, ld plog.Logs) {
	t.Helper()
	if err := w.WriteLogs(t.Context(), w.tenant, ld); err != nil {
		t.Fatalf("WriteLogs: %v", err)
	}
	want := map[string]int{"": ld.LogRecordCount()}
	for _, rl := range ld.ResourceLogs().All() {
		service, _ := rl.Resource().Attributes().Get("service.name")
		for _, sl := range rl.ScopeLogs().All() {
			want[service.Str()] += sl.LogRecords().Len()
		}
	}
	w.await(t, want, func(sel store.Select) (int, error) {
		rows, _, err := w.Logs(t.Context(), sel, store.MaxPage, "")
		return len(rows), err
	})
}

func poll(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(visibleWithin)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", visibleWithin, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
