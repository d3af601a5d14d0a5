// Package otlpsink is an OTLP receiver for tests: it keeps all that programs
// send to it and writes it down as text that two runs have in common.
package otlpsink

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

const (
	// largestBody bounds one request unpacked: a test that sends more has
	// gone wrong.
	largestBody = 64 << 20
	// patience is how long the waits wait before they fail the test: longer
	// than any program under test runs.
	patience = 30 * time.Second
)

// Received is what has arrived, in the order of arrival. It is the caller's own.
type Received struct {
	Traces  ptrace.Traces
	Logs    plog.Logs
	Metrics pmetric.Metrics
}

// Sink receives OTLP over HTTP, as protobuf, on a free loopback port. Its
// methods may be called from several goroutines.
type Sink struct {
	URL string // for OTEL_EXPORTER_OTLP_ENDPOINT

	t        testing.TB
	mu       sync.Mutex
	received Received
	active   int           // requests under way
	changed  chan struct{} // closed and replaced when active changes
}

// New starts a sink that closes with the test. Requests that are not OTLP fail
// the test.
func New(t testing.TB) *Sink {
	s := &Sink{t: t, changed: make(chan struct{}), received: nothing()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", s.take(func(body []byte) ([]byte, error) {
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalProto(body); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		req.Traces().ResourceSpans().MoveAndAppendTo(s.received.Traces.ResourceSpans())
		return ptraceotlp.NewExportResponse().MarshalProto()
	}))
	mux.HandleFunc("POST /v1/logs", s.take(func(body []byte) ([]byte, error) {
		req := plogotlp.NewExportRequest()
		if err := req.UnmarshalProto(body); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		req.Logs().ResourceLogs().MoveAndAppendTo(s.received.Logs.ResourceLogs())
		return plogotlp.NewExportResponse().MarshalProto()
	}))
	mux.HandleFunc("POST /v1/metrics", s.take(func(body []byte) ([]byte, error) {
		req := pmetricotlp.NewExportRequest()
		if err := req.UnmarshalProto(body); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		req.Metrics().ResourceMetrics().MoveAndAppendTo(s.received.Metrics.ResourceMetrics())
		return pmetricotlp.NewExportResponse().MarshalProto()
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("OTLP sink: %s %s", r.Method, r.URL.Path)
		http.NotFound(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

func nothing() Received {
	return Received{ptrace.NewTraces(), plog.NewLogs(), pmetric.NewMetrics()}
}

// take serves one signal with keep, which keeps what a body has and answers it.
func (s *Sink) take(keep func(body []byte) (answer []byte, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.count(+1)
		defer s.count(-1)
		sent, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
		if errors.Is(err, io.ErrUnexpectedEOF) {
			// A program that ends breaks off the metrics that it sends at an
			// interval, and sends them anew: no fault, and nothing was received.
			s.t.Logf("OTLP sink: %s: broken off by the sender", r.URL.Path)
			return
		}
		var body []byte
		if err == nil {
			body, err = unpack(sent, r.Header.Get("Content-Encoding"))
		}
		if err == nil {
			body, err = keep(body)
		}
		if err != nil {
			s.t.Errorf("OTLP sink: %s: %v", r.URL.Path, err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(body)
	}
}

func unpack(sent []byte, encoding string) ([]byte, error) {
	if encoding != "gzip" {
		return sent, nil
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(unpacked, largestBody))
}

func (s *Sink) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active += by
	close(s.changed)
	s.changed = make(chan struct{})
}

// Env is what a program is started with to send here, everything and soon.
func (s *Sink) Env() []string {
	return []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + s.URL,
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_TRACES_SAMPLER=always_on",
		"OTEL_BSP_SCHEDULE_DELAY=50",
		"OTEL_BLRP_SCHEDULE_DELAY=50",
	}
}

// Received is a copy of what has arrived until now.
func (s *Sink) Received() Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := nothing()
	s.received.Traces.CopyTo(c.Traces)
	s.received.Logs.CopyTo(c.Logs)
	s.received.Metrics.CopyTo(c.Metrics)
	return c
}

// Forget drops what has arrived, for the next case of a test.
func (s *Sink) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = nothing()
}

// Wait blocks until missing says "" of what has arrived, and returns that. It
// fails the test with what is missing after half a minute.
func (s *Sink) Wait(missing func(Received) string) Received {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		got := s.Received()
		what := missing(got)
		if what == "" {
			return got
		}
		select {
		case <-changed:
		case <-ctx.Done():
			s.t.Fatalf("OTLP sink: still missing %s; there is\n%s", what, got.Render())
		}
	}
}

// WaitSpans blocks until n spans are there.
func (s *Sink) WaitSpans(n int) Received {
	s.t.Helper()
	return s.Wait(func(got Received) string {
		if got.Traces.SpanCount() >= n {
			return ""
		}
		return "spans"
	})
}

// Quiet blocks until no request is under way and none has come for a while (0:
// a tenth of a second), and returns what has arrived. It is for what a program
// has sent that has ended: its last request may still be read here.
func (s *Sink) Quiet(while time.Duration) Received {
	s.t.Helper()
	while = cmp.Or(while, 100*time.Millisecond)
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		changed, active := s.changed, s.active
		s.mu.Unlock()
		var calm <-chan time.Time
		if active == 0 {
			calm = time.After(while)
		}
		select {
		case <-changed:
		case <-calm:
			return s.Received()
		case <-late.C:
			s.t.Fatalf("OTLP sink: never quiet for %v", while)
		}
	}
}
