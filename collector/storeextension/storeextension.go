// Package storeextension opens Guanlan's store for the life of the collector
// and lends it to the components that write and read it.
package storeextension

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.uber.org/zap/exp/zapslog"

	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/state"
	"github.com/guanlan-io/guanlan/internal/store/event"
	"github.com/guanlan-io/guanlan/internal/store/metric"
	"github.com/guanlan-io/guanlan/internal/store/profile"
)

// Store is what other components borrow. It is open between the extension's
// start and shutdown; the collector starts extensions first and stops them
// last.
type Store interface {
	Events() *event.Store
	Metrics() *metric.Store
	Profiles() *profile.Store
	Policies() *state.Policies
	Config() Config
}

// Find returns the store that the extension id holds open.
func Find(host component.Host, id component.ID) (Store, error) {
	ext, ok := host.GetExtensions()[id]
	if !ok {
		return nil, fmt.Errorf("find store %q: no such extension is started; add it to service::extensions", id)
	}
	s, ok := ext.(*Extension)
	if !ok {
		return nil, fmt.Errorf("find store %q: that extension is no store", id)
	}
	return s, nil
}

// NewFactory returns the factory of the store extension.
func NewFactory() extension.Factory {
	return extension.NewFactory(
		component.MustNewType("store"),
		func() component.Config { return defaultConfig() },
		func(_ context.Context, set extension.Settings, c component.Config) (extension.Extension, error) {
			return &Extension{config: *c.(*Config), telemetry: set.TelemetrySettings}, nil
		},
		component.StabilityLevelBeta,
	)
}

// Extension holds the store open.
type Extension struct {
	config    Config
	telemetry component.TelemetrySettings
	events    *event.Store
	metrics   *metric.Store
	profiles  *profile.Store
	policies  *state.Policies
	observed  func() error
}

// Events is the store of traces and logs.
func (e *Extension) Events() *event.Store { return e.events }

// Metrics is the store of metrics.
func (e *Extension) Metrics() *metric.Store { return e.metrics }

// Profiles is the store of profiles.
func (e *Extension) Profiles() *profile.Store { return e.profiles }

// Policies are the sampling policies that services ask for.
func (e *Extension) Policies() *state.Policies { return e.policies }

// Config is what the store was opened with.
func (e *Extension) Config() Config { return e.config }

// Start opens the engines of events and metrics at the same time: after a crash
// each replays its log.
func (e *Extension) Start(context.Context, component.Host) error {
	log := slog.New(zapslog.NewHandler(e.telemetry.Logger.Core()))
	var wg sync.WaitGroup
	var eventErr, metricErr error
	wg.Go(func() { e.events, eventErr = event.Open(e.eventOptions(log)) })
	wg.Go(func() { e.metrics, metricErr = metric.Open(e.metricOptions(log)) })
	wg.Wait()
	if err := errors.Join(eventErr, metricErr); err != nil {
		return errors.Join(fmt.Errorf("open store: %w", err), e.Shutdown(context.Background()))
	}
	// The engines have made the folder and know it for this process' own.
	e.policies = state.OpenPolicies(filepath.Join(e.config.Directory, "state"), log)
	var err error
	if e.profiles, err = profile.Open(e.profileOptions(log)); err != nil {
		return errors.Join(fmt.Errorf("open store: %w", err), e.Shutdown(context.Background()))
	}
	e.observed, err = observe(e.telemetry.MeterProvider, e)
	return err
}

// Shutdown makes everything durable and closes the engines.
func (e *Extension) Shutdown(ctx context.Context) error {
	var errs []error
	if e.observed != nil {
		errs = append(errs, e.observed())
		e.observed = nil
	}
	if e.events != nil {
		errs = append(errs, e.events.Close())
		e.events = nil
	}
	if e.metrics != nil {
		errs = append(errs, e.metrics.Close(ctx))
		e.metrics = nil
	}
	if e.profiles != nil {
		errs = append(errs, e.profiles.Close())
		e.profiles = nil
	}
	return errors.Join(errs...)
}

func (e *Extension) eventOptions(log *slog.Logger) event.Options {
	c := e.config
	o := event.Options{
		Dir:         filepath.Join(c.Directory, "events"),
		SyncEvery:   c.Sync.Every,
		Traces:      event.Keep{Retention: c.Traces.Age.Duration(), MaxBytes: int64(c.Traces.MaxSize)},
		Logs:        event.Keep{Retention: c.Logs.Age.Duration(), MaxBytes: int64(c.Logs.MaxSize)},
		DiskReserve: uint64(c.MinFree),
		Memory:      int64(c.Memory),
		Logger:      log,
	}
	if c.Sync.Always {
		o.Sync = journal.SyncAlways
	}
	return o
}

func (e *Extension) metricOptions(log *slog.Logger) metric.Options {
	c := e.config.Metrics
	return metric.Options{
		Dir:        filepath.Join(e.config.Directory, "metrics"),
		Retention:  c.Age.Duration(),
		MaxBytes:   int64(c.MaxSize),
		OutOfOrder: c.OutOfOrder.Duration(),
		MinFree:    int64(e.config.MinFree),
		Logger:     log,
	}
}

func (e *Extension) profileOptions(log *slog.Logger) profile.Options {
	c := e.config
	o := profile.Options{
		Dir:         filepath.Join(c.Directory, "profiles"),
		SyncEvery:   c.Sync.Every,
		Retention:   c.Profiles.Age.Duration(),
		MaxBytes:    int64(c.Profiles.MaxSize),
		DiskReserve: uint64(c.MinFree),
		Logger:      log,
	}
	if c.Sync.Always {
		o.Sync = journal.SyncAlways
	}
	return o
}
