// Package sdkgin instruments services that use gin:
//
//	r := gin.Default()
//	r.Use(sdkgin.Middleware())
//
// Spans and metrics are those of sdk.Handler, with the route as gin has it; the
// errors of gin.Context are events of the span, of each request the first 8.
// Where the whole server is wrapped by sdk.Handler already, the middleware makes
// no span of its own but gives the route and the errors to the one that is
// there; requests that gin's router redirects are seen then, too.
//
// A request whose handler panics is a failed one with status 500, wherever
// gin.Recovery stands. After gin.Recovery, as above, the middleware sees the
// panic pass by, and the span has the exception with its stack; before it, all
// that can be seen is the status.
package sdkgin

import (
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/guanlan-io/guanlan/sdk"
)

// Middleware instruments the routes that it is used for with the SDK that runs
// when a request comes, so it may be made before sdk.Start.
func Middleware() gin.HandlerFunc { return serve }

func serve(c *gin.Context) {
	s := begin(c)
	if s.q.IsZero() {
		return // gin goes on by itself
	}
	defer done(c, s)
	c.Next()
}

// served is a request while gin serves it.
type served struct {
	q     sdk.Request // zero: there is no SDK
	began bool        // by us: there is no instrumented server around gin
	local sdk.LocalScope
}

func begin(c *gin.Context) served {
	s := served{q: sdk.RequestServed(c.Request)}
	if s.began = s.q.IsZero(); s.began {
		if s.q, c.Request = sdk.BeginRequest(c.Request); s.q.IsZero() {
			return s
		}
		s.local = sdk.EnterLocal(c.Request.Context())
		s.q.WriteIDs(c.Writer.Header())
	}
	s.q.SetRoute(c.FullPath())
	return s
}

// lasts reports whether the request lasts as long as the client wants: a
// connection that the handler has taken over, or a stream of events.
func lasts(c *gin.Context) bool {
	return c.IsWebsocket() && c.Writer.Written() && c.Writer.Size() <= 0 ||
		strings.HasPrefix(strings.ToLower(c.Writer.Header().Get("Content-Type")), "text/event-stream")
}

// told is set on a context whose errors are in the span, for those who use the
// middleware twice.
const told = "github.com/guanlan-io/guanlan/sdk/gin.told"

// done runs deferred, to see a panic that is passing by.
func done(c *gin.Context, s served) {
	if s.q.IsZero() {
		return
	}
	status := c.Writer.Status()
	p := recover()
	if p != nil {
		defer panic(p)
		if !c.Writer.Written() {
			status = 0 // what gin would write, had the handler returned
		}
	}
	s.q.SetRoute(c.FullPath()) // which gin may have come to know, or another one, since
	if (p != nil || len(c.Errors) > 0) && !c.GetBool(told) {
		c.Set(told, true)
		s.q.Panic(p)
		for _, e := range c.Errors {
			s.q.Error(e.Err)
		}
	}
	if s.began {
		if lasts(c) {
			s.q.Lasting()
		}
		s.q.Done(status, int64(max(c.Writer.Size(), 0)))
		s.local.Leave()
	}
}
