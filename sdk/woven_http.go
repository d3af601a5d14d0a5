//go:build guanlan_woven

package sdk

import (
	"context"
	"net/http"
	"strings"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// A woven net/http serves and calls through the SDK that runs.
func init() {
	http.Guanlan.Store(&http.GuanlanHooks{Serve: ServeHTTP, RoundTrip: roundTripWoven, Matched: matched, Under: under})
}

// ServeHTTP is Handler(h).ServeHTTP for woven servers. The request remains the one
// that the server knows, with its trailers and the files of its form.
func ServeHTTP(h http.Handler, w http.ResponseWriter, r *http.Request) {
	s := Default()
	if s == nil || s.server == nil || r.Method == "PRI" { // of HTTP/2, which a handler is to speak now
		h.ServeHTTP(w, r)
		return
	}
	if p := provisional.Load(); p != nil {
		p.publishOnce()
	}
	s.server.serve(h, w, r, true)
}

func setContext(r *http.Request, ctx context.Context) { http.GuanlanSetContext(r, ctx) }

// wovenTransport is what a woven transport was.
type wovenTransport http.Transport

// RoundTrip implements http.RoundTripper.
func (t *wovenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.GuanlanNext((*http.Transport)(t), r)
}

func roundTripWoven(t *http.Transport, r *http.Request) (*http.Response, error) {
	return CallHTTP((*wovenTransport)(t), r)
}

// CallHTTP is Transport(next).RoundTrip for woven transports, unless the request
// has its span, is no request that can be sent, or is about telemetry.
func CallHTTP(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if r == nil || r.URL == nil || r.Header == nil || Default() == nil {
		return next.RoundTrip(r)
	}
	if ctx := r.Context(); ctx.Value(tracedKey{}) != nil || core.IsOwn(ctx) || exports(r) {
		return next.RoundTrip(r)
	}
	return anyClient.roundTrip(r, next)
}

// exports reports whether r is of another exporter of OpenTelemetry's.
func exports(r *http.Request) bool {
	agent := r.Header["User-Agent"]
	return len(agent) == 1 && strings.HasPrefix(agent[0], "OTel OTLP Exporter Go")
}

// matched is told by an http.ServeMux which pattern r takes. Middleware may have
// made several requests of one, so that the pattern of ours need not be there.
func matched(r *http.Request) {
	q := requestIn(r.Context())
	if q == nil || r.Pattern == "" || !q.is(r) {
		return
	}
	outer := q.matched.Load()
	if outer == nil || outer == &r.Pattern {
		q.matched.Store(&r.Pattern)
		return
	}
	// A mux within a mux: what was taken off the path on the way belongs to the
	// route, as the outer pattern has it.
	inner := route(r.Pattern)
	if whole := q.r.URL.Path; len(r.URL.Path) < len(whole) && strings.HasSuffix(whole, r.URL.Path) {
		before := route(*outer)
		if i := strings.LastIndex(before, "/{"); i >= 0 && strings.HasSuffix(before, "...}") {
			before = before[:i]
		}
		inner = strings.TrimSuffix(before, "/") + inner
	}
	q.matched.Store(&inner)
}

// under is the writer below ours.
func under(w http.ResponseWriter) http.ResponseWriter {
	if res := responseOf(w); res != nil {
		return res.ResponseWriter
	}
	return w
}

// pattern is the route by http.ServeMux.
func (q *request) pattern() string {
	if p := q.matched.Load(); p != nil {
		return route(*p)
	}
	return route(q.r.Pattern)
}

// ServeStream is ServeHTTP for a server of HTTP/2. Its connection may have been a
// request of HTTP/1 first, which nothing on it is a part of, though the contexts
// come from there.
func ServeStream(h http.Handler, w http.ResponseWriter, r *http.Request) {
	if q := requestIn(r.Context()); q != nil && q.status == http.StatusSwitchingProtocols {
		inner := r.WithContext(outside{r.Context()})
		ServeHTTP(h, w, inner)
		r.MultipartForm = inner.MultipartForm
		return
	}
	ServeHTTP(h, w, r)
}

// outside is a context without what is ours in it.
type outside struct{ context.Context }

// Value implements context.Context.
func (c outside) Value(key any) any {
	switch key {
	case spanKey, requestIDKey, baggageKey, requestOf{}, nearestKey{}:
		return nil
	}
	return c.Context.Value(key)
}
