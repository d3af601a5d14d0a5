package stocktest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// What the SDK loses is told as metrics, by the names of the conventions.
func TestLossesAreMetrics(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int64{}
	var sizes []int // of requests, in data points
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/v1/traces": // partial_success { rejected_spans: 1 }
			_, _ = w.Write([]byte{0x0a, 2, 0x08, 1})
		case "/v1/logs":
			w.WriteHeader(http.StatusBadRequest)
		case "/v1/metrics":
			var m collectorpb.ExportMetricsServiceRequest
			if err := proto.Unmarshal(body, &m); err != nil {
				t.Errorf("request is not OTLP: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			points := 0
			for _, scope := range m.ResourceMetrics[0].ScopeMetrics {
				for _, metric := range scope.Metrics {
					points += len(metric.GetSum().GetDataPoints()) + len(metric.GetGauge().GetDataPoints()) + len(metric.GetHistogram().GetDataPoints())
					if !strings.HasPrefix(metric.Name, "otel.sdk.") && !strings.HasPrefix(metric.Name, "guanlan.sdk.log.") {
						continue
					}
					if metric.Unit == "" {
						t.Errorf("%s has no unit", metric.Name)
					}
					for _, p := range metric.GetSum().GetDataPoints() {
						got[series(metric, p)] = p.GetAsInt()
					}
				}
			}
			sizes = append(sizes, points)
		}
	}))
	defer server.Close()
	s, err := sdk.Start(t.Context(), sdk.Options{
		Endpoint: server.URL, Sampler: core.NewByThreshold(1), Failed: func(error) {},
		Log: sdk.LogOptions{File: core.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")}, FileOnly: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, span := s.TracerProvider().Tracer("x").Start(t.Context(), "n")
		span.End()
	}
	log := slog.New(s.LogHandler(nil))
	log.Info("one")
	log.Info("two")
	for range 2 { // what is told of metrics is in the next request
		if err := s.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	points := got["otel.sdk.exporter.metric_data_point.exported otlp_http_metric_exporter "]
	delete(got, "otel.sdk.exporter.metric_data_point.exported otlp_http_metric_exporter ")
	want := map[string]int64{
		"otel.sdk.processor.span.processed batching_span_processor ":           3,
		"otel.sdk.processor.span.processed batching_span_processor queue_full": 0,
		"otel.sdk.exporter.span.exported otlp_http_span_exporter ":             2,
		"otel.sdk.exporter.span.exported otlp_http_span_exporter rejected":     1,
		"otel.sdk.exporter.span.exported otlp_http_span_exporter _OTHER":       0,
		"otel.sdk.processor.log.processed batching_log_processor ":             2,
		"otel.sdk.processor.log.processed batching_log_processor queue_full":   0,
		"otel.sdk.exporter.log.exported otlp_http_log_exporter ":               0,
		"otel.sdk.exporter.log.exported otlp_http_log_exporter rejected":       0,
		"otel.sdk.exporter.log.exported otlp_http_log_exporter _OTHER":         2,
		"guanlan.sdk.log.lines written file":                                   2,
		"guanlan.sdk.log.lines dropped file":                                   0,
		"guanlan.sdk.log.lines failed file":                                    0,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v, want\n%v", got, want)
	}
	if len(sizes) < 2 || points != int64(sizes[0]) { // that of the request before
		t.Errorf("%d data points sent, requests have %v", points, sizes)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func series(m *metricspb.Metric, p *metricspb.NumberDataPoint) string {
	values := map[string]string{}
	for _, a := range p.Attributes {
		values[a.Key] = a.Value.GetStringValue()
	}
	if strings.HasPrefix(m.Name, "guanlan.") {
		return m.Name + " " + values["outcome"] + " " + values["sink"]
	}
	return m.Name + " " + values["otel.component.type"] + " " + values["error.type"]
}
