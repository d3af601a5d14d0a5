// Package prom is the Prometheus door: the complete HTTP API under /api/v1 over
// the metric store, so that Grafana, promtool and every other client of
// Prometheus work unchanged. Queries and status are Prometheus' own handlers;
// what is written here is the way to them (tenants, limits) and the doors for
// data, which answer a full disk with "try again" and refuse single samples,
// not requests.
package prom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/notifications"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/metric"
)

// Options configures New. Zero fields mean the defaults they name.
type Options struct {
	// Store is what is served. Required.
	Store *metric.Store
	// Logger receives errors of the handlers. Default: discarded.
	Logger *slog.Logger
	// Rules tells a tenant's rules and alerts. Default: none.
	Rules func(store.Tenant) v1.RulesRetriever
	// Scrapers are Prometheus' APIs of those who scrape for a tenant, which
	// tell of targets and scrape pools below /api/v1/. Default: none.
	Scrapers func(store.Tenant) []http.Handler
	// Alertmanagers tells where a tenant's alerts go. Default: nowhere.
	Alertmanagers func(store.Tenant) v1.AlertmanagerRetriever
	// Admin allows deleting series and taking snapshots over HTTP.
	Admin bool
	// CORSOrigin is the fully anchored regular expression of the origins whose
	// pages may read. Default ".*", as in Prometheus.
	CORSOrigin string
	// Flags are shown under status/flags.
	Flags map[string]string

	// MaxBody bounds the body of a request in bytes as it is sent; unpacked, a
	// write may have maxUnpacked times that. Default 16 MiB.
	MaxBody int64
	// MaxReads and MaxWrites bound the requests that are served at a time;
	// others wait. Writes hold their batch unpacked in memory. Defaults: 64
	// and twice GOMAXPROCS, at least 4.
	MaxReads, MaxWrites int
	// Timeout ends a request. Default 2 minutes.
	Timeout time.Duration
}

const (
	defaultMaxBody  = 16 << 20
	defaultMaxReads = 64
	defaultTimeout  = 2 * time.Minute

	// Remote read answers at most this many samples when it cannot stream, in
	// frames of at most this many bytes when it can, to this many clients at a
	// time: Prometheus' own defaults.
	remoteReadSamples = 50_000_000
	remoteReadFrame   = 1 << 20
	remoteReadClients = 10
)

// API serves the Prometheus HTTP API. It is safe for concurrent use.
type API struct {
	opts     Options
	cors     *regexp.Regexp
	started  time.Time
	reads    limiter
	writes   limiter
	features features.Collector

	nobody  func() http.Handler // serves tenants that do not exist
	openAPI func() *v1.OpenAPIBuilder

	mu      sync.Mutex
	tenants map[store.Tenant]func() http.Handler
}

// New returns the API over opts.Store.
func New(opts Options) (*API, error) {
	if opts.Store == nil {
		return nil, fmt.Errorf("serve the Prometheus API: no metric store: %w", store.ErrInvalid)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.CORSOrigin == "" {
		opts.CORSOrigin = ".*"
	}
	if opts.MaxBody <= 0 {
		opts.MaxBody = defaultMaxBody
	}
	if opts.MaxReads <= 0 {
		opts.MaxReads = defaultMaxReads
	}
	if opts.MaxWrites <= 0 {
		opts.MaxWrites = max(4, 2*runtime.GOMAXPROCS(0))
	}
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.Flags == nil {
		opts.Flags = map[string]string{}
	}
	cors, err := regexp.Compile("^(?:" + opts.CORSOrigin + ")$")
	if err != nil {
		return nil, fmt.Errorf("serve the Prometheus API: CORS origin: %w: %w", err, store.ErrInvalid)
	}
	a := &API{
		opts: opts, cors: cors, started: time.Now(),
		reads: newLimiter(opts.MaxReads), writes: newLimiter(opts.MaxWrites),
		features: features.NewRegistry(),
		tenants:  map[store.Tenant]func() http.Handler{},
	}
	a.nobody = sync.OnceValue(func() http.Handler { return a.build(nil) })
	a.openAPI = sync.OnceValue(func() *v1.OpenAPIBuilder {
		return v1.NewOpenAPIBuilder(v1.OpenAPIOptions{Version: buildInfo().Version}, opts.Logger)
	})
	opts.Store.Parser().RegisterFeatures(a.features)
	for name, on := range map[string]bool{
		"admin": opts.Admin, "remote_write_receiver": true, "otlp_write_receiver": true, "lifecycle": false, "search": false,
		"label_values_match": true, "query_warnings": true, "query_stats": true, "time_range_series": true,
		"time_range_labels": true, "exclude_alerts": true, "openapi_3.1": true, "openapi_3.2": true,
	} {
		a.features.Set(features.API, name, on)
	}
	return a, nil
}

// Handler serves everything below prefix + "/api/v1/"; prefix is "" or begins
// with a slash. The tenant is that of the header X-Scope-OrgID.
func (a *API) Handler(prefix string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /api/v1/write", a.guard(a.writes, a.remoteWrite))
	mux.Handle("POST /api/v1/otlp/v1/metrics", a.guard(a.writes, a.otlpWrite))
	mux.Handle("GET /api/v1/metadata", a.guard(a.reads, a.metadata))
	for _, path := range []string{"targets", "targets/metadata", "scrape_pools"} {
		mux.Handle("GET /api/v1/"+path, a.guard(a.reads, a.allScrapers))
	}
	for _, path := range []string{"targets/relabel_steps", "scrape_pools/config"} {
		mux.Handle("GET /api/v1/"+path, a.guard(a.reads, a.oneScraper))
	}
	mux.Handle("GET /api/v1/openapi.yaml", a.guard(a.reads, func(w http.ResponseWriter, r *http.Request, _ store.Tenant) {
		a.openAPI().ServeOpenAPI(w, r)
	}))
	mux.Handle("GET /api/v1/notifications/live", a.guard(nil, a.read)) // stays open
	mux.Handle("/api/v1/", a.guard(a.reads, a.read))
	return http.StripPrefix(prefix, mux)
}

// read hands a request to Prometheus' handlers.
func (a *API) read(w http.ResponseWriter, r *http.Request, t store.Tenant) {
	h, err := a.tenant(t)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	h.ServeHTTP(w, r)
}

// tenant returns Prometheus' handlers over one tenant, which take a fifth of a
// second to make. All tenants that do not exist share theirs.
func (a *API) tenant(t store.Tenant) (http.Handler, error) {
	a.mu.Lock()
	h := a.tenants[t]
	if h == nil {
		if !a.opts.Store.Exists(t) {
			h = a.nobody
		} else if len(a.tenants) < metric.MaxTenants {
			h = sync.OnceValue(func() http.Handler { return a.build(&t) })
			a.tenants[t] = h
		}
	}
	a.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("serve metrics of tenant %s: %w", t, metric.ErrTenants)
	}
	return h(), nil
}

// build makes Prometheus' handlers over one tenant, or over nothing for nil.
func (a *API) build(t *store.Tenant) http.Handler {
	var (
		rulesOf         v1.RulesRetriever        = none{}
		alertmanagersOf v1.AlertmanagerRetriever = none{}
	)
	if t != nil && a.opts.Rules != nil {
		rulesOf = a.opts.Rules(*t)
	}
	if t != nil && a.opts.Alertmanagers != nil {
		alertmanagersOf = a.opts.Alertmanagers(*t)
	}
	db := &metric.Database{}
	if t != nil {
		db = a.opts.Store.Database(*t)
	}
	api := v1.NewAPI(
		a.opts.Store.Engine(),
		db,
		nil, nil, // the doors for data are our own
		db,
		func(context.Context) v1.ScrapePoolsRetriever { return none{} },
		func(context.Context) v1.TargetRetriever { return none{} },
		func(context.Context) v1.AlertmanagerRetriever { return alertmanagersOf },
		a.config,
		a.opts.Flags,
		v1.GlobalURLOptions{},
		func(h http.HandlerFunc) http.HandlerFunc { return h },
		db,
		db.Dir(),
		a.opts.Admin,
		false, 0, // experimental search
		a.opts.Logger,
		func(context.Context) v1.RulesRetriever { return rulesOf },
		remoteReadSamples, remoteReadClients, remoteReadFrame,
		false, // not an agent
		a.cors,
		a.runtimeInfo,
		buildInfo(),
		func() []notifications.Notification { return []notifications.Notification{} },
		func() (<-chan notifications.Notification, func(), bool) { return nil, nil, false },
		db,
		nil,
		nil,
		false, nil, // remote write
		false, false, false, // OTLP
		false, // start timestamps as samples
		metric.Lookback,
		false, false,
		errorCode,
		a.features,
		// The description is made when it is asked for: it takes 80 MB of
		// garbage, for every tenant.
		v1.OpenAPIOptions{IncludePaths: []string{"/none"}},
		a.opts.Store.Parser(),
	)
	router := route.New()
	api.Register(router.WithPrefix("/api/v1"))
	return router
}

// config is what status/config shows and what remote read needs.
func (a *API) config() config.Config {
	c := config.DefaultConfig
	c.OTLPConfig.PromoteResourceAttributes = a.opts.Store.Options().Promote
	return c
}

// errorCode gives failures of the store the status that tells a client whether
// to try again. Prometheus does not export the type of the first argument.
func errorCode[N any](_ N, err error) (code int, override bool) {
	var es promql.ErrStorage
	if errors.As(err, &es) {
		err = es.Err
	}
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return http.StatusServiceUnavailable, true
	case errors.Is(err, metric.ErrTenants):
		return http.StatusBadRequest, true
	}
	return 0, false
}

// none is a tenant without rules, targets and alertmanagers.
type none struct{}

func (none) RuleGroups() []*rules.Group                  { return nil }
func (none) AlertingRules() []*rules.AlertingRule        { return nil }
func (none) TargetsActive() map[string][]*scrape.Target  { return nil }
func (none) TargetsDropped() map[string][]*scrape.Target { return nil }
func (none) TargetsDroppedCounts() map[string]int        { return map[string]int{} }
func (none) ScrapePools() []string                       { return []string{} }
func (none) Alertmanagers() []*url.URL                   { return nil }
func (none) DroppedAlertmanagers() []*url.URL            { return nil }
func (none) ScrapePoolConfig(pool string) (*config.ScrapeConfig, error) {
	return nil, fmt.Errorf("no scrape pool %q: %w", pool, store.ErrNotFound)
}
