//go:build guanlan_woven

package runtime

import "unsafe"

// Each goroutine has a pointer to what it works for (g.guanlan), the number of that
// (g.guanlanNumber, 0 for nothing) and how it came to it (g.guanlanHow). All three
// belong to the goroutine; others write them only while it is parked and about to
// be readied by them.
//
// Each channel has a word (hchan.guanlan), guarded by its lock: 0 while nobody has
// sent, number+1 while all have sent for that number, 1 when senders differ or one
// of them worked for nothing. It never leaves 1.
//
// Goroutines that the runtime uses for itself have no number; timers send from g0,
// which is how their sends are known not to count.

const (
	guanlanInherited = 1 << iota // not set by the goroutine itself
	guanlanNeutral               // its sends do not count
	guanlanCoro                  // runs only when switched to, see coro
)

// guanlanLocal, guanlanSave and guanlanRestore are for package guanlan/hook.
//
//go:linkname guanlanLocal
//go:nosplit
func guanlanLocal() unsafe.Pointer { return getg().guanlan }

//go:linkname guanlanSave
//go:nosplit
func guanlanSave() (p unsafe.Pointer, number uint64, how uint8) {
	gp := getg()
	return gp.guanlan, gp.guanlanNumber, gp.guanlanHow
}

//go:linkname guanlanRestore
//go:nosplit
func guanlanRestore(p unsafe.Pointer, number uint64, how uint8) {
	gp := getg()
	gp.guanlan, gp.guanlanNumber = p, number
	gp.guanlanHow = gp.guanlanHow&guanlanCoro | how&^guanlanCoro
}

// guanlanInherit lets the new goroutine, which nobody runs yet, work for what its
// creator works for. The creator is g0, which works for nothing, when a timer
// starts a goroutine.
func guanlanInherit(newg, from *g) {
	if from.guanlan != nil {
		newg.guanlan, newg.guanlanNumber, newg.guanlanHow = from.guanlan, from.guanlanNumber, guanlanInherited
	}
}

// guanlanSent notes that this goroutine sends on c. c is locked.
//
//go:nosplit
func guanlanSent(c *hchan) {
	if gp := getg(); c.guanlan != gp.guanlanNumber+1 {
		guanlanMark(c, gp)
	}
}

//go:nosplit
func guanlanMark(c *hchan, gp *g) {
	switch {
	case gp.guanlanHow&guanlanNeutral != 0 || gp == gp.m.g0:
	case c.guanlan == 0:
		c.guanlan = gp.guanlanNumber + 1
	default:
		c.guanlan = 1
	}
}

// guanlanReceived lets gp, which has received from c, forget what it inherited, if
// others have sent on c. c is locked; gp is the running goroutine or parked on c
// and no longer in its queue.
//
//go:nosplit
func guanlanReceived(c *hchan, gp *g) {
	if gp.guanlanHow&guanlanInherited != 0 && c.guanlan != gp.guanlanNumber+1 && c.guanlan != 0 {
		guanlanDrop(gp)
	}
}

// guanlanSignalled is called before this goroutine readies gp, which waits on a
// condition.
func guanlanSignalled(gp *g) {
	if me := getg(); gp.guanlanHow&guanlanInherited != 0 && gp.guanlanNumber != me.guanlanNumber && me.guanlanHow&guanlanNeutral == 0 {
		guanlanDrop(gp)
	}
}

// guanlanNotified is called when gp, which runs, need not wait on a condition.
func guanlanNotified(gp *g) {
	if gp.guanlanHow&guanlanInherited != 0 {
		guanlanDrop(gp)
	}
}

//go:nosplit
func guanlanDrop(gp *g) {
	gp.guanlan, gp.guanlanNumber = nil, 0
	gp.guanlanHow &^= guanlanInherited
}

// guanlanSwitched lets next, which gp switches to, work for what gp works for, if
// it is the body of an iter.Pull: it runs for whoever asks it for a value. In the
// other direction, and when the body has set its own, nothing changes. gp is nil
// when it has exited.
func guanlanSwitched(gp, next *g) {
	if gp == nil || next.guanlanHow&guanlanCoro == 0 || next.guanlanNumber == gp.guanlanNumber {
		return
	}
	if next.guanlan == nil || next.guanlanHow&guanlanInherited != 0 {
		next.guanlan, next.guanlanNumber, next.guanlanHow = gp.guanlan, gp.guanlanNumber, guanlanCoro|guanlanInherited
	}
}
