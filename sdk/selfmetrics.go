package sdk

import "github.com/guanlan-io/guanlan/sdk/core"

// selfMetrics are the SDK's own losses and successes as metrics, so that what is
// dropped is seen where everything else is. Names and values of attributes are
// those of the semantic conventions where there are any.
// Source: OpenTelemetry semantic conventions 1.43, "SDK metrics"; lines of logs
// are not in them.
type selfMetrics struct {
	counters []selfCounter
	points   *core.Instrument
	exporter string       // of points
	sent     *core.Series // data points
}

// selfCounter shows a number of Stats as a counter.
type selfCounter struct {
	series *core.Series
	read   func(*Stats) uint64
}

// What failed is told by error.type; what did not has none.
const (
	failedFull     = "queue_full"
	failedRejected = "rejected"
	failedOther    = "_OTHER"
)

func newSelfMetrics(meter *core.Meter, log *Log, c *config) *selfMetrics {
	m := new(selfMetrics)
	counter := func(name, unit, description string) *core.Instrument {
		return meter.Instrument(core.InstrumentOptions{Name: name, Unit: unit, Description: description, Form: core.Counter, Integer: true})
	}
	show := func(i *core.Instrument, component, failure string, read func(*Stats) uint64) {
		m.counters = append(m.counters, selfCounter{series: componentSeries(i, component, failure), read: read})
	}
	for _, signal := range []struct {
		name, records string
		exporter      *exporter
		of            func(*Stats) *core.PipeStats
	}{
		{"span", "spans", &c.traces, func(s *Stats) *core.PipeStats { return &s.Spans }},
		{"log", "log records", &c.logs, func(s *Stats) *core.PipeStats { return &s.Logs }},
	} {
		if signal.exporter.none {
			continue
		}
		unit := map[string]string{"span": "{span}", "log": "{log_record}"}[signal.name]
		batches := "batching_" + signal.name + "_processor"
		processed := counter("otel.sdk.processor."+signal.name+".processed", unit, "The number of "+signal.records+" that were queued for sending or dropped because the queue was full.")
		show(processed, batches, "", func(s *Stats) uint64 { return signal.of(s).Added })
		show(processed, batches, failedFull, func(s *Stats) uint64 { return signal.of(s).Full })
		sends := signal.exporter.component(signal.name)
		exported := counter("otel.sdk.exporter."+signal.name+".exported", unit, "The number of "+signal.records+" for which the export has finished, either successful or failed.")
		show(exported, sends, "", func(s *Stats) uint64 { return signal.of(s).Sent })
		show(exported, sends, failedRejected, func(s *Stats) uint64 { return signal.of(s).Rejected })
		show(exported, sends, failedOther, func(s *Stats) uint64 { return signal.of(s).Failed })
	}
	m.points = counter("otel.sdk.exporter.metric_data_point.exported", "{data_point}", "The number of metric data points for which the export has finished, either successful or failed.")
	m.exporter = c.metrics.component("metric")
	m.sent = componentSeries(m.points, m.exporter, "")

	lines := counter("guanlan.sdk.log.lines", "{line}", "The number of log lines that were written, dropped because too many waited, or not taken by the file.")
	for _, sink := range []struct {
		name string
		on   bool
		of   func(*Stats) *core.SpoolStats
	}{
		{"stdout", log.stdout != nil, func(s *Stats) *core.SpoolStats { return &s.Lines }},
		{"file", log.file != nil, func(s *Stats) *core.SpoolStats { return &s.FileLines }},
	} {
		if !sink.on {
			continue
		}
		for _, outcome := range []struct {
			name string
			of   func(*core.SpoolStats) uint64
		}{
			{"written", func(s *core.SpoolStats) uint64 { return s.Written }},
			{"dropped", func(s *core.SpoolStats) uint64 { return s.Dropped }},
			{"failed", func(s *core.SpoolStats) uint64 { return s.Failed }},
		} {
			m.counters = append(m.counters, selfCounter{
				series: lines.With(core.String("sink", sink.name), core.String("outcome", outcome.name)),
				read:   func(s *Stats) uint64 { return outcome.of(sink.of(s)) },
			})
		}
	}
	return m
}

// component is the otel.component.type of what sends spans, log records or
// metrics.
func (e *exporter) component(of string) string {
	if e.protocol == protocolGRPC {
		return "otlp_grpc_" + of + "_exporter"
	}
	return "otlp_http_" + of + "_exporter"
}

// componentSeries is the series of a component of the SDK, of which there is one.
func componentSeries(i *core.Instrument, component, failure string) *core.Series {
	attrs := []core.Attr{core.String("otel.component.type", component), core.String("otel.component.name", component+"/0")}
	if failure != "" {
		attrs = append(attrs, core.String("error.type", failure))
	}
	return i.With(attrs...)
}

// update shows what was counted until now. Zero is shown, too: of a counter that
// appears with its first loss, that loss cannot be seen as an increase.
func (m *selfMetrics) update(st Stats) {
	for _, c := range m.counters {
		c.series.SetTotal(int64(c.read(&st)))
	}
}

// sentPoints counts what became of metrics themselves.
func (m *selfMetrics) sentPoints(points, rejected int, err error) {
	rejected = max(0, min(rejected, points))
	switch {
	case err != nil:
		componentSeries(m.points, m.exporter, failedOther).Add(int64(points))
	default:
		m.sent.Add(int64(points - rejected))
		if rejected > 0 {
			componentSeries(m.points, m.exporter, failedRejected).Add(int64(rejected))
		}
	}
}
