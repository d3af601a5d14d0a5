package sdk

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// proxies are those that may say whom a request comes from.
type proxies struct {
	trusted []netip.Prefix
	header  string // that they say it in; "": the first there is of clientHeaders
}

// clientHeaders are looked for in this order. A proxy that writes one of them
// passes the others on as the client sent them: what most write comes first.
var clientHeaders = [...]string{"X-Forwarded-For", headerForwarded, "X-Real-Ip"}

const headerForwarded = "Forwarded"

// maxHops bounds how far a list is followed: more proxies than that are none.
const maxHops = 32

// proxies reads who is trusted.
func (e *environment) proxies(opts *HTTPOptions) (p proxies) {
	for _, prefix := range opts.TrustedProxies {
		p.trust(prefix)
	}
	if opts.TrustedProxies == nil {
		const name = "GUANLAN_TRUSTED_PROXIES"
		for _, item := range e.list(name) {
			prefix, err := netip.ParsePrefix(item)
			if err != nil {
				addr, err := netip.ParseAddr(item)
				if err != nil {
					e.errs = append(e.errs, fmt.Errorf("environment variable %s: %q is neither an address nor of the form 10.0.0.0/8; it is not trusted", name, item))
					continue
				}
				prefix = netip.PrefixFrom(addr, addr.BitLen())
			}
			p.trust(prefix)
		}
	}
	header, from := opts.ClientHeader, "option"
	if header == "" {
		header, from = e.text("GUANLAN_CLIENT_IP_HEADER")
	}
	if header != "" && !isToken(header) {
		e.errs = append(e.errs, fmt.Errorf("%s names the header %q: want letters, digits and dashes; X-Forwarded-For, Forwarded and X-Real-IP are read", from, header))
		header = ""
	}
	p.header = http.CanonicalHeaderKey(header)
	return p
}

// trust adds a prefix, one of mapped addresses as what they stand for.
func (p *proxies) trust(prefix netip.Prefix) {
	addr, bits := prefix.Addr(), prefix.Bits()
	const mapped = 128 - 32
	if addr.Is4In6() && bits >= mapped {
		prefix = netip.PrefixFrom(addr.Unmap(), bits-mapped)
	}
	if prefix.IsValid() {
		p.trusted = append(p.trusted, prefix.Masked())
	}
}

func (p *proxies) trusts(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range p.trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// client is the address that a request comes from: that of the connection, and
// behind trusted proxies the nearest one that is not trusted. Beyond an entry
// that is no address, as unknown or _hidden, nobody is asked.
func (p *proxies) client(r *http.Request) string {
	peer, _ := hostPort(r.RemoteAddr)
	if len(p.trusted) == 0 {
		return peer
	}
	addr, err := netip.ParseAddr(peer)
	if err != nil || !p.trusts(addr) {
		return peer
	}
	name := p.header
	for _, header := range clientHeaders {
		if name == "" && len(r.Header[header]) > 0 {
			name = header
		}
	}
	lines := r.Header[name]
	client, hops := peer, 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var hop string
			// Entries are what proxies added on the right, so a quotation
			// mark that a client left open cannot hide them.
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, hop = rest[:at], rest[at+1:]
			} else {
				hop, more = rest, false
			}
			if hops++; hops > maxHops {
				return client
			}
			if name == headerForwarded {
				hop = forwardedFor(hop)
			}
			text, addr, ok := parseHop(hop)
			if !ok {
				return client
			}
			client = text
			if !p.trusts(addr) {
				return client
			}
		}
	}
	return client
}

// forwardedFor is the parameter for of an element of Forwarded, RFC 7239.
func forwardedFor(element string) string {
	for element != "" {
		pair, rest, _ := strings.Cut(element, ";")
		if name, value, ok := strings.Cut(pair, "="); ok && strings.EqualFold(strings.TrimSpace(name), "for") {
			value = strings.TrimSpace(value)
			if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			return value
		}
		element = rest
	}
	return ""
}

// parseHop reads an address with or without a port: 192.0.2.1, 192.0.2.1:80,
// 2001:db8::1, [2001:db8::1], [2001:db8::1]:80. text is its usual form.
func parseHop(s string) (text string, addr netip.Addr, ok bool) {
	s = strings.TrimSpace(s)
	if inner, bracket := strings.CutPrefix(s, "["); bracket {
		host, port, closed := strings.Cut(inner, "]")
		if !closed || port != "" && port[0] != ':' {
			return "", netip.Addr{}, false
		}
		s = host
	} else if at := strings.IndexByte(s, ':'); at >= 0 && strings.LastIndexByte(s, ':') == at {
		s = s[:at]
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return "", netip.Addr{}, false
	}
	if addr.Is4() {
		return s, addr, true // there is one way to write it
	}
	addr = addr.Unmap()
	return addr.String(), addr, true
}
