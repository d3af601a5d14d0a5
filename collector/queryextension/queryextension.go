// Package queryextension answers questions: it serves the UI and all APIs on
// one port, over the store that the store extension holds open.
package queryextension

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap/exp/zapslog"

	"github.com/guanlan-io/guanlan/collector/storeextension"
	"github.com/guanlan-io/guanlan/internal/api"
)

// Config is the extension's YAML.
type Config struct {
	// Endpoint is where the UI and all APIs listen (default 127.0.0.1:4390).
	// There is no login: bind it elsewhere only behind something that has one.
	Endpoint string `mapstructure:"endpoint"`
	// AllowedHosts are names by which a proxy on this machine may call a
	// loopback endpoint, besides localhost (default none).
	AllowedHosts []string `mapstructure:"allowed_hosts"`
	// Store names the extension that holds the data (default "store").
	Store component.ID `mapstructure:"store"`
	// SelfTraces is the OTLP/HTTP base URL that takes the spans of Guanlan's
	// own API, for example http://127.0.0.1:4318 (default none).
	SelfTraces string `mapstructure:"self_traces"`
}

// Validate names the first field that cannot be.
func (c *Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Endpoint); err != nil {
		return fmt.Errorf("endpoint %q: want HOST:PORT, for example %s", c.Endpoint, api.DefaultAddress)
	}
	return nil
}

// NewFactory returns the factory of the query extension. ready, if not nil, is
// called once all pipelines accept data; scrapers tells the Prometheus APIs of
// the receivers that scrape at a time.
func NewFactory(ready func(Summary), scrapers func() []http.Handler) extension.Factory {
	return extension.NewFactory(
		component.MustNewType("query"),
		func() component.Config {
			return &Config{Endpoint: api.DefaultAddress, Store: component.MustNewID("store")}
		},
		func(_ context.Context, set extension.Settings, c component.Config) (extension.Extension, error) {
			return &server{config: *c.(*Config), set: set, ready: ready, scrapers: scrapers}, nil
		},
		component.StabilityLevelBeta,
	)
}

var (
	_ extensioncapabilities.Dependent             = (*server)(nil)
	_ extensioncapabilities.PipelineWatcher       = (*server)(nil)
	_ extensioncapabilities.ConfigSnapshotWatcher = (*server)(nil)
)

type server struct {
	config Config
	set    extension.Settings
	ready  func(Summary)
	// scrapers are Prometheus' APIs of the receivers that scrape.
	scrapers func() []http.Handler

	state   state // what status and the first screen show
	http    *api.Server
	tracing *tracing
}

// Dependencies makes the collector open the store first and close it last.
func (s *server) Dependencies() []component.ID { return []component.ID{s.config.Store} }

func (s *server) Start(_ context.Context, host component.Host) error {
	st, err := storeextension.Find(host, s.config.Store)
	if err != nil {
		return err
	}
	log := slog.New(zapslog.NewHandler(s.set.Logger.Core()))
	s.state.begin(st, s.set.BuildInfo)
	if s.tracing, err = startTracing(s.config.SelfTraces, s.set.BuildInfo.Version, log); err != nil {
		return err
	}
	d, err := openDoors(st, &s.state, s.scrapers, s.set.BuildInfo.Version, log)
	if err != nil {
		return err
	}
	for _, h := range []*http.Handler{&d.API, &d.Prometheus, &d.Jaeger, &d.LogsQL} {
		*h = s.tracing.wrap(*h)
	}
	s.http = api.NewServer(api.ServerOptions{
		Doors: d, Address: s.config.Endpoint, Hosts: s.config.AllowedHosts, Ready: s.state.readiness, Logger: log,
	})
	return s.http.Start(func(err error) {
		componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
	})
}

// NotifyConfigSnapshot learns where the receivers listen.
func (s *server) NotifyConfigSnapshot(_ context.Context, c extensioncapabilities.ConfigSnapshot) error {
	s.state.learn(c.Effective())
	return nil
}

// Ready is called when all pipelines have started.
func (s *server) Ready() error {
	s.state.open(s.http.Addr().String())
	if s.ready != nil {
		s.ready(s.state.summary())
	}
	return nil
}

// NotReady is called before the pipelines stop: the last moment at which our
// own spans find a receiver.
func (s *server) NotReady() error {
	s.state.close()
	s.tracing.stop(context.Background())
	return nil
}

func (s *server) Shutdown(ctx context.Context) error {
	var err error
	if s.http != nil {
		err = s.http.Shutdown(ctx)
	}
	s.tracing.stop(ctx)
	return err
}
