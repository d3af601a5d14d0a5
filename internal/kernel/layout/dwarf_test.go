package layout

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// smallDWARF has one unit with a struct of two fields, written in the forms of a version
// of DWARF; what stands before and behind it must be stepped over.
func smallDWARF(version uint16) (abbrev, info []byte) {
	u := func(b []byte, v ...uint64) []byte {
		for _, x := range v {
			b = binary.AppendUvarint(b, x)
		}
		return b
	}
	location := uint64(formUdata)
	if version == 2 {
		location = formBlock1
	}
	abbrev = u(nil, 1, 0x11, 1, 0x03, formString, 0x10, formData4, 0, 0) // unit: name, lines
	abbrev = u(abbrev, 2, 0x34, 0, 0x02, formBlock1, 0x49, formRef4, 0, 0)
	abbrev = u(abbrev, 3, 0x13, 1, 0x03, formString, 0x0b, formUdata, 0, 0)
	abbrev = u(abbrev, 4, 0x0d, 0, 0x03, formString, 0x38, location, 0x49, formRef4, 0, 0)
	abbrev = u(abbrev, 0)

	member := func(b []byte, name string, at uint64) []byte {
		b = append(append(u(b, 4), name...), 0)
		if version == 2 {
			op := u([]byte{0x23}, at)
			b = append(append(b, byte(len(op))), op...)
		} else {
			b = u(b, at)
		}
		return append(b, 1, 2, 3, 4)
	}
	body := append(u(nil, 1), "main\x00\x00\x00\x00\x00"...)
	body = append(u(body, 2), 3, 9, 9, 9, 0, 0, 0, 0)
	body = u(append(append(u(body, 3), "net/http.Request"...), 0), 300)
	body = member(body, "Method", 0)
	body = member(body, "URL", 200)
	body = append(body, 0)
	body = append(u(append(append(u(body, 3), "other"...), 0), 8), 0)
	body = append(body, 0)

	head := binary.LittleEndian.AppendUint16(nil, version)
	if version == 5 {
		head = append(head, 1, 8, 0, 0, 0, 0)
	} else {
		head = append(head, 0, 0, 0, 0, 8)
	}
	info = binary.LittleEndian.AppendUint32(nil, uint32(len(head)+len(body)))
	return abbrev, append(append(info, head...), body...)
}

func readSmall(abbrev, info []byte) (map[string]structType, error) {
	s := &dieReader{
		r: bufio.NewReader(bytes.NewReader(info)), order: binary.LittleEndian, table: abbrev,
		want: func(name []byte) bool { return string(name) == "net/http.Request" }, most: 2, found: map[string]structType{},
	}
	for {
		if err := s.unit(); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return s.found, err
		}
	}
}

func TestDWARFVersions(t *testing.T) {
	want := map[string]structType{"net/http.Request": {"Method": 0, "URL": 200}}
	for _, version := range []uint16{2, 3, 4, 5} {
		abbrev, info := smallDWARF(version)
		got, err := readSmall(abbrev, append(append([]byte(nil), info...), info...)) // two units
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("version %d: %v (-want +got):\n%s", version, err, diff)
		}
		if _, err := readSmall(abbrev, info[:len(info)-2]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("version %d, cut: %v", version, err)
		}
	}
}

// Whatever the bytes are, reading them ends, and finds nothing that was not asked for.
func FuzzDWARF(f *testing.F) {
	for _, version := range []uint16{2, 4, 5} {
		abbrev, info := smallDWARF(version)
		f.Add(abbrev, info)
	}
	f.Fuzz(func(t *testing.T, abbrev, info []byte) {
		found, _ := readSmall(abbrev, info)
		for name, s := range found {
			if name != "net/http.Request" || len(s) > maxFields {
				t.Errorf("%q with %d fields", name, len(s))
			}
		}
	})
}

// Code of others ends the decoding or is decoded, but never leaves its bounds.
func FuzzCode(f *testing.F) {
	f.Add([]byte{0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3})
	f.Add([]byte{0xc4, 0xe2, 0xf1, 0xf7, 0xc0, 0xc3})
	f.Add([]byte{0x62, 0xf1, 0x7c, 0x48, 0x10, 0x44, 0x24, 0x01, 0xc3})
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, decode := range []func([]byte) (uint64, bool, []uint64){decodeAMD64, decodeARM64} {
			body, _, returns := decode(code)
			for _, off := range append(returns, body) {
				if off > 0 && off >= uint64(len(code)) {
					t.Errorf("offset %d of %d", off, len(code))
				}
			}
		}
		firstFS(code)
	})
}

// Lengths of instructions with prefixes that x86asm does not know, as assembled by GNU as.
func TestVectorLen(t *testing.T) {
	for text, code := range map[string][]byte{
		"shlx rax, rax, rcx":                {0xc4, 0xe2, 0xf1, 0xf7, 0xc0},
		"andn rax, rcx, [rip+8]":            {0xc4, 0xe2, 0xf0, 0xf2, 0x05, 8, 0, 0, 0},
		"rorx rax, rcx, 5":                  {0xc4, 0xe3, 0xfb, 0xf0, 0xc1, 5},
		"shrx ecx, r11d, ecx":               {0xc4, 0xc2, 0x73, 0xf7, 0xcb},
		"vzeroupper":                        {0xc5, 0xf8, 0x77},
		"vmovdqu ymm0, [rsp+0x40]":          {0xc5, 0xfe, 0x6f, 0x44, 0x24, 0x40},
		"vpshufd xmm0, xmm1, 3":             {0xc5, 0xf9, 0x70, 0xc1, 3},
		"vfmadd231sd xmm0, xmm1, [rax+256]": {0xc4, 0xe2, 0xf1, 0xb9, 0x80, 0, 1, 0, 0},
		"vmovups zmm0, [rsp+0x40]":          {0x62, 0xf1, 0x7c, 0x48, 0x10, 0x44, 0x24, 0x01},
		"vpternlogd zmm0, zmm1, zmm2, 0x96": {0x62, 0xf3, 0x75, 0x48, 0x25, 0xc2, 0x96},
	} {
		if got := vectorLen(append(append([]byte(nil), code...), 0x90, 0x90, 0x90)); got != len(code) {
			t.Errorf("%s: %d bytes, want %d", text, got, len(code))
		}
	}
}
