//go:build guanlan_woven

package dispatcher

import "guanlan/hook"

// guanlanCarry binds tasks to the request of the goroutine that submits them.
func guanlanCarry[T any](tasks []T) {
	for i, task := range tasks {
		var bound any
		switch f := any(task).(type) {
		case func():
			bound = hook.Carry(f)
		case func() error:
			bound = hook.CarryE(f)
		default:
			continue
		}
		tasks[i] = bound.(T)
	}
}
