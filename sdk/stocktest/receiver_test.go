package stocktest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver keeps what is posted to it.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*tracepb.ResourceSpans
	metrics []*metricspb.ResourceMetrics // of the last request that had any
	logs    []*logspb.ResourceLogs
}

func newReceiver(t testing.TB) *receiver {
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		switch req.URL.Path {
		case "/v1/traces":
			var m collectortrace.ExportTraceServiceRequest
			decode(t, body, &m)
			r.spans = append(r.spans, m.ResourceSpans...)
		case "/v1/metrics":
			var m collectormetrics.ExportMetricsServiceRequest
			decode(t, body, &m)
			r.metrics = m.ResourceMetrics
		case "/v1/logs":
			var m collectorlogs.ExportLogsServiceRequest
			decode(t, body, &m)
			r.logs = append(r.logs, m.ResourceLogs...)
		default:
			t.Errorf("request for %s", req.URL.Path)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func decode(t testing.TB, body []byte, m proto.Message) {
	if err := proto.Unmarshal(body, m); err != nil {
		t.Errorf("request is not OTLP: %v", err)
	}
}

// takeMetrics is the last request for metrics; nil when there was none since the
// last call.
func (r *receiver) takeMetrics() []*metricspb.ResourceMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.metrics
	r.metrics = nil
	return m
}
