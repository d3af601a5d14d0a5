// Command h2c serves HTTP/2 without TLS by golang.org/x/net, and asks itself for
// what is given as query. It prints its address.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/made/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := &http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}}
	mux.HandleFunc("/ask", func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequest("GET", "http://"+l.Addr().String()+r.URL.RawQuery, nil)
		req.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
		}
	})
	fmt.Println(l.Addr())
	_ = http.Serve(l, h2c.NewHandler(mux, &http2.Server{}))
}
