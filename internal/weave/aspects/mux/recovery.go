//go:build guanlan_woven

package handlers

import (
	"net/http"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanRecovered tells of a panic that ends here.
func guanlanRecovered(r *http.Request, p any) any {
	if p != nil {
		sdk.RequestServed(r).Panic(p)
	}
	return p
}
