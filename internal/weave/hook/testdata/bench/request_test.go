//go:build request

package bench

import (
	"unsafe"

	"guanlan/hook"
)

func init() {
	within = func(f func()) {
		defer hook.Save().Restore()
		hook.SetLocal(unsafe.Pointer(new(hook.Header)))
		f()
	}
}
