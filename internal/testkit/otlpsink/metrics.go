package otlpsink

import (
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// backgroundMetrics are begun with by the names of metrics that go on without
// anything being called, which Render leaves out.
var backgroundMetrics = []string{"go.", "process.", "system.", "runtime.", "guanlan.go.", "guanlan.sdk.", "otel.sdk.", "guanlan.memory."}

// series is a series as it was sent. Several may become one line of text,
// where only the port tells them apart.
type series struct{ sender, line, unit string }

// tally adds up series: cumulative ones by their last value, which is their
// highest, others by their sum.
type tally map[series]float64

func (t tally) add(s series, value float64, temporality pmetric.AggregationTemporality) {
	if temporality == pmetric.AggregationTemporalityDelta {
		t[s] += value
		return
	}
	t[s] = max(t[s], value)
}

// metricLines is a line for each series: count is how many measurements a
// histogram holds, sum what a counter has reached. Gauges and sums that go down
// depend on the moment: their value is not written.
func metricLines(m pmetric.Metrics) []string {
	found := tally{}
	for _, rm := range m.ResourceMetrics().All() {
		resource := raw(rm.Resource().Attributes())
		for _, sm := range rm.ScopeMetrics().All() {
			for _, metric := range sm.Metrics().All() {
				if !background(metric.Name()) {
					found.metric(resource, metric)
				}
			}
		}
	}
	values := map[[2]string]float64{}
	for s, v := range found {
		values[[2]string{s.line, s.unit}] += v
	}
	var lines []string
	for line, v := range values {
		if line[1] == "" {
			lines = append(lines, line[0]+"\n")
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s=%v\n", line[0], line[1], v))
	}
	return lines
}

func (t tally) metric(resource string, m pmetric.Metric) {
	of := func(attrs pcommon.Map, unit string) series {
		return series{resource + raw(attrs), "metric " + m.Name() + attributes(attrs, volatileMetric), unit}
	}
	switch m.Type() {
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			t.add(of(p.Attributes(), "count"), float64(p.Count()), m.Histogram().AggregationTemporality())
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			t.add(of(p.Attributes(), "count"), float64(p.Count()), m.ExponentialHistogram().AggregationTemporality())
		}
	case pmetric.MetricTypeSum:
		unit := "sum"
		if !m.Sum().IsMonotonic() {
			unit = ""
		}
		for _, p := range m.Sum().DataPoints().All() {
			t.add(of(p.Attributes(), unit), number(p), m.Sum().AggregationTemporality())
		}
	case pmetric.MetricTypeGauge:
		for _, p := range m.Gauge().DataPoints().All() {
			t.add(of(p.Attributes(), ""), 0, pmetric.AggregationTemporalityUnspecified)
		}
	}
}

// raw tells attributes apart, whatever their order.
func raw(m pcommon.Map) string {
	var all []string
	for key, v := range m.All() {
		all = append(all, fmt.Sprintf("%q=%q", key, v.AsString()))
	}
	slices.Sort(all)
	return strings.Join(all, ",") + ";"
}

func number(p pmetric.NumberDataPoint) float64 {
	if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
		return float64(p.IntValue())
	}
	return p.DoubleValue()
}

func background(metric string) bool {
	return slices.ContainsFunc(backgroundMetrics, func(prefix string) bool { return strings.HasPrefix(metric, prefix) })
}
