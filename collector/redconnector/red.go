// Package redconnector is the connector red: request, error and duration
// metrics from spans, under the names of the OpenTelemetry spanmetrics
// connector and with its configuration as far as it goes. Put it before any
// sampling.
package redconnector

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"

	"github.com/guanlan-io/guanlan/collector/internal/metering"
	"github.com/guanlan-io/guanlan/internal/red"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Config is the configuration of the connector.
type Config struct {
	// Naming is "otel" (default) for the names that the OpenTelemetry
	// connector writes and dashboards query, in Prometheus
	// traces_span_metrics_calls_total; "tempo" for those of Grafana Tempo,
	// traces_spanmetrics_calls_total and traces_spanmetrics_latency.
	Naming string `mapstructure:"naming"`
	// Namespace before the names; default that of the naming,
	// "traces.span.metrics" or "traces.spanmetrics".
	Namespace string          `mapstructure:"namespace"`
	Histogram HistogramConfig `mapstructure:"histogram"`
	// Dimensions are attributes of the span or its resource that become
	// dimensions; default none.
	Dimensions []DimensionConfig `mapstructure:"dimensions"`
	Exemplars  ExemplarsConfig   `mapstructure:"exemplars"`
	// FlushInterval is how often metrics are sent on; default 15s.
	FlushInterval time.Duration `mapstructure:"metrics_flush_interval"`
	// Expiration is how long a series without spans is sent on; default 5m, 0
	// for ever.
	Expiration time.Duration `mapstructure:"metrics_expiration"`
	// MaxSeriesPerService bounds the series of a service; what is beyond is
	// counted in series with otel.metric.overflow. Default 2000.
	MaxSeriesPerService int `mapstructure:"aggregation_cardinality_limit"`
	// MaxSeries bounds the series of a tenant; default 10000.
	MaxSeries int `mapstructure:"max_series"`
	// MaxTenants bounds the tenants; default 100.
	MaxTenants int `mapstructure:"max_tenants"`
	// InstanceID becomes the dimension collector.instance.id. Set it where
	// several collectors write to one store; default none.
	InstanceID string `mapstructure:"instance_id"`
}

// HistogramConfig says how durations are kept: in explicit buckets unless
// exponential is given.
type HistogramConfig struct {
	// Unit is "ms" (default) or "s".
	Unit        string             `mapstructure:"unit"`
	Explicit    *ExplicitConfig    `mapstructure:"explicit"`
	Exponential *ExponentialConfig `mapstructure:"exponential"`
}

// ExplicitConfig is a histogram of given buckets.
type ExplicitConfig struct {
	// Buckets are upper bounds, ascending; default 2ms to 15s in 16 steps.
	Buckets []time.Duration `mapstructure:"buckets"`
}

// ExponentialConfig is an exponential (native) histogram.
type ExponentialConfig struct {
	// MaxSize is the most buckets; default 160.
	MaxSize int `mapstructure:"max_size"`
}

// DimensionConfig is an attribute that becomes a dimension.
type DimensionConfig struct {
	Name string `mapstructure:"name"`
	// Default is the value where there is no such attribute; default none,
	// which leaves the dimension out.
	Default string `mapstructure:"default"`
}

// ExemplarsConfig says which spans are attached to histograms.
type ExemplarsConfig struct {
	// Enabled is true by default.
	Enabled bool `mapstructure:"enabled"`
	// MaxPerDataPoint bounds the exemplars of a point; default 2.
	MaxPerDataPoint int `mapstructure:"max_per_data_point"`
}

func defaultConfig() component.Config {
	return &Config{
		Naming:              "otel",
		Histogram:           HistogramConfig{Unit: red.Milliseconds.String()},
		Exemplars:           ExemplarsConfig{Enabled: true, MaxPerDataPoint: red.DefaultMaxExemplars},
		FlushInterval:       metering.DefaultFlushInterval,
		Expiration:          red.DefaultExpiration,
		MaxSeriesPerService: red.DefaultMaxSeriesPerService,
		MaxSeries:           red.DefaultMaxSeries,
		MaxTenants:          red.DefaultMaxTenants,
	}
}

// Validate refuses what the connector could not run with.
func (c *Config) Validate() error {
	if err := metering.CheckFlushInterval(c.FlushInterval); err != nil {
		return err
	}
	if c.MaxTenants < 0 {
		return fmt.Errorf("max_tenants %d: want none below 0", c.MaxTenants)
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	return o.Validate()
}

func (c *Config) options() (red.Options, error) {
	o := red.Options{
		Namespace: c.Namespace, InstanceID: c.InstanceID, Expiration: c.Expiration,
		MaxSeries: c.MaxSeries, MaxSeriesPerService: c.MaxSeriesPerService, MaxExemplars: c.Exemplars.MaxPerDataPoint,
	}
	switch c.Naming {
	case "otel":
	case "tempo":
		o.Naming = red.NamingTempo
	default:
		return o, fmt.Errorf("naming %q: want otel or tempo", c.Naming)
	}
	switch c.Histogram.Unit {
	case red.Milliseconds.String():
	case red.Seconds.String():
		o.Unit = red.Seconds
	default:
		return o, fmt.Errorf("histogram unit %q: want ms or s", c.Histogram.Unit)
	}
	if e := c.Histogram.Explicit; e != nil {
		o.Histogram.Bounds = e.Buckets
	}
	if e := c.Histogram.Exponential; e != nil {
		if c.Histogram.Explicit != nil {
			return o, fmt.Errorf("histogram: want either explicit or exponential")
		}
		o.Histogram.Exponential, o.Histogram.MaxSize = true, e.MaxSize
	}
	if c.Expiration < 0 {
		return o, fmt.Errorf("metrics_expiration %s: want none below 0", c.Expiration)
	}
	if c.Expiration == 0 {
		o.Expiration = -1
	}
	if !c.Exemplars.Enabled {
		o.MaxExemplars = -1
	}
	for _, d := range c.Dimensions {
		o.Dimensions = append(o.Dimensions, red.Dimension{Name: d.Name, Default: d.Default})
	}
	return o, nil
}

// NewFactory returns the factory of the connector.
func NewFactory() connector.Factory {
	return connector.NewFactory(component.MustNewType("red"), defaultConfig,
		connector.WithTracesToMetrics(create, component.StabilityLevelBeta))
}

func create(_ context.Context, set connector.Settings, config component.Config, next consumer.Metrics) (connector.Traces, error) {
	c := config.(*Config)
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	stats := &red.Stats{}
	tenants := red.NewTenants(c.MaxTenants, func(now time.Time) (red.Meter, error) { return red.NewAggregator(o, now, stats) })
	return metering.New(set, next, c.FlushInterval, tenants,
		metering.Instrument{Name: semconv.MetricGuanlanREDSeries, Unit: "{series}", Gauge: true, Value: stats.Series.Load},
		metering.Instrument{Name: semconv.MetricGuanlanREDRemovedSeries, Unit: "{series}", Value: metering.Count(stats.Removed.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanREDSpans, Unit: "{span}", Value: metering.Count(stats.Spans.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanREDOverflowedSpans, Unit: "{span}", Value: metering.Count(stats.Overflowed.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanREDRejectedSpans, Unit: "{span}", Value: metering.Count(tenants.Rejected)},
	), nil
}
