package sdk

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestClient(t *testing.T) {
	inner := proxies{}
	inner.trust(netip.MustParsePrefix("10.0.0.0/8"))
	inner.trust(netip.MustParsePrefix("fd00::/8"))
	const proxy = "10.0.0.1:80"
	xff := func(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }
	fwd := func(lines ...string) http.Header { return http.Header{"Forwarded": lines} }
	for _, test := range []struct {
		peer   string
		header http.Header
		want   string
	}{
		{proxy, nil, "10.0.0.1"},
		{proxy, xff("203.0.113.7"), "203.0.113.7"},
		{"198.51.100.1:80", xff("203.0.113.7"), "198.51.100.1"}, // not trusted
		{"[fd00::1%eth0]:80", xff("203.0.113.7"), "203.0.113.7"},
		{"[::ffff:10.0.0.1]:80", xff("203.0.113.7"), "203.0.113.7"},
		{"@", xff("203.0.113.7"), "@"},
		{"", xff("203.0.113.7"), ""},
		// What stands left of the first that is not trusted is the client's own.
		{proxy, xff("1.1.1.1, 203.0.113.7,10.0.0.2"), "203.0.113.7"},
		{proxy, xff("1.1.1.1", "203.0.113.7", "10.0.0.2, 10.0.0.3"), "203.0.113.7"},
		{proxy, xff("10.0.0.4, 10.0.0.3"), "10.0.0.4"},
		{proxy, xff("203.0.113.7:4711"), "203.0.113.7"},
		{proxy, xff("2001:DB8:0::1"), "2001:db8::1"},
		{proxy, xff("[2001:db8::1]:4711"), "2001:db8::1"},
		{proxy, xff("::ffff:203.0.113.7"), "203.0.113.7"},
		{proxy, xff("203.0.113.7, unknown"), "10.0.0.1"},
		{proxy, xff("203.0.113.7, 10.0.0.2, rubbish, 10.0.0.3"), "10.0.0.3"},
		{proxy, xff("fe80::1%eth0"), "10.0.0.1"},
		{proxy, xff(""), "10.0.0.1"},
		{proxy, xff("203.0.113.7" + strings.Repeat(",10.0.0.2", maxHops)), "10.0.0.2"},
		{proxy, fwd("for=203.0.113.7;proto=https;by=10.0.0.1"), "203.0.113.7"},
		{proxy, fwd(`proto=https; For="[2001:db8:cafe::17]:4711", for=10.0.0.2`), "2001:db8:cafe::17"},
		{proxy, fwd("for=203.0.113.7, for=_hidden"), "10.0.0.1"},
		{proxy, fwd("for=203.0.113.7, proto=https"), "10.0.0.1"},
		{proxy, fwd(`for="1.1.1.1`, "for=203.0.113.7"), "203.0.113.7"}, // left open
		{proxy, http.Header{"X-Real-Ip": {"203.0.113.7"}}, "203.0.113.7"},
		{proxy, http.Header{"X-Real-Ip": {"1.1.1.1"}, "X-Forwarded-For": {"203.0.113.7"}, "Forwarded": {"for=1.1.1.2"}}, "203.0.113.7"},
	} {
		if got := inner.client(&http.Request{RemoteAddr: test.peer, Header: test.header}); got != test.want {
			t.Errorf("from %s with %v: %q, want %q", test.peer, test.header, got, test.want)
		}
	}
	named := inner
	named.header = "Cf-Connecting-Ip"
	if got := named.client(&http.Request{RemoteAddr: proxy, Header: http.Header{"Cf-Connecting-Ip": {"203.0.113.7"}, "X-Forwarded-For": {"1.1.1.1"}}}); got != "203.0.113.7" {
		t.Errorf("of a header that was named: %q", got)
	}
	if got := named.client(&http.Request{RemoteAddr: proxy, Header: xff("1.1.1.1")}); got != "10.0.0.1" {
		t.Errorf("of another header than was named: %q", got)
	}
}

// Whatever a client sends, what the last proxy has added decides.
func FuzzClient(f *testing.F) {
	f.Add("1.1.1.1, 10.0.0.1", `for="1.1.1.1`)
	f.Fuzz(func(t *testing.T, list, forwarded string) {
		p := proxies{}
		p.trust(netip.MustParsePrefix("10.0.0.0/8"))
		for name, line := range map[string]string{"X-Forwarded-For": list + ",203.0.113.7", "Forwarded": forwarded + ",for=203.0.113.7"} {
			if got := p.client(&http.Request{RemoteAddr: "10.0.0.1:80", Header: http.Header{name: {line}}}); got != "203.0.113.7" {
				t.Fatalf("%s %q: %q", name, line, got)
			}
		}
		for name, line := range map[string]string{"X-Forwarded-For": list, "Forwarded": forwarded} {
			got := p.client(&http.Request{RemoteAddr: "10.0.0.1:80", Header: http.Header{name: {line}}})
			if _, err := netip.ParseAddr(got); err != nil {
				t.Fatalf("%s %q: %q is no address", name, line, got)
			}
		}
	})
}
