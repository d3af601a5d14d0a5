// Package metering runs what makes metrics from spans (package red) as a
// connector: one meter a tenant, flushed at an interval and once more at
// shutdown, with metrics about itself. The connectors red and graph are a
// configuration around it. Tenants come with the client metadata: receivers
// pass it on with include_metadata, batch processors with metadata_keys.
package metering

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/guanlan-io/guanlan/internal/red"
	"github.com/guanlan-io/guanlan/internal/semconv"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// DefaultFlushInterval is the usual scrape interval of Prometheus.
	DefaultFlushInterval = 15 * time.Second
	// minFlushInterval leaves room for the times of points, which are whole
	// milliseconds.
	minFlushInterval = 10 * time.Millisecond
)

// CheckFlushInterval refuses intervals that are too short.
func CheckFlushInterval(d time.Duration) error {
	if d < minFlushInterval {
		return fmt.Errorf("metrics_flush_interval %s: want at least %s", d, minFlushInterval)
	}
	return nil
}

// Instrument is a metric of the connector about itself.
type Instrument struct {
	Name  string
	Unit  string
	Gauge bool // else a counter
	Value func() int64
}

// Count makes the value of a counter an Instrument's.
func Count(f func() uint64) func() int64 { return func() int64 { return int64(f()) } }

// Connector is a traces-to-metrics connector.
type Connector struct {
	set      connector.Settings
	next     consumer.Metrics
	interval time.Duration
	tenants  *red.Tenants
	about    []Instrument

	stop    context.CancelFunc // nil unless started
	running sync.WaitGroup
	observe metric.Registration
}

// New returns a connector that hands spans to tenants and, at every interval,
// their metrics to next.
func New(set connector.Settings, next consumer.Metrics, interval time.Duration, tenants *red.Tenants, about ...Instrument) *Connector {
	return &Connector{set: set, next: next, interval: interval, tenants: tenants, about: about}
}

// Start begins to flush.
func (c *Connector) Start(context.Context, component.Host) error {
	if err := c.register(); err != nil {
		return fmt.Errorf("register metrics of %s: %w", c.set.ID, err)
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	c.running.Go(func() {
		ticker := time.NewTicker(c.interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.flush(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// Shutdown flushes what is left. It may be called again and without Start.
func (c *Connector) Shutdown(ctx context.Context) error {
	if c.stop == nil {
		return nil
	}
	c.stop()
	c.running.Wait()
	c.stop = nil
	c.flush(ctx)
	if err := c.observe.Unregister(); err != nil {
		return fmt.Errorf("unregister metrics of %s: %w", c.set.ID, err)
	}
	return nil
}

// Capabilities tells that spans are only read.
func (c *Connector) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

// ConsumeTraces counts td for the tenant that the client named.
func (c *Connector) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return consumererror.NewPermanent(err)
	}
	return c.tenants.Observe(time.Now(), tenant.String(), td)
}

// tenantOf reads the tenant from the client metadata. It is parsed, so that two
// spellings of one tenant do not become two sets of counters.
func tenantOf(ctx context.Context) (store.Tenant, error) {
	switch values := client.FromContext(ctx).Metadata.Get(semconv.TenantHeader); len(values) {
	case 0:
		return store.Tenant{}, nil
	case 1:
		return store.ParseTenant(values[0])
	default:
		return store.Tenant{}, fmt.Errorf("%s is given %d times: %w", semconv.TenantHeader, len(values), store.ErrInvalid)
	}
}

func (c *Connector) flush(ctx context.Context) {
	c.tenants.Flush(time.Now(), func(tenant string, md pmetric.Metrics) {
		if tenant != (store.Tenant{}).String() {
			ctx := client.NewContext(ctx, client.Info{
				Metadata: client.NewMetadata(map[string][]string{semconv.TenantHeader: {tenant}}),
			})
			c.emit(ctx, tenant, md)
			return
		}
		c.emit(ctx, tenant, md)
	})
}

// emit sends md on. What is lost comes again with the next flush, for counters
// are cumulative.
func (c *Connector) emit(ctx context.Context, tenant string, md pmetric.Metrics) {
	points := md.DataPointCount()
	if err := c.next.ConsumeMetrics(ctx, md); err != nil {
		c.set.Logger.Warn("Metrics from spans were not accepted",
			zap.String("tenant", tenant), zap.Int("points", points), zap.Error(err))
	}
}

func (c *Connector) register() error {
	meter := c.set.MeterProvider.Meter("github.com/guanlan-io/guanlan/collector/" + c.set.ID.Type().String())
	var instruments []metric.Observable
	var values []func(metric.Observer)
	for _, i := range c.about {
		var o metric.Int64Observable
		var err error
		if i.Gauge {
			o, err = meter.Int64ObservableGauge(i.Name, metric.WithUnit(i.Unit))
		} else {
			o, err = meter.Int64ObservableCounter(i.Name, metric.WithUnit(i.Unit))
		}
		if err != nil {
			return err
		}
		instruments = append(instruments, o)
		which := metric.WithAttributes(attribute.String("connector", c.set.ID.String()))
		values = append(values, func(to metric.Observer) { to.ObserveInt64(o, i.Value(), which) })
	}
	var err error
	c.observe, err = meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for _, v := range values {
			v(to)
		}
		return nil
	}, instruments...)
	return err
}
