//go:build guanlan_woven

package pond

import "guanlan/hook"

// guanlanCarry binds a task to the request of the goroutine that submits it. All
// kinds of tasks but these are wrapped in one of these before they come here.
func guanlanCarry(task any) any {
	switch f := task.(type) {
	case func():
		return hook.Carry(f)
	case func() error:
		return hook.CarryE(f)
	}
	return task
}
