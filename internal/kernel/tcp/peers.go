//go:build linux

package tcp

import (
	"net/netip"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// peers finds the process at the other end of a flow where it is one of this
// host: the flow that it has in the table itself, with the ends turned round, or a
// listener. It knows addresses, not translations of them: behind a service's
// virtual address nobody is found.
type peers struct {
	host *kernel.Host
	// Of the flows in the table. A client's other end is a server's local endpoint;
	// of a server's other end only the address is known, and the port that is called.
	servers map[endpoint]candidates
	clients map[call]candidates
	// Listeners by port, for those that nobody was accepted from yet.
	listeners map[endpoint]kernel.Process
}

// endpoint is an address in a network namespace, or in any of them (netns 0)
// unless it is a loopback address, which every namespace has.
type endpoint struct {
	netns uint32
	addr  netip.AddrPort
}

type call struct {
	endpoint            // called
	from     netip.Addr // by
}

// owner is a process as the kernel notes it.
type owner struct {
	tgid, start uint32
	comm        [16]uint8
}

// candidates for one end. More than maxCandidates is nobody.
type candidates []owner

// maxCandidates bounds what is compared: the workers of a server that forks.
const maxCandidates = 64

func (c candidates) with(o owner) candidates {
	for _, is := range c {
		if is == o {
			return c
		}
	}
	if len(c) > maxCandidates {
		return c
	}
	return append(c, o)
}

// findPeers is called when all flows of a poll are known.
func (p *poller) findPeers(namespaces []Namespace) *peers {
	out := &peers{host: p.host, servers: map[endpoint]candidates{}, clients: map[call]candidates{}, listeners: map[endpoint]kernel.Process{}}
	for k, f := range p.tables[0].before { // flows that found no room have no addresses
		if k.Tgid == 0 {
			continue
		}
		o := owner{k.Tgid, k.StartCs, f.Comm}
		local, remote := netip.AddrFrom16(k.Laddr).Unmap(), netip.AddrFrom16(k.Raddr).Unmap()
		switch Role(k.Role) {
		case Server:
			for _, e := range everywhere(k.Netns, netip.AddrPortFrom(local, k.Lport)) {
				out.servers[e] = out.servers[e].with(o)
			}
		case Client:
			for _, e := range everywhere(k.Netns, netip.AddrPortFrom(remote, k.Rport)) {
				c := call{e, local}
				out.clients[c] = out.clients[c].with(o)
			}
		}
	}
	for _, ns := range namespaces {
		for _, l := range ns.Listeners {
			if l.Process.PID != 0 {
				out.listeners[endpoint{ns.ID, l.Addr}] = l.Process
			}
		}
	}
	return out
}

func everywhere(netns uint32, a netip.AddrPort) []endpoint {
	if a.Addr().IsLoopback() {
		return []endpoint{{netns, a}}
	}
	return []endpoint{{netns, a}, {0, a}}
}

// of finds the other end's process.
func (p *peers) of(id *Identity) kernel.Process {
	if p == nil || id.Remote.Addr().IsUnspecified() {
		return kernel.Process{}
	}
	switch id.Role {
	case Client:
		for _, e := range everywhere(id.NetNS, id.Remote) {
			if found := p.servers[e]; len(found) > 0 {
				return p.one(found)
			}
		}
		// Called by its own address: the namespace's own listener, on this address or all.
		if id.Remote.Addr().IsLoopback() || id.Remote.Addr() == id.Local.Addr() {
			for _, a := range []netip.Addr{id.Remote.Addr(), netip.IPv6Unspecified(), netip.IPv4Unspecified()} {
				if l, ok := p.listeners[endpoint{id.NetNS, netip.AddrPortFrom(a, id.Remote.Port())}]; ok {
					return l
				}
			}
		}
	case Server:
		for _, e := range everywhere(id.NetNS, id.Local) {
			if found := p.clients[call{e, id.Remote.Addr()}]; len(found) > 0 {
				return p.one(found)
			}
		}
	}
	return kernel.Process{}
}

// one is the oldest that lives if all that live run the same program for the same
// service, and zero where they do not; the youngest if none lives.
func (p *peers) one(found candidates) kernel.Process {
	if len(found) > maxCandidates {
		return kernel.Process{}
	}
	var best kernel.Process
	for _, o := range found {
		is := process(p.host, o.tgid, o.start, o.comm)
		switch {
		case best.PID == 0:
			best = is
		case best.Ended && (!is.Ended || is.Start > best.Start):
			best = is
		case is.Ended:
		case is.Service != best.Service || is.Exe != best.Exe || is.Container != best.Container:
			return kernel.Process{}
		case is.Start < best.Start:
			best = is
		}
	}
	return best
}
