package label

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Networks labels addresses by the network they are in.
type Networks struct {
	named              map[netip.Prefix]string
	lengths4, lengths6 []int // of the prefixes in named, longest first

	bits4, bits6 int      // of the networks without a name; 0: they are Other
	rest         *Limiter // of those
}

// NetworkOptions configure Networks. With the zero value addresses are labelled by
// their /16, IPv6 by their /48.
type NetworkOptions struct {
	// Named are labels of networks, by prefixes like "10.2.0.0/16" or
	// addresses; an empty label stands for the prefix itself. The longest one
	// that an address is in counts. If there are any, all other addresses are
	// Other, unless Bits4 or Bits6 is set.
	Named map[string]string
	// Bits4 and Bits6 are how long the prefix is that labels an address
	// without a name. Default 16 and 48.
	Bits4, Bits6 int
	// Most is how many such prefixes get a label, those that come first; the
	// others are Other. Default DefaultMost.
	Most int
}

// Longest prefixes.
const (
	bits4 = 32
	bits6 = 128
)

// NewNetworks makes Networks. The error says which prefix cannot be used.
func NewNetworks(opts NetworkOptions) (*Networks, error) {
	n := &Networks{named: map[netip.Prefix]string{}, bits4: opts.Bits4, bits6: opts.Bits6, rest: NewLimiter(opts.Most)}
	if len(opts.Named) == 0 && n.bits4 == 0 && n.bits6 == 0 {
		n.bits4, n.bits6 = 16, 48
	}
	if n.bits4 < 0 || n.bits4 > bits4 || n.bits6 < 0 || n.bits6 > bits6 {
		return nil, fmt.Errorf("networks of %d and %d bits: want 0 to %d and 0 to %d", n.bits4, n.bits6, bits4, bits6)
	}
	for text, label := range opts.Named {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("network %q: %w; write it like 10.2.0.0/16", text, err)
		}
		if label == "" {
			label = p.String()
		}
		if old, there := n.named[p]; there && old != label {
			return nil, fmt.Errorf("network %s has the labels %q and %q", p, old, label)
		}
		n.named[p] = label
		of := &n.lengths6
		if p.Addr().Is4() {
			of = &n.lengths4
		}
		if !slices.Contains(*of, p.Bits()) {
			*of = append(*of, p.Bits())
		}
	}
	for _, of := range [][]int{n.lengths4, n.lengths6} {
		slices.Sort(of)
		slices.Reverse(of)
	}
	return n, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		a = a.Unmap().WithZone("")
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < bits6-bits4 {
			return netip.Prefix{}, fmt.Errorf("is IPv4 and IPv6 at once")
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-(bits6-bits4))
	}
	return p.Masked(), nil
}

// Of is the label of an address, with or without a port, as in
// http.Request.RemoteAddr; Invalid of what is no address.
func (n *Networks) Of(addr string) string {
	a, ok := parseAddr(addr)
	if !ok {
		return Invalid
	}
	return n.OfAddr(a)
}

// parseAddr reads an address without its zone, which would take memory. An error
// takes some as well.
func parseAddr(s string) (netip.Addr, bool) {
	if inner, bracketed := strings.CutPrefix(s, "["); bracketed {
		end := strings.IndexByte(inner, ']')
		if end < 0 || !isPort(inner[end+1:]) {
			return netip.Addr{}, false
		}
		s = inner[:end]
	} else if colon := strings.IndexByte(s, ':'); colon >= 0 && colon == strings.LastIndexByte(s, ':') {
		if !isPort(s[colon:]) {
			return netip.Addr{}, false
		}
		s = s[:colon]
	}
	if at := strings.IndexByte(s, '%'); at >= 0 {
		s = s[:at]
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

// isPort tells whether s is empty or a colon and a port.
func isPort(s string) bool {
	if s == "" {
		return true
	}
	const longest = len(":65535")
	if s[0] != ':' || len(s) > longest {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// OfAddr is the label of an address; Invalid of the zero Addr.
func (n *Networks) OfAddr(a netip.Addr) string {
	if !a.IsValid() {
		return Invalid
	}
	a = a.Unmap().WithZone("")
	lengths, bits := n.lengths6, n.bits6
	if a.Is4() {
		lengths, bits = n.lengths4, n.bits4
	}
	for _, length := range lengths {
		p, _ := a.Prefix(length) // the length is right
		if label, ok := n.named[p]; ok {
			return label
		}
	}
	if bits == 0 {
		return Other
	}
	p, _ := a.Prefix(bits)
	var buf [64]byte
	return limited(n.rest, p.AppendTo(buf[:0]))
}

// Folded is how many times an address was Other because Most networks had a label
// already.
func (n *Networks) Folded() uint64 { return n.rest.Folded() }
