// Package kernelreceiver is the receiver kernel: what the kernel tells of
// connections, kills for want of memory, what processes do and where their time
// goes, by eBPF (internal/kernel). One instance serves the pipelines of all
// signals that it is in.
package kernelreceiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/xconsumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/xreceiver"

	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
)

// NewFactory returns the factory of the receiver. started, if not nil, is told how
// the features fare when an instance has started. kept, if not nil, hands what runs
// from one factory's instances to the next one's.
func NewFactory(started func([]telemetry.Feature), kept *Kept) receiver.Factory {
	if kept == nil {
		kept = &Kept{}
	}
	all := &instances{byConfig: map[*Config]*instance{}, started: started, kept: kept}
	return xreceiver.NewFactory(component.MustNewType("kernel"), func() component.Config { return defaultConfig() },
		xreceiver.WithTraces(func(_ context.Context, set receiver.Settings, c component.Config, next consumer.Traces) (receiver.Traces, error) {
			i := all.of(set, c.(*Config))
			i.traces = next
			return i, nil
		}, component.StabilityLevelAlpha),
		xreceiver.WithLogs(func(_ context.Context, set receiver.Settings, c component.Config, next consumer.Logs) (receiver.Logs, error) {
			i := all.of(set, c.(*Config))
			i.logs = next
			return i, nil
		}, component.StabilityLevelAlpha),
		xreceiver.WithMetrics(func(_ context.Context, set receiver.Settings, c component.Config, next consumer.Metrics) (receiver.Metrics, error) {
			i := all.of(set, c.(*Config))
			i.metrics = next
			return i, nil
		}, component.StabilityLevelAlpha),
		xreceiver.WithProfiles(func(_ context.Context, set receiver.Settings, c component.Config, next xconsumer.Profiles) (xreceiver.Profiles, error) {
			i := all.of(set, c.(*Config))
			i.profiles = next
			return i, nil
		}, component.StabilityLevelDevelopment),
	)
}

// instances holds the receivers that were made, so that all pipelines of one
// configuration get the same.
type instances struct {
	started  func([]telemetry.Feature)
	kept     *Kept
	mu       sync.Mutex
	byConfig map[*Config]*instance
}

func (a *instances) of(set receiver.Settings, c *Config) *instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.byConfig[c]
	if i == nil {
		i = &instance{all: a, set: set, config: c}
		a.byConfig[c] = i
	}
	return i
}

func (a *instances) forget(c *Config) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byConfig, c)
}

// instance is one receiver, a component of up to four pipelines.
type instance struct {
	all    *instances
	set    receiver.Settings
	config *Config

	// Nil where no pipeline takes the signal.
	traces   consumer.Traces
	logs     consumer.Logs
	metrics  consumer.Metrics
	profiles xconsumer.Profiles

	start, shutdown sync.Once
	watch           watch
	err             error
}

// watch is telemetry.Watch where there is one.
type watch interface {
	Features() []telemetry.Feature
	Hold()
	Close(context.Context) error
}

// Start implements component.Component. The first pipeline starts it for all.
func (i *instance) Start(context.Context, component.Host) error {
	i.start.Do(func() {
		if i.watch, i.err = i.open(); i.err == nil && i.all.started != nil {
			i.all.started(i.watch.Features())
		}
	})
	return i.err
}

// Shutdown implements component.Component.
func (i *instance) Shutdown(ctx context.Context) (err error) {
	i.shutdown.Do(func() {
		i.all.forget(i.config)
		if i.watch != nil && !i.all.kept.put(i.set.ID, i.watch) {
			err = i.watch.Close(ctx)
		}
	})
	return err
}
