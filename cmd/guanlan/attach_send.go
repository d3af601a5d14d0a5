//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/guanlan-io/guanlan/internal/kernel/attach"
)

const (
	// sendEvery is how long a span waits for others.
	sendEvery = time.Second
	// sendAtMost keeps a message near 1 MB.
	sendAtMost = 2000
	// maxWaiting bounds the spans that wait for the endpoint: some 30 MB.
	maxWaiting = 50_000
	// sendTimeout is for one message, also for the last one after Ctrl-C.
	sendTimeout = 5 * time.Second
)

// spanSender posts spans to an OTLP endpoint. What does not find room while the
// endpoint is slow or away is counted.
type spanSender struct {
	url    string
	origin attach.Origin
	client *http.Client

	mu      sync.Mutex
	waiting []attach.Span
	sent    int
	lost    int
	err     error // the last
}

// newSpanSender wants an endpoint that spansURL can read.
func newSpanSender(endpoint string, o attach.Origin) *spanSender {
	target, _ := spansURL(endpoint)
	return &spanSender{url: target, origin: o, client: &http.Client{Timeout: sendTimeout}}
}

// spansURL is where an endpoint takes spans.
func spansURL(endpoint string) (string, error) {
	target := strings.TrimSuffix(endpoint, "/")
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	if u, err := url.Parse(target); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("--endpoint %q: want a URL like http://127.0.0.1:4318", endpoint)
	}
	if !strings.HasSuffix(target, "/v1/traces") {
		target += "/v1/traces"
	}
	return target, nil
}

func (s *spanSender) add(span attach.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= maxWaiting {
		s.lost++
		return
	}
	s.waiting = append(s.waiting, span)
}

// run sends until ctx ends, and then once more what is left. A message that is on
// its way then is waited for: sent again, its spans would be there twice.
func (s *spanSender) run(ctx context.Context) {
	sending := context.WithoutCancel(ctx)
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush(sending)
			s.mu.Lock()
			s.lost += len(s.waiting)
			s.waiting = nil
			s.mu.Unlock()
			return
		case <-tick.C:
			s.flush(sending)
		}
	}
}

// flush sends what waits until it is gone or the endpoint does not take it.
func (s *spanSender) flush(ctx context.Context) {
	for {
		s.mu.Lock()
		batch := s.waiting[:min(len(s.waiting), sendAtMost)]
		s.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		final, err := s.post(ctx, batch)
		s.mu.Lock()
		s.err = err
		switch {
		case err == nil:
			s.sent += len(batch)
		case final:
			s.lost += len(batch)
		default:
			s.mu.Unlock()
			return
		}
		s.waiting = append([]attach.Span(nil), s.waiting[len(batch):]...)
		s.mu.Unlock()
	}
}

// post says with an error whether there is no use in sending again.
func (s *spanSender) post(ctx context.Context, spans []attach.Span) (final bool, err error) {
	body, err := ptraceotlp.NewExportRequestFromTraces(attach.Traces(s.origin, spans)).MarshalProto()
	if err != nil {
		return true, fmt.Errorf("encode spans: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return true, fmt.Errorf("send spans: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := s.client.Do(req)
	if err != nil {
		return false, fmt.Errorf("send spans: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	again := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusBadGateway ||
		resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout
	return !again, fmt.Errorf("send spans: %s answers %s", s.url, resp.Status)
}

func (s *spanSender) result() (sent, lost int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.lost, s.err
}
