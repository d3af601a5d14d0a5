//go:build guanlan_woven

package http

import (
	"context"
	"sync/atomic"
)

// What package sdk sets when this package is not woven: nobody calls it.

type GuanlanHooks struct {
	Serve     func(h Handler, w ResponseWriter, r *Request)
	RoundTrip func(*Transport, *Request) (*Response, error)
	Matched   func(*Request)
	Under     func(w ResponseWriter) ResponseWriter
}

var Guanlan atomic.Pointer[GuanlanHooks]

func GuanlanNext(t *Transport, r *Request) (*Response, error) { return t.RoundTrip(r) }

func GuanlanSetContext(*Request, context.Context) {}
