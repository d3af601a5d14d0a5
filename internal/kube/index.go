package kube

import (
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
)

// maxEntries bounds what is kept, some 100 MB: twice the pods that Kubernetes
// supports in a cluster.
const maxEntries = 300_000

func unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

type entryKey struct{ kind, uid string }

// index finds entries by address. Safe for concurrent use.
type index struct {
	mu     sync.RWMutex
	round  uint32
	all    map[entryKey]*entry
	byAddr map[netip.Addr]*entry
	heirs  map[netip.Addr][]*entry // others that have it too, or had it: the last one follows
	byPort map[netip.AddrPort][]*entry
	byNode map[uint16][]*entry
	nodes  map[netip.Addr]int  // how many pods are there
	static map[string][]*entry // pods by the uid that their node has for them
}

func newIndex() index {
	return index{all: map[entryKey]*entry{}, byAddr: map[netip.Addr]*entry{}, heirs: map[netip.Addr][]*entry{}, byPort: map[netip.AddrPort][]*entry{},
		byNode: map[uint16][]*entry{}, nodes: map[netip.Addr]int{}, static: map[string][]*entry{}}
}

// begin begins a list: what is put with its number is there after end.
func (x *index) begin() uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.round++
	return x.round
}

func (x *index) now() uint32 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.round
}

// end removes the entries of a kind that the list did not have.
func (x *index) end(kind string, round uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, e := range x.all {
		if k.kind == kind && e.round < round {
			x.drop(k)
		}
	}
}

// put keeps an entry in the place of an older one; nil is none. It reports whether
// there was room.
func (x *index) put(kind, uid string, e *entry, round uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := entryKey{kind, uid}
	before := x.all[k]
	x.drop(k)
	if e == nil {
		return true
	}
	if len(x.all) >= maxEntries {
		return false
	}
	e.round = round
	x.all[k] = e
	for _, a := range e.addrs {
		// An address is given to another while the one before still ends, and changes: it
		// is whose it was last.
		other := x.byAddr[a]
		switch {
		case other == nil:
			x.byAddr[a] = e
		case e.ends || before != nil && slices.Contains(before.addrs, a) && !other.ends:
			x.heirs[a] = append([]*entry{e}, x.heirs[a]...)
		default:
			x.heirs[a] = append(x.heirs[a], other)
			x.byAddr[a] = e
		}
	}
	for _, a := range e.ports {
		x.byPort[a] = append(x.byPort[a], e)
	}
	if e.host.IsValid() {
		x.nodes[e.host]++
	}
	if r := e.rare; r != nil {
		for _, p := range r.nodes {
			x.byNode[p] = append(x.byNode[p], e)
		}
		if r.static != "" {
			x.static[r.static] = append(x.static[r.static], e)
		}
	}
	return true
}

func (x *index) remove(kind, uid string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(entryKey{kind, uid})
}

func (x *index) drop(k entryKey) {
	e := x.all[k]
	if e == nil {
		return
	}
	delete(x.all, k)
	for _, a := range e.addrs {
		if x.byAddr[a] != e {
			without(x.heirs, a, e)
			continue
		}
		delete(x.byAddr, a)
		if n := len(x.heirs[a]); n > 0 {
			x.byAddr[a] = x.heirs[a][n-1]
			without(x.heirs, a, x.byAddr[a])
		}
	}
	for _, a := range e.ports {
		without(x.byPort, a, e)
	}
	if e.host.IsValid() {
		if x.nodes[e.host]--; x.nodes[e.host] == 0 {
			delete(x.nodes, e.host)
		}
	}
	if r := e.rare; r != nil {
		for _, p := range r.nodes {
			without(x.byNode, p, e)
		}
		if r.static != "" {
			without(x.static, r.static, e)
		}
	}
}

func without[K comparable](m map[K][]*entry, k K, e *entry) {
	if m[k] = slices.DeleteFunc(m[k], func(is *entry) bool { return is == e }); len(m[k]) == 0 {
		delete(m, k)
	}
}

// Workload is who has an endpoint: a pod's workload, a service by its own addresses,
// or at an address of a node whoever has the port. Both are "" where nobody is known, or
// several are. Of clients the port is 0: nobody is known at a node's address.
func (c *Cluster) Workload(at netip.AddrPort) (name, namespace string) {
	x := &c.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	addr := at.Addr().Unmap()
	e := x.byAddr[addr]
	if e == nil {
		claims := x.byPort[netip.AddrPortFrom(addr, at.Port())]
		if len(claims) == 0 && x.nodes[addr] > 0 {
			claims = x.byNode[at.Port()]
		}
		for _, o := range claims {
			if e != nil && o.work != e.work {
				return "", ""
			}
			e = o
		}
	}
	if e == nil {
		return "", ""
	}
	if w := e.work.Value(); w.service != "" {
		return w.service, w.namespace
	}
	return "", ""
}

// Pod calls f for the attributes of the pod with the uid, if there is one. Of a static
// pod it is also the one that its node knows, unless pods of several nodes have it: old
// kubelets, and manifests from a URL or with a uid of their own.
func (c *Cluster) Pod(uid string, f func(key, value string)) {
	x := &c.index
	x.mu.RLock()
	e := x.all[entryKey{"pods", uid}]
	if same := x.static[uid]; e == nil && len(same) == 1 {
		e = same[0]
	}
	x.mu.RUnlock()
	if e != nil {
		e.attributes(f)
	}
}
