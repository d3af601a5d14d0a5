//go:build guanlan_woven

package http

import (
	"context"
	"sync/atomic"
)

// GuanlanHooks are what package sdk does when it is in the program.
type GuanlanHooks struct {
	// Serve serves a request by h.
	Serve func(h Handler, w ResponseWriter, r *Request)
	// RoundTrip sends a request by GuanlanNext.
	RoundTrip func(*Transport, *Request) (*Response, error)
	// Matched is told of requests that a ServeMux has found the pattern of.
	Matched func(*Request)
	// Under is the writer of the server that w was made of, or w.
	Under func(w ResponseWriter) ResponseWriter
}

// Guanlan is nil until package sdk has set it: goroutines may serve before that.
var Guanlan atomic.Pointer[GuanlanHooks]

// GuanlanNext is what RoundTrip of t was.
func GuanlanNext(t *Transport, r *Request) (*Response, error) { return t.roundTrip(r) }

// GuanlanSetContext sets the context of a request that nobody has seen yet.
func GuanlanSetContext(r *Request, ctx context.Context) { r.ctx = ctx }

func guanlanServe(h Handler, w ResponseWriter, r *Request) {
	if hooks := Guanlan.Load(); hooks != nil {
		hooks.Serve(h, w, r)
		return
	}
	h.ServeHTTP(w, r)
}

func guanlanRoundTrip(t *Transport, r *Request) (*Response, error) {
	if hooks := Guanlan.Load(); hooks != nil {
		return hooks.RoundTrip(t, r)
	}
	return t.roundTrip(r)
}

func guanlanMatched(r *Request) {
	if hooks := Guanlan.Load(); hooks != nil {
		hooks.Matched(r)
	}
}

func guanlanUnder(w ResponseWriter) ResponseWriter {
	if hooks := Guanlan.Load(); hooks != nil {
		return hooks.Under(w)
	}
	return w
}
