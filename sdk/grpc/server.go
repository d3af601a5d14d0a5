package sdkgrpc

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// Server says how a server is instrumented.
type Server struct {
	// Trace reports whether calls of a method, as /shop.Orders/Get, get spans.
	// All calls are counted. Default: DefaultTrace.
	Trace func(method string) bool
	// Recover has a call whose handler panics end with codes.Internal, and the
	// panic logged by slog.Default with its stack. Otherwise the panic goes on,
	// and ends the process unless an interceptor further out recovers.
	Recover bool
}

// ServerOptions instruments a server: it returns opts with what that needs
// before them. It is Server{}.Options.
func ServerOptions(opts ...grpc.ServerOption) []grpc.ServerOption { return Server{}.Options(opts...) }

// Options returns opts with what instruments a server before them, so that it is
// around all interceptors but one given to grpc.UnaryInterceptor or
// grpc.StreamInterceptor, which gRPC puts first.
func (s Server) Options(opts ...grpc.ServerOption) []grpc.ServerOption {
	if s.Trace == nil {
		s.Trace = DefaultTrace
	}
	return append([]grpc.ServerOption{grpc.ChainUnaryInterceptor(s.unary), grpc.ChainStreamInterceptor(s.stream)}, opts...)
}

var servers = sdk.NewOperations(sdk.OperationOptions[serverKey]{
	Scope: scope, Kind: core.KindServer,
	Metric: "rpc.server.call.duration", Description: "Duration of incoming remote procedure calls.", Attrs: serverKey.attrs,
})

// serverKey is what the series of a call depends on.
type serverKey struct {
	method   string // without the slash before it
	code     codes.Code
	panicked bool
}

// errorType is empty for what is no fault of the server.
func (k serverKey) errorType() string {
	switch {
	case k.panicked:
		return "panic"
	case serverFault(k.code):
		return codeNames[k.code]
	}
	return ""
}

func (k serverKey) attrs() []core.Attr {
	attrs := []core.Attr{core.String("rpc.system.name", "grpc"), core.String("rpc.method", k.method), core.String("rpc.response.status_code", codeNames[k.code])}
	if e := k.errorType(); e != "" {
		attrs = append(attrs, core.String("error.type", e))
	}
	return attrs
}

// served is a call being served.
type served struct {
	op        *sdk.Operation[serverKey] // nil: it gets no span
	ctx       context.Context           // to serve it in
	method    string                    // as the client says
	known     bool                      // it is one of the server's
	described bool
	began     time.Time // of one without a span
	own       bool      // ctx is another one than came
	local     sdk.LocalScope
}

func (s *Server) begin(ctx context.Context, method string, known bool) served {
	c := served{ctx: ctx, method: method, known: known}
	if off() {
		return c
	}
	c.ctx, c.own = read(ctx), true
	if !s.Trace(method) {
		c.began, c.local = time.Now(), sdk.EnterLocal(c.ctx)
		return c
	}
	c.op = servers.Start(c.ctx, c.name())
	c.ctx = c.op.Ctx()
	c.local = sdk.EnterLocal(c.ctx)
	if c.described = c.op.Recording(); c.described {
		c.describe()
	}
	return c
}

// name is that of the span: the method, or of all that are not known the same.
func (c *served) name() string {
	if c.known {
		return strings.TrimPrefix(c.method, "/")
	}
	return "grpc"
}

func (c *served) key() serverKey {
	if c.known {
		return serverKey{method: c.name()}
	}
	return serverKey{method: otherMethod}
}

// describe sets what is known when a call begins.
func (c *served) describe() {
	sp := c.op.Span()
	sp.SetAttrs(core.String("rpc.system.name", "grpc"), core.String("rpc.method", c.key().method))
	if !c.known {
		sp.SetAttr(core.String("rpc.method_original", strings.TrimPrefix(c.method, "/")))
	}
	if p, ok := peer.FromContext(c.ctx); ok {
		describePeer(sp, p)
	}
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (res any, err error) {
	c := s.begin(ctx, info.FullMethod, true)
	defer s.end(&c, &err)
	return handler(c.ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	// Of methods that are not registered, and go to grpc.UnknownServiceHandler,
	// there is no service.
	c := s.begin(ss.Context(), info.FullMethod, srv != nil)
	defer s.end(&c, &err)
	if c.op != nil {
		c.op.Lasting()
	}
	if c.own { // contexts may be of types that cannot be compared
		ss = &serverStream{ss, c.ctx}
	}
	return handler(srv, ss)
}

// serverStream is a stream with the span in its context.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// end runs deferred, to see a panic that is passing by.
func (s *Server) end(c *served, err *error) {
	p := recover()
	if p != nil {
		if s.Recover {
			slog.ErrorContext(c.ctx, "panic in a gRPC handler", "rpc.method", c.name(), "panic", p, "stack", string(debug.Stack()))
			*err = status.Error(codes.Internal, "the handler panicked")
		} else {
			defer panic(p)
		}
	}
	if c.op == nil && c.began.IsZero() {
		return
	}
	defer c.local.Leave()
	key, message := c.key(), ""
	if key.code, message = outcome(*err); p != nil {
		key.code, key.panicked = codes.Internal, true
	}
	if c.op == nil {
		servers.Count(key, time.Since(c.began))
		return
	}
	failure := key.errorType()
	if c.op.Finish(failure) {
		if !c.described {
			c.describe()
		}
		sp := c.op.Span()
		sp.SetAttr(core.String("rpc.response.status_code", codeNames[key.code]))
		if failure != "" && message != "" {
			sp.SetStatus(core.StatusError, message)
		}
		if p != nil {
			c.op.Exception(sdk.NewException(p, true))
		}
	}
	c.op.End(key)
}
