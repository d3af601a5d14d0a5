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
	q := sdk.RequestOf(c.Request.Context())
	began := q.IsZero()
	if began {
		if q, c.Request = sdk.BeginRequest(c.Request); q.IsZero() {
			return // gin goes on by itself
		}
		q.WriteIDs(c.Writer.Header())
	}
	q.SetRoute(c.FullPath())
	defer done(c, q, began)
	c.Next()
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
func done(c *gin.Context, q sdk.Request, began bool) {
	status := c.Writer.Status()
	p := recover()
	if p != nil {
		defer panic(p)
		if !c.Writer.Written() {
			status = 0 // what gin would write, had the handler returned
		}
	}
	if (p != nil || len(c.Errors) > 0) && !c.GetBool(told) {
		c.Set(told, true)
		q.Panic(p)
		for _, e := range c.Errors {
			q.Error(e.Err)
		}
	}
	if began {
		if lasts(c) {
			q.Lasting()
		}
		q.Done(status, int64(max(c.Writer.Size(), 0)))
	}
}
