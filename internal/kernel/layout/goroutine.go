package layout

import (
	"debug/elf"
	"fmt"
	"os"

	"golang.org/x/arch/x86/x86asm"
)

// Goroutines says how to find the goroutine that a thread runs, and its labels
// (runtime/pprof.Do), from outside at any instruction.
type Goroutines struct {
	// TLS is where the runtime keeps the thread's current g, from the thread's
	// base (FS). Only on amd64; on arm64 register R28 is g.
	TLS int64
	// Fields: runtime.g.m, runtime.m.curg, runtime.g.labels.
	M, Curg, Labels uint32
	// List says that labels are a slice of pairs of strings, as since Go 1.24;
	// before they are a map.
	List bool
}

// GoroutinesOf reads what is needed of a program. It is cheap enough to ask for every
// process that is met: neither functions nor DWARF are read where the table knows the
// version and the program is not linked to C in an unusual way. It answers
// [ErrNotGo], *[Unknown] or an error of reading.
func GoroutinesOf(exe string) (Goroutines, error) {
	f, err := os.Open(exe)
	if err != nil {
		return Goroutines{}, fmt.Errorf("open binary: %w", err)
	}
	defer f.Close()
	b, err := headers(exe, f)
	if err != nil {
		return Goroutines{}, err
	}
	if b.elf.Section(".go.buildinfo") == nil {
		return Goroutines{}, ErrNotGo // without a search through all of its data
	}
	if err := b.identify(); err != nil {
		return Goroutines{}, err
	}
	if b.goVersion == (version{}) {
		return Goroutines{}, &Unknown{What: "fields of goroutines", In: exe, Why: "the program does not say its version of Go", Next: "keep build information"}
	}
	var g Goroutines
	for _, w := range []struct {
		typ, field string
		to         *uint32
	}{{"runtime.g", "m", &g.M}, {"runtime.m", "curg", &g.Curg}, {"runtime.g", "labels", &g.Labels}} {
		off, _, err := b.tabled(w.typ, w.field)
		if err != nil {
			if off, _, err = b.Offset(w.typ, w.field); err != nil {
				return Goroutines{}, err
			}
		}
		*w.to = uint32(off)
	}
	g.List = !b.goVersion.before(version{1, 24, 0})
	if b.Arch == "amd64" {
		g.TLS, err = b.threadG(exe)
	}
	return g, err
}

// threadG finds where the thread's g is: right below the base, unless a linker of C put it among
// other variables of threads.
func (b *Binary) threadG(exe string) (int64, error) {
	var tls *elf.ProgHeader
	for _, p := range b.elf.Progs {
		if p.Type == elf.PT_TLS {
			tls = &p.ProgHeader
		}
	}
	if tls == nil || tls.Memsz == 8 {
		return -8, nil
	}
	if syms, err := b.symbols(); err == nil {
		for _, s := range syms {
			if s.Name == "runtime.tlsg" && elf.ST_TYPE(s.Info) == elf.STT_TLS {
				align := max(tls.Align, 1)
				return int64(s.Value) - int64((tls.Memsz+align-1)/align*align), nil
			}
		}
	}
	// Code that switches stacks loads g.
	if err := b.readFunctions(exe); err != nil {
		return 0, err
	}
	for _, name := range []string{"runtime.morestack", "runtime.asmcgocall", "runtime.systemstack"} {
		at, ok := b.find(name)
		if !ok {
			continue
		}
		if _, code, ok := b.code(at); ok {
			if off, ok := firstFS(code); ok {
				return off, nil
			}
		}
	}
	return 0, &Unknown{What: "place of a thread's goroutine", In: exe, Why: "the program is linked to C that has variables of threads, and it is stripped",
		Next: "keep its symbols"}
}

// maxSymbols bounds the tables of symbols that are read whole: 300,000 with their
// names. Programs with larger ones are searched as stripped ones are.
const maxSymbols = 16 << 20

func (b *Binary) symbols() ([]elf.Symbol, error) {
	for _, s := range b.elf.Sections {
		if (s.Type == elf.SHT_SYMTAB || s.Type == elf.SHT_STRTAB) && (s.Size > maxSymbols || s.Flags&elf.SHF_COMPRESSED != 0) {
			return nil, fmt.Errorf("read symbols: more than %d bytes", maxSymbols)
		}
	}
	return b.elf.Symbols()
}

// firstFS returns the offset from FS of the first load by it: as a constant in the
// instruction, or in the register that an instruction before set.
func firstFS(code []byte) (int64, bool) {
	constants := map[x86asm.Reg]int64{}
	for off := 0; off < len(code); {
		inst, ok := decode(code[off:])
		if !ok {
			return 0, false
		}
		off += inst.Len
		if inst.Op != x86asm.MOV {
			continue
		}
		to, isReg := inst.Args[0].(x86asm.Reg)
		switch from := inst.Args[1].(type) {
		case x86asm.Imm:
			if isReg {
				constants[to] = int64(int32(from))
			}
		case x86asm.Mem:
			if from.Segment != x86asm.FS {
				continue
			}
			if from.Base == 0 {
				return int64(int32(from.Disp)), true
			}
			c, ok := constants[from.Base]
			return c + from.Disp, ok
		}
	}
	return 0, false
}
