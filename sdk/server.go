package sdk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// server is a part that listens.
type server struct {
	name     string
	addr     string
	listener net.Listener
	// prepare is called once, before serve, with what the contexts of requests
	// come from.
	prepare func(context.Context)
	serve   func(net.Listener) error
	drain   func(context.Context) error // accepts no more, and returns when all is answered
	stop    func()                      // after drain: breaks off what is left
	busy    func() string               // what is left

	draining atomic.Bool
}

// run serves until drain begins.
func (s *server) run() error {
	err := caught(func() error { return s.serve(s.listener) })
	if err == nil && !s.draining.Load() {
		err = errors.New("somebody else shut it down")
	}
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.name, err)
	}
	return nil
}

// readHeaderTimeout keeps clients that never end their request from holding
// connections: ten times as long as a bad mobile network needs.
const readHeaderTimeout = 10 * time.Second

// HTTP is a part that serves h at an address, host:port or :port, instrumented as
// Handler does; nil is http.DefaultServeMux. The address is taken as it is:
// without a host, the server listens on all of them.
func HTTP(addr string, h http.Handler) Part {
	if h == nil {
		h = http.DefaultServeMux
	}
	return Server(&http.Server{Addr: addr, Handler: Handler(h), ReadHeaderTimeout: readHeaderTimeout})
}

// Server is a part that runs an HTTP server of yours, which is then Run's: its
// Handler is taken as it is and counted. With certificates in its TLSConfig it
// speaks TLS. The contexts of requests come from Run's, or from its BaseContext
// if it has one, and end when the time for draining is over.
func Server(s *http.Server) Part {
	return partFunc(func(l *life) { l.servers = append(l.servers, httpServer(s)) })
}

func httpServer(s *http.Server) *server {
	secure := s.TLSConfig != nil && (len(s.TLSConfig.Certificates) > 0 || s.TLSConfig.GetCertificate != nil || s.TLSConfig.GetConfigForClient != nil)
	addr := s.Addr
	if addr == "" { // as net/http has it
		if addr = ":http"; secure {
			addr = ":https"
		}
	}
	var busy atomic.Int64
	return &server{
		name: "HTTP server " + addr,
		addr: addr,
		prepare: func(ctx context.Context) {
			h, base := s.Handler, s.BaseContext
			if h == nil {
				h = http.DefaultServeMux
			}
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				busy.Add(1)
				defer busy.Add(-1)
				h.ServeHTTP(w, r)
			})
			s.BaseContext = func(at net.Listener) context.Context {
				if base == nil {
					return ctx
				}
				// It ends with ours.
				own, cancel := context.WithCancelCause(base(at))
				context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
				return own
			}
		},
		serve: func(at net.Listener) error {
			var err error
			if secure {
				err = s.ServeTLS(at, "", "")
			} else {
				err = s.Serve(at)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		},
		drain: s.Shutdown,
		stop: func() {
			// Handlers have just heard that it is over.
			ctx, cancel := context.WithTimeout(context.Background(), breakOff)
			defer cancel()
			if s.Shutdown(ctx) != nil {
				_ = s.Close()
			}
		},
		busy: func() string {
			switch n := busy.Load(); n {
			case 0:
				return "no request in flight, but connections that have not sent one"
			case 1:
				return "1 request in flight"
			default:
				return fmt.Sprintf("%d requests in flight", n)
			}
		},
	}
}

// GRPCServer is what Run needs of a *grpc.Server.
type GRPCServer interface {
	Serve(net.Listener) error
	GracefulStop()
	Stop()
}

// GRPC is a part that runs a gRPC server at an address, host:port or :port.
func GRPC(addr string, s GRPCServer) Part {
	return partFunc(func(l *life) { l.servers = append(l.servers, grpcServer(addr, s)) })
}

func grpcServer(addr string, s GRPCServer) *server {
	drained := make(chan struct{})
	return &server{
		name:    "gRPC server " + addr,
		addr:    addr,
		prepare: func(context.Context) {},
		serve:   s.Serve,
		drain: func(ctx context.Context) error {
			go func() {
				defer close(drained)
				s.GracefulStop()
			}()
			select {
			case <-drained:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		stop: func() {
			// Stop waits for handlers in recent versions: they have just lost
			// their connection.
			within(breakOff, func() {
				s.Stop()
				<-drained
			})
		},
		busy: func() string { return "calls are in flight" },
	}
}
