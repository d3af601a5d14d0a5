package symbol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Limits on what a table may make us do: the bytes come from other people's
// programs.
const (
	maxGoFuncs   = 1 << 24 // functions of one program; kubelet has 2^17
	maxNameLen   = 4096    // longest function or file name that is read whole
	maxInlining  = 128     // calls inlined into each other at one address
	maxSteps     = 1 << 18 // entries of address-to-value tables that one address may need
	goHeaderSize = 8 + 8*8
)

// magics of the table: the format changed with Go 1.18 and 1.20 and has been
// stable since.
const (
	magicGo118 = 0xfffffff0
	magicGo120 = 0xfffffff1
)

// Indexes that the compiler and the runtime agree on.
const (
	pcdataInlTreeIndex = 2
	funcdataInlTree    = 3
)

// goTable reads the table of functions of a Go program (1.18 and later,
// 64-bit, little endian) in place. See runtime.pcHeader, runtime._func and
// runtime.inlinedCall for the layouts. Safe for concurrent use.
type goTable struct {
	r    io.ReaderAt // the file
	base int64       // offset of the table in the file
	size int64       // bytes that belong to the table, at most

	go120   bool
	quantum uint64
	nfunc   uint64
	// Offsets of the parts from base.
	names, units, files, pcs, funcs int64

	// text is the address that function entries count from.
	text uint64
	// gofunc is the offset in the file of the data of functions, where inline
	// trees lie; 0: unknown, then inlined calls are missing.
	gofunc int64
}

// readGoTable reads the header of a table that starts at base. It leaves text
// and gofunc to the caller: before Go 1.26 the header repeats text, from then
// on only the module data knows.
func readGoTable(r io.ReaderAt, base, size int64) (*goTable, error) {
	var h [goHeaderSize]byte
	if size < goHeaderSize {
		return nil, ErrNoTable
	}
	if _, err := r.ReadAt(h[:], base); err != nil {
		return nil, fmt.Errorf("read header of function table: %w", err)
	}
	le := binary.LittleEndian
	magic := le.Uint32(h[:])
	if magic != magicGo118 && magic != magicGo120 {
		return nil, ErrNoTable
	}
	quantum, ptr := h[6], h[7]
	if h[4] != 0 || h[5] != 0 || (quantum != 1 && quantum != 2 && quantum != 4) || ptr != 8 {
		return nil, ErrNoTable
	}
	word := func(i int) uint64 { return le.Uint64(h[8+8*i:]) }
	t := &goTable{r: r, base: base, size: size, go120: magic == magicGo120, quantum: uint64(quantum), nfunc: word(0), text: word(2)}
	parts := []*int64{&t.names, &t.units, &t.files, &t.pcs, &t.funcs}
	last := uint64(goHeaderSize) - 1
	for i, p := range parts {
		off := word(3 + i)
		if off <= last && i == 0 || off < last || off >= uint64(size) {
			return nil, fmt.Errorf("%w: part %d at %d of %d", ErrCorrupt, i, off, size)
		}
		last = off
		*p = int64(off)
	}
	if t.nfunc == 0 || t.nfunc > maxGoFuncs || t.funcs+int64(t.nfunc)*8+4 > size {
		return nil, fmt.Errorf("%w: %d functions", ErrCorrupt, t.nfunc)
	}
	return t, nil
}

// goFunc is the fixed part of a function's record.
type goFunc struct {
	entry              uint64 // offset from text
	name               uint32
	pcfile, pcln       uint32
	npcdata, nfuncdata uint32
	unit               uint32
	startLine          int32
	tail               int64 // offset from base of what follows: pcdata, funcdata
}

func (t *goTable) read(b []byte, off int64) error {
	if off < 0 || off+int64(len(b)) > t.size {
		return fmt.Errorf("%w: read of %d at %d of %d", ErrCorrupt, len(b), off, t.size)
	}
	if _, err := t.r.ReadAt(b, t.base+off); err != nil {
		return fmt.Errorf("read function table at %d: %w", off, err)
	}
	return nil
}

func (t *goTable) u32(off int64) (uint32, error) {
	var b [4]byte
	err := t.read(b[:], off)
	return binary.LittleEndian.Uint32(b[:]), err
}

// end returns the offset from text of the first byte behind all functions.
func (t *goTable) end() (uint64, error) {
	v, err := t.u32(t.funcs + int64(t.nfunc)*8)
	return uint64(v), err
}

// find returns the function that holds the address pc, an offset from text.
func (t *goTable) find(pc uint64) (goFunc, error) {
	// Invariant: entry(lo) <= pc < entry(hi); the entry behind the last
	// function is the end of the text.
	lo, hi := uint64(0), t.nfunc
	first, err := t.u32(t.funcs)
	if err != nil {
		return goFunc{}, err
	}
	end, err := t.end()
	if err != nil {
		return goFunc{}, err
	}
	if pc < uint64(first) || pc >= end {
		return goFunc{}, ErrNoTable
	}
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		e, err := t.u32(t.funcs + int64(mid)*8)
		if err != nil {
			return goFunc{}, err
		}
		if uint64(e) <= pc {
			lo = mid
		} else {
			hi = mid
		}
	}
	return t.record(lo)
}

// record reads function i.
func (t *goTable) record(i uint64) (goFunc, error) {
	le := binary.LittleEndian
	off, err := t.u32(t.funcs + int64(i)*8 + 4)
	if err != nil {
		return goFunc{}, err
	}
	at := t.funcs + int64(off)
	fixed := int64(40)
	if t.go120 {
		fixed = 44 // startLine
	}
	var b [44]byte
	if err := t.read(b[:fixed], at); err != nil {
		return goFunc{}, err
	}
	f := goFunc{
		entry: uint64(le.Uint32(b[:])), name: le.Uint32(b[4:]),
		pcfile: le.Uint32(b[20:]), pcln: le.Uint32(b[24:]), npcdata: le.Uint32(b[28:]), unit: le.Uint32(b[32:]),
		nfuncdata: uint32(b[fixed-1]), tail: at + fixed,
	}
	if t.go120 {
		f.startLine = int32(le.Uint32(b[36:]))
	}
	if f.npcdata > 64 {
		return goFunc{}, fmt.Errorf("%w: %d tables of a function", ErrCorrupt, f.npcdata)
	}
	return f, nil
}

// frames returns the functions at addr, the innermost inlined call first. It
// returns [ErrNoTable] for an address that no Go function holds. With an error
// from the middle of the work come the frames known until then.
func (t *goTable) frames(addr uint64) ([]Frame, error) {
	if addr < t.text {
		return nil, ErrNoTable
	}
	f, err := t.find(addr - t.text)
	if err != nil {
		return nil, err
	}
	var out []Frame
	pc, steps := addr-t.text, maxSteps
	tree, index, err := t.inlining(f)
	for err == nil && index != 0 && len(out) < maxInlining {
		var ix int32
		if ix, err = t.value(index, f.entry, pc, &steps); err != nil || ix < 0 {
			break
		}
		var call [20]byte
		size, name, parent := int64(16), 4, 8
		if !t.go120 { // parent, file and line are in the tree, too
			size, name, parent = 20, 12, 16
		}
		if _, err = t.r.ReadAt(call[:size], tree+int64(ix)*size); err != nil {
			break
		}
		fr := Frame{Inlined: true}
		if fr.Function, err = t.name(binary.LittleEndian.Uint32(call[name:])); err != nil {
			break
		}
		if t.go120 {
			fr.StartLine = int(int32(binary.LittleEndian.Uint32(call[12:])))
		}
		fr.File, fr.Line = t.position(f, pc, &steps)
		out = append(out, fr)
		pc = f.entry + uint64(binary.LittleEndian.Uint32(call[parent:]))
	}
	name, nerr := t.name(f.name)
	if nerr != nil {
		return out, nerr
	}
	fr := Frame{Function: name, StartLine: int(f.startLine)}
	fr.File, fr.Line = t.position(f, pc, &steps)
	return append(out, fr), err
}

// inlining returns where in the file the inline tree of f lies, and the table
// that gives the index of the innermost call in it; 0 if f inlines nothing.
func (t *goTable) inlining(f goFunc) (tree int64, index uint32, err error) {
	if t.gofunc == 0 || f.nfuncdata <= funcdataInlTree || f.npcdata <= pcdataInlTreeIndex {
		return 0, 0, nil
	}
	off, err := t.u32(f.tail + 4*int64(f.npcdata) + 4*funcdataInlTree)
	if err != nil || off == ^uint32(0) {
		return 0, 0, err
	}
	index, err = t.u32(f.tail + 4*pcdataInlTreeIndex)
	return t.gofunc + int64(off), index, err
}

// position returns the file and line at pc; empty where the table fails.
func (t *goTable) position(f goFunc, pc uint64, steps *int) (string, int) {
	line, err := t.value(f.pcln, f.entry, pc, steps)
	if err != nil || line < 0 {
		line = 0
	}
	n, err := t.value(f.pcfile, f.entry, pc, steps)
	if err != nil || n < 0 {
		return "", int(line)
	}
	off, err := t.u32(t.units + 4*(int64(f.unit)+int64(n)))
	if err != nil || off == ^uint32(0) {
		return "", int(line)
	}
	file, err := t.str(t.files, uint64(off))
	if err != nil {
		return "", int(line)
	}
	return file, int(line)
}

// value looks pc up in the table at off of the address-to-value tables: pairs
// of a value's difference (zigzag) and an address's, as varints. It takes what
// it does from steps.
func (t *goTable) value(off uint32, entry, pc uint64, steps *int) (int32, error) {
	if off == 0 {
		return -1, nil
	}
	c := cursor{t: t, off: t.pcs + int64(off)}
	at, val := entry, int32(-1)
	for first := true; *steps > 0; first = false {
		*steps--
		d, err := c.varint()
		if err != nil {
			return -1, err
		}
		if d == 0 && !first {
			return -1, nil
		}
		if d&1 != 0 {
			val += int32(^(d >> 1))
		} else {
			val += int32(d >> 1)
		}
		step, err := c.varint()
		if err != nil {
			return -1, err
		}
		at += uint64(step) * t.quantum
		if pc < at {
			return val, nil
		}
	}
	return -1, fmt.Errorf("%w: endless table of values", ErrCorrupt)
}

// cursor reads varints.
type cursor struct {
	t    *goTable
	off  int64
	buf  [64]byte
	i, n int
}

func (c *cursor) byte() (byte, error) {
	if c.i == c.n {
		n := min(int64(len(c.buf)), c.t.size-c.off)
		if n <= 0 {
			return 0, fmt.Errorf("%w: value behind the end", ErrCorrupt)
		}
		if err := c.t.read(c.buf[:n], c.off); err != nil {
			return 0, err
		}
		c.off, c.i, c.n = c.off+n, 0, int(n)
	}
	b := c.buf[c.i]
	c.i++
	return b, nil
}

func (c *cursor) varint() (uint32, error) {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b, err := c.byte()
		if err != nil {
			return 0, err
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: long varint", ErrCorrupt)
}

// str reads the string that ends in a zero byte at off from part. One longer
// than maxNameLen is cut.
func (t *goTable) str(part int64, off uint64) (string, error) {
	if off >= uint64(t.size) {
		return "", fmt.Errorf("%w: name at %d", ErrCorrupt, off)
	}
	return readString(t.r, t.base+part+int64(off), t.base+t.size)
}

// name returns the name of a function as the runtime prints it: without the
// type arguments, which are the compiler's shapes and not the program's types.
func (t *goTable) name(off uint32) (string, error) {
	s, err := t.str(t.names, uint64(off))
	if i, j := strings.IndexByte(s, '['), strings.LastIndexByte(s, ']'); i >= 0 && j > i {
		s = s[:i] + "[...]" + s[j+1:]
	}
	return s, err
}

// readString reads up to a zero byte or end. What is no text in UTF-8 would be
// refused further on, with all that it travels with.
func readString(r io.ReaderAt, at, end int64) (string, error) {
	var buf [128]byte
	var long []byte
	for len(long) < maxNameLen {
		n := min(int64(len(buf)), end-at)
		if n <= 0 {
			return "", fmt.Errorf("%w: unfinished name", ErrCorrupt)
		}
		got, err := r.ReadAt(buf[:n], at)
		if i := bytes.IndexByte(buf[:got], 0); i >= 0 {
			return strings.ToValidUTF8(string(append(long, buf[:i]...)), "\uFFFD"), nil
		}
		if err != nil {
			return "", fmt.Errorf("read name: %w", err)
		}
		long = append(long, buf[:got]...)
		at += int64(got)
	}
	return strings.ToValidUTF8(string(long[:maxNameLen]), "\uFFFD"), nil
}
