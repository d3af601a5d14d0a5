//go:build guanlan_woven

package http2

import (
	"net/http"

	"github.com/guanlan-io/guanlan/sdk"
)

func guanlanServe(handler http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	sdk.ServeStream(handler, w, r)
}

// guanlanNext is what a transport was.
type guanlanNext Transport

// RoundTrip implements http.RoundTripper.
func (t *guanlanNext) RoundTrip(r *http.Request) (*http.Response, error) {
	return (*Transport)(t).RoundTripOpt(r, RoundTripOpt{})
}

func guanlanRoundTrip(t *Transport, r *http.Request) (*http.Response, error) {
	return sdk.CallHTTP((*guanlanNext)(t), r)
}
