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
	"go.opentelemetry.io/collector/receiver"
)

// NewFactory returns the factory of the receiver.
func NewFactory() receiver.Factory {
	all := &instances{byConfig: map[*Config]*instance{}}
	return receiver.NewFactory(component.MustNewType("kernel"), func() component.Config { return defaultConfig() },
		receiver.WithLogs(func(_ context.Context, set receiver.Settings, c component.Config, next consumer.Logs) (receiver.Logs, error) {
			i := all.of(set, c.(*Config))
			i.logs = next
			return i, nil
		}, component.StabilityLevelAlpha),
		receiver.WithMetrics(func(_ context.Context, set receiver.Settings, c component.Config, next consumer.Metrics) (receiver.Metrics, error) {
			i := all.of(set, c.(*Config))
			i.metrics = next
			return i, nil
		}, component.StabilityLevelAlpha),
	)
}

// instances holds the receivers that were made, so that all pipelines of one
// configuration get the same.
type instances struct {
	mu       sync.Mutex
	byConfig map[*Config]*instance
}

func (a *instances) of(set receiver.Settings, c *Config) *instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.byConfig[c]
	if i == nil {
		i = &instance{set: set, config: c, forget: func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.byConfig, c)
		}}
		a.byConfig[c] = i
	}
	return i
}

// instance is one receiver, a component of up to four pipelines.
type instance struct {
	set    receiver.Settings
	config *Config
	forget func()

	// Nil where no pipeline takes the signal.
	logs    consumer.Logs
	metrics consumer.Metrics

	start, shutdown sync.Once
	watch           watch
	err             error
}

// watch is telemetry.Watch where there is one.
type watch interface{ Close(context.Context) error }

// Start implements component.Component. The first pipeline starts it for all.
func (i *instance) Start(context.Context, component.Host) error {
	i.start.Do(func() { i.watch, i.err = i.open() })
	return i.err
}

// Shutdown implements component.Component.
func (i *instance) Shutdown(ctx context.Context) (err error) {
	i.shutdown.Do(func() {
		i.forget()
		if i.watch != nil {
			err = i.watch.Close(ctx)
		}
	})
	return err
}
