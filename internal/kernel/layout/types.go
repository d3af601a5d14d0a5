package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

// Descriptors of types are what reflection and interfaces read at run time. They
// say the fields of each struct that a value of can reach an interface, with their
// offsets, in every binary: stripping cannot remove them. See internal/abi.Type.

const (
	// maxTypes bounds what is searched: kubelet's descriptors take 9 MB.
	maxTypes = 256 << 20
	// maxDescribed bounds the structs that are read; the table has some sixty.
	maxDescribed = 1024

	kindPointer, kindStruct = 22, 25
	flagUncommon, flagStar  = 1, 2

	// Places in a descriptor.
	descFlag, descKind, descName = 20, 23, 40
	descElem                     = 48 // of a pointer
	descFields                   = 56 // of a struct: a slice
	descPackage                  = 80 // of a struct with methods or a package
	descSize                     = 84
)

// described is a struct that the binary describes itself.
type described struct {
	addr    uint64 // of its descriptor
	pointer uint64 // of that of the pointer to it; 0: none
	fields  structType
}

// Type returns the address of a struct's descriptor, or of that of a pointer to it, which
// is what an interface that holds such a value refers to: "net/http.response",
// "*net/http.response". It is an address of the file's own space; a position-independent
// program adds where it was loaded.
func (b *Binary) Type(name string) (addr uint64, ok bool) {
	base, pointer := strings.CutPrefix(name, "*")
	b.mu.Lock()
	defer b.mu.Unlock()
	t, err := b.describe(base)
	switch {
	case err != nil || t.addr == 0:
		return 0, false
	case pointer:
		return t.pointer, t.pointer != 0
	}
	return t.addr, true
}

// describe reads the descriptors when it is first asked, of all types of the table at once.
func (b *Binary) describe(typ string) (described, error) {
	if d, ok := b.described[typ]; ok {
		return d, nil
	}
	wanted := map[string]bool{typ: true}
	if b.described == nil {
		for name := range tabledTypes() {
			wanted[name] = true
		}
	}
	found, err := b.readDescriptors(wanted)
	if b.described == nil {
		b.described = map[string]described{}
	}
	for name := range wanted {
		b.described[name] = found[name] // zero: not there
	}
	return b.described[typ], err
}

func (b *Binary) readDescriptors(wanted map[string]bool) (map[string]described, error) {
	words, err := symbol.ModuleData(b.file, b.elf)
	if err != nil {
		return nil, fmt.Errorf("find types: %w", err)
	}
	types, off, size, err := b.typeSection(words)
	if err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	for name := range wanted {
		paths[packageOf(name)] = true
	}
	// Packages by the offset that descriptors refer to their name with.
	packages := map[uint32]string{}
	err = b.pieces(off, size, func(p []byte, at int64) {
		for path := range paths {
			for i := 0; ; {
				j := bytes.Index(p[i:], []byte(path))
				if j < 0 {
					break
				}
				i += j
				// A flag, the length as varint, the text.
				head := binary.AppendUvarint([]byte{0}, uint64(len(path)))
				if i >= len(head) && bytes.Equal(p[i-len(head):i], head) {
					packages[uint32(at)+uint32(i-len(head))] = path
				}
				i++
			}
		}
	})
	if err != nil {
		return nil, err
	}

	// Structs of these packages.
	type candidate struct {
		addr     uint64
		name     uint32
		star     bool
		path     string
		nfields  uint64
		elements uint64
	}
	var found []candidate
	le := binary.LittleEndian
	err = b.pieces(off, size, func(p []byte, at int64) {
		for i := 0; i+descSize <= len(p); i += 8 {
			d := p[i:]
			if d[descKind]&31 != kindStruct || d[descFlag]&flagUncommon == 0 {
				continue
			}
			path, ok := packages[le.Uint32(d[descPackage:])]
			n := le.Uint64(d[descFields+8:])
			if !ok || n == 0 || n > maxFields || n != le.Uint64(d[descFields+16:]) || len(found) >= maxDescribed {
				continue
			}
			found = append(found, candidate{addr: types + uint64(at) + uint64(i), name: le.Uint32(d[descName:]), star: d[descFlag]&flagStar != 0, path: path, nfields: n})
		}
	})
	if err != nil {
		return nil, err
	}
	found = slices.CompactFunc(found, func(a, b candidate) bool { return a.addr == b.addr })
	out := map[string]described{}
	byName := map[uint32][]string{}
	fields := map[uint64]uint64{}
	kept := map[string]candidate{}
	for _, c := range found {
		text, err := b.typeName(off, size, uint64(c.name))
		if err != nil {
			continue
		}
		if c.star {
			text = strings.TrimPrefix(text, "*")
		}
		// The runtime says the package's name where the linker says its path.
		_, short, ok := strings.Cut(text, ".")
		name := c.path + "." + short
		if !ok || !wanted[name] {
			continue
		}
		kept[name] = c
		byName[c.name] = append(byName[c.name], name)
		out[name] = described{addr: c.addr, fields: structType{}}
		fields[c.addr+descFields] = 0
	}
	if err := symbol.Pointers(b.file, b.elf, fields); err != nil {
		return nil, err
	}
	names := map[uint64]uint64{}
	for name, c := range kept {
		c.elements = fields[c.addr+descFields]
		kept[name] = c
		for i := range c.nfields {
			names[c.elements+24*i] = 0
		}
	}
	// Pointers to these structs: the same text, and the struct as element.
	type pointer struct {
		addr uint64
		name uint32
	}
	var pointers []pointer
	err = b.pieces(off, size, func(p []byte, at int64) {
		for i := 0; i+descElem+8 <= len(p); i += 8 {
			d := p[i:]
			if n := le.Uint32(d[descName:]); d[descKind]&31 == kindPointer && byName[n] != nil && len(pointers) < maxDescribed {
				pointers = append(pointers, pointer{types + uint64(at) + uint64(i), n})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for _, p := range pointers {
		names[p.addr+descElem] = 0
	}
	if err := symbol.Pointers(b.file, b.elf, names); err != nil {
		return nil, err
	}
	for _, p := range pointers {
		for _, name := range byName[p.name] {
			if t := out[name]; names[p.addr+descElem] == t.addr {
				t.pointer = p.addr
				out[name] = t
			}
		}
	}
	for name, c := range kept {
		if !b.readFields(out[name].fields, c.elements, c.nfields, names, types, off, size) {
			delete(out, name)
		}
	}
	return out, nil
}

// readFields reads the names and offsets of a struct's fields.
func (b *Binary) readFields(into structType, elements, n uint64, names map[uint64]uint64, types uint64, off, size int64) bool {
	last := uint64(0)
	for i := range n {
		at := elements + 24*i
		offset, ok := b.word(at + 16)
		name := names[at]
		if !ok || name < types || name-types >= uint64(size) {
			return false
		}
		if b.goVersion.before(version{1, 19, 0}) {
			offset >>= 1 // the lowest bit said that the field is embedded
		}
		text, err := b.typeName(off, size, name-types)
		if err != nil || offset < last || offset > 1<<24 {
			return false
		}
		last = offset
		if text != "_" {
			into[text] = offset
		}
	}
	return true
}

// typeSection is where the descriptors and the names that they refer to lie. Words behind
// runtime.moduledata.gcbss; see symbol.ModuleData.
func (b *Binary) typeSection(words []uint64) (addr uint64, off, size int64, err error) {
	i := 37
	if b.goVersion != (version{}) && b.goVersion.before(version{1, 20, 0}) {
		i = 35 // counters of coverage came in
	}
	types, end := words[i], words[i+1]
	if end < types {
		end = words[i+2] // the length of the descriptors came in with Go 1.27
	}
	at, ok := fileOffset(b.elf, types)
	if !ok || end <= types || end-types > maxTypes {
		return 0, 0, 0, errors.New("find types: module data does not say where they are")
	}
	return types, int64(at), int64(end - types), nil
}

// typeName reads the name at an offset from the types.
func (b *Binary) typeName(off, size int64, at uint64) (string, error) {
	if at >= uint64(size) {
		return "", errDWARF
	}
	buf := make([]byte, min(maxTypeName, size-int64(at)))
	n, err := b.file.ReadAt(buf, off+int64(at))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read name of type: %w", err)
	}
	buf = buf[:n]
	if len(buf) < 2 {
		return "", errDWARF
	}
	length, w := binary.Uvarint(buf[1:])
	if w <= 0 || length > uint64(len(buf)-1-w) {
		return "", errDWARF
	}
	return string(buf[1+w:][:length]), nil
}

// pieces shows a part of the file in overlapping pieces, each aligned as the whole;
// at is the offset of a piece in the part.
func (b *Binary) pieces(off, size int64, visit func(p []byte, at int64)) error {
	const overlap = 512
	buf := make([]byte, 256<<10)
	for at := int64(0); at < size; at += int64(len(buf)) - overlap {
		p := buf[:min(int64(len(buf)), size-at)]
		if _, err := b.file.ReadAt(p, off+at); err != nil {
			return fmt.Errorf("read types: %w", err)
		}
		visit(p, at)
	}
	return nil
}

func packageOf(typ string) string {
	slash := strings.LastIndexByte(typ, '/') + 1
	return typ[:slash+strings.IndexByte(typ[slash:], '.')]
}
