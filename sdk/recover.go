package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/errs"
)

// Recover answers a request whose handler panics with 500 and a problem of
// package errs, where net/http would break the connection off. The panic is
// one record of slog.Default, with its stack, the request's id and the trace,
// and one exception event of the request's span, which fails with error.type
// panic.
//
// Put it inside of Handler, to find the span: sdk.Handler(sdk.Recover(mux)). When
// part of an answer is out already, the connection is broken off, for the client
// must not take it for the whole. http.ErrAbortHandler passes.
func Recover(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res := responseOf(w)
		if res == nil {
			res = &response{ResponseWriter: w}
			w = res.capable()
		}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err := &PanicError{p, stack()}
			if q := RequestOf(r.Context()).of; q == nil || !q.panicked { // somebody within may have seen it pass by
				recordPanic(r.Context(), err)
			}
			logPanic(r, err)
			if res.status != 0 {
				panic(http.ErrAbortHandler)
			}
			errs.Write(w, r, errs.Internal)
		}()
		h.ServeHTTP(w, r)
	})
}

// recordPanic marks the span in ctx, which may be another SDK's.
func recordPanic(ctx context.Context, p *PanicError) {
	switch s := trace.SpanFromContext(ctx).(type) {
	case *span:
		s.RecordError(p)
		s.SetStatus(codes.Error, "")
	default:
		s.AddEvent("exception", trace.WithAttributes(attribute.String("exception.type", typeName(p.Value)),
			attribute.String("exception.message", fmt.Sprint(p.Value)), attribute.String("exception.stacktrace", p.Stack)))
		s.SetStatus(codes.Error, "")
	}
}

func logPanic(r *http.Request, p *PanicError) {
	log := slog.Default()
	attrs := []slog.Attr{
		slog.String("exception.type", typeName(p.Value)), slog.String("exception.message", fmt.Sprint(p.Value)), slog.String("exception.stacktrace", p.Stack),
		slog.String("http.request.method", knownMethod(r.Method)),
	}
	if at := route(r.Pattern); at != "" {
		attrs = append(attrs, slog.String("http.route", at))
	} else {
		attrs = append(attrs, slog.String("url.path", r.URL.Path))
	}
	if _, ours := log.Handler().(*LogHandler); !ours { // ours finds them by itself
		if sc, ok := contextOf(r.Context()); ok {
			attrs = append(attrs, slog.String("trace_id", trace.TraceID(sc.TraceID).String()))
		}
		if id := RequestID(r.Context()); id != "" {
			attrs = append(attrs, slog.String(attrRequestID, id))
		}
		if id := BizID(r.Context()); id != "" {
			attrs = append(attrs, slog.String(attrBizID, id))
		}
	}
	log.LogAttrs(r.Context(), slog.LevelError, "handler panicked", attrs...)
}
