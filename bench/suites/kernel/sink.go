//go:build linux

package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// sink receives what agents send, keeps the records that somebody wants, and
// throws the rest away.
type sink struct {
	address string
	spans   spans
	lost    atomic.Int64 // what agents say that they dropped of the audit

	mu   sync.Mutex
	want func(plog.LogRecord, time.Time)
}

func listen() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the agent: %w", err)
	}
	s := &sink{address: l.Addr().String()}
	go http.Serve(l, s) // as long as the suite runs
	return s, nil
}

// records calls f with each log record and when it came, one by one, until it is called with nil.
func (s *sink) records(f func(plog.LogRecord, time.Time)) {
	s.mu.Lock()
	s.want = f
	s.mu.Unlock()
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	switch r.URL.Path {
	case "/v1/traces":
		if raw, err := io.ReadAll(body); err == nil {
			s.spans.count(raw)
		}
	case "/v1/metrics":
		if raw, err := io.ReadAll(body); err == nil {
			s.losses(raw)
		}
	}
	s.mu.Lock()
	wanted := s.want != nil && r.URL.Path == "/v1/logs"
	s.mu.Unlock()
	if !wanted {
		_, _ = io.Copy(io.Discard, body)
		w.Header().Set("Content-Type", "application/x-protobuf")
		return
	}
	raw, err := io.ReadAll(body)
	req := plogotlp.NewExportRequest()
	if err == nil {
		err = req.UnmarshalProto(raw)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range req.Logs().ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				if s.want != nil {
					s.want(record, now)
				}
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// losses adds up what a request of metrics says was dropped of the audit.
func (s *sink) losses(raw []byte) {
	req := pmetricotlp.NewExportRequest()
	if req.UnmarshalProto(raw) != nil {
		return
	}
	for _, resource := range req.Metrics().ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				if m.Name() != "guanlan.kernel.dropped" {
					continue
				}
				for _, p := range m.Sum().DataPoints().All() {
					if f, ok := p.Attributes().Get("kernel.feature"); ok && f.Str() == "audit" {
						s.lost.Add(p.IntValue())
					}
				}
			}
		}
	}
}

// spans counts spans of servers by the path that was asked for.
type spans struct {
	mu sync.Mutex
	n  map[string]int64
}

func (s *spans) of(path string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[path]
}

func (s *spans) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n = map[string]int64{}
}

func (s *spans) count(raw []byte) {
	req := ptraceotlp.NewExportRequest()
	if req.UnmarshalProto(raw) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range req.Traces().ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				if path, ok := span.Attributes().Get("url.path"); ok && s.n != nil && span.Kind() == ptrace.SpanKindServer {
					s.n[path.Str()]++
				}
			}
		}
	}
}
