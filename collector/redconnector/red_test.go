package redconnector

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.yaml.in/yaml/v3"

	"github.com/guanlan-io/guanlan/internal/red"
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
namespace: spans
histogram: {unit: s, explicit: {buckets: [1ms, 1s]}}
dimensions: [{name: http.route}, {name: region, default: eu}]
exemplars: {enabled: false}
metrics_flush_interval: 5s
metrics_expiration: 0
aggregation_cardinality_limit: 10
max_series: 20
instance_id: g1
`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.options()
	if err != nil {
		t.Fatal(err)
	}
	want := red.Options{
		Namespace: "spans", Unit: red.Seconds, InstanceID: "g1", Expiration: -1, MaxSeries: 20, MaxSeriesPerService: 10, MaxExemplars: -1,
		Histogram:  red.HistogramOptions{Bounds: []time.Duration{time.Millisecond, time.Second}},
		Dimensions: []red.Dimension{{Name: "http.route"}, {Name: "region", Default: "eu"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("(-want +got):", d)
	}
	if c.FlushInterval != 5*time.Second {
		t.Errorf("flush interval %s", c.FlushInterval)
	}
}

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"naming: x":             "naming",
		"histogram: {unit: us}": "unit",
		"histogram: {explicit: {}, exponential: {}}":          "either",
		"histogram: {exponential: {max_size: 1}}":             "exponential buckets",
		"histogram: {explicit: {buckets: [2s, 1s]}}":          "ascending",
		"dimensions: [{name: span.name}]":                     "span.name",
		"metrics_flush_interval: 1ms":                         "metrics_flush_interval",
		"metrics_expiration: -1s":                             "metrics_expiration",
		"max_tenants: -1":                                     "max_tenants",
		"aggregation_cardinality_limit: -1":                   "limit",
		"metrics_flush_intervall: 5s # misspelled, not there": "metrics_flush_intervall",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %q", text, err, want)
		}
	}
}

// The names under which dashboards look for the metrics in Prometheus.
func TestPrometheusNames(t *testing.T) {
	for text, want := range map[string][]string{
		"":                             {"traces_span_metrics_calls_total", "traces_span_metrics_duration_milliseconds"},
		"histogram: {unit: s}":         {"traces_span_metrics_calls_total", "traces_span_metrics_duration_seconds"},
		"naming: tempo":                {"traces_spanmetrics_calls_total", "traces_spanmetrics_latency"},
		"histogram: {exponential: {}}": {"traces_span_metrics_calls_total", "traces_span_metrics_duration_milliseconds"},
	} {
		c, err := load(t, text)
		if err != nil {
			t.Fatal(err)
		}
		sink := new(consumertest.MetricsSink)
		f := NewFactory()
		con, err := f.CreateTracesToMetrics(context.Background(), connectortest.NewNopSettings(f.Type()), c, sink)
		if err != nil {
			t.Fatal(err)
		}
		if err := con.Start(t.Context(), componenttest.NewNopHost()); err != nil {
			t.Fatal(err)
		}
		td := ptrace.NewTraces()
		td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName("n")
		if err := con.ConsumeTraces(t.Context(), td); err != nil {
			t.Fatal(err)
		}
		if err := con.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
		labels := otlptranslator.LabelNamer{}
		var got, names []string
		for _, m := range sink.AllMetrics()[0].ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			var kind otlptranslator.MetricType = otlptranslator.MetricTypeHistogram
			if m.Type() == pmetric.MetricTypeSum {
				kind = otlptranslator.MetricTypeMonotonicCounter
				for k := range m.Sum().DataPoints().At(0).Attributes().All() {
					name, err := labels.Build(k)
					if err != nil {
						t.Fatal(err)
					}
					names = append(names, name)
				}
			}
			name, err := namer.Build(otlptranslator.Metric{Name: m.Name(), Unit: m.Unit(), Type: kind})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: metrics %v, want %v", text, got, want)
		}
		for _, label := range []string{"service_name", "span_name", "span_kind", "status_code"} {
			if !slices.Contains(names, label) {
				t.Errorf("%q: labels %v, want %s among them", text, names, label)
			}
		}
	}
}
