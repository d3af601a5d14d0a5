package stocktest

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/codes"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// Of a tenth of 20,000 requests that fail, all are kept and stand for
// themselves; of the others a quarter is kept and stands for four.
func TestKeptRequestsStandForAll(t *testing.T) {
	const requests, share = 20_000, 0.25
	r := newReceiver(t)
	s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: r.URL, Sampler: core.NewByThreshold(share), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fails" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	for i := range requests {
		path := "/works"
		if i%10 == 0 {
			path = "/fails"
		}
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	kept, weight := map[string]int{}, map[string]float64{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range r.spans {
		for _, scope := range resource.ScopeSpans {
			for _, sp := range scope.Spans {
				path := attributeOf(sp, "url.path").GetStringValue()
				th, ok := core.StateThreshold(sp.TraceState)
				if !ok {
					t.Fatalf("span of %s without a threshold: %q", path, sp.TraceState)
				}
				kept[path]++
				weight[path] += th.Weight()
				if path == "/fails" && (sp.Status.Code != tracepb.Status_STATUS_CODE_ERROR || fmt.Sprint(attributeOf(sp, "http.response.status_code").GetIntValue()) != "500") {
					t.Errorf("a kept failure is incomplete: %v", sp)
				}
			}
		}
	}
	if kept["/fails"] != requests/10 || weight["/fails"] != requests/10 {
		t.Errorf("%d failures are kept and stand for %v, want %d twice", kept["/fails"], weight["/fails"], requests/10)
	}
	works := float64(requests * 9 / 10)
	deviation := math.Sqrt(works * (1 - share) / share)
	if math.Abs(weight["/works"]-works) > 5*deviation {
		t.Errorf("%d others are kept and stand for %v, want %v within %v", kept["/works"], weight["/works"], works, 5*deviation)
	}
}

func attributeOf(sp *tracepb.Span, key string) *commonpb.AnyValue {
	for _, a := range sp.Attributes {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}

// A request is kept for what failed within it, though it was answered well: each,
// and not only those that were not sampled, which would count twice.
func TestFailuresWithinStandForThemselves(t *testing.T) {
	const requests = 2000
	r := newReceiver(t)
	s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: r.URL, Sampler: core.NewByThreshold(0.25), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	h := s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx, outer := s.TracerProvider().Tracer("t").Start(r.Context(), "outer")
		_, inner := s.TracerProvider().Tracer("t").Start(ctx, "inner")
		inner.SetStatus(codes.Error, "tried in vain")
		inner.End()
		outer.End()
	}))
	for range requests {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	weight := 0.0
	for _, resource := range r.spans {
		for _, scope := range resource.ScopeSpans {
			for _, sp := range scope.Spans {
				if sp.Kind == tracepb.Span_SPAN_KIND_SERVER {
					th, _ := core.StateThreshold(sp.TraceState)
					weight += th.Weight()
				}
			}
		}
	}
	if weight != requests {
		t.Errorf("%d requests count as %v", requests, weight)
	}
}
