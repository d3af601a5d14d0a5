package symbol

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// smallTable writes a table of two functions at text 0x1000: f of 32 bytes,
// in whose second half g is inlined (called on line 12), and h of 16.
func smallTable(go120 bool) (table []byte, gofunc int64) {
	var names, files, pcs, funcs []byte
	name := func(s string) uint32 {
		off := len(names)
		names = append(append(names, s...), 0)
		return uint32(off)
	}
	le := binary.LittleEndian
	values := func(pairs ...int) uint32 { // value, length, …
		off := len(pcs)
		last := -1
		for i := 0; i < len(pairs); i += 2 {
			d := pairs[i] - last
			last = pairs[i]
			z := uint32(d<<1) ^ uint32(d>>31)
			pcs = binary.AppendUvarint(pcs, uint64(z))
			pcs = binary.AppendUvarint(pcs, uint64(pairs[i+1]))
		}
		pcs = append(pcs, 0)
		return uint32(off)
	}
	name("")
	values(0, 1) // offset 0 means that there is no table
	nf, ng, nh := name("main.f"), name("main.g"), name("main.h[go.shape.int]")
	files = append(files, "/src/a.go\x00/src/b.go\x00"...)
	pcfile := values(0, 16, 1, 16)
	pcln := values(12, 16, 30, 16)
	inline := values(-1, 16, 0, 16)
	hln := values(50, 16)
	hfile := values(0, 16)

	record := func(entry, nameOff, file, line uint32, inlines bool, start uint32) uint32 {
		off := uint32(len(funcs))
		w := func(v ...uint32) {
			for _, x := range v {
				funcs = le.AppendUint32(funcs, x)
			}
		}
		npc, nfd := uint32(0), byte(0)
		if inlines {
			npc, nfd = 3, 4
		}
		w(entry, nameOff, 0, 0, 0, file, line, npc, 0)
		if go120 {
			w(start)
		}
		funcs = append(funcs, 0, 0, 0, nfd)
		if inlines {
			w(0, 0, inline, ^uint32(0), ^uint32(0), ^uint32(0), 8)
		}
		return off
	}
	const entries = 2*8 + 4
	funcs = make([]byte, entries)
	rf := record(0, nf, pcfile, pcln, true, 10)
	rh := record(32, nh, hfile, hln, false, 49)
	for i, v := range []uint32{0, rf, 32, rh, 48} {
		le.PutUint32(funcs[4*i:], v)
	}
	units := le.AppendUint32(le.AppendUint32(nil, 0), 10)

	magic := uint32(magicGo118)
	if go120 {
		magic = magicGo120
	}
	h := le.AppendUint32(nil, magic)
	h = append(h, 0, 0, 1, 8)
	at := uint64(goHeaderSize)
	h = le.AppendUint64(h, 2)
	h = le.AppendUint64(h, 2)
	h = le.AppendUint64(h, 0x1000)
	for _, part := range [][]byte{names, units, files, pcs, funcs} {
		h = le.AppendUint64(h, at)
		at += uint64(len(part))
	}
	table = bytes.Join([][]byte{h, names, units, files, pcs, funcs}, nil)
	gofunc = int64(len(table))
	table = append(table, make([]byte, 8)...) // where offset 8 counts from
	if go120 {
		for _, v := range []uint32{0, ng, 3, 28} {
			table = le.AppendUint32(table, v)
		}
	} else {
		for _, v := range []uint32{0xffff, 1, 12, ng, 3} {
			table = le.AppendUint32(table, v)
		}
	}
	return table, gofunc
}

func TestGoTable(t *testing.T) {
	for _, go120 := range []bool{false, true} {
		b, gofunc := smallTable(go120)
		tab, err := readGoTable(bytes.NewReader(b), 0, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		tab.gofunc = gofunc
		start := func(n int) int {
			if go120 {
				return n
			}
			return 0
		}
		f := Frame{Function: "main.f", File: "/src/a.go", Line: 12, StartLine: start(10)}
		g := Frame{Function: "main.g", File: "/src/b.go", Line: 30, StartLine: start(28), Inlined: true}
		h := Frame{Function: "main.h[...]", File: "/src/a.go", Line: 50, StartLine: start(49)}
		for addr, want := range map[uint64][]Frame{0xfff: nil, 0x1000: {f}, 0x100f: {f}, 0x1010: {g, f}, 0x101f: {g, f}, 0x1020: {h}, 0x102f: {h}, 0x1030: nil} {
			got, err := tab.frames(addr)
			if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (want == nil) {
				t.Errorf("go120 %v: frames(%x): %v (-want +got):\n%s", go120, addr, err, diff)
			}
		}
	}
}

// Whatever the bytes are, reading them ends, without a panic, and with frames
// of bounded number and length.
func FuzzGoTable(f *testing.F) {
	for _, go120 := range []bool{false, true} {
		b, gofunc := smallTable(go120)
		f.Add(b, gofunc, uint64(0x1010))
		f.Add(b, int64(0), uint64(0x1020))
		f.Add(b[:len(b)/2], gofunc, uint64(0x1000))
	}
	f.Fuzz(func(t *testing.T, b []byte, gofunc int64, addr uint64) {
		tab, err := readGoTable(bytes.NewReader(b), 0, int64(len(b)))
		if err != nil {
			return
		}
		tab.gofunc = gofunc
		for _, a := range []uint64{addr, tab.text, tab.text + 16} {
			fr, _ := tab.frames(a)
			if len(fr) > maxInlining+1 {
				t.Errorf("%d frames", len(fr))
			}
			for _, x := range fr {
				if len(x.Function) > maxNameLen+8 || len(x.File) > maxNameLen {
					t.Errorf("name of %d, file of %d bytes", len(x.Function), len(x.File))
				}
			}
		}
	})
}

// Any file may be mapped as code.
func FuzzBinary(f *testing.F) {
	b, _ := smallTable(true)
	f.Add(b)
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	if image, err := readVDSO(); err == nil {
		f.Add(image)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bin, err := openBinary(new(pages), bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		for _, off := range []uint64{0, 64, uint64(len(b) / 2)} {
			if addr, ok := bin.addr(off); ok {
				bin.frames(addr)
			}
		}
	})
}
