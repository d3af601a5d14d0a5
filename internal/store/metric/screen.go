package metric

import (
	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// screen leaves out what cannot be converted, so that one bad point does not
// take its neighbours with it: the converter gives up on a metric at the first.
// It returns md itself when all is well, else a copy (owned).
func screen(md pmetric.Metrics, partial *PartialError) (clean pmetric.Metrics, owned bool) {
	if sound(md) {
		return md, false
	}
	clean = pmetric.NewMetrics()
	md.CopyTo(clean)
	for _, rm := range clean.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			sm.Metrics().RemoveIf(func(m pmetric.Metric) bool { return sift(m, partial) })
		}
	}
	return clean, true
}

// sound reports whether screen has nothing to do.
func sound(md pmetric.Metrics) bool {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				if !soundMetric(m) {
					return false
				}
			}
		}
	}
	return true
}

func soundMetric(m pmetric.Metric) bool {
	if metricFault(m) != "" {
		return false
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return soundNumbers(m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		return soundNumbers(m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			if labelFault(p.Attributes()) != "" || hasBadExemplar(p.Exemplars()) {
				return false
			}
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			if exponentialFault(p) != "" || hasBadExemplar(p.Exemplars()) {
				return false
			}
		}
	case pmetric.MetricTypeSummary:
		for _, p := range m.Summary().DataPoints().All() {
			if labelFault(p.Attributes()) != "" {
				return false
			}
		}
	}
	return true
}

func soundNumbers(ps pmetric.NumberDataPointSlice) bool {
	for _, p := range ps.All() {
		if numberFault(p) != "" || hasBadExemplar(p.Exemplars()) {
			return false
		}
	}
	return true
}

// sift removes faulty points from m and reports whether m itself must go.
func sift(m pmetric.Metric, partial *PartialError) bool {
	if r := metricFault(m); r != "" {
		partial.add(r, max(points(m), 1), nil)
		return true
	}
	before := points(m)
	refuse := func(r Reason) bool {
		if r != "" {
			partial.add(r, 1, nil)
		}
		return r != ""
	}
	numbers := func(ps pmetric.NumberDataPointSlice) {
		ps.RemoveIf(func(p pmetric.NumberDataPoint) bool { return refuse(numberFault(p)) })
		for _, p := range ps.All() {
			dropBadExemplars(p.Exemplars())
		}
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		numbers(m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		numbers(m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		ps := m.Histogram().DataPoints()
		ps.RemoveIf(func(p pmetric.HistogramDataPoint) bool { return refuse(labelFault(p.Attributes())) })
		for _, p := range ps.All() {
			dropBadExemplars(p.Exemplars())
		}
	case pmetric.MetricTypeExponentialHistogram:
		ps := m.ExponentialHistogram().DataPoints()
		ps.RemoveIf(func(p pmetric.ExponentialHistogramDataPoint) bool { return refuse(exponentialFault(p)) })
		for _, p := range ps.All() {
			dropBadExemplars(p.Exemplars())
		}
	case pmetric.MetricTypeSummary:
		m.Summary().DataPoints().RemoveIf(func(p pmetric.SummaryDataPoint) bool { return refuse(labelFault(p.Attributes())) })
	}
	return before > 0 && points(m) == 0
}

// points is the number of data points of m.
func points(m pmetric.Metric) int {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return m.Gauge().DataPoints().Len()
	case pmetric.MetricTypeSum:
		return m.Sum().DataPoints().Len()
	case pmetric.MetricTypeHistogram:
		return m.Histogram().DataPoints().Len()
	case pmetric.MetricTypeExponentialHistogram:
		return m.ExponentialHistogram().DataPoints().Len()
	case pmetric.MetricTypeSummary:
		return m.Summary().DataPoints().Len()
	}
	return 0
}

// metricFault is why no point of m can be converted, or empty.
func metricFault(m pmetric.Metric) Reason {
	if !hasAlphanumeric(m.Name()) {
		namer := otlptranslator.MetricNamer{WithMetricSuffixes: true}
		if _, err := namer.Build(prometheusremotewrite.TranslatorMetricFromOtelMetric(m)); err != nil {
			return InvalidPoint
		}
	}
	var t pmetric.AggregationTemporality
	switch m.Type() {
	case pmetric.MetricTypeGauge, pmetric.MetricTypeSummary:
		return ""
	case pmetric.MetricTypeSum:
		t = m.Sum().AggregationTemporality()
	case pmetric.MetricTypeHistogram:
		t = m.Histogram().AggregationTemporality()
	case pmetric.MetricTypeExponentialHistogram:
		t = m.ExponentialHistogram().AggregationTemporality()
	}
	if t != pmetric.AggregationTemporalityCumulative && t != pmetric.AggregationTemporalityDelta {
		return InvalidPoint
	}
	return ""
}

func numberFault(p pmetric.NumberDataPoint) Reason {
	if p.ValueType() == pmetric.NumberDataPointValueTypeEmpty && !p.Flags().NoRecordedValue() {
		return InvalidPoint
	}
	return labelFault(p.Attributes())
}

func exponentialFault(p pmetric.ExponentialHistogramDataPoint) Reason {
	// Coarser histograms have no native form; finer ones are merged.
	if p.Scale() < histogram.ExponentialSchemaMin {
		return InvalidHistogram
	}
	return labelFault(p.Attributes())
}

// labelFault finds attribute keys of which no label name can be made.
func labelFault(attrs pcommon.Map) Reason {
	for k := range attrs.All() {
		if hasAlphanumeric(k) {
			continue
		}
		//lint:ignore SA1019 it must judge names as the translation does, which sets it
		namer := otlptranslator.LabelNamer{UnderscoreLabelSanitization: true, PreserveMultipleUnderscores: true}
		if _, err := namer.Build(k); err != nil {
			return InvalidLabels
		}
	}
	return ""
}

// hasAlphanumeric reports whether anything but underscores will remain of s.
func hasAlphanumeric(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return true
		}
	}
	return false
}

func hasBadExemplar(es pmetric.ExemplarSlice) bool {
	for _, e := range es.All() {
		if e.ValueType() == pmetric.ExemplarValueTypeEmpty {
			return true
		}
	}
	return false
}

func dropBadExemplars(es pmetric.ExemplarSlice) {
	es.RemoveIf(func(e pmetric.Exemplar) bool { return e.ValueType() == pmetric.ExemplarValueTypeEmpty })
}

// hasDelta reports whether any metric is of delta temporality.
func hasDelta(md pmetric.Metrics) bool {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				var t pmetric.AggregationTemporality
				switch m.Type() {
				case pmetric.MetricTypeSum:
					t = m.Sum().AggregationTemporality()
				case pmetric.MetricTypeHistogram:
					t = m.Histogram().AggregationTemporality()
				case pmetric.MetricTypeExponentialHistogram:
					t = m.ExponentialHistogram().AggregationTemporality()
				}
				if t == pmetric.AggregationTemporalityDelta {
					return true
				}
			}
		}
	}
	return false
}
