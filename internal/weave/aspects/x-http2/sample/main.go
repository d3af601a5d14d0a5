// Command http2 serves and calls over HTTP/2 without TLS.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}}
	get := func(path string) error {
		res, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		fmt.Println(path, res.Proto, res.Status, string(body))
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stock/{item}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "7") })
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := get("/stock/" + r.PathValue("id")); err != nil { // no context goes along
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	srv := &http.Server{Handler: h2c.NewHandler(mux, &http2.Server{})}
	go srv.Serve(l)
	if err := errors.Join(get("/orders/1"), get("/orders/2")); err != nil {
		return err
	}
	// Over HTTP/1 it is the same.
	res, err := http.Get("http://" + l.Addr().String() + "/stock/3")
	if err != nil {
		return err
	}
	res.Body.Close()
	// A request that becomes a connection of HTTP/2.
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /stock/4 HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"+http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, len("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		if d, ok := f.(*http2.DataFrame); ok {
			fmt.Println("upgraded:", string(d.Data()))
			break
		}
	}
	conn.Close()
	time.Sleep(50 * time.Millisecond) // until the server has noticed
	return nil
}
