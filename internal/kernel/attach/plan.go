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
	"github.com/guanlan-io/guanlan/internal/kernel/layout"
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
	enters  bool // of an injector: the last probe, where requests come to it
}

// plan is what to do with a binary.
type plan struct {
	goVersion string
	libraries []Library
	sites     []site
	offsets   attachOffsets
	injection injection
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
		case Goroutines:
			p.reader(b, sites)
		case "net/http server":
			p.route(b, minor, &out)
			if off, ok := b.Field("net/http.Request", "RequestURI"); ok && off+16 <= requestRead {
				p.offsets.RequestUri = uint16(off) // else method and path are read one by one
			}
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
	if calls {
		p.merge(b, code, minor)
	} else {
		// A probe in each start of a goroutine is dear where no span needs its parent by it.
		p.sites = slices.DeleteFunc(p.sites, func(s site) bool { return s.program == goroutineProgram })
	}
	p.injection = planInjection(b, code)
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

// reader says where the goroutine begins that net/http starts with each request to wait for
// the client's end: with a program that serves it is one in two that are made.
func (p *plan) reader(b *layout.Binary, sites []site) {
	f, ok := b.Func("net/http.(*connReader).startBackgroundRead")
	if !ok || len(sites) != 1 || len(sites[0].offsets) != 1 || p.offsets.G_gopc == none {
		return
	}
	if d := int64(f.Entry) - int64(sites[0].offsets[0]); d == int64(int32(d)) {
		p.offsets.Reader, p.offsets.ReaderSize = int32(d), uint32(f.Size)
	}
}

// merge lets requests without a body begin at the probe of goroutines, which they pass anyway,
// and takes the one away that all requests would pass. Where net/http is not as it was in all versions
// that were looked at, all stays as it is.
func (p *plan) merge(b *layout.Binary, code codeReader, minor int) {
	serve := slices.IndexFunc(p.sites, func(s site) bool { return s.program == serveProgram })
	if serve < 0 || p.offsets.ReaderSize == 0 || minor < oldestMerged || minor > newestMerged {
		return
	}
	sched, ok1 := b.Field("runtime.g", "sched")
	ctxt, ok2 := b.Field("runtime.gobuf", "ctxt")
	length, ok3 := b.Field("net/http.Request", "ContentLength")
	if !ok1 || !ok2 || !ok3 || length != uint64(p.offsets.RequestProto)+lengthBehindProto {
		return
	}
	for _, f := range []struct {
		typ, name string
		to        *uint16
	}{
		{"net/http.connReader", "conn", &p.offsets.ReaderConn},
		{"net/http.conn", "curReq", &p.offsets.ConnRequest},
		{"net/http.response", "req", &p.offsets.ResponseRequest},
	} {
		off, ok := b.Field(f.typ, f.name)
		if !ok {
			return
		}
		*f.to = uint16(off)
	}
	var instead []site
	for _, pr := range []probe{
		{program: "http_body", function: "net/http.(*body).registerOnHitEOF"},
		{program: "h2_serve", function: "net/http.(*http2serverConn).runHandler", optional: true}, // not linked by all
	} {
		switch s, err := find(b, code, pr); {
		case err == nil:
			instead = append(instead, s)
		case !pr.optional:
			return
		}
	}
	p.sites = slices.Replace(p.sites, serve, serve+1, instead...)
	p.offsets.G_ctxt = uint16(sched + ctxt)
}

// lengthBehindProto is how far the kernel reads for a request's ContentLength behind its ProtoMajor.
const lengthBehindProto = 48

// requestRead is how much of a request the kernel reads at one stroke.
const requestRead = 256

// Versions of Go whose net/http merge knows: before, conn.curReq was wrapped in an interface; after,
// HTTP/2 has requests of its own.
const oldestMerged, newestMerged = 20, 26

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
	// Names of fields changed in 1.73.
	for _, f := range []struct {
		names [2]string
		to    *uint16
	}{{[2]string{"transportStream", "s"}, &p.offsets.AttemptStream}, {[2]string{"transport", "t"}, &p.offsets.AttemptTransport}} {
		for _, name := range f.names {
			if at, ok := b.Field("google.golang.org/grpc.csAttempt", name); ok && *f.to == none {
				*f.to = uint16(at)
			}
		}
	}
}

func blank(o *attachOffsets) {
	n := (unsafe.Offsetof(o.Swiss) - unsafe.Offsetof(o.G_goid)) / unsafe.Sizeof(o.G_goid)
	for i := range unsafe.Slice(&o.G_goid, n) {
		unsafe.Slice(&o.G_goid, n)[i] = none
	}
}

// unknownMaps is mapKind of a Go whose maps we do not know.
const unknownMaps = 2

// mapKind says how maps are laid out: 1 since Go 1.24, 0 before, 2 if we cannot know.
func mapKind(b *layout.Binary) uint8 {
	switch m := goMinor(b.GoVersion); {
	case strings.Contains(b.GoVersion, "nosswissmap"), m > 0 && m < 24:
		return 0
	case strings.Contains(b.GoVersion, "mapsplitgroup"), m == 0:
		return unknownMaps
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
