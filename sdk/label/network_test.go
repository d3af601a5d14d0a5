package label

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func newNetworks(t testing.TB, opts NetworkOptions) *Networks {
	t.Helper()
	n, err := NewNetworks(opts)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNetworks(t *testing.T) {
	plain := newNetworks(t, NetworkOptions{})
	named := newNetworks(t, NetworkOptions{Named: map[string]string{
		"10.0.0.0/8": "cluster", "10.2.0.0/16": "office", "10.2.3.4": "proxy", "192.168.7.9/16": "", "2001:db8::/32": "lab", "::ffff:172.16.0.0/108": "old",
	}})
	both := newNetworks(t, NetworkOptions{Named: map[string]string{"10.0.0.0/8": "cluster"}, Bits4: 24, Most: 1})
	f := func(n *Networks, addr, want string) {
		t.Helper()
		if got := n.Of(addr); got != want {
			t.Errorf("%q: got %s, want %s", addr, got, want)
		}
	}
	f(plain, "10.2.3.4", "10.2.0.0/16")
	f(plain, "10.2.3.4:8080", "10.2.0.0/16")
	f(plain, "::ffff:10.2.3.4", "10.2.0.0/16")
	f(plain, "2001:db8:1:2::3", "2001:db8:1::/48")
	f(plain, "[2001:db8:1:2::3]:443", "2001:db8:1::/48")
	f(plain, "[2001:db8:1:2::3]", "2001:db8:1::/48")
	f(plain, "fe80::1%eth0", "fe80::/48")
	for _, wrong := range []string{"", "shop.example", "shop.example:80", "10.2.3", "10.2.3.4:", "10.2.3.4:http", "10.2.3.4:123456", "[::1", "[::1]x", "::1]:80", "unix", "@", "10.2.3.256"} {
		want := Invalid
		if wrong == "10.2.3.4:" {
			want = "10.2.0.0/16" // an empty port is a port, as in package net
		}
		f(plain, wrong, want)
	}
	f(named, "10.2.3.4", "proxy")
	f(named, "10.2.3.5", "office")
	f(named, "10.3.3.5", "cluster")
	f(named, "192.168.1.1", "192.168.0.0/16")
	f(named, "172.16.1.1", "old")
	f(named, "2001:db8::1", "lab")
	f(named, "8.8.8.8", "other")
	f(named, "::1", "other")
	f(both, "10.2.3.4", "cluster")
	f(both, "8.8.8.8", "8.8.8.0/24")
	f(both, "8.8.4.4", "other")
	f(both, "::1", "other")
	if both.Folded() != 1 || named.OfAddr(netip.Addr{}) != Invalid {
		t.Errorf("%d folded, want 1", both.Folded())
	}
	for _, wrong := range []NetworkOptions{{Bits4: 33}, {Bits6: -1}, {Named: map[string]string{"10.0.0.0/33": "a"}}, {Named: map[string]string{"shop": "a"}},
		{Named: map[string]string{"10.0.0.0/8": "a", "10.1.0.0/8": "b"}}, {Named: map[string]string{"::ffff:0:0/90": "a"}}} {
		if _, err := NewNetworks(wrong); err == nil {
			t.Errorf("%+v: no error", wrong)
		}
	}
}

// The longest prefix is compared with a look at all of them.
func TestNetworksAgainstAllPrefixes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	address := func() netip.Addr {
		if rng.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(rng.IntN(3)), byte(rng.IntN(3)), byte(rng.IntN(4))})
		}
		return netip.AddrFrom16([16]byte{0x20, 1, byte(rng.IntN(2)), byte(rng.IntN(3)), 15: byte(rng.IntN(4))})
	}
	for range 100 {
		opts := NetworkOptions{Named: map[string]string{}}
		var prefixes []netip.Prefix
		for range 1 + rng.IntN(10) {
			a := address()
			p, err := a.Prefix(rng.IntN(a.BitLen() + 1))
			if err != nil {
				t.Fatal(err)
			}
			prefixes = append(prefixes, p)
			opts.Named[p.String()] = ""
		}
		n := newNetworks(t, opts)
		for range 50 {
			a := address()
			want, bits := Other, -1
			for _, p := range prefixes {
				if p.Contains(a) && p.Bits() > bits {
					want, bits = p.String(), p.Bits()
				}
			}
			if got := n.Of(a.String()); got != want {
				t.Fatalf("%v in %v: got %s, want %s", a, prefixes, got, want)
			}
		}
	}
}

func FuzzNetworks(f *testing.F) {
	for _, s := range []string{"10.2.3.4", "10.2.3.4:80", "[::1]:80", "fe80::1%eth0", "::ffff:10.2.3.4", "", "[", ":", "]:", "%", "1:2"} {
		f.Add(s)
	}
	n := newNetworks(f, NetworkOptions{Most: 50})
	f.Fuzz(func(t *testing.T, s string) {
		got := n.Of(s)
		if a, err := netip.ParseAddr(s); err == nil && got == Invalid {
			t.Errorf("%v is invalid", a)
		}
		if a, err := netip.ParseAddrPort(s); err == nil && got != n.OfAddr(a.Addr()) {
			t.Errorf("%v: %s, without its port %s", a, got, n.OfAddr(a.Addr()))
		}
		if got != Invalid && got != Other {
			p, err := netip.ParsePrefix(got)
			if err != nil || p != p.Masked() || p.Bits() != 16 && p.Bits() != 48 {
				t.Errorf("%q: %s", s, got)
			}
		}
		if n.rest.Kept() > 50 {
			t.Error(fmt.Sprint(n.rest.Kept(), " labels"))
		}
	})
}
