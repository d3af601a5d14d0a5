package sdkgrpc

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// Client says how a client is instrumented.
type Client struct {
	// Trace reports whether calls of a method, as /shop.Orders/Get, get spans.
	// All calls are counted. Default: DefaultTrace.
	Trace func(method string) bool
}

// DialOptions instruments a client: it returns opts with what that needs before
// them. It is Client{}.Options.
func DialOptions(opts ...grpc.DialOption) []grpc.DialOption { return Client{}.Options(opts...) }

// Options returns opts with what instruments a client before them, so that it is
// around all interceptors but one given to grpc.WithUnaryInterceptor or
// grpc.WithStreamInterceptor, which gRPC puts first. A call that such an
// interceptor, or gRPC itself, makes several attempts at has one span.
func (c Client) Options(opts ...grpc.DialOption) []grpc.DialOption {
	if c.Trace == nil {
		c.Trace = DefaultTrace
	}
	k := &client{trace: c.Trace}
	return append([]grpc.DialOption{grpc.WithChainUnaryInterceptor(k.unary), grpc.WithChainStreamInterceptor(k.stream)}, opts...)
}

// client is a Client at work, usually for one connection.
type client struct {
	trace func(method string) bool
	last  atomic.Pointer[target]
}

// target is what a connection is for.
type target struct {
	name string // as it was given
	host string
	port int
}

var clients = sdk.NewOperations(sdk.OperationOptions[clientKey]{
	Scope: scope, Kind: core.KindClient,
	Metric: "rpc.client.call.duration", Description: "Duration of outgoing remote procedure calls.", Attrs: clientKey.attrs,
})

// clientKey is what the series of a call depends on.
type clientKey struct {
	method string // without the slash before it
	host   string
	port   int
	code   codes.Code
}

func (k clientKey) attrs() []core.Attr {
	attrs := append(make([]core.Attr, 0, 6), core.String("rpc.system.name", "grpc"), core.String("rpc.method", k.method), core.String("server.address", k.host))
	if k.port != 0 {
		attrs = append(attrs, core.Int("server.port", int64(k.port)))
	}
	attrs = append(attrs, core.String("rpc.response.status_code", codeNames[k.code]))
	if k.code != codes.OK {
		attrs = append(attrs, core.String("error.type", codeNames[k.code]))
	}
	return attrs
}

// exports reports whether calls of a method send telemetry. They are neither
// traced nor counted: each would be more to send.
func exports(method string) bool { return strings.HasPrefix(method, telemetry) }

// call is a call under way, all of it in one allocation.
type call struct {
	sdk.Operation[clientKey]
	key       clientKey
	ctx       context.Context // to call with
	described bool
	counted   bool        // only
	began     time.Time   // of one that is only counted
	ended     atomic.Bool // by several, perhaps at the same time
	peer      peer.Peer   // once it is over
	few       [4]grpc.CallOption
}

func (c *client) begin(ctx context.Context, method string, cc *grpc.ClientConn) *call {
	to := c.target(cc)
	q := &call{key: clientKey{method: strings.TrimPrefix(method, "/"), host: to.host, port: to.port}}
	if c.trace(method) {
		clients.StartIn(&q.Operation, ctx, q.key.method)
		ctx = q.Ctx()
		if q.described = q.Recording(); q.described {
			q.describe()
		}
	} else {
		q.counted, q.began = true, time.Now()
	}
	if q.ctx = ctx; sdk.Default().PropagatesTo(to.host) {
		q.ctx = write(ctx)
	}
	return q
}

// target reads the target of a connection, once.
func (c *client) target(cc *grpc.ClientConn) *target {
	name := cc.Target()
	if t := c.last.Load(); t != nil && t.name == name {
		return t
	}
	t := &target{name: name}
	t.host, t.port = address(cc.CanonicalTarget())
	c.last.Store(t)
	return t
}

// address is where a target leads: what stands behind scheme and authority, as
// in dns://authority/host:port.
func address(target string) (host string, port int) {
	scheme, rest, found := strings.Cut(target, "://")
	if found {
		target = rest
		if i := strings.IndexByte(rest, '/'); i >= 0 && scheme != "unix" {
			target = rest[i+1:]
		}
	}
	host, text, err := net.SplitHostPort(target)
	if err != nil {
		return target, 0
	}
	if port, err = strconv.Atoi(text); err != nil {
		return target, 0
	}
	return host, port
}

// describe sets what is known when a call begins.
func (q *call) describe() {
	sp := q.Span()
	sp.SetAttrs(core.String("rpc.system.name", "grpc"), core.String("rpc.method", q.key.method), core.String("server.address", q.key.host))
	if q.key.port != 0 {
		sp.SetAttr(core.Int("server.port", int64(q.key.port)))
	}
}

// options adds ours to those of a call.
func (q *call) options(opts []grpc.CallOption, more ...grpc.CallOption) []grpc.CallOption {
	return append(append(append(q.few[:0], opts...), grpc.Peer(&q.peer)), more...)
}

// errPanic is how a call ends that an interceptor within or a codec panics in.
var errPanic = status.Error(codes.Unknown, "a panic")

func (c *client) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) (err error) {
	if off() || exports(method) {
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	q := c.begin(ctx, method, cc)
	err = errPanic
	defer func() { q.end(err) }()
	err = invoker(q.ctx, method, req, reply, cc, q.options(opts)...)
	return err
}

// stream has gRPC tell of the end of a stream, which it does however a stream
// ends: all was received, the server or the connection failed, the context
// ended.
func (c *client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (_ grpc.ClientStream, err error) {
	if off() || exports(method) {
		return streamer(ctx, desc, cc, method, opts...)
	}
	q := c.begin(ctx, method, cc)
	err = errPanic
	defer func() {
		if err != nil { // perhaps of an interceptor that has not come to gRPC
			q.end(err)
		}
	}()
	var stream grpc.ClientStream
	stream, err = streamer(q.ctx, desc, cc, method, q.options(opts, grpc.OnFinish(q.end))...)
	return stream, err
}

func (q *call) end(err error) {
	if q.ended.Swap(true) {
		return
	}
	key, message := q.key, ""
	if key.code, message = outcome(err); q.counted {
		clients.Count(key, time.Since(q.began))
		return
	}
	failure := ""
	if key.code != codes.OK {
		failure = codeNames[key.code]
	}
	if q.Finish(failure) {
		if !q.described {
			q.describe()
		}
		sp := q.Span()
		describePeer(sp, &q.peer)
		sp.SetAttr(core.String("rpc.response.status_code", codeNames[key.code]))
		if message != "" {
			sp.SetStatus(core.StatusError, message)
		}
	}
	q.End(key)
}
