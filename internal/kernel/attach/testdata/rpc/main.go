// Command rpc serves gRPC's health service, and calls it for HTTP requests. It
// prints the address of its HTTP server. With the argument tls, connections are encrypted.
package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
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
	theirs, ours := insecure.NewCredentials(), insecure.NewCredentials()
	if len(os.Args) > 1 && os.Args[1] == "tls" {
		certified := httptest.NewTLSServer(nil)
		certified.Close()
		theirs = credentials.NewServerTLSFromCert(&certified.TLS.Certificates[0])
		ours = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	srv := grpc.NewServer(grpc.Creds(theirs))
	healthpb.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(ours))
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
