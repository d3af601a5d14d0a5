// Package errs gives a service's errors a class, a code of their own and a
// place in a table: what clients are told, what logs and spans say, and the
// document of all codes come from one definition.
//
// A code is defined once, as a variable:
//
//	var ErrStock = errs.Define("inventory", 1001, errs.Client, "Out of stock", errs.HTTP(http.StatusConflict))
//
// and used where things go wrong:
//
//	return ErrStock.New(ctx, slog.String("sku", sku)).Detail("%d left", left)
//	return ErrStore.Wrap(ctx, err)
//
// errors.Is(err, ErrStock) and errors.As see through it as usual.
package errs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// Class says whose fault an error is.
type Class uint8

// Classes of errors.
const (
	// Client: the caller asked for what cannot be done, and must ask for
	// something else. Default: HTTP 400, gRPC INVALID_ARGUMENT, level Info: a
	// service that says no works.
	Client Class = 1 + iota
	// Server: this service has a fault. Default: HTTP 500, gRPC INTERNAL, level
	// Error.
	Server
	// System: what this service stands on fails, a database, the network,
	// another service; the same request may succeed later. Default: HTTP 503,
	// gRPC UNAVAILABLE, level Error.
	System
)

// String is the name of the class in tables, logs and spans.
func (c Class) String() string {
	switch c {
	case Client:
		return "client"
	case Server:
		return "server"
	case System:
		return "system"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Error is an error with a code. It must not be changed once it has been
// returned; then it is safe for concurrent use.
type Error struct {
	code   *Code
	cause  error
	detail string
	fields []slog.Attr
	span   trace.SpanContext
}

// New makes an error with this code. The trace of ctx is attached; fields go to
// logs and spans, never to clients.
func (c *Code) New(ctx context.Context, fields ...slog.Attr) *Error {
	return &Error{code: c, fields: fields, span: trace.SpanContextFromContext(ctx)}
}

// Wrap is New with a cause, which errors.Is and errors.As find and which clients
// never see.
func (c *Code) Wrap(ctx context.Context, cause error, fields ...slog.Attr) *Error {
	e := c.New(ctx, fields...)
	e.cause = cause
	return e
}

// Detail says more about this very case. Of an error of class Client, the client
// reads it: say what helps there. It returns e, for use where e is made.
func (e *Error) Detail(format string, args ...any) *Error {
	e.detail = fmt.Sprintf(format, args...)
	return e
}

// Error is for logs and for the people of this service.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.code.Error())
	if e.detail != "" {
		b.WriteString(": " + e.detail)
	}
	if e.cause != nil {
		b.WriteString(": " + text(e.cause))
	}
	return b.String()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the code of e.
func (e *Error) Is(target error) bool {
	c, ok := target.(*Code)
	return ok && c == e.code
}

// Code is what e was made with.
func (e *Error) Code() *Code { return e.code }

// TraceID is the trace that e was made in, in hex; empty outside of one.
func (e *Error) TraceID() string {
	if !e.span.HasTraceID() {
		return ""
	}
	return e.span.TraceID().String()
}

// ErrorType is the attribute error.type of spans and metrics: the name of the
// code.
func (e *Error) ErrorType() string { return e.code.name }

// LogValue implements slog.LogValuer.
func (e *Error) LogValue() slog.Value {
	attrs := append(make([]slog.Attr, 0, 8), slog.String("code", e.code.name), slog.String("class", e.code.class.String()), slog.String("title", e.code.title))
	if e.detail != "" {
		attrs = append(attrs, slog.String("detail", e.detail))
	}
	if e.cause != nil {
		attrs = append(attrs, slog.String("cause", text(e.cause)))
	}
	if id := e.TraceID(); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	if len(e.fields) > 0 {
		attrs = append(attrs, slog.Attr{Key: "fields", Value: slog.GroupValue(e.fields...)})
	}
	return slog.GroupValue(attrs...)
}

// CodeOf is the code of the outermost error in err's tree that has one. Others
// are Canceled, Timeout or Internal; nil has none.
func CodeOf(err error) *Code {
	if err == nil {
		return nil
	}
	code, _ := find(err)
	return code
}

// text is the text of somebody's error, which may panic when it is asked: a nil
// *MyError that was returned as an error, say.
func text(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	return err.Error()
}

// find is the code of err and, if there is one, the error that has it. An error
// that panics when it is asked is Internal.
func find(err error) (code *Code, coded *Error) {
	defer func() {
		if recover() != nil {
			code, coded = Internal, nil
		}
	}()
	if errors.As(err, &coded) && coded != nil {
		return coded.code, coded
	}
	if errors.As(err, &code) && code != nil {
		return code, nil
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled, nil
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout, nil
	}
	return Internal, nil
}

// Log writes err to slog.Default at the level of its code. It is for the place
// where an error ends; whoever returns it must not log it.
func Log(ctx context.Context, msg string, err error) {
	if err == nil {
		return
	}
	code, e := find(err)
	log := slog.Default()
	if !log.Enabled(ctx, code.level) {
		return
	}
	value := code.LogValue()
	if e != nil {
		value = e.LogValue()
	}
	attrs := []slog.Attr{{Key: "error", Value: value}}
	if error(e) != err && error(code) != err { // what was wrapped around it says more
		attrs = append(attrs, slog.String("error_text", text(err)))
	}
	log.LogAttrs(ctx, code.level, msg, attrs...)
}
