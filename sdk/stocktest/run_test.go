package stocktest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/sdk"
)

// slow is a gRPC service with a call that takes until it is told to end.
type slow struct {
	healthpb.UnimplementedHealthServer
	began chan struct{}
	end   chan struct{}
}

func (s *slow) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	close(s.began)
	select {
	case <-s.end:
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// freeAddr is an address of this machine that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	return at.Addr().String()
}

// A real gRPC server lives as Run has it: its calls are drained, or broken off
// when the time is over, and its state is what CheckConn says.
func TestRunWithGRPC(t *testing.T) {
	for _, c := range []struct {
		name  string
		drain time.Duration
		ends  bool // the call, by itself
		want  string
		code  codes.Code
	}{
		{"drained", 20 * time.Second, true, "", codes.OK},
		{"broken off", 50 * time.Millisecond, false, "not done after 50ms: calls are in flight", codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := freeAddr(t)
			service := &slow{began: make(chan struct{}), end: make(chan struct{})}
			server := grpc.NewServer()
			healthpb.RegisterHealthServer(server, service)
			conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Millisecond, MaxDelay: time.Millisecond}}))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			check := sdk.CheckConn(conn)
			if err := check(t.Context()); err == nil || !strings.Contains(err.Error(), "TRANSIENT_FAILURE") {
				t.Errorf("before the start the connection is %v", err)
			}

			ctx, exit := context.WithCancel(t.Context())
			defer exit()
			ended := make(chan error, 1)
			go func() { ended <- sdk.Run(ctx, sdk.PreStop(0), sdk.Drain(c.drain), sdk.GRPC(addr, server)) }()
			called := make(chan error, 1)
			go func() {
				_, err := healthpb.NewHealthClient(conn).Check(context.Background(), nil, grpc.WaitForReady(true))
				called <- err
			}()
			<-service.began
			if err := check(t.Context()); err != nil {
				t.Errorf("with a call under way the connection is %v", err)
			}
			exit()
			// The port is closed first.
			for {
				probe, err := net.Dial("tcp", addr)
				if err != nil {
					break
				}
				probe.Close()
			}
			if c.ends {
				close(service.end)
			}
			if err := <-called; status.Code(err) != c.code {
				t.Errorf("the call ends with %v, want %v", err, c.code)
			}
			switch err := <-ended; {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
