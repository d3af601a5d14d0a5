package sdk

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// A receiver that hangs for one signal must not cost the others.
func TestSignalsEndSideBySide(t *testing.T) {
	for name, end := range map[string]func(*SDK, context.Context) error{"Flush": (*SDK).Flush, "Shutdown": (*SDK).Shutdown} {
		for _, stuck := range []string{"/v1/traces", "/v1/logs", "/v1/metrics"} {
			t.Run(name+stuck, func(t *testing.T) {
				var mu sync.Mutex
				got := map[string]bool{}
				release := make(chan struct{})
				server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					if r.URL.Path == stuck {
						<-release
						return
					}
					mu.Lock()
					defer mu.Unlock()
					got[r.URL.Path] = true
				}))
				defer server.Close()
				defer close(release)
				s, err := Start(t.Context(), Options{Endpoint: server.URL, Sampler: core.NewByThreshold(1), Failed: func(error) {}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, span := s.TracerProvider().Tracer("t").Start(t.Context(), "n")
				slog.New(s.LogHandler(nil)).InfoContext(ctx, "hello")
				span.End()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := end(s, ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want that the time of %s is over", err, stuck)
				}
				mu.Lock()
				for _, path := range []string{"/v1/traces", "/v1/logs", "/v1/metrics"} {
					if got[path] != (path != stuck) {
						t.Errorf("with %s stuck, that %s was received is %v", stuck, path, got[path])
					}
				}
				mu.Unlock()
				over, cancel := context.WithCancel(t.Context())
				cancel()
				_ = s.Shutdown(over)
			})
		}
	}
}

// What became of the last spans is told by the last metrics.
func TestLastMetricsTellOfLastSpans(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	_, span := s.TracerProvider().Tracer("t").Start(t.Context(), "n")
	span.End()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var last string
	for len(sink.bodies) > 0 {
		last = (<-sink.bodies).path
	}
	if last != "/v1/metrics" {
		t.Errorf("the last request is for %q", last)
	}
}

// Whatever keeps a collection from ending, Shutdown ends with its context.
func TestShutdownDoesNotWaitForCollection(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "metrics") {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer server.Close()
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "1")
	stuck, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	var once sync.Once
	s, err := Start(t.Context(), Options{Endpoint: server.URL, Failed: func(error) {
		once.Do(func() { close(stuck) })
		<-release
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-stuck
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(ctx) }()
	select {
	case err := <-ended:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that the time is over", err)
		}
	case <-time.After(time.Minute):
		t.Error("Shutdown does not return")
	}
}
