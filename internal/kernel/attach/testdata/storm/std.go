//go:build !xnet

package main

import (
	"crypto/tls"
	"net/http"
)

func transport(config *tls.Config) http.RoundTripper {
	return &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, DialContext: dial}
}

func plain(h http.Handler) http.Handler { return h }
