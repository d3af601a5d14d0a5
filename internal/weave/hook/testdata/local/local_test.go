// Package local is built with a woven Go and looks at what its goroutines work for.
package local

import (
	"guanlan/hook"
	"testing"
	"unsafe"
)

type entry struct {
	hook.Header
	id int
}

// run runs f as a server runs a handler.
func run(id int, f func()) {
	was := hook.Save()
	defer was.Restore()
	hook.SetLocal(unsafe.Pointer(&entry{id: id}))
	f()
}

// now is the number of the request that this goroutine works for; 0 for none.
func now() int {
	if e := (*entry)(hook.Local()); e != nil {
		return e.id
	}
	return 0
}

func TestGo(t *testing.T) {
	got := make(chan int)
	run(1, func() {
		go func() {
			go func() { got <- now() }()
			got <- now()
		}()
	})
	if a, b := <-got, <-got; a != 1 || b != 1 || now() != 0 {
		t.Errorf("child and grandchild %d, %d, want 1; afterwards %d", a, b, now())
	}
}
