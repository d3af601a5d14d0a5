//go:build linux

package dns

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	// lifeAtLeast is how long a name stands for an address, however short its TTL:
	// a TTL is about when to ask again, and connections outlive it. A name that
	// is looked up stays as long again.
	lifeAtLeast = 10 * time.Minute
	// lifeAtMost is what a TTL may ask for.
	lifeAtMost = 24 * time.Hour
	// maxAskers bounds the processes and namespaces that names are kept for, the
	// least recently used goes first with all its names.
	maxAskers = 2048
	// maxOfAsker bounds the addresses of one, so that a crawler forgets its own names only.
	maxOfAsker = 1024
	// maxNames bounds all: some 5 MB.
	maxNames = 16_384
)

// asker is a process or, with pid 0, a network namespace: a process may ask for
// another, as systemd-resolved does, or hand on what it knows, as servers that fork do.
type asker struct {
	netns uint32
	pid   int
	start time.Duration
}

// names remembers what addresses were called. Safe for concurrent use.
type names struct {
	mu      sync.Mutex
	byAsker map[asker]*list.Element // of *known
	used    *list.List              // most recent first
	n       int
}

type known struct {
	asker
	byAddr map[netip.Addr]*list.Element // of *entry
	used   *list.List                   // most recent first
}

type entry struct {
	addr  netip.Addr
	name  string
	until time.Time
}

func newNames() *names {
	return &names{byAsker: map[asker]*list.Element{}, used: list.New()}
}

// learn notes an answer for who asked: its process and its namespace.
func (n *names) learn(who asker, a answer, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	until := now.Add(min(max(a.ttl, lifeAtLeast), lifeAtMost))
	for _, w := range [...]asker{who, {netns: who.netns}} {
		k := n.of(w)
		for _, addr := range a.addresses {
			n.put(k, entry{addr, a.name, until})
		}
	}
	for n.n > maxNames || n.used.Len() > maxAskers {
		last := n.used.Back()
		k := last.Value.(*known)
		n.n -= k.used.Len()
		delete(n.byAsker, k.asker)
		n.used.Remove(last)
	}
}

func (n *names) of(who asker) *known {
	e := n.byAsker[who]
	if e == nil {
		e = n.used.PushFront(&known{asker: who, byAddr: map[netip.Addr]*list.Element{}, used: list.New()})
		n.byAsker[who] = e
	}
	n.used.MoveToFront(e)
	return e.Value.(*known)
}

func (n *names) put(k *known, x entry) {
	if e := k.byAddr[x.addr]; e != nil {
		*e.Value.(*entry) = x
		k.used.MoveToFront(e)
		return
	}
	k.byAddr[x.addr] = k.used.PushFront(&x)
	n.n++
	if k.used.Len() > maxOfAsker {
		n.drop(k, k.used.Back())
	}
}

func (n *names) drop(k *known, e *list.Element) {
	delete(k.byAddr, e.Value.(*entry).addr)
	k.used.Remove(e)
	n.n--
}

// name is what the process asked for last that had the address, else what its
// namespace did; "" if nobody asked.
func (n *names) name(who asker, addr netip.Addr, now time.Time) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range [...]asker{who, {netns: who.netns}} {
		e := n.byAsker[w]
		if e == nil {
			continue
		}
		k := e.Value.(*known)
		at := k.byAddr[addr]
		if at == nil {
			continue
		}
		x := at.Value.(*entry)
		if now.After(x.until) {
			n.drop(k, at)
			continue
		}
		if again := now.Add(lifeAtLeast); again.After(x.until) {
			x.until = again
		}
		k.used.MoveToFront(at)
		n.used.MoveToFront(e)
		return x.name
	}
	return ""
}

// forget drops what nobody looked up in time, and askers without names.
func (n *names) forget(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for e := n.used.Front(); e != nil; {
		next := e.Next()
		k := e.Value.(*known)
		for at := k.used.Front(); at != nil; {
			after := at.Next()
			if now.After(at.Value.(*entry).until) {
				n.drop(k, at)
			}
			at = after
		}
		if k.used.Len() == 0 {
			delete(n.byAsker, k.asker)
			n.used.Remove(e)
		}
		e = next
	}
}
