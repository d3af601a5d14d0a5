//go:build linux

package profile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Kinds of counts, as in profile.bpf.c.
const (
	onCPU = iota
	wait
	waitDisk
)

const (
	// maxFrames is that of profile.bpf.c.
	maxFrames = 127 + 48
	// settle is how long a program may still write to the maps that were active
	// when it began.
	settle = time.Millisecond
	// maxSums bounds what is summed up here until the next profile: with many
	// CPUs the maps of the kernel come up several times.
	maxSums = 1 << 16
)

// frame is one address of a stack.
type frame struct {
	pc     uint64
	kernel bool
}

// label is one that a goroutine gave itself.
type label struct{ key, value string }

// sums adds up what the kernel counted. Used by one goroutine at a time.
type sums struct {
	object *kernel.Object
	active uint32 // maps that programs write to
	counts map[profileKey]profileCount
	stacks map[uint64][]frame
	labels map[uint64][]label
	lost   uint64
}

// drain takes the counts out of the kernel.
func (s *sums) drain() error {
	was := s.active
	s.active = 1 - was
	if err := s.object.Map("active").Put(uint32(0), s.active); err != nil {
		return fmt.Errorf("switch maps of profile: %w", err)
	}
	time.Sleep(settle)
	counts, stacks := s.object.Map(fmt.Sprintf("counts%d", was)), s.object.Map(fmt.Sprintf("stacks%d", was))
	err := empty(stacks, func(hash uint64, st profileStack) {
		if _, ok := s.stacks[hash]; ok || len(s.stacks) >= maxSums {
			return
		}
		n := min(int(st.Kernel)+int(st.User), maxFrames)
		frames := make([]frame, n)
		for i := range frames {
			frames[i] = frame{pc: st.Pc[i], kernel: i < int(st.Kernel)}
		}
		s.stacks[hash] = frames
	})
	err = errors.Join(err, empty(s.object.Map(fmt.Sprintf("labels%d", was)), func(hash uint64, l profileLabels) {
		if _, ok := s.labels[hash]; ok || len(s.labels) >= maxSums {
			return
		}
		of := make([]label, min(int(l.N), len(l.Of)))
		for i := range of {
			of[i] = label{key: text(l.Of[i].Key[:]), value: text(l.Of[i].Value[:])}
		}
		s.labels[hash] = of
	}))
	return errors.Join(err, empty(counts, func(k profileKey, c profileCount) {
		old, ok := s.counts[k]
		if _, known := s.stacks[k.Stack]; !known || !ok && len(s.counts) >= maxSums {
			s.lost += c.N
			return
		}
		s.counts[k] = profileCount{N: old.N + c.N, Ns: old.Ns + c.Ns}
	}))
}

// take returns all and starts anew.
func (s *sums) take() (counts map[profileKey]profileCount, stacks map[uint64][]frame, labels map[uint64][]label, lost uint64) {
	counts, stacks, labels, lost = s.counts, s.stacks, s.labels, s.lost
	s.reset()
	return counts, stacks, labels, lost
}

func (s *sums) reset() {
	s.counts, s.stacks, s.labels, s.lost = map[profileKey]profileCount{}, map[uint64][]frame{}, map[uint64][]label{}, 0
}

// text is what stands before the zeros. A program may have cut a letter in two.
func text(b []int8) string {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c == 0 {
			break
		}
		out = append(out, byte(c))
	}
	return strings.ToValidUTF8(string(out), "")
}

// empty removes all entries of a map. Nobody else writes to it.
func empty[K, V any](m *ebpf.Map, f func(K, V)) error {
	var keys []K
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		keys = append(keys, k)
		f(k, v)
	}
	err := it.Err()
	for _, k := range keys {
		if derr := m.Delete(k); derr != nil && !errors.Is(derr, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, derr)
		}
	}
	if err != nil {
		return fmt.Errorf("empty map of profile: %w", err)
	}
	return nil
}

func decodeOwner(b []byte) (profileOwner, bool) {
	if len(b) < int(unsafe.Sizeof(profileOwner{})) {
		return profileOwner{}, false
	}
	return profileOwner{
		Start: binary.NativeEndian.Uint64(b),
		Mm:    binary.NativeEndian.Uint64(b[8:]),
		Tgid:  binary.NativeEndian.Uint32(b[16:]),
	}, true
}
