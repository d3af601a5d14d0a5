//go:build !guanlan_woven

package sdk

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"unsafe"
)

// woven is whether the program was built by "guanlan build": then the standard
// library and its runtime have hooks that this package sets. See local.go.
const woven = false

// What woven programs need beside.
type (
	wovenScope   struct{}
	wovenRequest struct{}
)

func enterLocal(context.Context) (s wovenScope)                 { return s }
func (wovenScope) leave()                                       {}
func (q *request) pattern() string                              { return route(q.r.Pattern) }
func flushAtExit()                                              {}
func (*SDK) giveWay()                                           {}
func claimSlog(*slog.Record) bool                               { return true }
func (*wovenRequest) enterLocal(context.Context) (s wovenScope) { return s }
func withinLocal(ctx context.Context) context.Context           { return ctx }
func localFor(ctx context.Context, _ any) context.Context       { return ctx }

// setContext replaces the context of a request that is not in use yet. WithContext
// would make another one of it, and requests are most of what the SDK allocates.
func setContext(r *http.Request, ctx context.Context) {
	if !contextField.known {
		*r = *r.WithContext(ctx)
		return
	}
	*(*context.Context)(unsafe.Add(unsafe.Pointer(r), contextField.offset)) = ctx
}

// contextField is where in a request its context is.
var contextField = func() (f struct {
	offset uintptr
	known  bool
}) {
	field, ok := reflect.TypeFor[http.Request]().FieldByName("ctx")
	f.offset, f.known = field.Offset, ok && field.Type == reflect.TypeFor[context.Context]()
	return f
}()
