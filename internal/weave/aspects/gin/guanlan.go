//go:build guanlan_woven

package gin

import "github.com/guanlan-io/guanlan/sdk"

// guanlanRecovered tells of a panic that ends at gin's Recovery.
func guanlanRecovered(c *Context, p any) any {
	if p != nil && c.Request != nil { // tests may have none
		sdk.RequestServed(c.Request).Panic(p)
	}
	return p
}
