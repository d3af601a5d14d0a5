// Command rpcstorm calls its own gRPC health service many times, on some connections
// and from many goroutines, and keeps the traceparent that came with each. It prints the
// address of its HTTP server. Its arguments are what the connections call the server.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

type job struct {
	n    int
	done func(error)
}

const own = "00-11111111111111111111111111111111-2222222222222222-00"

func main() {
	l, err1 := net.Listen("tcp", "127.0.0.1:0")
	web, err2 := net.Listen("tcp", "127.0.0.1:0")
	if err1 != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, err1, err2)
		os.Exit(1)
	}
	var mu sync.Mutex
	seen := map[string]string{}
	keep := func(ctx context.Context, service string) {
		md, _ := metadata.FromIncomingContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		seen[service] = strings.Join(md["traceparent"], ",")
	}
	srv := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		service := req.(*healthpb.HealthCheckRequest).GetService()
		md, _ := metadata.FromIncomingContext(ctx)
		keep(ctx, strings.TrimSuffix(service, strings.TrimLeft(service, "0123456789")))
		if n, _ := strconv.Atoi(strings.Join(md["x-many"], "")); n > 0 && len(md["x-header-"+strconv.Itoa(n-1)]) != 1 {
			return nil, fmt.Errorf("header %d is missing", n-1)
		}
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
	}))
	healthpb.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(l) }()
	var clients []healthpb.HealthClient
	for i := 0; i < 4; i++ {
		options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
		if i+1 < len(os.Args) {
			options = append(options, grpc.WithAuthority(os.Args[i+1]))
		}
		conn, err := grpc.NewClient(l.Addr().String(), options...)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		clients = append(clients, healthpb.NewHealthClient(conn))
	}
	jobs := make(chan job)
	for i := 0; i < 24; i++ {
		go func() {
			for j := range jobs {
				ctx := context.Background()
				if j.n%20 == 7 {
					ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", own)
				}
				if j.n%20 == 9 {
					many := 10 + j.n%90
					ctx = metadata.AppendToOutgoingContext(ctx, "x-many", strconv.Itoa(many))
					for i := 0; i < many; i++ {
						ctx = metadata.AppendToOutgoingContext(ctx, "x-header-"+strconv.Itoa(i), strings.Repeat("v", j.n%300))
					}
				}
				_, err := clients[j.n%4].Check(ctx, &healthpb.HealthCheckRequest{Service: fmt.Sprint(j.n) + strings.Repeat("s", j.n*37%20_000)})
				j.done(err)
			}
		}()
	}
	http.HandleFunc("/storm", func(w http.ResponseWriter, r *http.Request) {
		first, _ := strconv.Atoi(r.FormValue("first"))
		n, _ := strconv.Atoi(r.FormValue("n"))
		var wg sync.WaitGroup
		var mu sync.Mutex
		failed := 0
		for i := first; i < first+n; i++ {
			wg.Add(1)
			jobs <- job{i, func(err error) {
				mu.Lock()
				if err != nil {
					if failed++; failed < 10 {
						fmt.Fprintln(w, err)
					}
				}
				mu.Unlock()
				wg.Done()
			}}
		}
		wg.Wait()
		fmt.Fprintln(w, "failed:", failed)
	})
	http.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for id, tp := range seen {
			fmt.Fprintln(w, id, tp)
		}
		seen = map[string]string{}
	})
	fmt.Println(web.Addr())
	_ = http.Serve(web, nil)
}
