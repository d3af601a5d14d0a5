package sdk

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime/pprof"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// labelsHere are the labels of the goroutine that calls it, as a profiler sees them.
func labelsHere(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	for _, record := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(record, "labelsHere") {
			return regexp.MustCompile(`labels: (.*)`).FindString(record)
		}
	}
	t.Fatal("the goroutine is not in its own profile")
	return ""
}

func want(sc trace.SpanContext) string {
	return fmt.Sprintf(`labels: {"span_id":%q, "trace_id":%q}`, sc.SpanID(), sc.TraceID())
}

func TestProfileLabels(t *testing.T) {
	s, _ := start(t, Options{Sampler: core.NewByThreshold(1), ProfileLabels: true})
	tracer := s.TracerProvider().Tracer("test")
	var served string
	h := s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		own := want(trace.SpanContextFromContext(r.Context()))
		served = labelsHere(t)
		if served != own {
			t.Errorf("in the handler: %s, want %s", served, own)
		}
		// What is within the request is its work, also where others set labels.
		ctx, part := tracer.Start(r.Context(), "part")
		if got := labelsHere(t); got != own {
			t.Errorf("in a part: %s, want %s", got, own)
		}
		pprof.Do(ctx, pprof.Labels("route", "/cart"), func(context.Context) {
			if got := labelsHere(t); !strings.Contains(got, `"/cart"`) || !strings.Contains(got, own[len("labels: {"):len(own)-1]) {
				t.Errorf("with labels of one's own: %s", got)
			}
		})
		part.End()
		done := make(chan string)
		go func() { done <- labelsHere(t) }()
		if got := <-done; got != own {
			t.Errorf("in another goroutine: %s, want %s", got, own)
		}
	}))
	outside := pprof.WithLabels(t.Context(), pprof.Labels("worker", "7"))
	pprof.SetGoroutineLabels(outside)
	defer pprof.SetGoroutineLabels(t.Context())
	r := httptest.NewRequest("GET", "/", nil).WithContext(outside)
	served = ""
	h2 := s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { served = labelsHere(t) }))
	h2.ServeHTTP(httptest.NewRecorder(), r)
	if !strings.Contains(served, `"worker":"7"`) || !strings.Contains(served, "trace_id") {
		t.Errorf("labels from before are gone: %s", served)
	}
	if got := labelsHere(t); got != `labels: {"worker":"7"}` {
		t.Errorf("after the request: %s", got)
	}
	pprof.SetGoroutineLabels(t.Context())
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if got := labelsHere(t); got != "" || served == "" {
		t.Errorf("after the request: %q", got)
	}

	// A job of a program's own, in OpenTelemetry's words, and a panic that passes by.
	func() {
		defer func() { _ = recover() }()
		_, job := tracer.Start(t.Context(), "job")
		defer job.End()
		if got := labelsHere(t); got != want(job.SpanContext()) {
			t.Errorf("in a job: %s, want %s", got, want(job.SpanContext()))
		}
		panic("it fails")
	}()
	if got := labelsHere(t); got != "" {
		t.Errorf("after the job: %q", got)
	}
	// A call is no work of ours.
	_, call := tracer.Start(t.Context(), "call", trace.WithSpanKind(trace.SpanKindClient))
	if got := labelsHere(t); got != "" {
		t.Errorf("in a call: %q", got)
	}
	call.End()
}

func TestNoProfileLabels(t *testing.T) {
	for name, o := range map[string]Options{
		"by default":          {Sampler: core.NewByThreshold(1)},
		"of what is not kept": {Sampler: core.NewByThreshold(0), ProfileLabels: true},
	} {
		s, _ := start(t, o)
		got := "none"
		s.HTTPServer().Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got = labelsHere(t) })).
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		if got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	t.Setenv("GUANLAN_PROFILE_LABELS", "true")
	if s, _ := start(t, Options{}); !s.labels {
		t.Error("GUANLAN_PROFILE_LABELS does nothing")
	}
}

// What labels cost a request that is kept; others pay nothing.
func BenchmarkProfileLabels(b *testing.B) {
	ctx := context.Background()
	sc := core.SpanContext{TraceID: core.NewTraceID(), SpanID: core.SpanID{1}, Flags: core.FlagSampled}
	b.ReportAllocs()
	for b.Loop() {
		h := handle{Context: ctx}
		h.label(&sc)
		h.unlabel()
	}
}
