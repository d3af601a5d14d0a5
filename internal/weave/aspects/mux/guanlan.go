//go:build guanlan_woven

package mux

import (
	"net/http"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanRoute tells which route a request takes; nil when there is none.
func guanlanRoute(route *Route, r *http.Request) {
	q := sdk.RequestServed(r)
	if route == nil || q.IsZero() {
		return
	}
	if template, err := route.GetPathTemplate(); err == nil { // there is one
		q.SetRoute(template)
	}
}
