package sdk

import (
	"context"
	"net/http"
	"sync/atomic"
)

// running is the SDK that was started last. Functions of this package that have
// no SDK use it, as OpenTelemetry's do with its global providers.
var running atomic.Pointer[SDK]

// Default is the SDK that was started last; nil before.
func Default() *SDK { return running.Load() }

// Handler instruments h with the SDK that runs when a request comes, so it may
// be called before Start. See HTTPServer.Handler.
func Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := Default(); s != nil && s.server != nil {
			s.server.serve(h, w, r, false)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// anyClient belongs to the SDK that runs when a request is sent.
var anyClient = newHTTPClient(nil)

// Transport instruments next with the SDK that runs when a request is sent, so
// it may be called before Start; nil is http.DefaultTransport. See
// HTTPClient.Transport.
func Transport(next http.RoundTripper) http.RoundTripper { return anyClient.Transport(next) }

// ListenAndServe is http.ListenAndServe with an instrumented handler; nil is
// http.DefaultServeMux.
func ListenAndServe(addr string, h http.Handler) error {
	if h == nil {
		h = http.DefaultServeMux
	}
	return http.ListenAndServe(addr, Handler(h))
}

// Shutdown is SDK.Shutdown of the SDK that was started last.
func Shutdown(ctx context.Context) error {
	if s := Default(); s != nil {
		return s.Shutdown(ctx)
	}
	return nil
}
