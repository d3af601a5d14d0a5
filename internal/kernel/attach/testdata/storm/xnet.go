//go:build xnet

package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// transport is golang.org/x/net's own, with nothing of net/http's above it; it sends HTTP/2 without
// TLS, too, to hosts by name.
func transport(config *tls.Config) http.RoundTripper {
	return &http2.Transport{
		TLSClientConfig: config, AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, c *tls.Config) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if p, _ := ctx.Value(peer{}).(peer); err != nil || p.plain {
				return conn, err
			}
			secure := tls.Client(conn, c)
			return secure, secure.HandshakeContext(ctx)
		},
	}
}

func plain(h http.Handler) http.Handler { return h2c.NewHandler(h, &http2.Server{}) }
