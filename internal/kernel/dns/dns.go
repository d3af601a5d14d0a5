//go:build linux

// Package dns knows what programs call the addresses that they connect to: the
// names that they asked name servers for.
//
// Answers are seen as sockets get them, over UDP, in all network namespaces,
// whatever resolver a program has; the address of the name server does not matter,
// so stubs on loopback addresses count as well. An answer counts for the process
// that sent the question from the same socket, and for its network namespace.
package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

const (
	// DefaultAnswersPerSecond of one CPU is what a busy resolver gets; reading them
	// takes some 5 ms.
	DefaultAnswersPerSecond = 1000
	// every is how often answers are read: a program connects as soon as it has one,
	// and what is told of the connection waits for others some 50 ms.
	every = 20 * time.Millisecond
	// forgetEvery is how often names that nobody needs go.
	forgetEvery = time.Minute
)

// Options of New. The zero value works.
type Options struct {
	// AnswersPerSecond bounds the answers of one CPU, default DefaultAnswersPerSecond;
	// what is above counts as dropped.
	AnswersPerSecond int
}

// Feature is the kernel.Feature of this package.
type Feature struct {
	opts    Options
	names   *names
	object  *kernel.Object
	ring    *kernel.Ring
	events  atomic.Uint64
	cleaned time.Time // by the reader of the ring
}

// New makes a Feature that nothing is attached of.
func New(o Options) *Feature {
	o.AnswersPerSecond = cmp.Or(o.AnswersPerSecond, DefaultAnswersPerSecond)
	return &Feature{opts: o, names: newNames()}
}

// Name is "dns".
func (f *Feature) Name() string { return "dns" }

// Start attaches to the root of cgroup v2, which sees the sockets of all.
func (f *Feature) Start(ctx context.Context, h *kernel.Host) error {
	at := h.Cgroup2()
	if at == "" {
		return &kernel.Unsupported{Feature: "dns", Missing: "cgroup v2", Next: "mount it"}
	}
	spec, err := loadDns()
	if err != nil {
		return fmt.Errorf("read object of dns: %w", err)
	}
	if err := spec.Variables[dnsVarAnswersPerSecond].Set(uint32(f.opts.AnswersPerSecond)); err != nil {
		return fmt.Errorf("set %s of dns: %w", dnsVarAnswersPerSecond, err)
	}
	if f.object, err = kernel.Load("dns", h, spec); err != nil {
		return err
	}
	f.cleaned = time.Now()
	if f.ring, err = kernel.Drain(ctx, f.object.Map(dnsMapAnswers), every, f.take); err != nil {
		return err
	}
	for _, p := range []struct {
		name string
		at   ebpf.AttachType
	}{
		{dnsProgOnConnect4, ebpf.AttachCGroupInet4Connect},
		{dnsProgOnConnect6, ebpf.AttachCGroupInet6Connect},
		{dnsProgOnSendmsg4, ebpf.AttachCGroupUDP4Sendmsg},
		{dnsProgOnSendmsg6, ebpf.AttachCGroupUDP6Sendmsg},
		{dnsProgOnPacket, ebpf.AttachCGroupInetIngress},
	} {
		if err := f.object.Cgroup(p.name, at, p.at); err != nil {
			return err
		}
	}
	return nil
}

// Close detaches. What is known stays known.
func (f *Feature) Close() error {
	if f.object == nil {
		return nil
	}
	err := f.object.Detach()
	if f.ring != nil {
		err = errors.Join(err, f.ring.Close())
	}
	return errors.Join(err, f.object.Close())
}

// Stats counts answers that had a name for an address, and those lost: for want
// of room, above AnswersPerSecond, or longer than 4096 bytes.
func (f *Feature) Stats() kernel.Stats { return f.object.Stats(f.events.Load(), 0) }

// Called is the name that the process asked for last that stood for the address,
// else the last that any process of the network namespace (its inode) did; "" if
// nobody asked. It may be called at any time.
func (f *Feature) Called(p kernel.Process, netns uint32, a netip.Addr) string {
	return f.names.name(asker{netns, p.PID, p.Start}, a.Unmap(), time.Now())
}

func (f *Feature) take(raw []byte) {
	now := time.Now()
	if now.Sub(f.cleaned) > forgetEvery {
		f.cleaned = now
		f.names.forget(now)
	}
	var h dnsHead
	size := int(unsafe.Sizeof(h))
	if len(raw) < size {
		return
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), size), raw)
	if raw = raw[size:]; int(h.Len) > len(raw) {
		return
	}
	a, err := parse(raw[:h.Len])
	if err != nil {
		return // what else goes through port 53 is no loss
	}
	f.events.Add(1)
	start := time.Duration(h.Asker.StartCs) * 10 * time.Millisecond
	f.names.learn(asker{h.Asker.Netns, int(h.Asker.Tgid), start}, a, now)
}
