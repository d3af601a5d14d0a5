//go:build guanlan_woven

package start

import (
	_ "guanlan/hook"

	_ "github.com/guanlan-io/guanlan/sdk/auto"
)
