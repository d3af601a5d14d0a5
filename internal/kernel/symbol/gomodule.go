package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Words of runtime.moduledata, which the linker writes: pointers and slices
// only, so that an index is enough.
const (
	modHeader = 0 // pointer to the table of functions
	modNames  = 1 // slice; points into the table
	modFuncs  = 13
	modMinPC  = 20
	modMaxPC  = 21
	modText   = 22

	modGoFunc118 = 38
	modGoFunc120 = 40 // coverage counters came in
	modGoFunc127 = 43 // lengths of types and itabs came in
	modWords     = 44
)

const (
	// maxScan bounds what is read of one file to find a table that has no section,
	// and the module data: holes cost who made the file nothing.
	maxScan = 256 << 20
	// maxCandidates bounds the places that look like what is searched for.
	maxCandidates = 4096
	// maxRelocs bounds what one reading of the relocations takes; kubelet's are some
	// MB. They are read once, and once more for each of maxPlaces.
	maxRelocs, maxPlaces = 64 << 20, 16
)

// search is what is left of the bounds for one file.
type search struct {
	bytes      int64
	candidates int
}

func newSearch() *search { return &search{bytes: maxScan, candidates: maxCandidates} }

// openGoTable finds the table of functions of an ELF file: by its section, or
// by its first bytes where it has none. It finds the
// address of the text and the inline trees by the module data, which refers to
// the table.
func openGoTable(r io.ReaderAt, f *elf.File) (*goTable, error) {
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, ErrNoTable
	}
	left := newSearch()
	t, addr, err := locateGoTable(r, f, left)
	if err != nil {
		return nil, err
	}
	mod, err := findModule(r, f, t, addr, left)
	if err != nil {
		return nil, err
	}
	if mod == nil {
		// Without module data the header's text is all there is; it is zero in
		// position-independent code and since Go 1.26.
		if s := f.Section(".text"); t.text == 0 && s != nil {
			t.text = s.Addr
		}
		return t, nil
	}
	t.text = mod[modText]
	candidates := []int{modGoFunc127, modGoFunc120}
	if !t.go120 {
		candidates = []int{modGoFunc118}
	}
	for _, i := range candidates {
		// In the versions before, the word at the later index is the length of a
		// slice of a few sections.
		if off, ok := fileOffset(f, mod[i]); ok && mod[i] >= pageSize {
			t.gofunc = off
			break
		}
	}
	return t, nil
}

func locateGoTable(r io.ReaderAt, f *elf.File, left *search) (*goTable, uint64, error) {
	for _, s := range f.Sections {
		// .gopclntab, or .data.rel.ro.gopclntab in position-independent code.
		if s.Type == elf.SHT_PROGBITS && strings.HasSuffix(s.Name, ".gopclntab") {
			t, err := readGoTable(r, int64(s.Offset), int64(s.FileSize))
			return t, s.Addr, err
		}
	}
	// A linker of C merges the table into .data.rel.ro; some packers remove all
	// sections. What is left says that there is Go.
	if f.Section(".go.buildinfo") == nil && !hasGoNote(f) {
		return nil, 0, ErrNoTable
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X != 0 {
			continue
		}
		var found *goTable
		var at int64
		err := left.scan(r, int64(p.Off), int64(min(p.Filesz, maxScan)), func(chunk []byte, off int64) bool {
			for i := 0; ; i += 4 {
				j := bytes.Index(chunk[i:], []byte{0xff, 0xff, 0xff, 0, 0})
				if j < 0 {
					return false
				}
				i += j
				// The magic's lowest byte comes first.
				start := off + int64(i) - 1
				if i > 0 && i+6 < len(chunk) && start%8 == 0 && chunk[i-1]|1 == magicGo120&0xff && chunk[i+6] == 8 {
					if left.candidates--; left.candidates < 0 {
						return true
					}
					if t, err := readGoTable(r, start, int64(p.Off+p.Filesz)-start); err == nil {
						found, at = t, start
						return true
					}
				}
			}
		})
		if err != nil {
			return nil, 0, err
		}
		if found != nil {
			return found, p.Vaddr + uint64(at) - p.Off, nil
		}
	}
	return nil, 0, ErrNoTable
}

// scan calls visit with overlapping pieces of a range of the file until it
// returns true, or as much is read as may be.
func (s *search) scan(r io.ReaderAt, off, size int64, visit func(chunk []byte, off int64) bool) error {
	const overlap = 64
	buf := make([]byte, 256<<10)
	size = min(size, s.bytes)
	s.bytes -= max(size, 0)
	for size > 0 {
		n, err := r.ReadAt(buf[:min(size, int64(len(buf)))], off)
		if n > 0 && visit(buf[:n], off) {
			return nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("scan file at %d: %w", off, err)
		}
		if int64(n) == size {
			return nil
		}
		off, size = off+int64(n-overlap), size-int64(n-overlap)
	}
	return nil
}

// fileOffset translates an address of the file's own space.
func fileOffset(f *elf.File, addr uint64) (int64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return int64(p.Off + addr - p.Vaddr), true
		}
	}
	return 0, false
}

// findModule returns the words of the module data whose table lies at addr,
// or nil. In code that is not position-independent the pointers stand in the
// file. Else they are relocations, which name the place and the value.
func findModule(r io.ReaderAt, f *elf.File, t *goTable, addr uint64, left *search) ([]uint64, error) {
	relocs, err := relocations(f)
	if err != nil {
		return nil, err
	}
	if relocs != nil {
		var places []uint64
		err := scanRelocs(r, relocs, func(place, value uint64) {
			if value == addr && len(places) < maxPlaces {
				places = append(places, place)
			}
		})
		if err != nil {
			return nil, err
		}
		for _, place := range places {
			words, err := moduleAt(r, f, place)
			if err != nil {
				continue // something else that points to the table
			}
			err = scanRelocs(r, relocs, func(at, value uint64) {
				if at >= place && at < place+8*modWords && (at-place)%8 == 0 {
					words[(at-place)/8] = value
				}
			})
			if err != nil {
				return nil, err
			}
			if isModule(words, t, addr) {
				return words, nil
			}
		}
	}
	var want [8]byte
	binary.LittleEndian.PutUint64(want[:], addr)
	var found []uint64
	visit := func(vaddr uint64, start int64) func(chunk []byte, off int64) bool {
		return func(chunk []byte, off int64) bool {
			for i := 0; ; i++ {
				j := bytes.Index(chunk[i:], want[:])
				if j < 0 {
					return false
				}
				i += j
				if left.candidates--; left.candidates < 0 {
					return true
				}
				place := vaddr + uint64(off-start) + uint64(i)
				if place%8 != 0 {
					continue
				}
				if words, err := moduleAt(r, f, place); err == nil && isModule(words, t, addr) {
					found = words
					return true
				}
			}
		}
	}
	// Where linkers put it, since Go 1.26 and before; else anywhere.
	for _, name := range []string{".go.module", ".noptrdata"} {
		if s := f.Section(name); s != nil && s.Type == elf.SHT_PROGBITS && found == nil {
			if err := left.scan(r, int64(s.Offset), int64(min(s.FileSize, maxScan)), visit(s.Addr, int64(s.Offset))); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X != 0 || found != nil {
			continue
		}
		if err := left.scan(r, int64(p.Off), int64(min(p.Filesz, maxScan)), visit(p.Vaddr, int64(p.Off))); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func moduleAt(r io.ReaderAt, f *elf.File, place uint64) ([]uint64, error) {
	off, ok := fileOffset(f, place)
	if !ok {
		return nil, ErrNoTable
	}
	var b [8 * modWords]byte
	if _, err := r.ReadAt(b[:], off); err != nil {
		return nil, fmt.Errorf("read module data: %w", err)
	}
	words := make([]uint64, modWords)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return words, nil
}

// isModule checks the words against the table: both were written by the same
// linker and repeat each other.
func isModule(words []uint64, t *goTable, addr uint64) bool {
	return words[modHeader] == addr && words[modNames] == addr+uint64(t.names) && words[modFuncs] == addr+uint64(t.funcs) &&
		words[modMinPC] < words[modMaxPC] && words[modText] <= words[modMinPC]
}

type relocTable struct {
	off, size int64
	relative  uint32 // the type that adds the load address only
}

func relocations(f *elf.File) (*relocTable, error) {
	var relative uint32
	switch f.Machine {
	case elf.EM_X86_64:
		relative = uint32(elf.R_X86_64_RELATIVE)
	case elf.EM_AARCH64:
		relative = uint32(elf.R_AARCH64_RELATIVE)
	default:
		return nil, nil
	}
	if f.Type != elf.ET_DYN {
		return nil, nil
	}
	// By the dynamic segment, which no stripping removes.
	for _, p := range f.Progs {
		if p.Type != elf.PT_DYNAMIC || p.Filesz > 1<<16 {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return nil, fmt.Errorf("read dynamic segment: %w", err)
		}
		var addr, size uint64
		for ; len(b) >= 16; b = b[16:] {
			switch v := binary.LittleEndian.Uint64(b[8:]); elf.DynTag(binary.LittleEndian.Uint64(b)) {
			case elf.DT_RELA:
				addr = v
			case elf.DT_RELASZ:
				size = v
			}
		}
		if off, ok := fileOffset(f, addr); ok && size > 0 && size < maxRelocs {
			return &relocTable{off: off, size: int64(size), relative: relative}, nil
		}
	}
	return nil, nil
}

func scanRelocs(r io.ReaderAt, t *relocTable, visit func(place, value uint64)) error {
	buf := make([]byte, 24*4096)
	for off, left := t.off, t.size; left >= 24; {
		n := min(left, int64(len(buf)))
		n -= n % 24
		if _, err := r.ReadAt(buf[:n], off); err != nil {
			return fmt.Errorf("read relocations: %w", err)
		}
		for b := buf[:n]; len(b) >= 24; b = b[24:] {
			if binary.LittleEndian.Uint32(b[8:]) == t.relative {
				visit(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[16:]))
			}
		}
		off, left = off+n, left-n
	}
	return nil
}
