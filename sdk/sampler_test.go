package sdk

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// always_off is off: what fails is not sent either, and of what a caller keeps
// only what the name of the sampler says.
func TestAlwaysOff(t *testing.T) {
	for name, byParent := range map[string]bool{"always_off": false, "parentbased_always_off": true} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", name)
			s, sink := start(t, Options{})
			var inner trace.SpanContext
			h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inner = trace.SpanContextFromContext(r.Context())
				w.WriteHeader(http.StatusInternalServerError)
			}))
			for path, parent := range map[string]string{
				"/root":      "",
				"/unsampled": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
				"/callers":   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			} {
				r := httptest.NewRequest("GET", path, nil)
				if parent != "" {
					r.Header.Set("Traceparent", parent)
					r.Header.Set("Tracestate", "ot=th:8;rv:ffffffffffffff,x=y")
				}
				h.ServeHTTP(httptest.NewRecorder(), r)
				sampled := byParent && path == "/callers"
				if inner.IsSampled() != sampled || strings.Contains(inner.TraceState().String(), "th:") && !sampled && path == "/callers" {
					t.Errorf("%s: sampled %v with state %q, want %v", path, inner.IsSampled(), inner.TraceState(), sampled)
				}
			}
			got := sent(t, s, sink)
			for path, want := range map[string]bool{"/root": false, "/unsampled": false, "/callers": byParent} {
				if strings.Contains(got["/v1/traces"], path) != want {
					t.Errorf("that %s is sent is %v", path, !want)
				}
			}
			if !strings.Contains(got["/v1/metrics"], "http.server.request.duration") {
				t.Error("requests are not counted")
			}
		})
	}
}
