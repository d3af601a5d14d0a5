package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
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
	own     *LogHandler  // or nil
	handler slog.Handler // another; or nil
	failed  func(error)
}

func newAccessLog(h slog.Handler, s *SDK) *accessLog {
	if h == nil {
		h = s.LogHandler(slog.LevelInfo)
	}
	if own, ok := h.(*LogHandler); ok {
		return &accessLog{own: own}
	}
	return &accessLog{handler: h, failed: s.failed}
}

// accessAttrs is how many attributes a record has at most.
const accessAttrs = 8

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
	if a.own != nil && !a.own.Enabled(ctx, level) {
		return
	}
	var all [accessAttrs]core.Attr
	attrs := append(all[:0], core.String("http.request.method", key.method), core.String("url.path", r.URL.Path))
	if key.route != "" {
		attrs = append(attrs, core.String("http.route", key.route))
	}
	attrs = append(attrs, core.Int("http.response.status_code", int64(key.status)), core.Int("http.response.body.size", q.written),
		core.Float("http.server.request.duration", q.took.Seconds()), core.String("client.address", client))
	if key.failure != "" {
		attrs = append(attrs, core.String("error.type", key.failure))
	}
	const message = "request"
	at := time.Now()
	if a.own == nil {
		a.hand(ctx, at, level, message, attrs)
		return
	}
	rec := a.own.target().Record(ctx, at, severityOf(level), levelText(level), message)
	if a.own.fields != nil {
		rec.AddFields(a.own.fields)
	}
	for i := range attrs {
		rec.Add(attrs[i])
	}
	rec.Write()
}

// hand gives a record to a handler that is not ours. The response is on its way:
// it must not fail for its log.
func (a *accessLog) hand(ctx context.Context, at time.Time, level slog.Level, message string, attrs []core.Attr) {
	defer func() {
		if p := recover(); p != nil {
			a.failed(fmt.Errorf("write the access log: the handler panicked: %v", p))
		}
	}()
	if !a.handler.Enabled(ctx, level) {
		return
	}
	rec := slog.NewRecord(at, level, message, 0)
	for i := range attrs {
		rec.AddAttrs(slog.Any(attrs[i].Key, attrs[i].Value.Any()))
	}
	if err := a.handler.Handle(ctx, rec); err != nil {
		a.failed(fmt.Errorf("write the access log: %w", err))
	}
}
