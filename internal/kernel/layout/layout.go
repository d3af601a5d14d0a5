// Package layout says where things are in a Go binary: the instructions of
// functions that a probe may sit on, and the fields of structs that it reads.
//
// Functions come from the table that the runtime needs for its stack traces,
// which stripping leaves in place. Fields come from the binary's own DWARF where
// there is one, else from a table that was derived from DWARF of the same
// versions of Go and of the libraries. A binary is read in pieces: neither its code nor
// its DWARF is ever whole in memory.
package layout

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

// maxFunctions bounds the index of functions, 16 bytes each; kubelet has 2^17.
const maxFunctions = 1 << 22

// maxBuildInfo bounds what is read to find a program's version and modules, which
// take some 100 KB: how long they are, the file says by itself.
const maxBuildInfo = 16 << 20

// bounded ends after so many bytes.
type bounded struct {
	io.ReaderAt
	left int
}

func (b *bounded) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("read at %d: more than %d bytes", off, maxBuildInfo)
	}
	return b.ReaderAt.ReadAt(p, off)
}

// Unknown says what of a binary cannot be told, and what would help.
type Unknown struct {
	What string // "field Method of net/http.Request", "function net/http.serverHandler.ServeHTTP"
	In   string // the version of Go or the module that was looked for: "go1.31", "google.golang.org/grpc v1.99.0"
	Why  string
	Next string // what the user can do
}

func (u *Unknown) Error() string {
	s := "unknown " + u.What
	if u.In != "" {
		s += " in " + u.In
	}
	s += ": " + u.Why
	if u.Next != "" {
		s += "; " + u.Next
	}
	return s
}

// ErrNotGo says that a file is not a program of Go.
var ErrNotGo = errors.New("not a Go program")

// Binary is one executable. It holds the file open, so that it can be read also after
// the file was replaced. Safe for concurrent use.
type Binary struct {
	GoVersion string            // "go1.26.1"; "" where the binary does not say
	Modules   map[string]string // module path → version; empty where build information was removed
	PIE       bool              // position independent: addresses at run time are not those of the file
	Arch      string            // GOARCH: amd64 or arm64

	goVersion version // of GoVersion
	file      *os.File
	elf       *elf.File
	seed      maphash.Seed
	funcs     []funcAt // by address

	once    sync.Once
	byName  []int32 // indexes of funcs by hash
	mu      sync.Mutex
	types   map[string]structType // read from DWARF; nil fields: looked for and not there
	scanned bool

	described map[string]described // read from descriptors; zero: looked for and not there
}

// funcAt keeps a name by its hash: names of a large program take 10 MB.
type funcAt struct {
	addr uint64
	hash uint64
}

// Of reads a binary, given by its path or as /proc/PID/exe. The caller closes it.
func Of(exe string) (*Binary, error) {
	f, err := os.Open(exe)
	if err != nil {
		return nil, fmt.Errorf("open binary: %w", err)
	}
	b, err := of(exe, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

func of(exe string, f *os.File) (*Binary, error) {
	b, err := headers(exe, f)
	if err != nil {
		return nil, err
	}
	if err := b.identify(); err != nil {
		return nil, err
	}
	return b, b.readFunctions(exe)
}

// headers reads those of ELF.
func headers(exe string, f *os.File) (*Binary, error) {
	ef, err := symbol.ReadELF(f)
	if err != nil {
		return nil, fmt.Errorf("read ELF headers of %q: %w", exe, err)
	}
	b := &Binary{PIE: ef.Type == elf.ET_DYN, Modules: map[string]string{}, file: f, elf: ef, seed: maphash.MakeSeed(), types: map[string]structType{}}
	switch ef.Machine {
	case elf.EM_X86_64:
		b.Arch = "amd64"
	case elf.EM_AARCH64:
		b.Arch = "arm64"
	default:
		return nil, &Unknown{What: "code", In: exe, Why: "it is made for " + ef.Machine.String(), Next: "attach to programs for amd64 or arm64"}
	}
	return b, nil
}

// identify reads the version of Go and those of modules. A binary without build
// information may have DWARF, or a symbol that says the version: it is no error.
func (b *Binary) identify() error {
	if bi, err := buildinfo.Read(&bounded{b.file, maxBuildInfo}); err == nil {
		b.GoVersion = bi.GoVersion
		for _, m := range append(bi.Deps, &bi.Main) {
			if v := m.Version; m.Path != "" {
				if m.Replace != nil { // the code is another's, under the same name
					v = m.Replace.Version
				}
				b.Modules[m.Path] = v
			}
		}
	}
	if b.GoVersion == "" || b.GoVersion == "unknown" {
		b.GoVersion = buildVersion(b.elf)
	}
	b.goVersion, _ = parseVersion(b.GoVersion)
	if b.goVersion != (version{}) && b.goVersion.before(oldestGo) {
		return &Unknown{What: "code", In: b.GoVersion, Why: "arguments are passed in registers since Go 1.17, and tables of functions are readable since Go 1.18",
			Next: "build the program with Go 1.18 or later"}
	}
	return nil
}

// readFunctions lists the functions.
func (b *Binary) readFunctions(exe string) error {
	// Through the descriptor: the path may lead to another file by now.
	err := symbol.Functions(fmt.Sprintf("/proc/self/fd/%d", b.file.Fd()), func(name string, addr uint64) bool {
		b.funcs = append(b.funcs, funcAt{addr: addr, hash: maphash.String(b.seed, name)})
		return len(b.funcs) < maxFunctions
	})
	switch {
	case errors.Is(err, symbol.ErrNoTable):
		return fmt.Errorf("read functions of %q: %w", exe, ErrNotGo)
	case err != nil:
		return fmt.Errorf("read functions of %q: %w", exe, err)
	}
	return nil
}

// Close closes the file.
func (b *Binary) Close() error { return b.file.Close() }

var oldestGo = version{1, 18, 0}

// buildVersion reads runtime.buildVersion, a string, by its symbol.
func buildVersion(f *elf.File) string {
	if f.Section(".gopclntab") == nil && f.Section(".data.rel.ro.gopclntab") == nil {
		return "" // symbols of others may be many
	}
	syms, err := f.Symbols()
	if err != nil {
		return ""
	}
	i := slices.IndexFunc(syms, func(s elf.Symbol) bool { return s.Name == "runtime.buildVersion.str" })
	if i < 0 {
		return ""
	}
	text := make([]byte, min(syms[i].Size, 64))
	if off, ok := fileOffset(f, syms[i].Value); !ok || readAt(f, text, off) != nil {
		return ""
	}
	return strings.TrimRight(string(text), "\x00")
}

// readAt reads from the file's segments by offset in the file.
func readAt(f *elf.File, b []byte, off uint64) error {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && off >= p.Off && off-p.Off < p.Filesz {
			_, err := p.ReadAt(b, int64(off-p.Off))
			return err
		}
	}
	return io.EOF
}

// fileOffset translates an address of the file's own space.
func fileOffset(f *elf.File, addr uint64) (uint64, bool) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return p.Off + addr - p.Vaddr, true
		}
	}
	return 0, false
}

// word reads eight bytes at an address.
func (b *Binary) word(addr uint64) (uint64, bool) {
	var w [8]byte
	off, ok := fileOffset(b.elf, addr)
	if !ok || readAt(b.elf, w[:], off) != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(w[:]), true
}
