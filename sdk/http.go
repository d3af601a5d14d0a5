package sdk

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// HTTPServer instruments HTTP servers: a span for each request, which continues
// the caller's trace, and the histogram http.server.request.duration of all of
// them, sampled or not. The spans of requests that fail are all kept, and those
// of slow ones with an adaptive sampler. It follows OpenTelemetry's stable
// semantic conventions for HTTP.
//
// Each request has an id, see RequestID, which the answer carries, unless the
// handler sets that header itself.
type HTTPServer struct {
	operations *Operations[requestKey]
	idHeaders  *idHeaders
	quiet      bool // answers carry no ids
	proxies    proxies
	access     *accessLog // or nil
}

// requestKey is what the series of a request depends on.
type requestKey struct {
	method, route, scheme, version string
	status                         int
	failure                        string // error.type, where it is not the status
}

func newHTTPServer(s *SDK) *HTTPServer {
	return &HTTPServer{idHeaders: s.idHeaders, operations: newOperations(s, OperationOptions[requestKey]{
		Scope: scopeOfSDK, Kind: core.KindServer,
		Metric: "http.server.request.duration", Description: "Duration of HTTP server requests.", Attrs: requestKey.attrs, slot: requestKey.slot, known: true,
	})}
}

// Handler instruments h. The route of a request is the pattern of the
// http.ServeMux that h is or has in it, as long as no handler between them gives
// the mux another *http.Request, as http.TimeoutHandler and whatever calls
// Request.WithContext do. Behind those, say the route by SetRoute of RequestOf,
// or wrap the mux alone; behind http.TimeoutHandler, whose handlers have a
// goroutine of their own, only the latter.
//
// What w can do beside http.ResponseWriter it still can. A request whose context
// is of one that is instrumented already is not instrumented again.
func (s *HTTPServer) Handler(h http.Handler) http.Handler {
	if s == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(h, w, r, false) })
}

// request is all that a request needs, in one allocation. Half of what the SDK
// costs is memory: TestRequestSize watches over it.
type request struct {
	Operation[requestKey]
	response
	r     *http.Request // with the span in its context
	route string        // that SetRoute was given
	wovenRequest
	id idText
}

// remoteRequest is one that something came with.
type remoteRequest struct {
	request
	remote remote
}

// A request that is not the server's own has room for the copy of it, whose context
// is another.
type (
	copiedRequest struct {
		request
		copy http.Request
	}
	copiedRemoteRequest struct {
		remoteRequest
		copy http.Request
	}
)

// maxExceptions bounds what is kept of a request until it is known whether its
// span is.
const maxExceptions = 8

// serve serves a request. One that is the server's own, of which nobody else
// knows, is given the context itself; of others there are two from here on.
func (s *HTTPServer) serve(h http.Handler, w http.ResponseWriter, r *http.Request, own bool) {
	if s.serves(r.Context()) {
		h.ServeHTTP(w, r)
		return
	}
	q := s.begin(r, own)
	q.ResponseWriter = w
	if woven { // left when the request has been told of
		defer q.wovenRequest.enterLocal(q).leave()
	}
	defer q.recovered()
	h.ServeHTTP(q.response.capable(), q.r)
	if r.MultipartForm == nil { // whose files the server removes
		r.MultipartForm = q.r.MultipartForm
	}
}

// serves reports whether ctx is of a request that s serves already: who wraps
// part of a server may not know that somebody has wrapped all of it.
func (s *HTTPServer) serves(ctx context.Context) bool {
	q := requestIn(ctx)
	return q != nil && q.server() == s
}

// begin begins with a request, which is served as q.r: itself, with another context,
// or a copy.
func (s *HTTPServer) begin(r *http.Request, own bool) *request {
	q, ctx := s.room(r, own)
	method := knownMethod(r.Method)
	s.operations.start(&q.Operation, ctx, s.operations.sampledAs(nameOfMethod(method), r.URL.Path), &q.id)
	setContext(q.r, q)
	q.untold = !s.quiet
	if q.described = q.Recording(); q.described {
		s.describe(q.Span(), r, method)
	}
	return q
}

// room is room for a request, and the context that it came in.
func (s *HTTPServer) room(r *http.Request, own bool) (q *request, ctx context.Context) {
	ctx = r.Context()
	came := cameIn(r.Header, s.idHeaders)
	var with *remote
	switch any := came != noneCame; {
	case own && !any:
		q = &request{r: r}
	case own:
		both := new(remoteRequest)
		q, with = &both.request, &both.remote
		q.r = r
	case !any:
		both := new(copiedRequest)
		q = &both.request
		q.r = &both.copy
		*q.r = *r
	default:
		both := new(copiedRemoteRequest)
		q, with = &both.request, &both.remote
		q.r = &both.copy
		*q.r = *r
	}
	if with != nil && with.take(ctx, &came) {
		ctx = with
	}
	return q, ctx
}

// recovered is done, deferred, to see a panic that is passing by; net/http
// handles it.
func (q *request) recovered() {
	if q.response.quiet {
		return
	}
	if p := recover(); p != nil {
		defer panic(p)
		q.panic(p)
	} else if q.status == 0 {
		q.writeIDs() // net/http writes the header now
	}
	q.done()
}

// panic notes a panic, once: several may see it pass by. One of net/http's own is
// a way to end a request.
func (q *request) panic(p any) {
	if p != http.ErrAbortHandler && !q.panicked {
		q.panicked = true
		q.note(NewException(p, true))
	}
}

func (q *request) note(e Exception) {
	q.span.change(func(r *rare) {
		if len(r.exceptions) < maxExceptions {
			r.exceptions = append(slices.Clip(r.exceptions), e)
		}
	})
}

func (q *request) done() {
	r := q.r
	key := requestKey{method: knownMethod(r.Method), route: q.route, scheme: scheme(r), version: protocol(r.ProtoMajor, r.ProtoMinor), status: int(q.status)}
	if key.route == "" {
		key.route = q.pattern()
	}
	if q.panicked {
		key.failure = failureOfPanic
	}
	if key.status == 0 {
		if key.status = http.StatusOK; q.panicked { // net/http breaks the connection off; to the client it is this
			key.status = http.StatusInternalServerError
		}
	}
	if key.failure == "" {
		key.failure = q.span.failure().typeFor(key.status)
	}
	if q.streams || key.status == http.StatusSwitchingProtocols {
		q.Lasting()
	}
	if q.Finish(key.errorType()) {
		sp := q.Span()
		if !q.described {
			q.server().describe(sp, r, key.method)
		}
		if rare := q.span.rare.Load(); rare != nil {
			for _, e := range rare.exceptions {
				q.Exception(e)
			}
		}
		if name := q.span.given(key.route == ""); name != "" {
			sp.SetName(name)
		} else if key.route != "" {
			sp.SetName(nameOfMethod(key.method) + " " + key.route)
		}
		if key.route != "" {
			sp.SetAttr(core.String("http.route", key.route))
		}
		sp.SetAttrs(core.Int("http.response.status_code", int64(key.status)), core.Int("http.response.body.size", q.written))
	}
	q.End(key)
	if a := q.server().access; a != nil {
		a.log(q, r, &key, q.server().proxies.client(r))
	}
}

func (q *request) server() *HTTPServer { return q.binding.sdk.server }

// slot tells keys apart by where the text of the route stands, which is the same
// for all requests of a route.
func (k requestKey) slot() uintptr {
	return uintptr(unsafe.Pointer(unsafe.StringData(k.route)))>>4 ^ uintptr(k.status) ^ uintptr(len(k.method))<<3
}

// errorType is empty for what is no fault of the server.
func (k requestKey) errorType() string {
	switch {
	case k.failure != "":
		return k.failure
	case k.status >= 500:
		return strconv.Itoa(k.status)
	}
	return ""
}

func (k requestKey) attrs() []core.Attr {
	attrs := append(make([]core.Attr, 0, 6), core.String("http.request.method", k.method), core.String("url.scheme", k.scheme),
		core.String("network.protocol.version", k.version), core.Int("http.response.status_code", int64(k.status)))
	if k.route != "" {
		attrs = append(attrs, core.String("http.route", k.route))
	}
	if e := k.errorType(); e != "" {
		attrs = append(attrs, core.String("error.type", e))
	}
	return attrs
}

// describe sets what is known when a request begins.
func (s *HTTPServer) describe(sp *Span, r *http.Request, method string) {
	var few [12]core.Attr
	attrs := append(few[:0], core.String("http.request.method", method), core.String("url.path", r.URL.Path), core.String("url.scheme", scheme(r)),
		core.String("network.protocol.version", protocol(r.ProtoMajor, r.ProtoMinor)))
	if method == otherMethod {
		attrs = append(attrs, core.String("http.request.method_original", r.Method))
	}
	if r.URL.RawQuery != "" {
		attrs = append(attrs, core.String("url.query", redactQuery(r.URL.RawQuery)))
	}
	host, port := hostPort(r.Host)
	attrs = append(attrs, core.String("server.address", host))
	if port > 0 {
		attrs = append(attrs, core.Int("server.port", port))
	}
	peer, peerPort := hostPort(r.RemoteAddr)
	attrs = append(attrs, core.String("client.address", s.proxies.client(r)), core.String("network.peer.address", peer))
	if peerPort > 0 {
		attrs = append(attrs, core.Int("network.peer.port", peerPort))
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, core.String("user_agent.original", agent))
	}
	sp.SetAttrs(attrs...)
}

// otherMethod stands for all that are not known, so that a client cannot make
// series.
const otherMethod = "_OTHER"

func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return m
	case "":
		return http.MethodGet
	}
	return otherMethod
}

// nameOfMethod is what spans are called by a known method.
func nameOfMethod(known string) string {
	if known == otherMethod {
		return "HTTP"
	}
	return known
}

// route is the path of a pattern of http.ServeMux: what is left of it without
// method and host.
func route(pattern string) string {
	if i := strings.IndexByte(pattern, '/'); i >= 0 {
		return pattern[i:]
	}
	return ""
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func protocol(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "1.1"
	case major == 1:
		return "1.0"
	}
	return strconv.Itoa(major)
}

// hostPort splits an address; the port is 0 when there is none.
func hostPort(addr string) (host string, port int64) {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 || strings.IndexByte(addr[i:], ']') >= 0 || (addr[0] != '[' && strings.IndexByte(addr, ':') != i) {
		return strings.Trim(addr, "[]"), 0
	}
	port, err := strconv.ParseInt(addr[i+1:], 10, 32)
	if err != nil {
		return addr, 0
	}
	return strings.Trim(addr[:i], "[]"), port
}

// redactQuery hides the values of parameters that sign a URL, as the
// semantic conventions ask for.
func redactQuery(query string) string {
	if !strings.Contains(query, "ig") && !strings.Contains(query, "AWSAccessKeyId") { // the common case: nothing looks like one
		return query
	}
	parts := strings.Split(query, "&")
	for i, p := range parts {
		if name, _, found := strings.Cut(p, "="); found {
			switch name {
			case "AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature":
				parts[i] = name + "=REDACTED"
			}
		}
	}
	return strings.Join(parts, "&")
}
