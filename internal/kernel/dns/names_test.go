//go:build linux

package dns

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var (
	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	lb   = netip.MustParseAddr("192.0.2.80")
	shop = asker{netns: 1, pid: 100, start: time.Hour}
	cart = asker{netns: 1, pid: 200, start: time.Hour}
	far  = asker{netns: 2, pid: 100, start: time.Hour}
)

func called(name string, ttl time.Duration, at ...netip.Addr) answer { return answer{name, at, ttl} }

func TestNameIsWhatTheProcessAskedLast(t *testing.T) {
	n := newNames()
	f := func(who asker, after time.Duration, want string) {
		t.Helper()
		if got := n.name(who, lb, noon.Add(after)); got != want {
			t.Errorf("%+v after %v: got %q, want %q", who, after, got, want)
		}
	}
	f(shop, 0, "")
	n.learn(shop, called("pay.internal", 0, lb), noon)
	f(shop, 0, "pay.internal")
	f(cart, 0, "pay.internal") // of its namespace
	f(far, 0, "")
	n.learn(cart, called("orders.internal", 0, lb), noon)
	f(shop, 0, "pay.internal")
	f(cart, 0, "orders.internal")
	f(asker{netns: 1, pid: 300}, 0, "orders.internal")
	n.learn(shop, called("search.internal", 0, lb), noon)
	f(shop, 0, "search.internal")
	f(asker{netns: 1, pid: 100, start: 2 * time.Hour}, 0, "search.internal") // the id's next process
}

func TestNamesLiveAsLongAsTheyAreUsed(t *testing.T) {
	n := newNames()
	other := netip.MustParseAddr("192.0.2.81")
	n.learn(shop, called("short.internal", time.Second, lb), noon)
	n.learn(shop, called("long.internal", time.Hour, other), noon)
	at := noon
	for range 20 { // a connection that stays
		at = at.Add(lifeAtLeast - time.Second)
		if got := n.name(shop, lb, at); got != "short.internal" {
			t.Fatalf("at %v: %q", at, got)
		}
	}
	if got := n.name(shop, lb, at.Add(lifeAtLeast+time.Second)); got != "" {
		t.Errorf("after its time: %q", got)
	}
	if got := n.name(shop, other, noon.Add(time.Hour)); got != "long.internal" {
		t.Errorf("within its TTL: %q", got)
	}
	n.forget(at.Add(24 * time.Hour))
	if n.n != 0 || len(n.byAsker) != 0 || n.used.Len() != 0 {
		t.Errorf("%d names of %d askers are left", n.n, len(n.byAsker))
	}
}

// What one process asks for does not push out the names of others, and all
// together are bounded.
func TestNamesAreBounded(t *testing.T) {
	n := newNames()
	n.learn(cart, called("orders.internal", 0, lb), noon)
	for i := range 50_000 {
		addr := netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
		n.learn(far, called(fmt.Sprintf("%d.example", i), 0, addr), noon)
	}
	if got := n.name(cart, lb, noon); got != "orders.internal" {
		t.Errorf("after a flood of another: %q", got)
	}
	if want := 2*maxOfAsker + 2; n.n != want {
		t.Errorf("%d names, want %d", n.n, want)
	}
	for i := range 50_000 {
		n.learn(asker{netns: uint32(i), pid: i}, called("x.example", 0, lb), noon)
	}
	if n.n > maxNames || n.used.Len() > maxAskers || len(n.byAsker) != n.used.Len() {
		t.Errorf("%d names of %d askers", n.n, n.used.Len())
	}
	count := 0
	for _, e := range n.byAsker {
		count += len(e.Value.(*known).byAddr)
	}
	if count != n.n {
		t.Errorf("%d names are there, %d are counted", count, n.n)
	}
}
