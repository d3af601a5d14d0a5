//go:build guanlan_woven

package chi

import (
	"net/http"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanRoute is called by each router on the way: the last one knows all of
// the pattern.
func guanlanRoute(c *Context, r *http.Request) {
	if q := sdk.RequestServed(r); !q.IsZero() {
		q.SetRoute(c.RoutePattern())
	}
}
