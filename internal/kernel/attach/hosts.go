//go:build linux && (amd64 || arm64)

package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// What becomes of a request whose host fits a pattern, as inject.bpf.c has it.
const (
	writeTo uint8 = iota + 1
	spare
)

// maxHosts bounds the entries of one table, each some 150 bytes of the kernel; a network that ends within an
// octet takes up to 128.
const maxHosts = 16_384

// maxPattern is the longest name of a pattern: what the kernel compares of a host.
const maxPattern = 8*len(injectPattern{}.Text) - 1

// hostTable is what the kernel decides by; the longest pattern that fits counts.
type hostTable struct {
	otherwise uint8 // where none fits; 0: there are no patterns
	verdicts  map[injectPattern]uint8
}

// CheckHosts says what is wrong with Options.InjectHosts and Options.InjectExcept.
func CheckHosts(hosts, except []string) error {
	_, err := newHostTable(hosts, except)
	return err
}

func newHostTable(hosts, except []string) (hostTable, error) {
	t := hostTable{verdicts: map[injectPattern]uint8{}}
	bits := map[injectPattern]int{} // of the network that an entry is of: two may be written out into the same
	if len(except) > 0 {
		t.otherwise = writeTo
	}
	if len(hosts) > 0 {
		t.otherwise = spare
	}
	for _, list := range []struct {
		patterns []string
		verdict  uint8
	}{{hosts, writeTo}, {except, spare}} {
		for _, pattern := range list.patterns {
			keys, n, err := hostPattern(pattern)
			if err != nil {
				return t, fmt.Errorf("host %q: %w", pattern, err)
			}
			for _, k := range keys {
				v, ok := t.verdicts[k]
				switch {
				case ok && n == bits[k] && v != list.verdict:
					return t, fmt.Errorf("host %q: it is to get headers and to be spared", pattern)
				case !ok || n > bits[k]:
					t.verdicts[k], bits[k] = list.verdict, n
				}
			}
		}
	}
	if len(t.verdicts) > maxHosts {
		return t, fmt.Errorf("hosts: %d entries, want at most %d; networks that end at an octet take one", len(t.verdicts), maxHosts)
	}
	return t, nil
}

// hostPattern is "*", a name, "*." and the end of names, an address, or a network of IPv4, whose
// bits it returns, too.
func hostPattern(s string) (keys []injectPattern, bits int, err error) {
	name := strings.ToLower(s)
	if strings.Contains(name, "/") {
		p, err := netip.ParsePrefix(name)
		switch {
		case err != nil:
			return nil, 0, errors.New("want a host, without scheme and path, or a network such as 10.0.0.0/8")
		case !p.Addr().Is4():
			return nil, 0, errors.New("of IPv6, want single addresses")
		}
		return network(p.Masked()), p.Bits(), nil
	}
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && a.Zone() == "" {
		if a.Is4() {
			return network(netip.PrefixFrom(a, a.BitLen())), a.BitLen(), nil
		}
		return []injectPattern{backwards("["+a.String()+"]", true)}, 0, nil
	}
	key, err := namePattern(name)
	return []injectPattern{key}, 0, err
}

func namePattern(name string) (injectPattern, error) {
	if name == "*" {
		return injectPattern{}, nil
	}
	rest, ends := strings.CutPrefix(name, "*")
	rest = strings.TrimSuffix(rest, ".")
	switch {
	case strings.Contains(rest, ":"):
		return injectPattern{}, errors.New("want it without a port")
	case rest == "" || ends && !strings.HasPrefix(rest, ".") || strings.Contains(rest, "*"):
		return injectPattern{}, errors.New("want a name, or * and a dot before the end of names, such as *.internal")
	case !strings.ContainsFunc(rest, isLetter):
		return injectPattern{}, errors.New("want a name with a letter in it, or a whole address")
	case strings.ContainsFunc(rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}):
		return injectPattern{}, errors.New("want letters, digits, dashes and dots")
	case len(rest) > maxPattern:
		return injectPattern{}, fmt.Errorf("%d bytes, want at most %d", len(rest), maxPattern)
	}
	return backwards(rest, !ends), nil
}

// isLetter is what the kernel tells names by from addresses; an underscore is one there.
func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r == '_' }

// Kinds of patterns, as inject.bpf.c has them.
const (
	nameKind uint32 = iota + 1
	addressKind
)

func backwards(name string, whole bool) injectPattern {
	b := []byte(name)
	slices.Reverse(b)
	return keyOf(nameKind, string(b), whole)
}

// keyOf makes the key of a text that hosts begin with, or that is the whole of one.
func keyOf(kind uint32, text string, whole bool) injectPattern {
	var all [8 * len(injectPattern{}.Text)]byte
	for i := range len(text) {
		all[i] = text[i] | 0x20 // the kernel's lower case
	}
	n := len(text)
	if whole {
		n++ // a zero
	}
	k := injectPattern{Bits: uint32(8 * (4 + n)), Kind: kind}
	for i := range k.Text {
		k.Text[i] = binary.NativeEndian.Uint64(all[8*i:])
	}
	return k
}

// network is what addresses of IPv4 in it begin with: an octet that it ends in is written out.
func network(p netip.Prefix) (keys []injectPattern) {
	octets, text := p.Addr().As4(), ""
	full, rest := p.Bits()/8, p.Bits()%8
	for i, o := range octets[:full] {
		if text += strconv.Itoa(int(o)); i < len(octets)-1 {
			text += "."
		}
	}
	if rest == 0 {
		return []injectPattern{keyOf(addressKind, text, full == len(octets))}
	}
	for i := range 1 << (8 - rest) {
		last := text + strconv.Itoa(int(octets[full])+i)
		if full == len(octets)-1 {
			keys = append(keys, keyOf(addressKind, last, true))
		} else {
			keys = append(keys, keyOf(addressKind, last+".", false))
		}
	}
	return keys
}

// size makes room in the object's table, and sets what it decides where no pattern fits.
func (t hostTable) size(spec *ebpf.CollectionSpec) error {
	spec.Maps["hosts"].MaxEntries = uint32(max(1, len(t.verdicts)))
	if err := spec.Variables["otherwise"].Set(t.otherwise); err != nil {
		return fmt.Errorf("set otherwise of inject: %w", err)
	}
	return nil
}

func (t hostTable) fill(m *ebpf.Map) error {
	for k, v := range t.verdicts {
		if err := m.Put(k, v); err != nil {
			return fmt.Errorf("put a host: %w", err)
		}
	}
	return nil
}
