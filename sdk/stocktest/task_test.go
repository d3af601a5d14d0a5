package stocktest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/panjf2000/ants/v2"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecollectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// told is what an SDK has sent.
type told struct {
	mu      sync.Mutex
	spans   []*tracepb.Span
	metrics map[string]*metricspb.Metric // the last of each name
}

// named are the spans of a name.
func (r *told) named(name string) (spans []*tracepb.Span) {
	for _, s := range r.spans {
		if s.Name == name {
			spans = append(spans, s)
		}
	}
	return spans
}

// run runs a program on an SDK and returns what that has sent, once nothing of
// either runs any more.
func run(t *testing.T, program func(*sdk.SDK)) *told {
	t.Helper()
	leak := goleak.IgnoreCurrent()
	r := &told{metrics: map[string]*metricspb.Metric{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		switch req.URL.Path {
		case "/v1/traces":
			var m tracecollectorpb.ExportTraceServiceRequest
			if err := errors.Join(err, proto.Unmarshal(body, &m)); err != nil {
				t.Error(err)
			}
			for _, rs := range m.ResourceSpans {
				for _, ss := range rs.ScopeSpans {
					r.spans = append(r.spans, ss.Spans...)
				}
			}
		case "/v1/metrics":
			var m collectorpb.ExportMetricsServiceRequest
			if err := errors.Join(err, proto.Unmarshal(body, &m)); err != nil {
				t.Error(err)
			}
			for _, rm := range m.ResourceMetrics {
				for _, sm := range rm.ScopeMetrics {
					for _, metric := range sm.Metrics {
						r.metrics[metric.Name] = metric
					}
				}
			}
		}
	}))
	transport := &http.Transport{}
	s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: server.URL, Sampler: core.NewByThreshold(1), Client: &http.Client{Transport: transport}, NoRuntime: true})
	if err != nil {
		t.Fatal(err)
	}
	program(s)
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	transport.CloseIdleConnections()
	server.Close()
	goleak.VerifyNone(t, leak)
	return r
}

// points are the values of a metric by an attribute, of a histogram the counts.
func (r *told) points(name, attr string) map[string]int64 {
	values := map[string]int64{}
	m := r.metrics[name]
	for _, p := range m.GetSum().GetDataPoints() {
		values[of(p.Attributes, attr)] += p.GetAsInt()
	}
	for _, p := range m.GetHistogram().GetDataPoints() {
		values[of(p.Attributes, attr)] += int64(p.Count)
	}
	return values
}

func of(attrs []*keyValue, name string) string {
	for _, a := range attrs {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

func TestPoolIsCounted(t *testing.T) {
	got := run(t, func(s *sdk.SDK) {
		ctx, sender := s.TracerProvider().Tracer("t").Start(t.Context(), "sender")
		defer sender.End()
		p := sdk.NewPool(sdk.PoolOptions{Name: "mail", Workers: 2, Queue: 1, Failed: func(context.Context, string, error) {}})
		release, running := make(chan struct{}), make(chan struct{})
		for range 2 {
			if err := p.Submit(ctx, "holds", func(context.Context) error { running <- struct{}{}; <-release; return nil }); err != nil {
				t.Fatal(err)
			}
			<-running
		}
		if err := p.TrySubmit(ctx, "panics", func(context.Context) error { panic("oh") }); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := p.TrySubmit(ctx, "too many", func(context.Context) error { return nil }); err != sdk.ErrPoolFull {
				t.Errorf("error %v", err)
			}
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		close(release)
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.Submit(ctx, "closed", func(context.Context) error { return nil }); err != sdk.ErrPoolClosed {
			t.Errorf("error %v", err)
		}
	})
	sender := got.named("sender")[0]
	for name, n := range map[string]int{"holds": 2, "panics": 1, "too many": 0, "closed": 0} {
		spans := got.named(name)
		if len(spans) != n {
			t.Errorf("%d spans of %q, want %d", len(spans), name, n)
		}
		for _, s := range spans {
			if string(s.ParentSpanId) != string(sender.SpanId) || string(s.TraceId) != string(sender.TraceId) || of(s.Attributes, "guanlan.pool.name") != "mail" {
				t.Errorf("%q: %v, want a child of the submitter", name, s)
			}
		}
	}
	if s := got.named("panics")[0]; s.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || len(s.Events) != 1 || of(s.Events[0].Attributes, "exception.message") != "oh" {
		t.Errorf("the job that panicked: %v", s)
	}
	for _, test := range []struct {
		metric, attr string
		want         map[string]int64
	}{
		{"guanlan.pool.queue.length", "guanlan.pool.name", map[string]int64{"mail": 0}},
		{"guanlan.pool.workers.busy", "guanlan.pool.name", map[string]int64{"mail": 0}},
		{"guanlan.pool.rejected", "guanlan.pool.reason", map[string]int64{"full": 3, "closed": 1}},
		{"guanlan.task.wait", "guanlan.task.name", map[string]int64{"holds": 2, "panics": 1}},
		{"guanlan.task.duration", "error.type", map[string]int64{"": 2, "panic": 1}},
	} {
		values := got.points(test.metric, test.attr)
		if len(values) != len(test.want) {
			t.Errorf("%s: %v, want %v", test.metric, values, test.want)
		}
		for k, v := range test.want {
			if values[k] != v {
				t.Errorf("%s: %v, want %v", test.metric, values, test.want)
			}
		}
	}
}

// Batches are in a trace of their own, with links and how long each part waited.
func TestCarriersAcrossChannels(t *testing.T) {
	got := run(t, func(s *sdk.SDK) {
		tracer := s.TracerProvider().Tracer("t")
		single, batched := make(chan sdk.Message[int]), make(chan sdk.Message[int], 3)
		var wg sync.WaitGroup
		wg.Go(func() {
			for m := range single {
				_ = m.Run(t.Context(), "one", func(context.Context) error { return nil })
			}
		})
		ctx, sender := tracer.Start(t.Context(), "sender")
		single <- sdk.NewMessage(ctx, 1)
		for i := range 3 {
			batched <- sdk.NewMessage(ctx, i)
		}
		sender.End()
		close(single)
		close(batched)
		var from []sdk.Carrier
		for m := range batched {
			from = append(from, m.Carrier)
		}
		ctx, receiver := tracer.Start(t.Context(), "receiver")
		_ = sdk.RunBatch(ctx, "batch", from, func(context.Context) error { return errors.New("no") })
		receiver.End()
		wg.Wait()
	})
	sender, receiver, one, batch := got.named("sender")[0], got.named("receiver")[0], got.named("one")[0], got.named("batch")[0]
	if string(one.ParentSpanId) != string(sender.SpanId) || len(one.Links) != 0 {
		t.Errorf("one: %v", one)
	}
	if string(batch.ParentSpanId) != string(receiver.SpanId) || len(batch.Links) != 3 || batch.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("batch: %v", batch)
	}
	for _, l := range batch.Links {
		if string(l.SpanId) != string(sender.SpanId) || len(l.Attributes) != 1 || l.Attributes[0].Key != "guanlan.task.wait" || l.Attributes[0].Value.GetDoubleValue() <= 0 {
			t.Errorf("link %v", l)
		}
	}
}

// What other libraries run is wrapped, and nothing is left behind.
func TestPoolsOfOthers(t *testing.T) {
	got := run(t, func(s *sdk.SDK) {
		ctx, sender := s.TracerProvider().Tracer("t").Start(t.Context(), "sender")
		defer sender.End()
		var panicked atomic.Int64
		pool, err := ants.NewPool(2, ants.WithPanicHandler(func(any) { panicked.Add(1) }))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Add(1)
			if err := pool.Submit(sdk.Wrap(ctx, "by ants", func(context.Context) { wg.Done() })); err != nil {
				t.Fatal(err)
			}
		}
		wg.Add(1)
		if err := pool.Submit(sdk.Wrap(ctx, "panics", func(context.Context) { defer wg.Done(); panic("oh") })); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if err := pool.ReleaseTimeout(10 * time.Second); err != nil {
			t.Error(err)
		}
		if panicked.Load() != 1 {
			t.Errorf("the pool has seen %d panics, want 1", panicked.Load())
		}
		group, ctx := errgroup.WithContext(ctx)
		no := errors.New("no")
		group.Go(sdk.WrapError(ctx, "by errgroup", func(context.Context) error { return no }))
		group.Go(sdk.WrapError(ctx, "waits", func(ctx context.Context) error { <-ctx.Done(); return nil }))
		if err := group.Wait(); err != no {
			t.Errorf("error %v", err)
		}
		done := make(chan struct{})
		sdk.Go(ctx, "by Go", func(context.Context) { close(done) })
		<-done
	})
	sender := got.named("sender")[0]
	for name, n := range map[string]int{"by ants": 5, "panics": 1, "by errgroup": 1, "waits": 1} {
		spans := got.named(name)
		if len(spans) != n {
			t.Errorf("%d spans of %q, want %d", len(spans), name, n)
		}
		for _, s := range spans {
			if string(s.ParentSpanId) != string(sender.SpanId) {
				t.Errorf("%q: %v, want a child of the sender", name, s)
			}
		}
	}
}
