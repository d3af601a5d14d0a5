//go:build linux

package dns

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// reply is a message as a server would make it.
func reply(t testing.TB, question string, kind dnsmessage.Type, records ...dnsmessage.Resource) dnsmessage.Message {
	t.Helper()
	return dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(question), Type: kind, Class: dnsmessage.ClassINET}},
		Answers:   records,
	}
}

func header(owner string, ttl uint32) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(owner), Class: dnsmessage.ClassINET, TTL: ttl}
}

func a(owner string, ttl uint32, addr string) dnsmessage.Resource {
	ip := netip.MustParseAddr(addr)
	if ip.Is4() {
		return dnsmessage.Resource{Header: header(owner, ttl), Body: &dnsmessage.AResource{A: ip.As4()}}
	}
	return dnsmessage.Resource{Header: header(owner, ttl), Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}}
}

func cname(owner string, ttl uint32, to string) dnsmessage.Resource {
	return dnsmessage.Resource{Header: header(owner, ttl), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)}}
}

func pack(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addrs(all ...string) (out []netip.Addr) {
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestParse(t *testing.T) {
	const v4, v6 = dnsmessage.TypeA, dnsmessage.TypeAAAA
	for name, test := range map[string]struct {
		in   dnsmessage.Message
		want answer
	}{
		"one": {reply(t, "Orders-DB.internal.", v4, a("orders-db.INTERNAL.", 30, "10.2.3.4")),
			answer{"orders-db.internal", addrs("10.2.3.4"), 30 * time.Second}},
		"several": {reply(t, "db.", v6, a("db.", 60, "fd00::1"), a("db.", 5, "fd00::2")), answer{"db", addrs("fd00::1", "fd00::2"), 5 * time.Second}},
		"aliases, in any order": {reply(t, "shop.example.", v4, a("edge.cdn.example.", 300, "192.0.2.7"),
			cname("shop.cdn.example.", 20, "edge.cdn.example."), cname("shop.example.", 3600, "shop.cdn.example.")),
			answer{"shop.example", addrs("192.0.2.7"), 20 * time.Second}},
		"what was not asked": {reply(t, "a.example.", v4, a("bank.example.", 9, "192.0.2.66"), a("a.example.", 9, "192.0.2.1")),
			answer{"a.example", addrs("192.0.2.1"), 9 * time.Second}},
		"mapped": {reply(t, "m.example.", v6, a("m.example.", 1, "::ffff:192.0.2.9")), answer{"m.example", addrs("192.0.2.9"), time.Second}},
	} {
		got, err := parse(pack(t, test.in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if d := cmp.Diff(test.want, got, cmp.AllowUnexported(answer{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	whole := reply(t, "db.example.", dnsmessage.TypeA, a("db.example.", 9, "192.0.2.1"))
	with := func(f func(*dnsmessage.Message)) []byte {
		m := whole
		f(&m)
		return pack(t, m)
	}
	for name, in := range map[string][]byte{
		"a question":    with(func(m *dnsmessage.Message) { m.Response = false }),
		"truncated":     with(func(m *dnsmessage.Message) { m.Truncated = true }),
		"an error":      with(func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }),
		"two questions": with(func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }),
		"another type":  pack(t, reply(t, "db.example.", dnsmessage.TypeTXT, a("db.example.", 9, "192.0.2.1"))),
		"another name":  pack(t, reply(t, "db.example.", dnsmessage.TypeA, a("other.example.", 9, "192.0.2.1"))),
		"aliases in a circle": pack(t, reply(t, "a.example.", dnsmessage.TypeA, cname("a.example.", 9, "b.example."),
			cname("b.example.", 9, "a.example."), a("c.example.", 9, "192.0.2.1"))),
		"a blocked name":    pack(t, reply(t, "ads.example.", dnsmessage.TypeA, a("ads.example.", 9, "0.0.0.0"), a("ads.example.", 9, "127.0.0.1"))),
		"no name of a host": pack(t, reply(t, "a\n<b>.example.", dnsmessage.TypeA, a("a\n<b>.example.", 9, "192.0.2.1"))),
		"an address":        pack(t, reply(t, "192.0.2.5.", dnsmessage.TypeA, a("192.0.2.5.", 9, "192.0.2.1"))),
		"a part":            pack(t, whole)[:30],
		"nothing":           nil,
		"text":              []byte(strings.Repeat("x", 600)),
	} {
		if got, err := parse(in); err == nil {
			t.Errorf("%s: parsed as %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(pack(f, reply(f, "shop.example.", dnsmessage.TypeA, cname("shop.example.", 3600, "edge.example."), a("edge.example.", 300, "192.0.2.7"))))
	f.Add(pack(f, reply(f, "db.", dnsmessage.TypeAAAA, a("db.", 60, "fd00::1"))))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := parse(in)
		if err != nil {
			return
		}
		if !hostName(got.name) || len(got.addresses) == 0 || len(got.addresses) > maxRecords || got.ttl < 0 {
			t.Errorf("parsed as %+v", got)
		}
		for _, x := range got.addresses {
			if !tells(x) || x.Is4In6() {
				t.Errorf("address %v", x)
			}
		}
	})
}
