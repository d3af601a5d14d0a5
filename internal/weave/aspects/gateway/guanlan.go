//go:build guanlan_woven

package runtime

import (
	"net/http"
	"strings"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanRoute is called once a request is known to match.
func guanlanRoute(p Pattern, r *http.Request) {
	if q := sdk.RequestOf(r.Context()); !q.IsZero() {
		// A variable that is one segment, which is nearly every one, is written as
		// in any other router.
		q.SetRoute(strings.ReplaceAll(p.String(), "=*}", "}"))
	}
}
