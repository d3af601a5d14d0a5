package symbol

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
)

// maxKernelSymbols bounds the kernel's functions; a distribution's kernel with
// its modules has about 150,000 (5 MB here).
const maxKernelSymbols = 1 << 19

// ErrHidden says that the kernel shows its addresses to nobody, or not to us.
var ErrHidden = errors.New("the kernel hides its addresses (kptr_restrict)")

// Kernel names addresses of the kernel. It does not change after OpenKernel.
type Kernel struct {
	addrs []uint64
	names []uint32 // offset in text of the name, which ends with a line feed
	text  []byte
}

// OpenKernel reads kallsyms (path: "/proc/kallsyms").
func OpenKernel(path string) (*Kernel, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read names of the kernel: %w", err)
	}
	defer f.Close()
	return readKernel(f)
}

func readKernel(r io.Reader) (*Kernel, error) {
	type sym struct {
		addr uint64
		name uint32
	}
	var syms []sym
	k := &Kernel{}
	s := bufio.NewScanner(r)
	for s.Scan() && len(syms) < maxKernelSymbols {
		// address type name [module]
		line := s.Bytes()
		i := bytes.IndexByte(line, ' ')
		if i < 0 || len(line) < i+4 {
			continue
		}
		switch line[i+1] {
		case 't', 'T', 'w', 'W':
		default:
			continue
		}
		addr, err := strconv.ParseUint(string(line[:i]), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("read names of the kernel: unexpected line %q", line)
		}
		if addr == 0 {
			continue
		}
		name, module, _ := bytes.Cut(line[i+3:], []byte("\t"))
		syms = append(syms, sym{addr, uint32(len(k.text))})
		k.text = append(k.text, name...)
		if len(module) > 0 {
			k.text = append(append(k.text, ' '), module...)
		}
		k.text = append(k.text, '\n')
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read names of the kernel: %w", err)
	}
	if len(syms) == 0 {
		return nil, ErrHidden
	}
	// Of several names for one address the first listed wins.
	slices.SortStableFunc(syms, func(a, b sym) int { return cmp.Compare(a.addr, b.addr) })
	syms = slices.CompactFunc(syms, func(a, b sym) bool { return a.addr == b.addr })
	k.addrs, k.names = make([]uint64, len(syms)), make([]uint32, len(syms))
	for i, s := range syms {
		k.addrs[i], k.names[i] = s.addr, s.name
	}
	k.text = bytes.Clone(k.text) // without the room to grow
	return k, nil
}

// Name returns the function at an address, with its module if it has one; ""
// below the first.
func (k *Kernel) Name(addr uint64) string {
	i, ok := slices.BinarySearch(k.addrs, addr)
	if !ok {
		i--
	}
	if i < 0 {
		return ""
	}
	name, _, _ := bytes.Cut(k.text[k.names[i]:], []byte("\n"))
	return string(name)
}
