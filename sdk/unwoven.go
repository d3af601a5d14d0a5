//go:build !guanlan_woven

package sdk

import (
	"context"
	"log/slog"
	"net/http"
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
func setContext(*http.Request, context.Context)                 {}
func flushAtExit()                                              {}
func (*SDK) giveWay()                                           {}
func claimSlog(*slog.Record) bool                               { return true }
func (*wovenRequest) enterLocal(context.Context) (s wovenScope) { return s }
func withinLocal(ctx context.Context) context.Context           { return ctx }
func localFor(ctx context.Context, _ any) context.Context       { return ctx }
