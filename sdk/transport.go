package sdk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// HTTPClient instruments HTTP clients: a span for each request, its context on
// the wire, and the histogram http.client.request.duration. It follows
// OpenTelemetry's stable semantic conventions for HTTP. A request that is sent
// again, after a redirect for example, is one more.
type HTTPClient struct{ operations *Operations[callKey] }

// callKey is what the series of a call depends on.
type callKey struct {
	method, host, scheme, failure string
	port, status                  int
}

// newHTTPClient makes one of an SDK; nil is the running one.
func newHTTPClient(s *SDK) *HTTPClient {
	return &HTTPClient{newOperations(s, OperationOptions[callKey]{
		Scope: scopeOfSDK, Kind: core.KindClient,
		Metric: "http.client.request.duration", Description: "Duration of HTTP client requests.", Attrs: callKey.attrs,
	})}
}

// Transport instruments next; nil is http.DefaultTransport.
func (c *HTTPClient) Transport(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if c == nil {
		return next
	}
	return &transport{c, next}
}

// Scheme instruments t from within: registered by t.RegisterProtocol, it traces
// the requests of a scheme, and leaves them to t when it has done so or when
// somebody around t has.
func (c *HTTPClient) Scheme(t *http.Transport) http.RoundTripper {
	return &schemeTripper{c.Transport(t)}
}

type schemeTripper struct{ traced http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s *schemeTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Value(tracedKey{}) != nil {
		return nil, http.ErrSkipAltProtocol
	}
	return s.traced.RoundTrip(r)
}

// tracedKey is in the context of requests that have their span.
type tracedKey struct{}

type transport struct {
	client *HTTPClient
	next   http.RoundTripper
}

// call is a request under way.
type call struct {
	Operation[callKey]
	ended atomic.Bool
}

// Value implements context.Context.
func (q *call) Value(key any) any {
	if _, ok := key.(tracedKey); ok {
		return q
	}
	return q.Ctx().Value(key)
}

// CloseIdleConnections is for http.Client.
func (t *transport) CloseIdleConnections() {
	if next, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper. The span ends when the body of the
// answer has been read or closed, the duration when its head is there.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.client.roundTrip(r, t.next)
}

func (c *HTTPClient) roundTrip(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	host, port := hostPort(r.URL.Host)
	if port == 0 {
		if port = 80; r.URL.Scheme == "https" {
			port = 443
		}
	}
	key := callKey{method: knownMethod(r.Method), host: host, scheme: r.URL.Scheme, port: int(port)}
	ctx := r.Context()
	if only(r.Header, headerTraceparent) != "" {
		if _, within := contextOf(ctx); !within { // the caller passes on by hand what it is part of
			ctx = Propagator{}.Extract(ctx, headerCarrier(r.Header))
		}
	}
	q := &call{}
	c.operations.StartIn(&q.Operation, ctx, nameOfMethod(key.method))
	described := q.Recording()
	if described {
		key.describe(q.Span(), r)
	}
	// A RoundTripper must not change the request it is given. Its trailers are the
	// program's own map, though: they are filled in while the body is read.
	inner := r.WithContext(q)
	if inner.Header = r.Header.Clone(); inner.Header == nil {
		inner.Header = http.Header{}
	}
	if q.binding == nil || q.binding.sdk.PropagatesTo(host) {
		Propagator{}.Inject(q, headerCarrier(inner.Header))
	}
	res, err := next.RoundTrip(inner)
	if res != nil && res.Request == inner {
		res.Request = r
	}
	switch {
	case err != nil:
		key.failure = askError(err, func() string { return failureOf(err) }, typeName)
	default:
		if key.status = res.StatusCode; res.StatusCode >= 400 {
			key.failure = strconv.Itoa(res.StatusCode)
		}
	}
	kept := q.Finish(key.failure)
	q.measure(&key)
	if kept && !described {
		key.describe(q.Span(), r)
	}
	if err != nil {
		q.Span().SetStatus(core.StatusError, errorText(err))
		q.end()
		return res, err
	}
	if kept {
		q.Span().SetAttrs(core.Int("http.response.status_code", int64(res.StatusCode)), core.String("network.protocol.version", protocol(res.ProtoMajor, res.ProtoMinor)))
	}
	switch body := res.Body.(type) {
	case nil:
		q.end()
	case io.ReadWriteCloser: // the connection was taken over
		res.Body = &duplexBody{answerBody{body, q}, body}
	default:
		if body == http.NoBody {
			q.end()
			break
		}
		res.Body = &answerBody{body, q}
	}
	return res, nil
}

// describe sets what is known when a request begins.
func (k *callKey) describe(sp *Span, r *http.Request) {
	u := *r.URL
	u.User, u.RawQuery = nil, redactQuery(u.RawQuery)
	sp.SetAttrs(core.String("http.request.method", k.method), core.String("server.address", k.host), core.Int("server.port", int64(k.port)), core.String("url.full", u.String()))
	if k.method == otherMethod {
		sp.SetAttr(core.String("http.request.method_original", r.Method))
	}
}

// failureOf is the class of an error, as few as there can be: an error's text
// may hold addresses.
func failureOf(err error) string {
	var timeout net.Error
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.As(err, &dns):
		return "name_resolution_error"
	case errors.As(err, &op):
		return op.Op + "_error"
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Sprintf("%T", err)
}

func (q *call) end() {
	if !q.ended.Swap(true) {
		q.Span().End(time.Time{})
	}
}

func (k callKey) attrs() []core.Attr {
	attrs := append(make([]core.Attr, 0, 6), core.String("http.request.method", k.method), core.String("server.address", k.host), core.Int("server.port", int64(k.port)), core.String("url.scheme", k.scheme))
	if k.status != 0 {
		attrs = append(attrs, core.Int("http.response.status_code", int64(k.status)))
	}
	if k.failure != "" {
		attrs = append(attrs, core.String("error.type", k.failure))
	}
	return attrs
}

// answerBody ends the span of its request.
type answerBody struct {
	io.ReadCloser
	call *call
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		if err != io.EOF {
			b.call.Span().SetStatus(core.StatusError, errorText(err))
		}
		b.call.end()
	}
	return n, err
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.call.end()
	return b.ReadCloser.Close()
}

// duplexBody is a connection.
type duplexBody struct {
	answerBody
	io.Writer
}

// CloseWrite is for proxies, which pass on that one side has said all it had to.
func (b *duplexBody) CloseWrite() error {
	if w, ok := b.Writer.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return http.ErrNotSupported
}
