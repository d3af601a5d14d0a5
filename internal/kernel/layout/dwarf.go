package layout

import (
	"bufio"
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits on what the debugging data of a binary may make us do.
const (
	// maxAbbrev bounds the table of abbreviations, which is kept in memory. Go's
	// takes 2 KB, a C++ library's some megabytes.
	maxAbbrev = 32 << 20
	// maxDebugInfo bounds what is read, after decompression; kubelet has 60 MB.
	maxDebugInfo = 4 << 30
	maxDIEDepth  = 1 << 12
	maxTypeName  = 512
	maxFields    = 1 << 12
)

var errDWARF = errors.New("corrupt debugging data")

// structType is where the fields of a struct are, by name.
type structType map[string]uint64

// dwarfStructs reads the structs that want asks for from the debugging data, until it
// has as many as there are. debug/dwarf would hold all of the data in memory: five
// sections, of some 100 MB in a large program. Here one section passes by in
// a buffer, and whatever is not such a struct is stepped over.
func dwarfStructs(f *elf.File, want func(name []byte) bool, most int) (map[string]structType, error) {
	abbrev, info := debugSection(f, "abbrev"), debugSection(f, "info")
	if abbrev == nil || info == nil {
		return nil, nil
	}
	table, err := io.ReadAll(io.LimitReader(abbrev, maxAbbrev))
	if err != nil {
		return nil, fmt.Errorf("read abbreviations of debugging data: %w", err)
	}
	s := &dieReader{
		r: bufio.NewReaderSize(io.LimitReader(info, maxDebugInfo), 128<<10), order: f.ByteOrder,
		table: table, want: want, most: most, found: map[string]structType{},
	}
	for len(s.found) < s.most {
		if err := s.unit(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return s.found, fmt.Errorf("read debugging data: %w", err)
		}
	}
	return s.found, nil
}

// debugSection opens .debug_NAME, or .zdebug_NAME as linkers before Go 1.19
// compressed it; nil if there is none.
func debugSection(f *elf.File, name string) io.Reader {
	for _, prefix := range []string{".debug_", ".zdebug_"} {
		if s := f.Section(prefix + name); s != nil && s.Type != elf.SHT_NOBITS {
			return s.Open() // decompresses either way
		}
	}
	return nil
}

// dieReader steps through .debug_info. See DWARF 5, 7.5.
type dieReader struct {
	r     *bufio.Reader
	order binary.ByteOrder
	pos   int64
	table []byte

	abbrevs  map[uint64]*abbrev
	shape    shape
	dwarf64  bool
	addrSize int
	version  int

	want  func([]byte) bool
	most  int
	found map[string]structType

	name     []byte // of the entry in work, if its attributes say one
	location uint64
	located  bool
}

// shape is what a table of abbreviations was read for.
type shape struct {
	at                uint64
	version, addrSize int
	dwarf64           bool
}

// abbrev is the shape of entries.
type abbrev struct {
	tag      dwarf.Tag
	children bool
	attrs    []attr
	fixed    int // bytes of all attributes; < 0: depends on their values
}

type attr struct {
	at    dwarf.Attr
	form  uint64
	value int64 // of formImplicit
}

// Forms of attributes, DWARF 5, 7.5.6.
const (
	formAddr, formBlock2, formBlock4, formData2        = 0x01, 0x03, 0x04, 0x05
	formData4, formData8, formString, formBlock        = 0x06, 0x07, 0x08, 0x09
	formBlock1, formData1, formFlag, formSdata         = 0x0a, 0x0b, 0x0c, 0x0d
	formStrp, formUdata, formRefAddr, formRef1         = 0x0e, 0x0f, 0x10, 0x11
	formRef2, formRef4, formRef8, formRefUdata         = 0x12, 0x13, 0x14, 0x15
	formIndirect, formSecOffset, formExpr, formPresent = 0x16, 0x17, 0x18, 0x19
	formStrx, formAddrx, formRefSup4, formStrpSup      = 0x1a, 0x1b, 0x1c, 0x1d
	formData16, formLineStrp, formRefSig8, formImplict = 0x1e, 0x1f, 0x20, 0x21
	formLoclistx, formRnglistx, formRefSup8            = 0x22, 0x23, 0x24
	formStrx1, formStrx2, formStrx3, formStrx4         = 0x25, 0x26, 0x27, 0x28
	formAddrx1, formAddrx2, formAddrx3, formAddrx4     = 0x29, 0x2a, 0x2b, 0x2c
	formGNURefAlt, formGNUStrpAlt                      = 0x1f20, 0x1f21
)

// size of a form in bytes; -1: it says itself.
func (s *dieReader) size(form uint64) int {
	offset := 4
	if s.dwarf64 {
		offset = 8
	}
	switch form {
	case formPresent, formImplict:
		return 0
	case formData1, formFlag, formRef1, formStrx1, formAddrx1:
		return 1
	case formData2, formRef2, formStrx2, formAddrx2:
		return 2
	case formStrx3, formAddrx3:
		return 3
	case formData4, formRef4, formStrx4, formAddrx4, formRefSup4:
		return 4
	case formData8, formRef8, formRefSig8, formRefSup8:
		return 8
	case formData16:
		return 16
	case formAddr:
		return s.addrSize
	case formRefAddr:
		if s.version <= 2 {
			return s.addrSize
		}
		return offset
	case formStrp, formSecOffset, formStrpSup, formLineStrp, formGNURefAlt, formGNUStrpAlt:
		return offset
	}
	return -1
}

func (s *dieReader) unit() error {
	n32, err := s.uint(4)
	if err != nil {
		return err
	}
	length := n32
	if s.dwarf64 = n32 == 0xffffffff; s.dwarf64 {
		if length, err = s.uint(8); err != nil {
			return inside(err)
		}
	}
	if length > maxDebugInfo {
		return errDWARF
	}
	end := s.pos + int64(length)
	if length == 0 {
		return nil
	}
	offset := 4
	if s.dwarf64 {
		offset = 8
	}
	v, err := s.uint(2)
	if err != nil {
		return inside(err)
	}
	s.version = int(v)
	var at, size, kind uint64
	switch {
	case v == 5:
		kind, err = s.uint(1)
		size, err = then(err, s, 1)
		at, err = then(err, s, offset)
		switch kind {
		case 0x04, 0x05: // skeleton and split units: their id
			_, err = then(err, s, 8)
		case 0x02, 0x06: // units of one type: its id and where it is
			_, err = then(err, s, 8)
			_, err = then(err, s, offset)
		}
	case v >= 2 && v <= 4:
		at, err = s.uint(offset)
		size, err = then(err, s, 1)
	default:
		return s.skip(end - s.pos)
	}
	if err != nil {
		return inside(err)
	}
	if size != 4 && size != 8 {
		return errDWARF
	}
	s.addrSize = int(size)
	// Sizes of forms are part of what is kept of a table.
	if shape := (shape{at, s.version, s.addrSize, s.dwarf64}); s.abbrevs == nil || s.shape != shape {
		s.shape, s.abbrevs = shape, map[uint64]*abbrev{}
		if at >= uint64(len(s.table)) {
			return errDWARF
		}
		if err := s.readAbbrevs(bytes.NewReader(s.table[at:])); err != nil {
			return err
		}
	}
	return inside(s.entries(end))
}

func then(err error, s *dieReader, n int) (uint64, error) {
	if err != nil {
		return 0, err
	}
	return s.uint(n)
}

// inside marks an end of the data where more must follow.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *dieReader) readAbbrevs(r *bytes.Reader) error {
	for {
		code, err := binary.ReadUvarint(r)
		if err != nil || code == 0 {
			return nil // a table that ends early ends
		}
		tag, err1 := binary.ReadUvarint(r)
		children, err2 := r.ReadByte()
		if err1 != nil || err2 != nil {
			return errDWARF
		}
		a := &abbrev{tag: dwarf.Tag(tag), children: children != 0, fixed: -1}
		for {
			at, err1 := binary.ReadUvarint(r)
			form, err2 := binary.ReadUvarint(r)
			if err1 != nil || err2 != nil || len(a.attrs) > 256 {
				return errDWARF
			}
			if at == 0 && form == 0 {
				break
			}
			x := attr{at: dwarf.Attr(at), form: form}
			if form == formImplict {
				if x.value, err = sleb(r); err != nil {
					return errDWARF
				}
			}
			a.attrs = append(a.attrs, x)
		}
		s.abbrevs[code] = a
	}
}

func sleb(r io.ByteReader) (int64, error) {
	var v int64
	for shift := 0; shift < 70; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift < 57 {
				v |= -1 << (shift + 7)
			}
			return v, nil
		}
	}
	return 0, errDWARF
}

// entries reads those of one unit.
func (s *dieReader) entries(end int64) error {
	depth := 0
	var in structType // the struct whose direct children come now
	var inDepth int
	for s.pos < end {
		code, err := s.uvarint()
		if err != nil {
			return err
		}
		if code == 0 {
			depth--
			if in != nil && depth < inDepth {
				in = nil
				if len(s.found) >= s.most {
					return nil
				}
			}
			continue
		}
		a := s.abbrevs[code]
		if a == nil {
			return errDWARF
		}
		isStruct := a.tag == dwarf.TagStructType
		isMember := in != nil && depth == inDepth && a.tag == dwarf.TagMember
		if err := s.attributes(a, isStruct || isMember); err != nil {
			return err
		}
		if isMember && s.located && len(in) < maxFields {
			in[string(s.name)] = s.location
		}
		if a.children {
			if depth++; depth > maxDIEDepth {
				return errDWARF
			}
			if isStruct && in == nil && s.want(s.name) {
				// C may have a struct of the same name as a package; Go has each once.
				if name := string(s.name); s.found[name] == nil {
					in, inDepth = structType{}, depth
					s.found[name] = in
				}
			}
		}
	}
	if s.pos != end {
		return errDWARF
	}
	return nil
}

// attributes steps over those of one entry, keeping its name and place if wanted.
func (s *dieReader) attributes(a *abbrev, wanted bool) error {
	if wanted {
		s.name, s.location, s.located = s.name[:0], 0, false
	} else {
		if a.fixed < 0 {
			total := 0
			for _, x := range a.attrs {
				n := s.size(x.form)
				if n < 0 {
					total = -1
					break
				}
				total += n
			}
			a.fixed = total
		}
		if a.fixed >= 0 {
			return s.skip(int64(a.fixed))
		}
	}
	for _, x := range a.attrs {
		form := x.form
		for form == formIndirect {
			var err error
			if form, err = s.uvarint(); err != nil {
				return err
			}
		}
		switch {
		case form == formString:
			if err := s.cstring(wanted && x.at == dwarf.AttrName); err != nil {
				return err
			}
		case wanted && x.at == dwarf.AttrDataMemberLoc:
			if err := s.place(x, form); err != nil {
				return err
			}
		default:
			if err := s.skipForm(form); err != nil {
				return err
			}
		}
	}
	return nil
}

// place reads the offset of a member: a constant, or in DWARF 2 an expression.
func (s *dieReader) place(x attr, form uint64) error {
	var err error
	switch n := s.size(form); {
	case form == formImplict:
		s.location = uint64(x.value)
	case n == 1, n == 2, n == 4, n == 8:
		s.location, err = s.uint(n)
	case form == formUdata:
		s.location, err = s.uvarint()
	case form == formSdata:
		var v int64
		v, err = sleb(s)
		s.location = uint64(v)
	case form == formBlock1:
		var length, op uint64
		if length, err = s.uint(1); err != nil {
			return err
		}
		from := s.pos
		if length > 0 {
			op, err = s.uint(1)
		}
		if err != nil || op != 0x23 { // DW_OP_plus_uconst
			return errors.Join(err, s.skip(int64(length)-(s.pos-from)))
		}
		s.location, err = s.uvarint()
		if err == nil && s.pos != from+int64(length) {
			err = errDWARF
		}
	default:
		return s.skipForm(form)
	}
	s.located = err == nil
	return err
}

func (s *dieReader) skipForm(form uint64) error {
	if n := s.size(form); n >= 0 {
		return s.skip(int64(n))
	}
	var n uint64
	var err error
	switch form {
	case formBlock1:
		n, err = s.uint(1)
	case formBlock2:
		n, err = s.uint(2)
	case formBlock4:
		n, err = s.uint(4)
	case formBlock, formExpr:
		n, err = s.uvarint()
	case formString:
		return s.cstring(false)
	case formSdata, formUdata, formRefUdata, formStrx, formAddrx, formLoclistx, formRnglistx:
		_, err = s.uvarint()
		return err
	default:
		return fmt.Errorf("%w: form %#x", errDWARF, form)
	}
	if err != nil || n > maxDebugInfo {
		return errors.Join(err, errDWARF)
	}
	return s.skip(int64(n))
}

func (s *dieReader) cstring(keep bool) error {
	for {
		part, err := s.r.ReadSlice(0)
		s.pos += int64(len(part))
		if keep && len(s.name) < maxTypeName {
			s.name = append(s.name, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return err
		}
		if keep {
			s.name = bytes.TrimSuffix(s.name, []byte{0})
		}
		return nil
	}
}

// ReadByte implements [io.ByteReader].
func (s *dieReader) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.pos++
	}
	return b, err
}

func (s *dieReader) uvarint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 70; shift += 7 {
		b, err := s.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errDWARF
}

func (s *dieReader) uint(n int) (uint64, error) {
	b, err := s.r.Peek(n)
	if err != nil {
		return 0, err
	}
	var v uint64
	switch n {
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(s.order.Uint16(b))
	case 4:
		v = uint64(s.order.Uint32(b))
	case 8:
		v = s.order.Uint64(b)
	}
	s.pos += int64(n)
	_, err = s.r.Discard(n)
	return v, err
}

func (s *dieReader) skip(n int64) error {
	for n > 0 {
		step := int(min(n, 1<<30))
		done, err := s.r.Discard(step)
		s.pos += int64(done)
		if err != nil {
			return err
		}
		n -= int64(done)
	}
	if n < 0 {
		return errDWARF
	}
	return nil
}
