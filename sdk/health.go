package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Health answers the probes of an orchestrator:
//
//	/healthz, /livez   the process is alive: 200 whenever it can answer
//	/readyz            the service can do its work: 200 or 503
//
// Readiness is that of the checks that were added, from Started on and until
// Exiting; Run calls both. Liveness knows no checks: a service must not be
// killed because its database is away.
//
// The answer is "ok", or the names of what fails. With ?verbose every check has
// its line, with its error; with ?format=json, or Accept: application/json, the
// answer is a HealthReport. Errors may hold addresses: keep these paths off
// the internet.
//
// Checks run all at once and at most once in Fresh, however many probes come.
// One that does not come back in time has failed, and is not started again
// before it has come back. Requests to Health are neither spans nor measured.
//
// The zero value is ready. Options must be set before it is used; methods are
// safe for concurrent use.
type Health struct {
	// Timeout is how long an answer takes at most; default 2 s. The context of
	// checks ends a little earlier. The kubelet waits 1 s unless a probe says
	// otherwise: set its timeoutSeconds above this.
	Timeout time.Duration
	// Fresh is how old an answer may be; default 1 s, the shortest period that
	// Kubernetes has for probes.
	Fresh time.Duration

	phase atomic.Int32

	mu     sync.Mutex
	checks []*check
	round  *round // the last one, which may be under way

	gauge   *core.Instrument // of the SDK gaugeOf
	gaugeOf *SDK
}

// Phases of a service.
const (
	phaseStarting int32 = iota
	phaseStarted
	phaseExiting
)

// Check says whether something works: nil, or what is wrong. It should end with
// its context. The PingContext of a *sql.DB is one.
type Check func(context.Context) error

// Defaults of Health.
const (
	defaultHealthTimeout = 2 * time.Second
	defaultHealthFresh   = time.Second
)

// Add adds a check without which the service cannot work. One of the same name
// is replaced.
func (h *Health) Add(name string, c Check) { h.add(&check{name: name, run: c}) }

// AddOptional adds a check of something that the service can do without: when
// it fails, the service is degraded, but ready.
func (h *Health) AddOptional(name string, c Check) {
	h.add(&check{name: name, run: c, optional: true})
}

func (h *Health) add(c *check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	checks := make([]*check, 0, len(h.checks)+1) // a round may be going over the old ones
	for _, old := range h.checks {
		if old.name != c.name {
			checks = append(checks, old)
		}
	}
	h.checks = append(checks, c)
	if h.round != nil {
		h.round.stale = true
	}
}

// Started says that the service has started: it is ready as soon as its checks
// say so. Run calls it.
func (h *Health) Started() { h.phase.CompareAndSwap(phaseStarting, phaseStarted) }

// Exiting says that the exit has begun: the service is not ready any more, for
// good. Run calls it.
func (h *Health) Exiting() { h.phase.Store(phaseExiting) }

// Statuses in a HealthReport.
const (
	HealthOK       = "ok"
	HealthDegraded = "degraded" // something optional fails: ready
	HealthFailed   = "failed"
	HealthStarting = "starting"
	HealthExiting  = "exiting"
)

// HealthReport is what is known of readiness.
type HealthReport struct {
	Status string        `json:"status"`
	Checks []CheckReport `json:"checks"`
}

// CheckReport is the outcome of one check.
type CheckReport struct {
	Name     string  `json:"name"`
	Status   string  `json:"status"` // HealthOK or HealthFailed
	Optional bool    `json:"optional,omitempty"`
	Millis   float64 `json:"duration_ms"`
	Error    string  `json:"error,omitempty"`
}

// Ready reports whether the service is to get requests.
func (r HealthReport) Ready() bool { return r.Status == HealthOK || r.Status == HealthDegraded }

// Report runs the checks, or takes what they said less than Fresh ago. It takes
// Timeout at most, or until ctx ends.
func (h *Health) Report(ctx context.Context) HealthReport {
	r := HealthReport{Status: HealthOK, Checks: h.outcomes(ctx)}
	for _, c := range r.Checks {
		switch {
		case c.Status == HealthOK:
		case !c.Optional:
			r.Status = HealthFailed
		case r.Status == HealthOK:
			r.Status = HealthDegraded
		}
	}
	switch h.phase.Load() {
	case phaseStarting:
		r.Status = HealthStarting
	case phaseExiting:
		r.Status = HealthExiting
	}
	return r
}

// Handler answers probes and passes other requests on to next. Put it outside
// of everything else: health.Handler(sdk.Handler(mux)).
func (h *Health) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/livez", "/readyz":
			h.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ServeHTTP answers probes, for a server or a port of their own, or in a mux:
// mux.Handle("/readyz", &health).
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hush(w)
	if q := RequestOf(r.Context()).of; q != nil { // of BeginRequest, whose writer is another's
		q.response.quiet = true
	}
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	var report HealthReport
	switch r.URL.Path {
	case "/healthz", "/livez":
		report = HealthReport{Status: HealthOK, Checks: []CheckReport{}}
	case "/readyz":
		report = h.Report(r.Context())
	default:
		http.NotFound(w, r)
		return
	}
	status := http.StatusOK
	if !report.Ready() {
		status = http.StatusServiceUnavailable
	}
	query := r.URL.Query()
	if query.Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json") {
		body, err := json.Marshal(report)
		if err != nil {
			panic("BUG: marshal health report: " + err.Error())
		}
		head.Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(append(body, '\n'))
		return
	}
	head.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(report.text(strings.TrimPrefix(r.URL.Path, "/"), query.Has("verbose"))))
}

// text is the report as Kubernetes' own servers write theirs. Without verbose
// there are no errors in it.
func (r HealthReport) text(probe string, verbose bool) string {
	if !verbose && r.Status == HealthOK {
		return "ok"
	}
	var b strings.Builder
	for _, c := range r.Checks {
		ok := c.Status == HealthOK
		switch {
		case ok && verbose:
			fmt.Fprintf(&b, "[+]%s ok (%.1f ms)\n", c.Name, c.Millis)
		case !ok && verbose:
			fmt.Fprintf(&b, "[-]%s failed%s: %s (%.1f ms)\n", c.Name, optionally(c), strings.ReplaceAll(c.Error, "\n", " "), c.Millis)
		case !ok:
			fmt.Fprintf(&b, "[-]%s failed%s\n", c.Name, optionally(c))
		}
	}
	switch r.Status {
	case HealthOK:
		fmt.Fprintf(&b, "%s check passed\n", probe)
	case HealthDegraded:
		fmt.Fprintf(&b, "%s check passed: degraded\n", probe)
	case HealthFailed:
		fmt.Fprintf(&b, "%s check failed\n", probe)
	default:
		fmt.Fprintf(&b, "%s check failed: the service is %s\n", probe, r.Status)
	}
	return b.String()
}

func optionally(c CheckReport) string {
	if c.Optional {
		return " (optional)"
	}
	return ""
}

// hush keeps a request out of spans and metrics, also when the handler that
// makes them is around us.
func hush(w http.ResponseWriter) {
	for w != nil {
		if res := responseOf(w); res != nil {
			res.quiet = true
			w = res.ResponseWriter
			continue
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = inner.Unwrap()
	}
}
