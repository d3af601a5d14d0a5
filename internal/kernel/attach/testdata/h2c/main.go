// Command h2c serves HTTP/2 without TLS by golang.org/x/net, and by net/http, and asks itself for
// what is given as query: by golang.org/x/net's client alone and below net/http's, and by net/http's
// own. For /made/own… it asks without a traceparent. It prints its address.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
	"golang.org/x/net/netutil"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/made/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	direct := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	below := &http.Transport{}
	below.RegisterProtocol("http", direct)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	std, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() { _ = (&http.Server{Handler: mux, Protocols: &protocols}).Serve(netutil.LimitListener(std, 100)) }()
	for path, by := range map[string]struct {
		client http.RoundTripper
		to     net.Listener
	}{"/ask": {direct, l}, "/below": {below, l}, "/std": {&http.Transport{Protocols: &protocols}, std}} {
		client := &http.Client{Transport: by.client}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			req, _ := http.NewRequestWithContext(r.Context(), "GET", "http://"+by.to.Addr().String()+r.URL.RawQuery, nil)
			if !strings.HasPrefix(r.URL.RawQuery, "/made/own") {
				req.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			}
			if resp, err := client.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				w.WriteHeader(resp.StatusCode)
			}
		})
	}
	fmt.Println(l.Addr())
	_ = http.Serve(l, h2c.NewHandler(mux, &http2.Server{}))
}
