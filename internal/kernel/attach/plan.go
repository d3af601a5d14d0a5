//go:build linux

package attach

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Library is something that spans can be made of in a program.
type Library struct {
	Name    string
	Version string   // of its module, or of Go
	Missing []string // what hinders it; empty: it is ready
	Without []string // parts of its spans that this program cannot have
}

// place is where in a function a probe stands.
type place int

const (
	body    place = iota // behind the prologue
	returns              // at each return
	call                 // where it calls another
)

// probe is one program at one function.
type probe struct {
	program  string
	function string
	at       place
	callee   string // of call
	optional bool   // the library works without it
}

// library is what to probe for one kind of span.
type library struct {
	name    string
	module  string // "" for the standard library
	present string // the function that is there if the program uses it
	probes  []probe
	need    []field // without these there are no spans
	want    []field // without these, something in them is missing
}

// field is one offset. Of several types the first that the program has counts:
// they moved.
type field struct {
	typ, name string
	to        func(*attachOffsets) *uint16
}

var goroutineFields = []field{
	{"runtime.g", "goid", func(o *attachOffsets) *uint16 { return &o.G_goid }},
	{"runtime.g", "m", func(o *attachOffsets) *uint16 { return &o.G_m }},
	{"runtime.m", "curg", func(o *attachOffsets) *uint16 { return &o.M_curg }},
}

var requestFields = []field{
	{"net/http.Request", "Method", func(o *attachOffsets) *uint16 { return &o.RequestMethod }},
	{"net/http.Request", "URL", func(o *attachOffsets) *uint16 { return &o.RequestUrl }},
	{"net/http.Request", "Host", func(o *attachOffsets) *uint16 { return &o.RequestHost }},
	{"net/url.URL", "Path", func(o *attachOffsets) *uint16 { return &o.UrlPath }},
}

// flowFields find the addresses of a connection.
var flowFields = []field{
	{"crypto/tls.Conn", "conn", func(o *attachOffsets) *uint16 { return &o.TlsConn }},
	{"net.conn", "fd", func(o *attachOffsets) *uint16 { return &o.TcpFd }},
	{"net.netFD", "laddr", func(o *attachOffsets) *uint16 { return &o.FdLaddr }},
	{"net.netFD", "raddr", func(o *attachOffsets) *uint16 { return &o.FdRaddr }},
	{"net.TCPAddr", "IP", func(o *attachOffsets) *uint16 { return &o.AddrIp }},
	{"net.TCPAddr", "Port", func(o *attachOffsets) *uint16 { return &o.AddrPort }},
}

// libraries in the order in which their probes are set: what ends spans stands before what
// begins them, so that none stays open.
func libraries() []library {
	return []library{
		{
			name: "goroutines", present: "runtime.newproc1",
			probes: []probe{{program: "goroutine_made", function: "runtime.newproc1", at: call, callee: "runtime.isSystemGoroutine"}},
			need:   goroutineFields,
		},
		{
			name: "net/http server", present: "net/http.serverHandler.ServeHTTP",
			probes: []probe{
				{program: "http_served", function: "net/http.(*response).finishRequest"},
				{program: "http_hijacked", function: "net/http.(*response).Hijack", optional: true},
				{program: "http_closed", function: "net/http.(*conn).finalFlush", optional: true},
				{program: "http_serve", function: "net/http.serverHandler.ServeHTTP"},
			},
			need: append([]field{
				{"net/http.response", "status", func(o *attachOffsets) *uint16 { return &o.ResponseStatus }},
				{"net/http.Request", "ProtoMajor", func(o *attachOffsets) *uint16 { return &o.RequestProto }},
			}, requestFields...),
			want: append([]field{
				{"net/http.Request", "Header", func(o *attachOffsets) *uint16 { return &o.RequestHeader }},
				{"net/http.response", "conn", func(o *attachOffsets) *uint16 { return &o.ResponseConn }},
				{"net/http.conn", "rwc", func(o *attachOffsets) *uint16 { return &o.ConnRwc }},
				{"net/http.conn", "tlsState", func(o *attachOffsets) *uint16 { return &o.ConnTls }},
			}, flowFields...),
		},
	}
}

// site is a program and where in the file it goes.
type site struct {
	program string
	offsets []uint64
}

// plan is what to do with a binary.
type plan struct {
	libraries []Library
	sites     []site
	offsets   attachOffsets
}

// none is the offset of a field that is not there.
const none = 0xffff

// makePlan asks the binary for all that the libraries need.
func makePlan(b *Binary, code codeReader) plan {
	var p plan
	blank(&p.offsets)
	minor := goMinor(b.GoVersion)
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
		if l.name == "net/http server" {
			p.route(b, minor, &out)
		}
		p.libraries = append(p.libraries, out)
		if len(out.Missing) == 0 {
			p.sites = append(p.sites, sites...)
		}
	}
	if len(p.sites) == 1 {
		p.sites = nil // goroutines alone
	}
	return p
}

// route finds the pattern that a request matched: in the request since Go 1.23,
// behind an unexported field in 1.22.
func (p *plan) route(b *Binary, minor int, out *Library) {
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

func blank(o *attachOffsets) {
	n := (unsafe.Offsetof(o.Swiss) - unsafe.Offsetof(o.G_goid)) / unsafe.Sizeof(o.G_goid)
	for i := range unsafe.Slice(&o.G_goid, n) {
		unsafe.Slice(&o.G_goid, n)[i] = none
	}
}

// mapKind says how maps are laid out: 1 since Go 1.24, 0 before, 2 if we cannot know.
func mapKind(b *Binary) uint8 {
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

func find(b *Binary, code codeReader, p probe) (site, error) {
	f, ok := b.Func(p.function)
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
		if s.offsets = calls(c, f.Entry, callee.Entry); len(s.offsets) == 0 {
			return site{}, fmt.Errorf("the call of %s in %s", p.callee, p.function)
		}
	}
	return s, nil
}

type codeReader func(b []byte, off uint64) error

// calls finds the instructions in code at offset at that call a function at to.
func calls(code []byte, at, to uint64) []uint64 {
	var out []uint64
	if runtime.GOARCH == "arm64" {
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
	b, err := openBinary(path)
	if err != nil {
		return nil, fmt.Errorf("read executable of process %d: %w", p.PID, err)
	}
	o := &opened{plan: makePlan(b, func(c []byte, off uint64) error { _, err := file.ReadAt(c, int64(off)); return err })}
	if bs.known == nil || len(bs.known) >= maxBinaries {
		bs.known = map[fileKey]*opened{}
	}
	bs.known[key] = o
	return o, nil
}
