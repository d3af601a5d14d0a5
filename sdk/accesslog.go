package sdk

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
)

// HTTPOptions say what HTTP servers do beside measuring.
type HTTPOptions struct {
	// AccessLog writes a log record for each request when it has been
	// answered: at level error for status 500 and above and for panics, warn
	// for 400 and above, info else. GUANLAN_ACCESS_LOG=true; default off.
	AccessLog bool
	// AccessLogHandler takes the records of AccessLog. Default: the
	// LogHandler of the SDK, at level info.
	AccessLogHandler slog.Handler
	// TrustedProxies are believed when they say whom a request comes from.
	// GUANLAN_TRUSTED_PROXIES, separated by commas: 10.0.0.0/8,192.0.2.1.
	// Default: none, the client is who opened the connection.
	TrustedProxies []netip.Prefix
	// ClientHeader is the header that they say it in. Set it where they write
	// one, and leave the others as the client sent them.
	// GUANLAN_CLIENT_IP_HEADER; default the first there is of X-Forwarded-For,
	// Forwarded and X-Real-IP.
	ClientHeader string
}

// accessLog writes a record for each request.
type accessLog struct {
	handler slog.Handler
	own     bool // handler keeps nothing of a record
	failed  func(error)
}

func newAccessLog(h slog.Handler, s *SDK) *accessLog {
	if h == nil {
		h = s.LogHandler(nil)
	}
	_, own := h.(*LogHandler)
	return &accessLog{h, own, s.failed}
}

// accessAttrs is how many attributes a record has at most.
const accessAttrs = 8

// accessRecords are attributes of records, for the handler that keeps none.
var accessRecords = sync.Pool{New: func() any { return new([accessAttrs]slog.Attr) }}

// log writes the record of a request that has been answered. Its path is there
// without the query, which may hold secrets.
func (a *accessLog) log(q *request, r *http.Request, key *requestKey, client string) {
	level := slog.LevelInfo
	switch {
	case key.errorType() != "":
		level = slog.LevelError
	case key.status >= 400:
		level = slog.LevelWarn
	}
	ctx := q.Ctx()
	if !a.own {
		defer func() { // the response is on its way: it must not fail for its log
			if p := recover(); p != nil {
				a.failed(fmt.Errorf("write the access log: the handler panicked: %v", p))
			}
		}()
	}
	if !a.handler.Enabled(ctx, level) {
		return
	}
	var all *[accessAttrs]slog.Attr
	if a.own {
		all = accessRecords.Get().(*[accessAttrs]slog.Attr)
		defer accessRecords.Put(all)
	} else {
		all = new([accessAttrs]slog.Attr)
	}
	attrs := append(all[:0], slog.String("http.request.method", key.method), slog.String("url.path", r.URL.Path))
	if key.route != "" {
		attrs = append(attrs, slog.String("http.route", key.route))
	}
	attrs = append(attrs, slog.Int("http.response.status_code", key.status), slog.Int64("http.response.body.size", q.written),
		slog.Float64("http.server.request.duration", q.took.Seconds()), slog.String("client.address", client))
	if key.failure != "" {
		attrs = append(attrs, slog.String("error.type", key.failure))
	}
	rec := slog.NewRecord(q.began.Add(q.took), level, "request", 0)
	if a.own {
		// In one group, which stands for its attributes: a record has room for
		// five without memory of its own.
		rec.AddAttrs(slog.Attr{Value: slog.GroupValue(attrs...)})
	} else {
		rec.AddAttrs(attrs...)
	}
	_ = a.handler.Handle(ctx, rec) // nobody is left to tell
}
