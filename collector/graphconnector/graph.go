// Package graphconnector is the connector graph: calls between services from
// spans, under the names of the OpenTelemetry servicegraph connector and with
// its configuration as far as it goes. Put it before any sampling.
package graphconnector

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
	// Buckets are the upper bounds of explicit buckets, ascending; default
	// 2ms to 15s in 16 steps.
	Buckets []time.Duration `mapstructure:"latency_histogram_buckets"`
	// ExponentialMaxSize asks for exponential (native) histograms of so many
	// buckets instead; default 0, explicit buckets.
	ExponentialMaxSize int `mapstructure:"exponential_histogram_max_size"`
	// Store keeps spans until their other side arrives.
	Store StoreConfig `mapstructure:"store"`
	// PeerAttributes name what a client span called when that sends no spans;
	// the first that is there counts. Default service.peer.name,
	// peer.service, server.address, net.peer.name, network.peer.address,
	// net.sock.peer.addr.
	PeerAttributes []string `mapstructure:"virtual_node_peer_attributes"`
	// FlushInterval is how often metrics are sent on; default 15s.
	FlushInterval time.Duration `mapstructure:"metrics_flush_interval"`
	// Expiration is how long an edge without calls is sent on; default 5m, 0
	// for ever.
	Expiration time.Duration `mapstructure:"metrics_expiration"`
	// MaxEdges bounds the edges of a tenant; what is beyond is counted in
	// edges with otel.metric.overflow. Default 5000.
	MaxEdges int `mapstructure:"max_edges"`
	// MaxExemplars bounds the exemplars of a point; default 2, 0 for none.
	MaxExemplars int `mapstructure:"max_exemplars"`
	// MaxTenants bounds the tenants; default 100.
	MaxTenants int `mapstructure:"max_tenants"`
	// InstanceID becomes the dimension collector.instance.id. Set it where
	// several collectors write to one store; default none.
	InstanceID string `mapstructure:"instance_id"`
}

// StoreConfig bounds the spans that wait.
type StoreConfig struct {
	// TTL is how long a span waits; default 10s.
	TTL time.Duration `mapstructure:"ttl"`
	// MaxItems bounds the spans of a tenant that wait; default 250000.
	MaxItems int `mapstructure:"max_items"`
}

func defaultConfig() component.Config {
	return &Config{
		Store:         StoreConfig{TTL: red.DefaultWait, MaxItems: red.DefaultMaxWaiting},
		FlushInterval: metering.DefaultFlushInterval,
		Expiration:    red.DefaultExpiration,
		MaxEdges:      red.DefaultMaxEdges,
		MaxExemplars:  red.DefaultMaxExemplars,
		MaxTenants:    red.DefaultMaxTenants,
	}
}

// Validate refuses what the connector could not run with.
func (c *Config) Validate() error {
	if err := metering.CheckFlushInterval(c.FlushInterval); err != nil {
		return err
	}
	if c.MaxTenants < 0 || c.MaxExemplars < 0 {
		return fmt.Errorf("max_tenants %d, max_exemplars %d: want none below 0", c.MaxTenants, c.MaxExemplars)
	}
	if c.Store.TTL <= 0 {
		return fmt.Errorf("store ttl %s: want more than 0", c.Store.TTL)
	}
	if c.Expiration < 0 {
		return fmt.Errorf("metrics_expiration %s: want none below 0", c.Expiration)
	}
	if c.ExponentialMaxSize < 0 {
		return fmt.Errorf("exponential_histogram_max_size %d: want none below 0", c.ExponentialMaxSize)
	}
	return c.options().Validate()
}

func (c *Config) options() red.GraphOptions {
	o := red.GraphOptions{
		Histogram:      red.HistogramOptions{Bounds: c.Buckets, Exponential: c.ExponentialMaxSize > 0, MaxSize: c.ExponentialMaxSize},
		Wait:           c.Store.TTL,
		MaxWaiting:     c.Store.MaxItems,
		PeerAttributes: c.PeerAttributes,
		InstanceID:     c.InstanceID,
		Expiration:     c.Expiration,
		MaxEdges:       c.MaxEdges,
		MaxExemplars:   c.MaxExemplars,
	}
	if c.Expiration == 0 {
		o.Expiration = -1
	}
	if c.MaxExemplars == 0 {
		o.MaxExemplars = -1
	}
	return o
}

// NewFactory returns the factory of the connector.
func NewFactory() connector.Factory {
	return connector.NewFactory(component.MustNewType("graph"), defaultConfig,
		connector.WithTracesToMetrics(create, component.StabilityLevelBeta))
}

func create(_ context.Context, set connector.Settings, config component.Config, next consumer.Metrics) (connector.Traces, error) {
	c := config.(*Config)
	o, stats := c.options(), &red.Stats{}
	tenants := red.NewTenants(c.MaxTenants, func(now time.Time) (red.Meter, error) { return red.NewGraph(o, now, stats) })
	return metering.New(set, next, c.FlushInterval, tenants,
		metering.Instrument{Name: semconv.MetricGuanlanGraphEdges, Unit: "{edge}", Gauge: true, Value: stats.Series.Load},
		metering.Instrument{Name: semconv.MetricGuanlanGraphRemovedEdges, Unit: "{edge}", Value: metering.Count(stats.Removed.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanGraphSpans, Unit: "{span}", Value: metering.Count(stats.Spans.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanGraphWaitingSpans, Unit: "{span}", Gauge: true, Value: stats.Waiting.Load},
		metering.Instrument{Name: semconv.MetricGuanlanGraphExpiredSpans, Unit: "{span}", Value: metering.Count(stats.Expired.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanGraphDroppedSpans, Unit: "{span}", Value: metering.Count(stats.Dropped.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanGraphOverflowedCalls, Unit: "{call}", Value: metering.Count(stats.Overflowed.Load)},
		metering.Instrument{Name: semconv.MetricGuanlanGraphRejectedSpans, Unit: "{span}", Value: metering.Count(tenants.Rejected)},
	), nil
}
