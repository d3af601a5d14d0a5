// Package scrapereceiver is the collector's prometheus receiver, whose targets
// the Prometheus door can show.
//
// The receiver keeps its scrape manager to itself. What it offers is api_server:
// Prometheus' API over the scrape manager, on a listener of its own. Every
// receiver gets one here, and a middleware in it that takes the handler for the
// door and answers nothing to the listener, unless the user asked for an
// api_server as such.
package scrapereceiver

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/receiver"
)

// Running is the receivers that scrape now. The zero value has none; it is safe
// for concurrent use.
type Running struct {
	mu   sync.Mutex
	apis map[component.ID]http.Handler
}

// APIs returns Prometheus' APIs of the receivers, below /api/v1/, in order of
// their names. Of these, the paths about targets and scrape pools are served;
// the others are about a store that receivers have not.
func (r *Running) APIs() []http.Handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]component.ID, 0, len(r.apis))
	for id := range r.apis {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b component.ID) int { return cmp.Compare(a.String(), b.String()) })
	apis := make([]http.Handler, len(ids))
	for i, id := range ids {
		apis[i] = r.apis[id]
	}
	return apis
}

func (r *Running) add(id component.ID, api http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.apis == nil {
		r.apis = map[component.ID]http.Handler{}
	}
	r.apis[id] = api
}

func (r *Running) remove(id component.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.apis, id)
}

// NewFactory returns the factory of the receiver, whose instances are among
// running from start to shutdown.
func NewFactory(running *Running) receiver.Factory {
	inner := prometheusreceiver.NewFactory()
	return receiver.NewFactory(inner.Type(), inner.CreateDefaultConfig, receiver.WithMetrics(
		func(ctx context.Context, set receiver.Settings, conf component.Config, next consumer.Metrics) (receiver.Metrics, error) {
			c := *conf.(*prometheusreceiver.Config) // the user's stays as it is
			w := &watched{id: set.ID, running: running, served: c.APIServer.Enabled}
			server := &c.APIServer.ServerConfig
			server.Middlewares = append(slices.Clip(server.Middlewares), configmiddleware.Config{ID: middleware})
			if !w.served {
				c.APIServer.Enabled = true
				server.NetAddr.Endpoint = "127.0.0.1:0" // it answers nothing
			}
			var err error
			w.Metrics, err = inner.CreateMetrics(ctx, set, &c, next)
			return w, err
		}, inner.MetricsStability()))
}

// middleware is the name by which the api_server of a receiver finds its
// watched among the extensions, where it stands for that receiver only.
var middleware = component.MustNewIDWithName("guanlan", "targets")

// watched is a receiver and, as an extension of its api_server, what takes the
// handler from it.
type watched struct {
	receiver.Metrics
	id      component.ID
	running *Running
	served  bool // the user wants the listener to answer
}

var _ extensionmiddleware.HTTPServer = (*watched)(nil)

// Start implements component.Component.
func (w *watched) Start(ctx context.Context, h component.Host) error {
	return w.Metrics.Start(ctx, host{h, w})
}

// Shutdown implements component.Component.
func (w *watched) Shutdown(ctx context.Context) error {
	w.running.remove(w.id)
	return w.Metrics.Shutdown(ctx)
}

// GetHTTPHandler implements extensionmiddleware.HTTPServer.
func (w *watched) GetHTTPHandler(context.Context) (extensionmiddleware.WrapHTTPHandlerFunc, error) {
	return func(_ context.Context, api http.Handler) (http.Handler, error) {
		w.running.add(w.id, api)
		if w.served {
			return api, nil
		}
		return http.NotFoundHandler(), nil
	}, nil
}

// host adds a watched to the extensions of the collector.
type host struct {
	component.Host
	w *watched
}

// GetExtensions implements component.Host.
func (h host) GetExtensions() map[component.ID]component.Component {
	all := map[component.ID]component.Component{middleware: h.w}
	for id, e := range h.Host.GetExtensions() {
		all[id] = e
	}
	return all
}

// Report passes on what the receiver says of its state.
func (h host) Report(e *componentstatus.Event) { componentstatus.ReportStatus(h.Host, e) }
