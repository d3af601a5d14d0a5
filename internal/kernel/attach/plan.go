//go:build linux && (amd64 || arm64)

package attach

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach/layout"
)

// Library is something that spans can be made of in a program.
type Library struct {
	Name    string
	Version string   // of its module, or of Go
	Missing []string // what hinders it; empty: it is ready
	Without []string // parts of its spans that this program cannot have
}

// site is a program and where in the file it goes.
type site struct {
	program string
	offsets []uint64
}

// plan is what to do with a binary.
type plan struct {
	goVersion string
	libraries []Library
	sites     []site
	offsets   attachOffsets
}

// none is the offset of a field that is not there.
const none = 0xffff

// makePlan asks the binary for all that the libraries need.
func makePlan(b *layout.Binary, code codeReader) plan {
	p := plan{goVersion: b.GoVersion}
	blank(&p.offsets)
	minor, calls := goMinor(b.GoVersion), false
	p.offsets.Swiss = mapKind(b)
	put := func(f field) bool {
		off, ok := b.Field(f.typ, f.name)
		if !ok || off >= none {
			return false
		}
		*f.to(&p.offsets) = uint16(off)
		return true
	}
	for _, l := range libraries() {
		if _, ok := b.Func(l.present); !ok {
			continue
		}
		out := Library{Name: l.name, Version: b.GoVersion}
		if l.module != "" {
			out.Version = b.Modules[l.module]
		}
		var sites []site
		for _, pr := range l.probes {
			s, err := find(b, code, pr)
			switch {
			case err == nil:
				sites = append(sites, s)
			case pr.optional:
				out.Without = append(out.Without, err.Error())
			default:
				out.Missing = append(out.Missing, err.Error())
			}
		}
		for _, f := range l.need {
			if !put(f) {
				out.Missing = append(out.Missing, "field "+f.name+" of "+f.typ)
			}
		}
		for _, f := range l.want {
			if !put(f) {
				out.Without = append(out.Without, "field "+f.name+" of "+f.typ)
			}
		}
		switch l.name {
		case "net/http server":
			p.route(b, minor, &out)
		case "gRPC server", "gRPC client":
			p.embedded(b)
		}
		if n := len(p.libraries); n > 0 && p.libraries[n-1].Name == out.Name { // parts of one
			last := &p.libraries[n-1]
			last.Missing, last.Without = merge(last.Missing, out.Missing), merge(last.Without, out.Without)
		} else {
			p.libraries = append(p.libraries, out)
		}
		if len(out.Missing) == 0 {
			p.sites = append(p.sites, sites...)
			calls = calls || l.calls
		}
	}
	if !calls {
		// A probe in each start of a goroutine is dear where no span needs its parent by it.
		p.sites = slices.DeleteFunc(p.sites, func(s site) bool { return s.program == goroutineProgram })
	}
	return p
}

func merge(to, from []string) []string {
	for _, s := range from {
		if !slices.Contains(to, s) {
			to = append(to, s)
		}
	}
	return to
}

// route finds the pattern that a request matched: in the request since Go 1.23,
// behind an unexported field in 1.22.
func (p *plan) route(b *layout.Binary, minor int, out *Library) {
	if off, ok := b.Field("net/http.Request", "Pattern"); ok {
		p.offsets.RequestPattern = uint16(off)
		return
	}
	pat, ok := b.Field("net/http.Request", "pat")
	str, ok2 := b.Field("net/http.pattern", "str")
	if ok && ok2 {
		p.offsets.RequestPat, p.offsets.PatternStr = uint16(pat), uint16(str)
		return
	}
	if minor < 22 {
		out.Without = append(out.Without, "routes: net/http has them since Go 1.22")
	} else {
		out.Without = append(out.Without, "routes: field Pattern of net/http.Request")
	}
}

// embedded: in some versions of gRPC both sides' streams hold a pointer to the fields that
// they have in common, in others the fields themselves.
func (p *plan) embedded(b *layout.Binary) {
	for _, side := range []struct {
		typ, next string
		to        *uint16
	}{
		{"ServerStream", "st", &p.offsets.GsStream},
		{"ClientStream", "ct", &p.offsets.GcStream},
	} {
		at, ok := b.Field(grpcTransport+side.typ, "Stream")
		next, ok2 := b.Field(grpcTransport+side.typ, side.next)
		if ok && ok2 && next-at == 8 {
			*side.to = uint16(at)
		}
	}
}

func blank(o *attachOffsets) {
	n := (unsafe.Offsetof(o.Swiss) - unsafe.Offsetof(o.G_goid)) / unsafe.Sizeof(o.G_goid)
	for i := range unsafe.Slice(&o.G_goid, n) {
		unsafe.Slice(&o.G_goid, n)[i] = none
	}
}

// mapKind says how maps are laid out: 1 since Go 1.24, 0 before, 2 if we cannot know.
func mapKind(b *layout.Binary) uint8 {
	switch m := goMinor(b.GoVersion); {
	case strings.Contains(b.GoVersion, "nosswissmap"), m > 0 && m < 24:
		return 0
	case strings.Contains(b.GoVersion, "mapsplitgroup"), m == 0:
		return 2
	}
	return 1
}

// goMinor is 26 of "go1.26.8", 0 of what is no release.
func goMinor(version string) int {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	n, _ := strconv.Atoi(rest[:end])
	return n
}

func find(b *layout.Binary, code codeReader, p probe) (site, error) {
	f, ok := b.Func(p.function)
	if !ok && p.older != "" {
		f, ok = b.Func(p.older)
	}
	if !ok {
		return site{}, fmt.Errorf("function %s", p.function)
	}
	s := site{program: p.program}
	switch p.at {
	case body:
		s.offsets = []uint64{f.Body}
	case returns:
		if s.offsets = f.Returns; len(s.offsets) == 0 {
			return site{}, fmt.Errorf("returns of %s", p.function)
		}
	case call:
		callee, ok := b.Func(p.callee)
		if !ok {
			return site{}, fmt.Errorf("function %s", p.callee)
		}
		c := make([]byte, f.Size)
		if err := code(c, f.Entry); err != nil {
			return site{}, fmt.Errorf("code of %s: %w", p.function, err)
		}
		if s.offsets = callsTo(b.Arch, c, f.Entry, callee.Entry); len(s.offsets) == 0 {
			return site{}, fmt.Errorf("the call of %s in %s", p.callee, p.function)
		}
	}
	return s, nil
}

type codeReader func(b []byte, off uint64) error

// callsTo finds the instructions in code at offset at that call a function at to.
func callsTo(arch string, code []byte, at, to uint64) []uint64 {
	var out []uint64
	if arch == "arm64" {
		for i := 0; i+4 <= len(code); i += 4 { // BL imm26
			w := binary.LittleEndian.Uint32(code[i:])
			if w>>26 == 0x25 && at+uint64(i)+uint64(int64(int32(w<<6)>>6)*4) == to {
				out = append(out, at+uint64(i))
			}
		}
		return out
	}
	for i := 0; i+5 <= len(code); i++ { // CALL rel32; four bytes that name the place by chance are not to be feared
		if code[i] == 0xe8 && at+uint64(i)+5+uint64(int64(int32(binary.LittleEndian.Uint32(code[i+1:])))) == to {
			out = append(out, at+uint64(i))
		}
	}
	return out
}

// maxBinaries bounds the plans kept; each is some KB.
const maxBinaries = 64

// binaries keeps plans: processes of one executable share it.
type binaries struct {
	mu    sync.Mutex
	known map[fileKey]*opened
}

type opened struct{ plan plan }

type fileKey struct {
	dev, ino    uint64
	size, mtime int64
}

func (bs *binaries) open(proc string, p kernel.Process) (*opened, error) {
	path := exeOf(proc, p.PID)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open executable of process %d: %w", p.PID, err)
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat executable of process %d: %w", p.PID, err)
	}
	key := fileKey{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		key.dev, key.ino = st.Dev, st.Ino
	}
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if o := bs.known[key]; o != nil {
		return o, nil
	}
	b, err := layout.Of(path)
	if err != nil {
		return nil, fmt.Errorf("read executable of process %d: %w", p.PID, err)
	}
	defer b.Close()
	o := &opened{plan: makePlan(b, func(c []byte, off uint64) error { _, err := file.ReadAt(c, int64(off)); return err })}
	if bs.known == nil || len(bs.known) >= maxBinaries {
		bs.known = map[fileKey]*opened{}
	}
	bs.known[key] = o
	return o, nil
}
