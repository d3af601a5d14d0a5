//go:build linux

package audit

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// kernelStep, kernelNext and kernelLive are struct step, struct next and struct
// live of audit.bpf.c.
type kernelStep struct {
	State uint32
	Name  [28]byte
}

type kernelNext struct {
	State                   uint32
	Any, Write, Wild, Reads uint8
}

type kernelLive struct{ Self, Root uint32 }

// treeStates is the distance of two trees' states: that of the tree in use and
// that of the next one lie in the map together.
const treeStates = 1 << 16

// SetRules puts other rules into force, for what comes from now on, without a gap: the
// kernel looks for files by the old ones until it has all of the new ones.
func (f *Feature) SetRules(r *Rules) error {
	if err := f.fillPaths(r.tree); err != nil {
		return err
	}
	f.rules.Store(r)
	return nil
}

// fillPaths exchanges the tree that the kernel walks.
func (f *Feature) fillPaths(t tree) error {
	m, lives := f.object.Map("paths"), f.object.Map(".data.live")
	var live kernelLive
	if err := lives.Lookup(uint32(0), &live); err != nil {
		return kernel.Classify("audit", fmt.Errorf("read the root of the tree of paths: %w", err))
	}
	root := live.Root + treeStates // it may wrap: a tree of 65,535 exchanges ago is long gone
	if root == 0 {
		root = treeStates // 0 is no state
	}
	forget := func(which func(state uint32) bool) {
		var gone []kernelStep
		var k kernelStep
		var v kernelNext
		for it := m.Iterate(); it.Next(&k, &v); {
			if which(k.State) {
				gone = append(gone, k)
			}
		}
		for _, k := range gone {
			_ = m.Delete(k) // it only takes room
		}
	}
	fresh := func(state uint32) bool { return state-root < treeStates }
	// A process that was killed here may have left half a tree.
	forget(func(state uint32) bool { return state-live.Root >= treeStates })
	bit := func(b bool) uint8 {
		if b {
			return 1
		}
		return 0
	}
	for s, n := range t {
		k := kernelStep{State: root + s.state}
		copy(k.Name[:], s.name)
		v := kernelNext{Any: bit(n.any), Write: bit(n.write), Wild: n.wild, Reads: bit(n.reads)}
		if n.state != 0 {
			v.State = root + n.state
		}
		if err := m.Put(k, v); err != nil {
			forget(fresh)
			return kernel.Classify("audit", fmt.Errorf("fill the tree of paths: %w", err))
		}
	}
	live = kernelLive{Self: uint32(f.host.Self()), Root: root}
	if f.o.notSelf {
		live.Self = 0
	}
	if err := lives.Update(uint32(0), live, ebpf.UpdateAny); err != nil {
		forget(fresh)
		return kernel.Classify("audit", fmt.Errorf("set the root of the tree of paths: %w", err))
	}
	forget(func(state uint32) bool { return !fresh(state) })
	return nil
}
