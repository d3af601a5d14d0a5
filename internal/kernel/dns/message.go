//go:build linux

package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxRecords bounds what is read of one answer: 4096 bytes hold no more of A.
	maxRecords = 256
	// maxChain bounds the aliases of one name: resolvers give up at 8 to 16.
	maxChain = 16
)

// answer is what a name stood for.
type answer struct {
	name      string // as it was asked, in lower case and without the last dot
	addresses []netip.Addr
	ttl       time.Duration // the shortest on the way from the name to its addresses
}

var errNoName = errors.New("not a name of a host")

// parse reads the answer to one question for addresses. Records that the question
// does not lead to, by aliases, are left out: who answers may name only what was asked.
func parse(message []byte) (answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return answer{}, fmt.Errorf("read header: %w", err)
	}
	if !h.Response || h.OpCode != 0 || h.Truncated || h.RCode != dnsmessage.RCodeSuccess {
		return answer{}, errors.New("no answer, or not whole")
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return answer{}, fmt.Errorf("read question: %w", err)
	}
	if len(questions) != 1 || questions[0].Class != dnsmessage.ClassINET ||
		questions[0].Type != dnsmessage.TypeA && questions[0].Type != dnsmessage.TypeAAAA {
		return answer{}, errors.New("not a question for addresses")
	}
	type record struct {
		addr netip.Addr
		ttl  uint32
	}
	type alias struct {
		to  string
		ttl uint32
	}
	found, aliases := map[string][]record{}, map[string]alias{}
	for range maxRecords {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		} else if err != nil {
			return answer{}, fmt.Errorf("read answer: %w", err)
		}
		owner := fold(h.Name)
		switch {
		case h.Class != dnsmessage.ClassINET:
			err = p.SkipAnswer()
		case h.Type == dnsmessage.TypeA:
			var r dnsmessage.AResource
			r, err = p.AResource()
			found[owner] = append(found[owner], record{netip.AddrFrom4(r.A), h.TTL})
		case h.Type == dnsmessage.TypeAAAA:
			var r dnsmessage.AAAAResource
			r, err = p.AAAAResource()
			found[owner] = append(found[owner], record{netip.AddrFrom16(r.AAAA).Unmap(), h.TTL})
		case h.Type == dnsmessage.TypeCNAME:
			var r dnsmessage.CNAMEResource
			r, err = p.CNAMEResource()
			aliases[owner] = alias{fold(r.CNAME), h.TTL}
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return answer{}, fmt.Errorf("read answer: %w", err)
		}
	}
	out := answer{name: fold(questions[0].Name)}
	if !hostName(out.name) {
		return answer{}, errNoName
	}
	at, ttl := out.name, ^uint32(0)
	for range maxChain {
		if list := found[at]; list != nil {
			for _, r := range list {
				if tells(r.addr) {
					out.addresses = append(out.addresses, r.addr)
					ttl = min(ttl, r.ttl)
				}
			}
			break
		}
		next, ok := aliases[at]
		if !ok {
			break
		}
		at, ttl = next.to, min(ttl, next.ttl)
	}
	out.ttl = time.Duration(ttl) * time.Second
	if len(out.addresses) == 0 {
		return answer{}, errors.New("no address")
	}
	return out, nil
}

// tells reports whether an address may stand for one name: 0.0.0.0 and loopback
// addresses are what filters of advertisements answer, and are anybody.
func tells(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func fold(n dnsmessage.Name) string {
	return strings.TrimSuffix(strings.ToLower(n.String()), ".")
}

// hostName reports whether s can be shown as a name: other bytes are allowed in
// DNS, but no name of a host has them.
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	_, err := netip.ParseAddr(s)
	return err != nil
}
