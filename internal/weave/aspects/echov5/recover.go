//go:build guanlan_woven

package middleware

import (
	"github.com/labstack/echo/v5"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanRecovered tells of a panic that ends here, and becomes an error.
func guanlanRecovered(c *echo.Context, p any) any {
	if p == nil || c.Request() == nil {
		return p
	}
	if q := sdk.RequestServed(c.Request()); !q.IsZero() {
		q.Panic(p)
		c.Set("github.com/guanlan-io/guanlan/sdk/echo.told", true)
	}
	return p
}
