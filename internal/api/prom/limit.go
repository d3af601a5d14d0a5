package prom

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/util/httputil"

	"github.com/guanlan-io/guanlan/internal/semconv"
	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// tenantHeader names the tenant, as for Mimir and its kin.
	tenantHeader = semconv.TenantHeader
	// patience is how long a request waits for its turn.
	patience = 10 * time.Second
	// retryAfter tells clients when to come again after a 503: about when the
	// store has looked at the disk a few times.
	retryAfter = 5 * time.Second
)

// limiter lets a number of requests through at a time.
type limiter chan struct{}

func newLimiter(n int) limiter { return make(limiter, n) }

var errBusy = errors.New("too many requests at a time")

// enter waits for a turn, patience at most. A nil limiter has no limit.
func (l limiter) enter(ctx context.Context) error {
	if l == nil {
		return nil
	}
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case l <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l limiter) leave() {
	if l != nil {
		<-l
	}
}

// guard finds the tenant and holds a request to the limits.
func (a *API) guard(l limiter, next func(http.ResponseWriter, *http.Request, store.Tenant)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, a.opts.MaxBody)
		w = &response{ResponseWriter: w}
		t, err := store.ParseTenant(r.Header.Get(tenantHeader))
		if err != nil {
			a.fail(w, r, err)
			return
		}
		if err := l.enter(r.Context()); err != nil {
			a.fail(w, r, err)
			return
		}
		defer l.leave()
		if l != nil {
			ctx, cancel := context.WithTimeout(r.Context(), a.opts.Timeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		next(w, r, t)
	})
}

// response adds Retry-After to every 503.
type response struct {
	http.ResponseWriter
}

func (w *response) WriteHeader(code int) {
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	w.ResponseWriter.WriteHeader(code)
}

// Flush lets remote read stream.
func (w *response) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// status is the HTTP status and the Prometheus error type of an error.
func status(err error) (code int, kind string) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge, "bad_data"
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, errBusy):
		return http.StatusServiceUnavailable, "unavailable"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "timeout"
	case errors.Is(err, context.Canceled):
		return 499, "canceled" // nobody reads it; for the access log
	case errors.Is(err, errMediaType):
		return http.StatusUnsupportedMediaType, "bad_data"
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, "bad_data"
	}
	return http.StatusInternalServerError, "internal"
}

// answer is the envelope of all JSON answers of Prometheus.
type answer struct {
	Status    string `json:"status"`
	Data      any    `json:"data,omitempty"`
	ErrorType string `json:"errorType,omitempty"`
	Error     string `json:"error,omitempty"`
}

// fail answers with an error as Prometheus does.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	code, kind := status(err)
	a.reply(w, r, code, answer{Status: "error", ErrorType: kind, Error: err.Error()})
}

func (a *API) reply(w http.ResponseWriter, r *http.Request, code int, body answer) {
	httputil.SetCORS(w, a.cors, r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		a.opts.Logger.Debug("write answer", "path", r.URL.Path, "err", err)
	}
}
