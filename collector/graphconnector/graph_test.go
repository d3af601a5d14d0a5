package graphconnector

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"

	"github.com/guanlan-io/guanlan/internal/red"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	c := defaultConfig().(*Config)
	if err := confmap.NewFromStringMap(raw).Unmarshal(c); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

func TestConfig(t *testing.T) {
	c, err := load(t, `
exponential_histogram_max_size: 80
store: {ttl: 2s, max_items: 1000}
virtual_node_peer_attributes: [peer.service]
metrics_expiration: 0
max_edges: 10
max_exemplars: 0
instance_id: g1
`)
	if err != nil {
		t.Fatal(err)
	}
	want := red.GraphOptions{
		Histogram: red.HistogramOptions{Exponential: true, MaxSize: 80}, Wait: 2 * time.Second, MaxWaiting: 1000,
		PeerAttributes: []string{"peer.service"}, InstanceID: "g1", Expiration: -1, MaxEdges: 10, MaxExemplars: -1,
	}
	if d := cmp.Diff(want, c.options()); d != "" {
		t.Error("(-want +got):", d)
	}
}

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"store: {ttl: 0}":                     "ttl",
		"store: {max_items: -1}":              "waiting",
		"latency_histogram_buckets: [2s, 1s]": "ascending",
		"exponential_histogram_max_size: -1":  "exponential_histogram_max_size",
		"metrics_flush_interval: 0":           "metrics_flush_interval",
		"metrics_expiration: -1s":             "metrics_expiration",
		"max_edges: -1":                       "edges",
		"max_exemplars: -1":                   "max_exemplars",
		"max_tenants: -1":                     "max_tenants",
		"{latency_histogram_buckets: [1s], exponential_histogram_max_size: 9}": "either",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %q", text, err, want)
		}
	}
}

// The names under which Grafana's service graph looks for the metrics.
func TestPrometheusNames(t *testing.T) {
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	for _, c := range []struct {
		metric otlptranslator.Metric
		want   string
	}{
		{otlptranslator.Metric{Name: semconv.MetricGraphRequests, Type: otlptranslator.MetricTypeMonotonicCounter}, "traces_service_graph_request_total"},
		{otlptranslator.Metric{Name: semconv.MetricGraphFailed, Type: otlptranslator.MetricTypeMonotonicCounter}, "traces_service_graph_request_failed_total"},
		{otlptranslator.Metric{Name: semconv.MetricGraphServerDuration, Unit: "s", Type: otlptranslator.MetricTypeHistogram}, "traces_service_graph_request_server_seconds"},
		{otlptranslator.Metric{Name: semconv.MetricGraphClientDuration, Unit: "s", Type: otlptranslator.MetricTypeHistogram}, "traces_service_graph_request_client_seconds"},
		{otlptranslator.Metric{Name: semconv.MetricGraphUnpaired, Type: otlptranslator.MetricTypeMonotonicCounter}, "traces_service_graph_unpaired_spans_total"},
		{otlptranslator.Metric{Name: semconv.MetricGraphDropped, Type: otlptranslator.MetricTypeMonotonicCounter}, "traces_service_graph_dropped_spans_total"},
	} {
		got, err := namer.Build(c.metric)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%s becomes %s, want %s", c.metric.Name, got, c.want)
		}
	}
}
