package red

import (
	"fmt"
	"time"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Naming is a convention for the names of request metrics.
type Naming int

const (
	// NamingOTel is that of the OpenTelemetry spanmetrics connector:
	// traces.span.metrics.calls and .duration, in Prometheus
	// traces_span_metrics_calls_total and
	// traces_span_metrics_duration_milliseconds.
	NamingOTel Naming = iota
	// NamingTempo is that of the metrics generator of Grafana Tempo, which
	// the table of Grafana's Tempo data source queries:
	// traces_spanmetrics_calls_total and traces_spanmetrics_latency, the latter
	// in seconds, with the service in the label service.
	NamingTempo
)

// Options says how an Aggregator counts. The zero value works.
type Options struct {
	// Naming of the metrics; default NamingOTel.
	Naming Naming
	// Namespace before the names; default "traces.span.metrics", for
	// NamingTempo "traces.spanmetrics".
	Namespace string
	// Unit of durations; default milliseconds. NamingTempo is always seconds.
	Unit      Unit
	Histogram HistogramOptions
	// Dimensions besides service, span name, kind and status; default none.
	Dimensions []Dimension
	// InstanceID tells apart collectors that write to one store; without it
	// their counters would overwrite each other. Default none.
	InstanceID string
	// Expiration is how long a series without spans is kept; default
	// DefaultExpiration, negative for ever.
	Expiration time.Duration
	// MaxSeries and MaxSeriesPerService bound the series; defaults
	// DefaultMaxSeries and DefaultMaxSeriesPerService.
	MaxSeries           int
	MaxSeriesPerService int
	// MaxExemplars bounds the exemplars of a series and flush; default
	// DefaultMaxExemplars, negative none.
	MaxExemplars int
}

// Validate tells what NewAggregator would refuse.
func (o Options) Validate() error {
	if o.Naming != NamingOTel && o.Naming != NamingTempo {
		return fmt.Errorf("naming %d: want %d or %d", o.Naming, NamingOTel, NamingTempo)
	}
	if o.Unit != Milliseconds && o.Unit != Seconds {
		return fmt.Errorf("unit %d: want %d or %d", o.Unit, Milliseconds, Seconds)
	}
	if o.MaxSeries < 0 || o.MaxSeriesPerService < 0 {
		return fmt.Errorf("limit on series: want none below 0")
	}
	if err := o.Histogram.validate(); err != nil {
		return err
	}
	return checkDimensions(o.Dimensions, semconv.ServiceName, semconv.ServiceNamespace, semconv.SpanName, semconv.SpanKind,
		semconv.StatusCode, semconv.CollectorInstanceID, semconv.OTelMetricOverflow, semconv.TempoService,
		"job", "instance", "le", "quantile", "__name__")
}

func (o Options) withDefaults() Options {
	if o.Naming == NamingTempo {
		o.Unit = Seconds
	}
	if o.Namespace == "" {
		o.Namespace = "traces.span.metrics"
		if o.Naming == NamingTempo {
			o.Namespace = "traces.spanmetrics"
		}
	}
	if o.Expiration == 0 {
		o.Expiration = DefaultExpiration
	}
	if o.MaxSeries == 0 {
		o.MaxSeries = DefaultMaxSeries
	}
	if o.MaxSeriesPerService == 0 {
		o.MaxSeriesPerService = DefaultMaxSeriesPerService
	}
	if o.MaxExemplars == 0 {
		o.MaxExemplars = DefaultMaxExemplars
	}
	return o
}
