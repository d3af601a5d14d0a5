package prom

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	prommeta "github.com/prometheus/prometheus/model/metadata"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/guanlan-io/guanlan/internal/store"
)

// engineVersion is the version of Prometheus whose engine and API these are:
// v0.315.0 of its module is 3.15.0. A test holds it against go.mod.
const engineVersion = "3.15.0"

// buildInfo is what Grafana asks to learn what it talks to, and by whose version
// it chooses what else to ask.
func buildInfo() *v1.PrometheusVersion {
	info := &v1.PrometheusVersion{
		Version:   engineVersion,
		Branch:    "guanlan",
		BuildUser: "guanlan",
		GoVersion: runtime.Version(),
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Revision = s.Value
		case "vcs.time":
			info.BuildDate = s.Value
		}
	}
	return info
}

// runtimeInfo describes this process.
func (a *API) runtimeInfo() (v1.RuntimeInfo, error) {
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "<unknown>"
	}
	host, err := os.Hostname()
	if err != nil {
		host = "<unknown>"
	}
	return v1.RuntimeInfo{
		StartTime:           a.started,
		CWD:                 cwd,
		Hostname:            host,
		ServerTime:          time.Now().UTC(),
		ReloadConfigSuccess: true,
		LastConfigTime:      a.started,
		GoroutineCount:      runtime.NumGoroutine(),
		GOMAXPROCS:          runtime.GOMAXPROCS(0),
		GOMEMLIMIT:          debug.SetMemoryLimit(-1),
		GOGC:                os.Getenv("GOGC"),
		GODEBUG:             os.Getenv("GODEBUG"),
		StorageRetention:    model.Duration(a.opts.Store.Options().Retention).String(),
	}, nil
}

// familyMetadata is how Prometheus tells a metric's metadata.
type familyMetadata struct {
	Type model.MetricType `json:"type"`
	Help string           `json:"help"`
	Unit string           `json:"unit"`
}

// metadata tells type, unit and help of metrics, however they came in;
// Prometheus' own handler knows only those of targets.
func (a *API) metadata(w http.ResponseWriter, r *http.Request, t store.Tenant) {
	limit, err := number(r, "limit")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	// One metadata for a metric is all there is, but a wrong parameter is one.
	perMetric, err := number(r, "limit_per_metric")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	known, err := a.opts.Store.Database(t).Metadata(r.FormValue("metric"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if known == nil {
		known = map[string]prommeta.Metadata{}
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	if limit >= 0 && len(names) > limit {
		names = names[:limit]
	}
	data := make(map[string][]familyMetadata, len(names))
	for _, name := range names {
		m := known[name]
		data[name] = []familyMetadata{{Type: orUnknown(m.Type), Help: m.Help, Unit: m.Unit}}
		if perMetric == 0 {
			data[name] = []familyMetadata{}
		}
	}
	a.reply(w, r, http.StatusOK, answer{Status: "success", Data: data})
}

func orUnknown(t model.MetricType) model.MetricType {
	if strings.TrimSpace(string(t)) == "" {
		return model.MetricTypeUnknown
	}
	return t
}

// number reads an integer parameter, -1 when it is absent.
func number(r *http.Request, name string) (int, error) {
	s := r.FormValue(name)
	if s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s must be a number: %w", name, store.ErrInvalid)
	}
	return n, nil
}
