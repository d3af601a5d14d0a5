//go:build linux

package telemetry

import (
	"net/netip"

	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

// peers knows which services of this host are behind endpoints, as of one report.
// Endpoints of two services at once, as with one address in two namespaces, are
// nobody's.
type peers struct {
	servers map[at]string
	wild    map[at]string // listeners on all addresses: at without one
	clients map[call]string
	owner   map[netip.Addr]uint32 // namespace that has an address
}

// at is an endpoint. Addresses of the loopback device are everywhere, so that
// they count with their namespace; others are taken to be the same in all.
type at struct {
	ns   uint32
	addr netip.AddrPort
}

type call struct {
	ns     uint32
	from   netip.Addr
	server netip.AddrPort
}

func peersOf(r *tcp.Report) *peers {
	p := &peers{servers: map[at]string{}, wild: map[at]string{}, clients: map[call]string{}, owner: map[netip.Addr]uint32{}}
	for i := range r.Flows {
		f := &r.Flows[i]
		service := subjectOf(f.Process, "", "").service
		local := f.Local.Addr()
		if !local.IsLoopback() {
			note(p.owner, local, f.NetNS)
		}
		switch f.Role {
		case tcp.Server:
			note(p.servers, at{space(f.NetNS, local), f.Local}, service)
		case tcp.Client:
			note(p.clients, call{space(f.NetNS, local), local, f.Remote}, service)
		}
	}
	for _, ns := range r.Namespaces {
		for _, l := range ns.Listeners {
			service := subjectOf(l.Process, "", "").service
			if l.Addr.Addr().IsUnspecified() {
				note(p.wild, at{ns.ID, netip.AddrPortFrom(netip.Addr{}, l.Addr.Port())}, service)
			} else {
				note(p.servers, at{space(ns.ID, l.Addr.Addr()), l.Addr}, service)
			}
		}
	}
	return p
}

// note keeps a value; two different ones become none.
func note[K comparable, V comparable](m map[K]V, k K, v V) {
	if old, ok := m[k]; ok && old != v {
		v = *new(V)
	}
	m[k] = v
}

func space(ns uint32, a netip.Addr) uint32 {
	if a.IsLoopback() {
		return ns
	}
	return 0
}

// of names the service at the other end, "" if it is not known. A nil peers knows none.
func (p *peers) of(i tcp.Identity) string {
	if p == nil {
		return ""
	}
	remote := i.Remote.Addr()
	if i.Role == tcp.Server {
		return p.clients[call{space(i.NetNS, remote), remote, i.Local}]
	}
	if s, ok := p.servers[at{space(i.NetNS, remote), i.Remote}]; ok {
		return s
	}
	ns := i.NetNS
	if !remote.IsLoopback() {
		ns = p.owner[remote]
	}
	return p.wild[at{ns, netip.AddrPortFrom(netip.Addr{}, i.Remote.Port())}]
}
