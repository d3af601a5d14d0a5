//go:build guanlan_woven

package ants

import "guanlan/hook"

// guanlanArgument is an argument and what its call is for.
type guanlanArgument struct {
	value interface{}
	state hook.State
}

// guanlanBind takes along what the calling goroutine works for. A nil tells a
// worker to end, and must remain one.
func guanlanBind(value interface{}) interface{} {
	if value == nil {
		return nil
	}
	return guanlanArgument{value, hook.Carried()}
}

func guanlanCall(f func(interface{}), arg interface{}) {
	bound, ok := arg.(guanlanArgument)
	if !ok {
		f(arg)
		return
	}
	bound.state.Run(func() { f(bound.value) })
}
