// Orders over grpc-gateway: a service behind it, variables of one and of several
// segments, a custom verb, a handler that ignores the request's context, an error.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	service := grpc.NewServer()
	healthpb.RegisterHealthServer(service, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go service.Serve(l)
	defer service.GracefulStop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	defer conn.Close()

	mux := runtime.NewServeMux(runtime.WithHealthzEndpoint(healthpb.NewHealthClient(conn)))
	must(mux.HandlePath("GET", "/v1/orders/{id}", func(w http.ResponseWriter, r *http.Request, vars map[string]string) {
		slog.InfoContext(r.Context(), "order read", "order", vars["id"])
	}))
	// The context does not come along.
	must(mux.HandlePath("POST", "/v1/orders/{id}:refund", func(w http.ResponseWriter, r *http.Request, vars map[string]string) {
		slog.Info("refund", "order", vars["id"])
		if err := conn.Invoke(context.Background(), "/shop.Bank/Refund", new(emptypb.Empty), new(emptypb.Empty)); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}))
	must(mux.HandlePath("GET", "/v1/{name=shelves/*}/books", func(http.ResponseWriter, *http.Request, map[string]string) {}))

	server := httptest.NewServer(mux)
	defer server.Close()
	call("GET", server.URL+"/v1/orders/7")
	call("POST", server.URL+"/v1/orders/7:refund")
	call("GET", server.URL+"/v1/shelves/3/books")
	call("GET", server.URL+"/healthz")
	call("GET", server.URL+"/nowhere")
}

func call(method, url string) {
	req, err := http.NewRequest(method, url, nil)
	must(err)
	resp, err := http.DefaultClient.Do(req)
	must(err)
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	fmt.Println(method, resp.StatusCode)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
