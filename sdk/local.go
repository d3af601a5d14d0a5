package sdk

import "context"

// LocalScope is a stretch of work that a goroutine does for one request or one
// message. See EnterLocal.
type LocalScope struct{ of wovenScope }

// EnterLocal says that this goroutine, and those that it starts from now on, work
// for what ctx is of, until Leave. Where they then start a span, write a log
// record or ask for an id with a context that has no span, that of ctx is found:
// for code that passes no context on, or passes context.Background. Of ctx, only
// what belongs to this SDK is found so: span, ids, baggage and request. Spans of
// servers and consumers, and those that are to begin a trace, do not look there.
//
// It is for instrumentation, and does nothing but in programs that were built by
// "guanlan build", as goroutines have no room for it otherwise. HTTP servers
// enter by themselves.
func EnterLocal(ctx context.Context) LocalScope {
	if !woven {
		return LocalScope{}
	}
	return LocalScope{enterLocal(ctx)}
}

// Leave ends the scope: whoever still runs for it is on his own from here on. In
// the goroutine that entered, what was before holds again. The zero LocalScope
// may be left, and each several times.
func (s LocalScope) Leave() {
	if woven {
		s.of.leave()
	}
}

// WithLocal is ctx with what EnterLocal says of the goroutine: ctx itself when it
// has a span, or when the goroutine works for nothing that is known. It is for
// work that is handed to other goroutines, and for instrumentation that looks into
// contexts itself.
func WithLocal(ctx context.Context) context.Context {
	if woven {
		return withinLocal(ctx)
	}
	return ctx
}

// ours is the context to look for a key of this SDK in.
func ours(ctx context.Context, key any) context.Context {
	if woven {
		return localFor(ctx, key)
	}
	return ctx
}
