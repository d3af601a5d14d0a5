// Command rpc serves gRPC's health service, and calls it for HTTP requests. It
// prints the address of its HTTP server.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

func main() {
	l, err1 := net.Listen("tcp", "127.0.0.1:0")
	web, err2 := net.Listen("tcp", "127.0.0.1:0")
	if err1 != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, err1, err2)
		os.Exit(1)
	}
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	hc := healthpb.NewHealthClient(conn)
	http.HandleFunc("/check", func(_ http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if tp := r.FormValue("traceparent"); tp != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", tp)
		}
		_, _ = hc.Check(ctx, &healthpb.HealthCheckRequest{Service: r.FormValue("service")})
	})
	http.HandleFunc("/list", func(_ http.ResponseWriter, r *http.Request) {
		// Watch never ends by itself: after the first answer it is canceled.
		if st, err := hc.Watch(r.Context(), &healthpb.HealthCheckRequest{}); err == nil {
			_, _ = st.Recv()
		}
	})
	fmt.Println(web.Addr())
	_ = http.Serve(web, nil)
}
