//go:build guanlan_woven

package hook

import (
	"internal/runtime/exithook"
	"sync/atomic"
	"unsafe"
)

// Header must be the first field of what is given to SetLocal. It carries the
// number by which channels remember who has sent on them: addresses will not do,
// since the memory of an entry is used again.
type Header struct {
	number uint64
}

// numbers starts at 1: 0 says that there is no entry. Where words have 32 bits it
// is still 64 bits wide.
var numbers atomic.Uint64

// Local returns what this goroutine works for, nil if that is unknown. It costs
// about a nanosecond.
func Local() unsafe.Pointer { return local() }

// SetLocal says what this goroutine works for, nil for nothing. The goroutine keeps
// it until it says otherwise, and those that it starts inherit it. What p points
// to begins with a Header and is allocated; the first SetLocal of an entry must have
// returned before another goroutine uses the same entry.
func SetLocal(p unsafe.Pointer) {
	if p == nil {
		restore(nil, 0, 0)
		return
	}
	h := (*Header)(p)
	if h.number == 0 {
		h.number = numbers.Add(1)
	}
	restore(p, h.number, 0)
}

// State is what a goroutine worked for at some time, and how it came to it.
type State struct {
	p      unsafe.Pointer
	number uint64
	how    uint8
}

// Save returns the present state, for Restore.
func Save() State {
	var s State
	s.p, s.number, s.how = save()
	return s
}

// Restore sets the state of this goroutine to what was saved, in this goroutine or
// in another one. What was inherited remains inherited.
func (s State) Restore() { restore(s.p, s.number, s.how) }

// Neutral is called at the start of goroutines that only move bytes and never hand
// out work, such as the reader of a client's connection: this goroutine works for
// nobody, and receiving what it sends does not make others lose what they work for.
func Neutral() { restore(nil, 0, neutral) }

// Carried is the state that work takes along which another goroutine will do, by
// [State.Run]. There it counts as inherited: the work may be a loop that waits for
// the work of others.
func Carried() State {
	s := Save()
	s.how = inherited
	return s
}

// Run runs f for what was saved, also if that is nothing. Afterwards the goroutine
// works for what it did before.
func (s State) Run(f func()) {
	was := Save()
	defer was.Restore()
	s.Restore()
	f()
}

// Carry binds f to what this goroutine works for, also if that is nothing: wherever
// it runs, it runs for that.
func Carry(f func()) func() {
	if f == nil {
		return nil
	}
	s := Carried()
	return func() { s.Run(f) }
}

// CarryE is Carry for a function with an error.
func CarryE(f func() error) func() error {
	if f == nil {
		return nil
	}
	s := Carried()
	return func() (err error) {
		s.Run(func() { err = f() })
		return err
	}
}

// CarryNew is Carry for an f that runs in a new goroutine of the runtime's: such a
// one works for nobody, so that nothing needs to be wrapped where there is nothing
// to carry.
func CarryNew(f func()) func() {
	if Local() == nil {
		return f
	}
	return Carry(f)
}

// AtExit has f called when main returns or os.Exit is called, with any exit code;
// the last one registered is called first. f must not panic and not exit. It is not
// called after a panic or a signal.
func AtExit(f func()) { exithook.Add(exithook.Hook{F: f, RunOnFailure: true}) }

// Woven is what the binary says of how it was woven. The weaver sets it.
var Woven string

// These are the runtime's: see its aspect, in which the constants are explained.
const (
	inherited = 1
	neutral   = 2
)

//go:linkname local runtime.guanlanLocal
func local() unsafe.Pointer

//go:linkname save runtime.guanlanSave
func save() (p unsafe.Pointer, number uint64, how uint8)

//go:linkname restore runtime.guanlanRestore
func restore(p unsafe.Pointer, number uint64, how uint8)
