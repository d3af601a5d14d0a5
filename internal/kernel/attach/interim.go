//go:build linux

package attach

import (
	"debug/buildinfo"
	"debug/dwarf"
	"debug/elf"
	"fmt"

	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

type Func struct {
	Name        string
	Entry, Body uint64
	Returns     []uint64
	Size        uint64
}

type Binary struct {
	GoVersion string
	Modules   map[string]string
	path      string
	f         *elf.File
	addrs     map[string]uint64
	sizes     map[string]uint64
	types     map[string]map[string]uint64
}

func openBinary(exe string) (*Binary, error) {
	f, err := elf.Open(exe)
	if err != nil {
		return nil, err
	}
	bi, err := buildinfo.ReadFile(exe)
	if err != nil {
		return nil, err
	}
	b := &Binary{GoVersion: bi.GoVersion, Modules: map[string]string{}, path: exe, f: f, addrs: map[string]uint64{}, sizes: map[string]uint64{}, types: map[string]map[string]uint64{}}
	for _, d := range bi.Deps {
		b.Modules[d.Path] = d.Version
	}
	last := ""
	err = symbol.Functions(exe, func(name string, addr uint64) bool {
		if last != "" {
			b.sizes[last] = addr - b.addrs[last]
		}
		b.addrs[name] = addr
		last = name
		return true
	})
	d, derr := f.DWARF()
	if derr != nil {
		return nil, derr
	}
	r := d.Reader()
	for e, err := r.Next(); e != nil && err == nil; e, err = r.Next() {
		if e.Tag != dwarf.TagStructType {
			continue
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		m := map[string]uint64{}
		for e.Children {
			c, err := r.Next()
			if err != nil || c == nil || c.Tag == 0 {
				break
			}
			n, _ := c.Val(dwarf.AttrName).(string)
			o, _ := c.Val(dwarf.AttrDataMemberLoc).(int64)
			m[n] = uint64(o)
		}
		b.types[name] = m
	}
	return b, err
}

func (b *Binary) Field(typ, field string) (uint64, bool) {
	o, ok := b.types[typ][field]
	return o, ok
}

func (b *Binary) off(addr uint64) uint64 {
	for _, p := range b.f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return p.Off + addr - p.Vaddr
		}
	}
	panic(fmt.Sprintf("addr %x", addr))
}

func (b *Binary) Func(name string) (Func, bool) {
	a, ok := b.addrs[name]
	if !ok {
		return Func{}, false
	}
	f := Func{Name: name, Entry: b.off(a), Size: b.sizes[name]}
	code := make([]byte, f.Size)
	for _, p := range b.f.Progs {
		if p.Type == elf.PT_LOAD && a >= p.Vaddr && a-p.Vaddr < p.Filesz {
			_, _ = p.ReadAt(code, int64(a-p.Vaddr))
		}
	}
	f.Body = f.Entry
	for i := range 40 {
		if i+4 < len(code) && code[i] == 0x55 && code[i+1] == 0x48 && code[i+2] == 0x89 && code[i+3] == 0xe5 {
			f.Body = f.Entry + uint64(i)
			break
		}
	}
	for i := 1; i < len(code); i++ {
		if code[i] == 0xc3 && code[i-1] == 0x5d {
			f.Returns = append(f.Returns, f.Entry+uint64(i))
		}
	}
	return f, true
}
