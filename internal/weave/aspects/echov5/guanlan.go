//go:build guanlan_woven

package echo

import (
	"errors"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanTold is the key that a context has set once its error is on the span:
// an error may be handled in several places.
const guanlanTold = "github.com/guanlan-io/guanlan/sdk/echo.told"

func guanlanRoute(c *Context) {
	if r := c.Request(); r != nil {
		sdk.RequestServed(r).SetRoute(c.Path())
	}
}

// guanlanError tells of what a handler has returned. That there is no such route
// or method the status says.
func guanlanError(c *Context, err error) {
	r := c.Request()
	if err == nil || r == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrMethodNotAllowed) {
		return
	}
	q := sdk.RequestServed(r)
	if q.IsZero() || c.Get(guanlanTold) != nil {
		return
	}
	c.Set(guanlanTold, true)
	q.Error(err)
}
