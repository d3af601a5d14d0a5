package symbol

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

const (
	// maxELFSymbols bounds the functions kept of one binary (16 bytes each); a
	// browser has a million, libc three thousand.
	maxELFSymbols = 1 << 20
	// maxSymbolTable bounds what is read to find them, variables and holes included.
	maxSymbolTable = 256 << 20
	// maxNotes bounds the segments of notes that are read, of which files have two
	// or three, and maxBuildID what is taken for an id: Go's has 83 letters.
	maxNotes, maxBuildID = 16, 128
)

// Binary is one executable or library. It holds the file open.
type Binary struct {
	BuildID string // GNU's in hex, else Go's; "" if the file has none

	unique bool // BuildID names this content and no other

	id    uint64
	file  io.Closer
	r     *pagedFile
	loads []elf.ProgHeader
	goTab *goTable // nil: not a Go program

	symSect [2]section // symbols and their strings; zero if none
	symMu   sync.Mutex
	syms    elfSymbols // read when first needed, forgotten when others need the room
	loaded  bool

	refs  int       // guarded by Table.mu
	used  uint64    // guarded by Table.mu
	keys  []fileKey // guarded by Table.mu
	build content   // guarded by Table.mu
}

type section struct{ off, size int64 }

// openBinary reads the headers of r. It keeps none of the tables.
func openBinary(cache *pages, r io.ReaderAt, c io.Closer) (*Binary, error) {
	f, err := ReadELF(r)
	if err != nil {
		return nil, err
	}
	b := &Binary{file: c, r: cache.file(r)}
	b.BuildID, b.unique = buildID(f)
	b.id = b.r.id
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			b.loads = append(b.loads, p.ProgHeader)
		}
	}
	if b.goTab, err = openGoTable(b.r, f); err != nil && !errors.Is(err, ErrNoTable) && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	for _, want := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		for _, s := range f.Sections {
			if s.Type == want && f.Class == elf.ELFCLASS64 && f.Data == elf.ELFDATA2LSB &&
				s.Link > 0 && int(s.Link) < len(f.Sections) && b.symSect[0].size == 0 {
				str := f.Sections[s.Link]
				b.symSect = [2]section{{int64(s.Offset), int64(s.FileSize)}, {int64(str.Offset), int64(str.FileSize)}}
			}
		}
	}
	return b, nil
}

// addr translates an offset in the file to an address of the file's own space.
func (b *Binary) addr(off uint64) (uint64, bool) {
	for _, p := range b.loads {
		if off >= p.Off && off-p.Off < p.Filesz {
			return p.Vaddr + off - p.Off, true
		}
	}
	return 0, false
}

// frames names what lies at an address of the file's own space; nil if nobody knows.
func (b *Binary) frames(addr uint64) []Frame {
	if b.goTab != nil {
		// What was read before an error is still right.
		if fr, err := b.goTab.frames(addr); len(fr) > 0 {
			return fr
		} else if !errors.Is(err, ErrNoTable) {
			return nil
		}
	}
	name, ok := b.symbols().find(addr)
	if !ok {
		return nil
	}
	str := b.symSect[1]
	s, err := readString(b.r, str.off+int64(name), str.off+str.size)
	if err != nil || s == "" {
		return nil
	}
	return []Frame{{Function: s}}
}

// elfSymbols are functions in the order of their addresses.
type elfSymbols []elfSymbol

type elfSymbol struct {
	addr uint64
	size uint32
	name uint32 // offset in the section of strings
}

func readELFSymbols(r io.ReaderAt, s section) (elfSymbols, error) {
	var out elfSymbols
	buf := make([]byte, 24*2048)
	for off, left := s.off, min(s.size, maxSymbolTable); left >= 24 && len(out) < maxELFSymbols; {
		n := min(left, int64(len(buf)))
		n -= n % 24
		if _, err := r.ReadAt(buf[:n], off); err != nil {
			return nil, fmt.Errorf("read symbols: %w", err)
		}
		for b := buf[:n]; len(b) > 0; b = b[24:] {
			// Elf64_Sym: name 4, info 1, other 1, shndx 2, value 8, size 8.
			typ := elf.SymType(b[4] & 0xf)
			if typ != elf.STT_FUNC && typ != elf.STT_GNU_IFUNC || binary.LittleEndian.Uint16(b[6:]) == uint16(elf.SHN_UNDEF) {
				continue
			}
			out = append(out, elfSymbol{
				addr: binary.LittleEndian.Uint64(b[8:]),
				size: uint32(min(binary.LittleEndian.Uint64(b[16:]), 1<<32-1)),
				name: binary.LittleEndian.Uint32(b),
			})
		}
		off, left = off+n, left-n
	}
	slices.SortFunc(out, func(a, b elfSymbol) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(a.size, b.size), cmp.Compare(a.name, b.name))
	})
	return slices.Clip(out), nil
}

func (s elfSymbols) find(addr uint64) (name uint32, ok bool) {
	i, _ := slices.BinarySearchFunc(s, addr, func(e elfSymbol, a uint64) int {
		if e.addr <= a {
			return -1
		}
		return 1
	})
	if i == 0 {
		return 0, false
	}
	e := s[i-1]
	// Functions of assembler often have no size: they reach to the next.
	return e.name, e.size == 0 || addr-e.addr < uint64(e.size)
}

// buildID reads the notes. The segment of notes stays when sections are stripped.
// unique says that the id was made from the content: who builds may pass one to
// the linker, and Bazel passes "redacted" for all programs of Go.
func buildID(f *elf.File) (id string, unique bool) {
	var gnu, golang string
	visitNotes(f, func(name string, typ uint32, desc []byte) {
		switch {
		case len(desc) > maxBuildID:
		case name == "GNU\x00" && typ == 3:
			gnu = hex.EncodeToString(desc)
		case name == "Go\x00\x00" && typ == 4:
			golang = strings.ToValidUTF8(string(desc), "\uFFFD")
		}
	})
	if gnu != "" {
		return gnu, len(gnu) >= 2*8
	}
	// Of action and content, of the main package and the program.
	return golang, len(golang) >= 40 && strings.Count(golang, "/") == 3
}

func hasGoNote(f *elf.File) bool {
	found := false
	visitNotes(f, func(name string, _ uint32, _ []byte) { found = found || name == "Go\x00\x00" })
	return found
}

func visitNotes(f *elf.File, visit func(name string, typ uint32, desc []byte)) {
	read := 0
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<16 {
			continue
		}
		if read++; read > maxNotes {
			return
		}
		b := make([]byte, p.Filesz)
		if n, _ := p.ReadAt(b, 0); n < len(b) {
			continue
		}
		for len(b) >= 12 {
			nameLen, descLen := uint64(f.ByteOrder.Uint32(b)), uint64(f.ByteOrder.Uint32(b[4:]))
			typ := f.ByteOrder.Uint32(b[8:])
			b = b[12:]
			if (nameLen+3)&^3+descLen > uint64(len(b)) {
				break
			}
			visit(string(b[:nameLen]), typ, b[(nameLen+3)&^3:][:descLen])
			b = b[min(uint64(len(b)), (nameLen+3)&^3+(descLen+3)&^3):]
		}
	}
}

func (b *Binary) symbols() elfSymbols {
	b.symMu.Lock()
	defer b.symMu.Unlock()
	if !b.loaded {
		b.syms, _ = readELFSymbols(b.r, b.symSect[0]) // a table that cannot be read names nothing
		b.loaded = true
	}
	return b.syms
}

// symbolBytes is what the symbols take in memory.
func (b *Binary) symbolBytes() int {
	b.symMu.Lock()
	defer b.symMu.Unlock()
	return 16 * cap(b.syms)
}

func (b *Binary) forgetSymbols() {
	b.symMu.Lock()
	defer b.symMu.Unlock()
	b.syms, b.loaded = nil, false
}

// fileKey says that two paths are the same content without reading it.
type fileKey struct {
	dev, ino    uint64
	size, mtime int64
}

func (b *Binary) close() {
	if b.file != nil {
		_ = b.file.Close() // read only
	}
}
