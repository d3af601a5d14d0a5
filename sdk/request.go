package sdk

import (
	"context"
	"net/http"
)

// Request is an HTTP request that is being served, for frameworks that are
// routers or recover from panics themselves: they know what a handler around
// them cannot see. The zero Request is that of a server that is not
// instrumented; its methods do nothing. It is for the goroutine that serves the
// request, and only until that has returned.
type Request struct{ of *request }

// requestOf is the key of the request in the context that it is served in.
type requestOf struct{}

var _ context.Context = (*request)(nil)

// Value implements context.Context.
func (q *request) Value(key any) any {
	if key == (requestOf{}) {
		return q
	}
	return q.Ctx().Value(key)
}

// RequestOf is the request that ctx belongs to: that of an instrumented server
// further out. It is zero when there is none.
func RequestOf(ctx context.Context) Request {
	return Request{requestIn(ours(ctx, requestOf{}))}
}

// requestIn is that of the context alone; or nil.
func requestIn(ctx context.Context) *request {
	q, _ := ctx.Value(requestOf{}).(*request)
	return q
}

// RequestServed is the request that r is, or was made of by middleware: that of
// RequestOf(r.Context()), unless a handler has made r itself, to have another
// handler of the program answer a part of it. It is what routers should use.
func RequestServed(r *http.Request) Request {
	q := RequestOf(r.Context())
	if q.of == nil || !q.of.is(r) {
		return Request{}
	}
	return q
}

// is reports whether r is a copy of the request: only the server sets what stands
// in its first line.
func (q *request) is(r *http.Request) bool { return r.RequestURI == q.r.RequestURI }

// BeginRequest instruments a request as HTTPServer.Handler does, with the SDK
// that runs, and returns what to serve instead of r: the same with the span in
// its context. Call Done, whatever happens.
func BeginRequest(r *http.Request) (Request, *http.Request) {
	s := Default()
	if s == nil || s.server == nil {
		return Request{}, r
	}
	q := s.server.begin(r, false)
	return Request{q}, q.r
}

// IsZero reports whether there is no request.
func (q Request) IsZero() bool { return q.of == nil }

// WriteIDs writes the ids of the request and of the business case into the header
// of the answer, as IDOptions say, unless they are there. HTTPServer.Handler does
// so by itself; after BeginRequest, call it before the header is written.
func (q Request) WriteIDs(h http.Header) {
	if q.of != nil {
		q.of.writeIDsTo(h)
	}
}

// SetRoute says which route the request takes, as /orders/:id, instead of the
// pattern of http.ServeMux. It becomes http.route of the span and the metric.
// The empty one changes nothing.
func (q Request) SetRoute(route string) {
	if q.of != nil && route != "" {
		q.of.route = route
	}
}

// Error notes an error as an event of the span, if that is kept; of each
// request the first 8. It does not make the request a failed one: its status
// does.
func (q Request) Error(err error) {
	if q.of != nil && err != nil {
		q.of.note(NewException(err, false))
	}
}

// Panic notes a panic, given what was recovered: the request has failed. Call it
// in the deferred function, whose stack is still that of the panic.
func (q Request) Panic(p any) {
	if q.of != nil && p != nil {
		q.of.panic(p)
	}
}

// Lasting says that the request lasts as long as its client wants, as a long poll
// does: it is not a slow one for being long, which would be kept and have the
// sampler keep more of the others. Of a connection that a handler takes over, for
// a WebSocket say, and of a stream of events (text/event-stream), HTTPServer.Handler
// knows by itself.
func (q Request) Lasting() {
	if q.of != nil {
		q.of.Operation.Lasting()
	}
}

// Done ends what BeginRequest began. A status of 0 is what net/http makes of
// nothing: 200, and 500 after a panic. Written is the size of the body. A probe
// that Health has answered leaves no trace.
func (q Request) Done(status int, written int64) {
	if q.of != nil && !q.of.response.quiet {
		q.of.status, q.of.written = int16(status), written
		q.of.done()
	}
}
