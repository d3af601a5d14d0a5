package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

// DefaultAddress is where Guanlan answers when nothing else is configured. It
// is not reachable from other machines: there is no login.
const DefaultAddress = "127.0.0.1:4390"

// Limits of the server.
const (
	// defaultConcurrent is how many questions are answered at a time; more
	// than the machine has cores only wait inside the store.
	defaultConcurrent = 64
	// maxTails is how many live tails are open at a time.
	maxTails = 32
	// maxHeader bounds request line and headers: a filter of 16 KiB, escaped
	// thrice its size, must fit.
	maxHeader = 128 << 10
	// maxBody bounds the bodies of questions: forms with LogsQL.
	maxBody = 1 << 20
	// headerTime, readTime and writeTime end connections that stall. A tail
	// sets its own deadline at every write.
	headerTime, readTime, writeTime = 10 * time.Second, time.Minute, 2 * time.Minute
	// idleTime is longer than load balancers keep a connection, so that they
	// and not the server close it.
	idleTime = 3 * time.Minute
	// minCompressed is about one packet: below it compression saves nothing.
	minCompressed = 1400
)

// Doors are the handlers of a Server, each below its own path. A nil one
// answers 404.
type Doors struct {
	API        http.Handler // /guanlan/v1/, /api/v1/profiles and /api/v1/kernel/, see New
	Prometheus http.Handler // /api/v1/; has its own limits, tenants, compression and CORS
	Jaeger     http.Handler // /jaeger/
	LogsQL     http.Handler // /select/
	Sampling   http.Handler // /sampling and /api/sampling, see NewSampling
	Profiles   http.Handler // /debug/pprof/, of this process
	UI         http.Handler // all else
	// GRPC takes HTTP/2 requests of content type application/grpc on every
	// path; see NewGRPC.
	GRPC http.Handler
}

// ServerOptions are settings of a Server.
type ServerOptions struct {
	Doors
	// Address to listen on; "" means DefaultAddress.
	Address string
	// Hosts are names, without port, by which clients may address a server
	// that listens on a loopback address, besides localhost and the addresses
	// themselves. Needed where a proxy on the same machine passes names on.
	Hosts []string
	// MaxConcurrent is how many questions are answered at a time; 0 means 64.
	MaxConcurrent int
	// Ready tells why questions cannot be answered yet; nil or a nil error
	// means that they can.
	Ready  func() error
	Logger *slog.Logger // nil: slog.Default()
}

// Server answers on one port: HTTP/1, HTTP/2 without TLS, and gRPC, which is
// told apart by its content type.
type Server struct {
	http     *http.Server
	address  string
	loopback atomic.Bool // listens on a loopback address
	ready    func() error
	log      *slog.Logger
	listener net.Listener
	closing  context.Context // ends when Shutdown begins
	close    context.CancelFunc
	hosts    map[string]bool
}

// NewServer returns a server that does not listen yet.
func NewServer(o ServerOptions) *Server {
	s := &Server{address: o.Address, ready: o.Ready, log: o.Logger, hosts: map[string]bool{}}
	if s.address == "" {
		s.address = DefaultAddress
	}
	if s.ready == nil {
		s.ready = func() error { return nil }
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	for _, h := range o.Hosts {
		s.hosts[strings.ToLower(h)] = true
	}
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = defaultConcurrent
	}
	s.closing, s.close = context.WithCancel(context.Background())
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler: s.handler(o.Doors, o.MaxConcurrent), Protocols: protocols,
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	return s
}

// handler puts the doors behind what guards them, outermost last.
func (s *Server) handler(d Doors, concurrent int) http.Handler {
	questions, tails := newGate(concurrent), newGate(maxTails)
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompressed), gzhttp.ContentTypes([]string{
		"application/json", "application/problem+json", "application/openapi+json", "application/stream+json",
	}))
	if err != nil {
		panic("BUG: compression options: " + err.Error())
	}
	sameOrigin := http.NewCrossOriginProtection()
	mux := http.NewServeMux()
	door := func(pattern string, h http.Handler, around ...func(http.Handler) http.Handler) {
		if h == nil {
			h = http.HandlerFunc(notHere)
		}
		for _, f := range around {
			h = f(h)
		}
		mux.Handle(pattern, h)
	}
	answer := func(h http.Handler) http.Handler { return questions.limit(http.MaxBytesHandler(compress(h), maxBody)) }
	follow := func(h http.Handler) http.Handler {
		return tails.limit(http.MaxBytesHandler(s.untilClosing(h), maxBody))
	}
	door(Prefix+"/", d.API, answer, withTenant, sameOrigin.Handler)
	door(Prefix+"/logs/tail", d.API, follow, withTenant, sameOrigin.Handler)
	// Profiles are larger than questions and may come slowly: their route has bounds of its own.
	door("POST "+ProfilesPath, d.API, newGate(maxUploads).limit, withTenant, sameOrigin.Handler)
	door(ProfilesPath, d.API, answer, withTenant, sameOrigin.Handler)
	door(ProfilesPath+"/", d.API, answer, withTenant, sameOrigin.Handler)
	door(KernelPath+"/", d.API, answer, withTenant, sameOrigin.Handler)
	door("/api/v1/", d.Prometheus)
	door("/jaeger/", d.Jaeger, answer, withTenant, sameOrigin.Handler)
	door("/select/", d.LogsQL, answer, withTenant, sameOrigin.Handler)
	door("/select/logsql/tail", d.LogsQL, follow, withTenant, sameOrigin.Handler)
	// Jaeger's agent and its collector answer at these two.
	door("/sampling", d.Sampling, answer, withTenant, sameOrigin.Handler)
	door("/api/sampling", d.Sampling, answer, withTenant, sameOrigin.Handler)
	door("/debug/pprof/", d.Profiles, sameOrigin.Handler)
	door("/", d.UI)
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "healthy") })
	mux.HandleFunc("GET /-/ready", s.serveReady)
	// Clients of VictoriaLogs, such as Grafana's data source, ask here.
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "OK") })
	rpc := http.Handler(http.HandlerFunc(notHere))
	if d.GRPC != nil {
		rpc = questions.limit(withTenant(d.GRPC))
	}
	return s.recovered(s.addressed(secured(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			rpc.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))))
}

func notHere(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, http.StatusNotFound, r.URL.Path+" is not served by this process")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if s.closing.Err() != nil {
		plain(w, http.StatusServiceUnavailable, "not ready: shutting down")
		return
	}
	if err := s.ready(); err != nil {
		plain(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
		return
	}
	plain(w, http.StatusOK, "ready")
}

// Start listens and serves until Shutdown. failed is called, from another
// goroutine, when serving ends for any other reason.
func (s *Server) Start(failed func(error)) error {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for queries: %w", err)
	}
	s.listener = l
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		s.loopback.Store(a.IP.IsLoopback())
	}
	go func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("serve queries: %w", err))
		}
	}()
	return nil
}

// Addr is where the server listens, once Start has returned.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Shutdown takes no more requests, ends tails, and waits for the answers under
// way until ctx ends; then it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.close()
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("wait for queries to end: %w", err), s.http.Close())
	}
	return nil
}
