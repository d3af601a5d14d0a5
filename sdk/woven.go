//go:build guanlan_woven

package sdk

import (
	"context"
	"sync/atomic"
	"unsafe"

	"guanlan/hook"
)

const woven = true

// local is what a goroutine holds on to: 16 bytes of their own, so that one that
// outlives its request keeps nothing else of it.
type local struct {
	hook.Header
	of atomic.Pointer[localContext] // nil once it has ended
}

// localContext is where keys of ours are looked for.
type localContext struct{ context.Context }

// wovenRequest is room for what a request needs.
type wovenRequest struct {
	local   localContext
	matched atomic.Pointer[string] // the pattern of http.ServeMux, of the outermost one first
}

// wovenScope is a goroutine's work for something.
type wovenScope struct {
	entry  *local
	before hook.State
}

func enterLocal(ctx context.Context) wovenScope { return enterAs(&localContext{ctx}) }

// enterLocal is that of a request.
func (w *wovenRequest) enterLocal(q context.Context) wovenScope {
	w.local.Context = q
	return enterAs(&w.local)
}

func enterAs(ctx *localContext) wovenScope {
	s := wovenScope{new(local), hook.Save()}
	s.entry.of.Store(ctx)
	hook.SetLocal(unsafe.Pointer(s.entry))
	return s
}

func (s wovenScope) leave() {
	if s.entry == nil {
		return
	}
	s.entry.of.Store(nil)
	if hook.Local() == unsafe.Pointer(s.entry) {
		s.before.Restore()
	}
}

// localOf is what the goroutine works for; nil when that is nothing, or over.
func localOf() *localContext {
	if l := (*local)(hook.Local()); l != nil {
		return l.of.Load()
	}
	return nil
}

// localFor is where a key of ours is looked for: in the local context if ctx has
// neither it nor a span, for a context with a span says all there is to say.
func localFor(ctx context.Context, key any) context.Context {
	l := localOf()
	if l == nil || ctx.Value(key) != nil || key != spanKey && ctx.Value(spanKey) != nil {
		return ctx
	}
	return l
}

// withinLocal is ctx with the local context where it has no span.
func withinLocal(ctx context.Context) context.Context {
	l := localOf()
	if l == nil || ctx.Value(spanKey) != nil {
		return ctx
	}
	if l.Value(spanKey) == nil && l.Value(requestIDKey) == nil && l.Value(baggageKey) == nil {
		return ctx
	}
	return &contextWithLocal{ctx, l}
}

// contextWithLocal has keys of ours of one context, and all else of another.
type contextWithLocal struct {
	context.Context
	local *localContext
}

// Value implements context.Context.
func (c *contextWithLocal) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	switch key {
	case spanKey, requestIDKey, baggageKey, requestOf{}, nearestKey{}:
		return c.local.Value(key)
	}
	if v := spanView.Load(); v != nil && key == v.key {
		return c.local.Value(key)
	}
	return nil
}
