package sdk

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

type jobKey struct{ queue, outcome string }

func (k jobKey) attrs() []core.Attr {
	return []core.Attr{core.String("queue", k.queue), core.String("outcome", k.outcome)}
}

var jobs = NewOperations(OperationOptions[jobKey]{Scope: "example.com/jobs", Kind: core.KindConsumer, Metric: "job.duration", Attrs: jobKey.attrs})

func runJob(ctx context.Context, name string, do func(context.Context) error) {
	op := jobs.Start(ctx, name)
	key, failure := jobKey{"mail", "done"}, ""
	if err := do(op.Ctx()); err != nil {
		key.outcome, failure = "failed", "refused"
	}
	if op.Finish(failure) {
		op.Span().SetAttr(core.String("job.note", "told at the end"))
	}
	op.End(key)
}

func TestOperations(t *testing.T) {
	running.Store(nil)
	runJob(t.Context(), "without an SDK", func(ctx context.Context) error {
		if ctx != t.Context() {
			t.Error("without an SDK the context is another one")
		}
		return nil
	})
	for _, sampled := range []float64{0, 1} {
		s, sink := start(t, Options{Sampler: core.NewByThreshold(sampled)})
		var ids []trace.SpanContext
		note := func(err error) func(context.Context) error {
			return func(ctx context.Context) error {
				ids = append(ids, trace.SpanContextFromContext(ctx))
				return err
			}
		}
		runJob(t.Context(), "well", note(nil))
		runJob(t.Context(), "badly", note(errors.New("no")))
		runJob(t.Context(), "well, but somebody within says no", func(ctx context.Context) error {
			_, inner := s.TracerProvider().Tracer("t").Start(ctx, "inner")
			defer inner.End()
			inner.SetStatus(codes.Error, "no")
			return note(nil)(ctx)
		})
		got := sent(t, s, sink)
		for i, kept := range []bool{sampled == 1, true, true} {
			id := ids[i].SpanID()
			if strings.Contains(got["/v1/traces"], string(id[:])) != kept {
				t.Errorf("sampled %v: job %d kept is %v", sampled, i, !kept)
			}
		}
		if n := strings.Count(got["/v1/traces"], "told at the end"); n != 2+int(sampled) {
			t.Errorf("sampled %v: %d spans were described at the end", sampled, n)
		}
		for _, want := range []string{"job.duration", "example.com/jobs", "failed", "mail"} {
			if !strings.Contains(got["/v1/metrics"], want) {
				t.Errorf("sampled %v: %q is not in the metrics", sampled, want)
			}
		}
	}
}

// A stream is not slow for being long.
func TestLasting(t *testing.T) {
	for _, lasting := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := NewOperations(OperationOptions[jobKey]{Scope: "example.com/jobs", Kind: core.KindServer})
			sampler := core.NewAdaptive(core.Policy{Base: 1e-9, Few: -1, Least: 1e-9}, time.Now())
			pipe := core.NewPipe(nil, core.PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
			defer pipe.Close(context.Background())
			o.fixed = &SDK{enabled: true, provider: NewTracerProvider(core.NewProvider(core.Options{Sampler: sampler, Pipe: pipe})), adaptive: sampler}
			op := o.Start(t.Context(), "n")
			if lasting {
				op.Lasting()
			}
			time.Sleep(time.Hour)
			if kept := op.Finish(""); kept == lasting {
				t.Errorf("lasting %v: kept %v", lasting, kept)
			}
			op.End(jobKey{})
		})
	}
}

func TestBaggageBecomesAttributes(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0), Baggage: []string{"tenant"}})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("baggage", "tenant=yunshan,card=4711")
	r.Header.Set("traceparent", someParent)
	s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, sp := s.TracerProvider().Tracer("t").Start(r.Context(), "inner")
		sp.End()
	})).ServeHTTP(httptest.NewRecorder(), r)
	unsampled := r.Clone(t.Context())
	unsampled.Header.Set("traceparent", strings.TrimSuffix(someParent, "1")+"0")
	s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })).ServeHTTP(httptest.NewRecorder(), unsampled)
	got := sent(t, s, sink)["/v1/traces"]
	if n := strings.Count(got, "yunshan"); n != 3 || strings.Contains(got, "4711") {
		t.Errorf("the tenant is on %d spans, want the request, the inner one and the failed one; other members: %v", n, strings.Contains(got, "4711"))
	}
}
