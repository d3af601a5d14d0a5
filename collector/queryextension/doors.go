package queryextension

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/guanlan-io/guanlan/collector/storeextension"
	"github.com/guanlan-io/guanlan/internal/api"
	"github.com/guanlan-io/guanlan/internal/api/jaeger"
	"github.com/guanlan-io/guanlan/internal/api/logsql"
	"github.com/guanlan-io/guanlan/internal/api/prom"
	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
	"github.com/guanlan-io/guanlan/ui"
)

// loopbackPages are the origins whose pages may read the Prometheus API from a
// browser: Grafana on this machine. Without a login, any other page the user
// happens to visit must not.
const loopbackPages = `https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?`

// openDoors makes the handlers over the store.
func openDoors(st storeextension.Store, state *state, scrapers func() []http.Handler, version string, log *slog.Logger) (api.Doors, error) {
	prometheus, err := prom.New(prom.Options{Store: st.Metrics(), Logger: log, CORSOrigin: loopbackPages, Scrapers: func(t store.Tenant) []http.Handler {
		if t != (store.Tenant{}) {
			return nil // what receivers scrape belongs to the default tenant
		}
		return scrapers()
	}})
	if err != nil {
		return api.Doors{}, err
	}
	profiler := query.NewProfiler(st.Profiles())
	engine := query.New(query.Options{Traces: st.Events(), Logs: st.Events(), Metrics: vectors{st.Metrics()}, Profiles: profiler})
	jaegerDoor := jaeger.New(jaeger.Options{Engine: engine, Traces: st.Events(), Logger: log})
	grpc := api.NewGRPC(log)
	jaegerDoor.Register(grpc)
	return api.Doors{
		API:        api.New(api.Options{Engine: engine, Status: state, Policies: st.Policies(), Profiles: profiler, Logger: log}),
		Prometheus: prometheus.Handler(""),
		Jaeger:     jaegerDoor.Handler(),
		LogsQL:     logsql.New(logsql.Options{Reader: st.Events().LogsQL(), Version: version, Logger: log}),
		Sampling:   api.NewSampling(st.Policies()),
		Profiles:   profiles(),
		UI:         ui.Handler(),
		GRPC:       grpc,
	}, nil
}

// profiles serves the profiles of this process, as net/http/pprof does on the
// default mux that we do not use.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// vectors gives package query the metric store in its own words.
type vectors struct{ metrics *metric.Store }

func (v vectors) Instant(ctx context.Context, tenant store.Tenant, expr string, at time.Time) ([]query.Sample, error) {
	found, err := v.metrics.Instant(ctx, tenant, expr, at)
	samples := make([]query.Sample, 0, len(found))
	for _, s := range found {
		if s.Value == s.Value { // NaN says nothing
			samples = append(samples, query.Sample{Labels: s.Labels, Value: s.Value})
		}
	}
	return samples, err
}
