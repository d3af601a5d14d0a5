package sdk

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/errs"
)

// badError is an error that a nil pointer to is, too, as far as Go is concerned.
type badError struct{ inner error }

func (e *badError) Error() string     { return e.inner.Error() }
func (e *badError) Unwrap() error     { return e.inner }
func (e *badError) Is(error) bool     { return e.inner != nil }
func (e *badError) ErrorType() string { return e.inner.Error() }

// noError is what a function returns that declares a *badError and has nothing
// to tell: an error that cannot be asked anything.
func noError() error { var e *badError; return e }

const nilPanic = "!PANIC: runtime error: invalid memory address or nil pointer dereference"

// Errors are code of the service. One that panics must end neither a goroutine of
// ours nor the service.
func TestErrorsThatPanic(t *testing.T) {
	logged := logTo(t)
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	p := NewPool(PoolOptions{Name: "mail", Workers: 1})
	if err := p.Submit(t.Context(), "job", func(context.Context) error { return noError() }); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(logged.String(), "job failed") || !strings.Contains(logged.String(), nilPanic) {
		t.Errorf("the pool tells of %s", logged.String())
	}
	if err := WrapError(t.Context(), "task", func(context.Context) error { return noError() })(); err != noError() {
		t.Errorf("task: %v", err)
	}

	h := &Health{}
	h.Started()
	h.Add("db", func(context.Context) error { return noError() })
	if r := h.Report(t.Context()); r.Status != HealthFailed || r.Checks[0].Error != nilPanic {
		t.Errorf("health: %+v", r)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (task{"worker", func(context.Context) error { return noError() }}).work(ctx); err == nil || !strings.HasPrefix(err.Error(), "worker: ") {
		t.Errorf("worker: %v", err)
	}

	send := s.HTTPClient().Transport(failingTransport{})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://example.com/", nil)
	if _, err := send.RoundTrip(req); err != noError() {
		t.Errorf("transport: %v", err)
	}

	h500 := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		span := trace.SpanFromContext(r.Context())
		span.RecordError(noError())
		span.SetStatus(codes.Error, "")
		w.WriteHeader(http.StatusInternalServerError)
	}))
	h500.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/fails", nil))
	got := sent(t, s, sink)["/v1/traces"]
	for _, want := range []string{"job", "task", "/fails", "*sdk.badError", nilPanic} {
		if !strings.Contains(got, want) {
			t.Errorf("spans have no %q", want)
		}
	}
}

type failingTransport struct{}

func (failingTransport) RoundTrip(*http.Request) (*http.Response, error) { return nil, noError() }

// A request that fails has the code and the class of its error, whether it was
// sampled and whether the error has a code of its own.
func TestFailuresHaveTheirCodeAndClass(t *testing.T) {
	logTo(t)
	var table errs.Table
	stock := table.Define("inventory", 1, errs.System, "Out of reach")
	for err, code := range map[error]string{errors.New("no"): "sdk.1", context.DeadlineExceeded: errs.Timeout.Name(), stock.New(t.Context()): "inventory.1", stock: "inventory.1"} {
		for _, sampled := range []float64{0, 1} {
			s, sink := start(t, Options{Sampler: core.NewByThreshold(sampled)})
			s.HTTPServer().Handler(errs.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return err })).
				ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			got := sent(t, s, sink)
			for _, of := range []string{attrErrorClass, code} { // of the span and of its event
				if n := strings.Count(got["/v1/traces"], of); n < 2 {
					t.Errorf("%v, sampled %v: %q is told %d times: %q", err, sampled, of, n, got["/v1/traces"])
				}
			}
			if !strings.Contains(got["/v1/metrics"], code) {
				t.Errorf("%v, sampled %v: metrics %q", err, sampled, got["/v1/metrics"])
			}
		}
	}
	// An error.type that is no code may have any number of values.
	s, sink := start(t, Options{Sampler: core.NewByThreshold(0)})
	s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trace.SpanFromContext(r.Context()).RecordError(errors.New("no"), trace.WithAttributes(attribute.String("error.type", "order 4711")))
		w.WriteHeader(http.StatusBadGateway)
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if got := sent(t, s, sink)["/v1/metrics"]; strings.Contains(got, "4711") || !strings.Contains(got, "502") {
		t.Errorf("metrics %q", got)
	}
}

// What a request failed of is the same whether its parts have spans of their own
// or, not being sampled, are it.
func TestFailuresOfPartsAreTheRequests(t *testing.T) {
	logTo(t)
	var table errs.Table
	stock := table.Define("inventory", 7, errs.System, "Out of reach")
	for _, sampled := range []float64{0, 1} {
		s, sink := start(t, Options{Sampler: core.NewByThreshold(sampled)})
		s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, outer := s.TracerProvider().Tracer("t").Start(r.Context(), "outer")
			defer outer.End()
			ctx, inner := s.TracerProvider().Tracer("t").Start(ctx, "inner")
			defer inner.End()
			errs.Record(ctx, stock)
			w.WriteHeader(http.StatusInternalServerError)
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		got := sent(t, s, sink)
		if !strings.Contains(got["/v1/metrics"], "inventory.7") {
			t.Errorf("sampled %v: the metric does not say what the request failed of", sampled)
		}
		if n := strings.Count(got["/v1/traces"], "exception.message"); n != 1 {
			t.Errorf("sampled %v: the exception is told %d times", sampled, n)
		}
	}
}
