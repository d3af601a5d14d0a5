package sdk

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// failure is the last error that was recorded on a span. A request that fails
// is kept also when it was not sampled, and its exception with it; what is only
// known when it ends is looked for here.
type failure struct {
	err      error
	kind     string // error.type that it was recorded with, and its class, as errs.Record gives them; or ""
	class    string
	at       time.Time
	attrs    []core.Attr // more of the event
	recorded bool        // it is in the span already
}

// note remembers err until the span ends.
func (s *span) note(err error, c *trace.EventConfig, recorded bool) {
	f := &failure{err: err, at: c.Timestamp(), recorded: recorded}
	for _, a := range c.Attributes() {
		switch a.Key {
		case "error.type":
			f.kind = a.Value.AsString()
		case attrErrorClass:
			f.class = a.Value.AsString()
		}
	}
	if !recorded {
		f.attrs = appendAttrs(nil, c.Attributes())
		if c.StackTrace() {
			f.attrs = append(f.attrs, core.String("exception.stacktrace", stack()))
		}
	}
	// Also for those around it: of a trace that is not sampled all of them are
	// one, and what a request failed of must not depend on that.
	for s != nil {
		old := s.rare.Load()
		with := old.copy()
		with.failed = f
		if s.rare.CompareAndSwap(old, with) {
			s = with.outer
		}
	}
}

// attrErrorClass is the class of an error of package errs.
const attrErrorClass = "guanlan.error.class"

// failureOfPanic is the error.type of what panicked.
const failureOfPanic = "panic"

// typeFor is the error.type of a request that was answered with this status:
// the error's own, if it has one. Empty: the status says it.
func (f *failure) typeFor(status int) string {
	if f == nil {
		return ""
	}
	if panicOf(f.err) != nil {
		return failureOfPanic
	}
	if status < 500 { // the error was coped with
		return ""
	}
	if f.class != "" { // somebody's own error.type might have any number of values
		return f.kind
	}
	return askError(f.err, func() string {
		var typed interface{ ErrorType() string }
		if errors.As(f.err, &typed) {
			return typed.ErrorType()
		}
		return ""
	}, typeName)
}

// askError is what f, which calls methods of err, says. They are the service's, and
// may panic: one that returns a nil *MyError as an error, say, has made an error
// of it that cannot be asked anything. Then it is what instead makes of err.
func askError[T any](err error, f func() T, instead func(any) T) (said T) {
	if thrown := caught(func() error { said = f(); return nil }); thrown != nil {
		return instead(err)
	}
	return said
}

// errorText is the text of an error, whatever it does. Error of an error that
// came from the service is not called otherwise where a panic would meet nobody.
func errorText(err error) (text string) {
	if thrown := caught(func() error { text = err.Error(); return nil }); thrown != nil {
		return fmt.Sprintf("!PANIC: %v", thrown.(*PanicError).Value)
	}
	return text
}

// panicOf is the panic that err came of, or nil.
func panicOf(err error) *PanicError {
	return askError(err, func() (p *PanicError) {
		errors.As(err, &p)
		return p
	}, func(any) *PanicError { return nil })
}

// addTo adds the exception, and the class that goes with it, to a span that did
// not record when it happened.
func (f *failure) addTo(sp *Span) {
	if f != nil && !f.recorded {
		if f.class != "" {
			sp.SetAttr(core.String(attrErrorClass, f.class))
		}
		sp.AddEvent("exception", f.at, append(exceptionOf(f.err), f.attrs...)...)
	}
}

// exceptionOf is the event of an error.
func exceptionOf(err error) []core.Attr {
	if p, ok := err.(*PanicError); ok {
		return []core.Attr{core.String("exception.type", typeName(p.Value)), core.String("exception.message", fmt.Sprint(p.Value)), core.String("exception.stacktrace", p.Stack)}
	}
	return []core.Attr{core.String("exception.type", typeName(err)), core.String("exception.message", errorText(err))}
}

// PanicError is a panic that was recovered.
type PanicError struct {
	Value any    // what it was called with
	Stack string // of the goroutine, at most 16 KiB
}

// Error implements error. It has the stack, too: it is all there is to find the place.
func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.Value, p.Stack) }

// Unwrap is what was panicked with, if it is an error.
func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// caught runs f and makes its panic an error.
func caught(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, stack()}
		}
	}()
	return f()
}
