//go:build linux && (amd64 || arm64)

package attach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/layout"
)

// injector is how one kind of request is written to.
type injector struct {
	name    string
	present string // the function that is there if the program sends such requests
	probes  []probe
	need    []placed
}

// placed is one offset and where it goes. A field may be of another type in other versions.
type placed struct {
	typ, older string
	name       string
	to         func(*injectPlaces) *uint16
}

// injectors in the order in which their probes are set: what takes a note stands before what
// leaves it. The last probe of each is where requests come to it, and is taken away before the others: (*Request).write
// calls writeSubset a second time, for headers of the Transport's own, and a request whose first call passed as
// that probe had gone already would be found with the wrong headers.
func injectors() []injector {
	const client, frames = "golang.org/x/net/http2.", "golang.org/x/net/http2.(*Framer)."
	xBuffer := placed{typ: client + "Framer", name: "wbuf", to: func(p *injectPlaces) *uint16 { return &p.Xh2Buf }}
	requestHeader := placed{typ: "net/http.Request", name: "Header", to: func(p *injectPlaces) *uint16 { return &p.RequestHeader }}
	return []injector{
		{
			name: "net/http HTTP/1", present: "net/http.(*persistConn).roundTrip",
			probes: []probe{
				{program: "inject_line", function: "net/http.(*Request).write", at: call, callee: "net/http.Header.writeSubset"},
				{program: "inject_conn", function: "net/http.(*persistConn).roundTrip"},
			},
			need: []placed{
				requestHeader,
				{typ: "net/http.persistConn", name: "bw", to: func(p *injectPlaces) *uint16 { return &p.ConnWriter }},
				{typ: "net/http.transportRequest", name: "Request", to: func(p *injectPlaces) *uint16 { return &p.CallRequest }},
				{typ: "bufio.Writer", name: "err", to: func(p *injectPlaces) *uint16 { return &p.WriterErr }},
				{typ: "bufio.Writer", name: "buf", to: func(p *injectPlaces) *uint16 { return &p.WriterBuf }},
				{typ: "bufio.Writer", name: "n", to: func(p *injectPlaces) *uint16 { return &p.WriterN }},
				{typ: "bufio.Writer", name: "wr", to: func(p *injectPlaces) *uint16 { return &p.WriterTo }},
			},
		},
		h2Injector("net/http.http2", "net/http.(*http2"),
		h2Injector("net/http/internal/http2.", "net/http/internal/http2.(*"), // where Go 1.27 moved it
		{
			name: "golang.org/x/net/http2", present: client + "(*clientStream).encodeAndWriteHeaders",
			probes: []probe{
				{program: "inject_xh2_frame", function: frames + "WriteHeaders", at: call, callee: frames + "endWrite"},
				{program: "inject_xh2_headers", function: client + "(*clientStream).encodeAndWriteHeaders"},
				{program: "inject_h2_call", function: client + "(*ClientConn).roundTrip", older: client + "(*ClientConn).RoundTrip"},
			},
			need: []placed{
				requestHeader, xBuffer,
				{typ: client + "clientStream", name: "ID", to: func(p *injectPlaces) *uint16 { return &p.Xh2Id }},
			},
		},
		{
			name: "gRPC", present: grpcTransport + "(*http2Client).NewStream",
			probes: []probe{
				{program: "inject_xh2_frame", function: frames + "WriteHeaders", at: call, callee: frames + "endWrite"},
				{program: "inject_rpc_headers", function: grpcTransport + "(*loopyWriter).writeHeader"},
				{program: "inject_rpc", function: grpcTransport + "(*http2Client).NewStream", at: call, callee: grpcTransport + "(*controlBuffer).executeAndPut"},
			},
			need: []placed{
				xBuffer,
				{typ: grpcTransport + "clientHeaders", older: grpcTransport + "headerFrame", name: "hf", to: func(p *injectPlaces) *uint16 { return &p.RpcFields }},
			},
		},
	}
}

func h2Injector(typ, method string) injector {
	header := placed{typ: "net/http.Request", name: "Header", to: func(p *injectPlaces) *uint16 { return &p.H2Header }}
	if typ != "net/http.http2" {
		header.typ = typ + "ClientRequest"
	}
	return injector{
		name: "net/http HTTP/2", present: method + "clientStream).encodeAndWriteHeaders",
		probes: []probe{
			{program: "inject_h2_frame", function: method + "Framer).WriteHeaders", at: call, callee: method + "Framer).endWrite"},
			{program: "inject_h2_headers", function: method + "clientStream).encodeAndWriteHeaders"},
			{program: "inject_h2_call", function: method + "ClientConn).roundTrip", older: method + "ClientConn).RoundTrip"},
		},
		need: []placed{
			header,
			{typ: typ + "Framer", name: "wbuf", to: func(p *injectPlaces) *uint16 { return &p.H2Buf }},
			{typ: typ + "clientStream", name: "ID", to: func(p *injectPlaces) *uint16 { return &p.H2Id }},
		},
	}
}

// injection is where to write in a binary.
type injection struct {
	kinds  []Library // what of a program's requests get a header, and what hinders others
	sites  []site
	places injectPlaces
}

func planInjection(b *layout.Binary, code codeReader) injection {
	in := injection{}
	p := &in.places
	for _, to := range []*uint16{&p.ConnWriter, &p.CallRequest, &p.RequestHeader, &p.WriterErr, &p.WriterBuf, &p.WriterN, &p.WriterTo,
		&p.H2Header, &p.H2Id, &p.H2Buf, &p.Xh2Id, &p.Xh2Buf, &p.RpcFields} {
		*to = none
	}
	p.Swiss = uint16(mapKind(b))
	for _, i := range injectors() {
		if _, ok := b.Func(i.present); !ok {
			continue
		}
		kind := Library{Name: i.name, Version: b.GoVersion}
		var sites []site
		for _, pr := range i.probes {
			s, err := find(b, code, pr)
			if err != nil {
				kind.Missing = append(kind.Missing, err.Error())
				continue
			}
			sites = append(sites, s)
		}
		for _, f := range i.need {
			off, ok := b.Field(f.typ, f.name)
			if !ok && f.older != "" {
				off, ok = b.Field(f.older, f.name)
			}
			if !ok || off >= none {
				kind.Missing = append(kind.Missing, "field "+f.name+" of "+f.typ)
				continue
			}
			*f.to(p) = uint16(off)
		}
		if p.Swiss == unknownMaps && i.name != "gRPC" {
			kind.Missing = append(kind.Missing, "the layout of maps in "+b.GoVersion)
		}
		in.kinds = append(in.kinds, kind)
		if len(kind.Missing) > 0 {
			continue
		}
		sites[len(sites)-1].enters = true
		for _, s := range sites { // gRPC's frames are those of golang.org/x/net/http2
			if !slices.ContainsFunc(in.sites, func(o site) bool { return o.program == s.program && slices.Equal(o.offsets, s.offsets) }) {
				in.sites = append(in.sites, s)
			}
		}
	}
	return in
}

// Injected counts requests by what became of the header that they should get.
type Injected struct {
	Written uint64
	// Own requests had a traceparent already. The others could not be written to and
	// went out as the program made them.
	Own         uint64
	NoRoom      uint64 // the program's buffer is full
	ManyHeaders uint64 // so many that we cannot tell whether there is one already
	Unexpected  uint64 // something was not as known versions have it
	Split       uint64 // HTTP/2: headers that take more than one frame
	Unwritable  uint64 // the kernel could not write to the page
	// Spared requests went to hosts that Options.InjectHosts and InjectExcept leave out.
	Spared uint64
}

// Refused is the sum of requests that went without.
func (i Injected) Refused() uint64 {
	return i.NoRoom + i.ManyHeaders + i.Unexpected + i.Split + i.Unwritable
}

// Result is one of the things that become of requests.
type Result struct {
	Name  string // for a label: "written", "own", "no_room"…
	Count uint64
	text  string // of refusals
}

// Results lists all of them.
func (i Injected) Results() []Result {
	return []Result{
		{"written", i.Written, ""}, {"own", i.Own, ""}, {"spared", i.Spared, ""},
		{"no_room", i.NoRoom, "no room in the program's buffer"},
		{"many_headers", i.ManyHeaders, "too many headers to look through"},
		{"unexpected", i.Unexpected, "not as known versions have it"},
		{"split", i.Split, "headers in more than one frame"},
		{"unwritable", i.Unwritable, "the page could not be written to"},
	}
}

// String says it for people.
func (i Injected) String() string {
	s := fmt.Sprintf("%d requests with our traceparent, %d with their own, %d left without", i.Written, i.Own, i.Refused())
	if i.Spared > 0 {
		s += fmt.Sprintf(", %d to hosts that are spared", i.Spared)
	}
	for _, r := range i.Results() {
		if r.Count > 0 && r.text != "" {
			s += fmt.Sprintf("; %d: %s", r.Count, r.text)
		}
	}
	return s
}

// injectPart is the name of this part of the feature.
const injectPart = "attach: inject"

// startInjection loads what writes. That the kernel lets it be loaded is the proof that it may
// write; that it refuses hinders nothing else.
func (f *Feature) startInjection() error {
	spec, err := loadInject()
	if err != nil {
		return fmt.Errorf("read object of inject: %w", err)
	}
	f.prepare(spec)
	hosts, err := newHostTable(f.opts.InjectHosts, f.opts.InjectExcept)
	if err == nil {
		err = hosts.size(spec)
	}
	if err != nil {
		return err
	}
	object, err := f.object.Share(injectPart, spec)
	if err != nil {
		return err
	}
	for name := range spec.Programs {
		if f.programs[name], err = object.Program(name); err != nil {
			_ = object.Close()
			if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
				return &kernel.Unsupported{Feature: injectPart, Missing: u.Missing, Next: u.Next, Err: u.Err}
			}
			return err
		}
	}
	if err := hosts.fill(object.Map("hosts")); err != nil {
		return errors.Join(err, object.Close())
	}
	f.injector = object
	return nil
}

// inject puts the writing probes into a process. Without them it is attached to all the same.
func (f *Feature) inject(p *injection, a *attached, probe func(site) error) []Library {
	if f.injector == nil {
		return nil
	}
	kinds := slices.Clone(p.kinds)
	err := f.injector.Map("inject_slots").Put(a.slot, p.places)
	for _, s := range p.sites {
		if err != nil {
			break
		}
		n := len(a.links)
		err = probe(s)
		if s.enters {
			a.enters = append(a.enters, a.links[n:]...)
			a.links = a.links[:n]
		}
	}
	if err != nil {
		for i := range kinds {
			kinds[i].Missing = append(slices.Clone(kinds[i].Missing), err.Error())
		}
	}
	return kinds
}

// Injected counts what was written into requests since Start.
func (f *Feature) Injected() Injected {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.injector == nil {
		return f.injected
	}
	var out [8]uint64
	m := f.injector.Map("results")
	for k := range out {
		var perCPU []uint64
		if m.Lookup(uint32(k), &perCPU) == nil {
			for _, n := range perCPU {
				out[k] += n
			}
		}
	}
	f.injected = Injected{out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7]}
	return f.injected
}

// Injects says whether requests get a header: Options.Inject asks for it, and the kernel allows it.
func (f *Feature) Injects() bool { return f.opts.Inject && f.refused == nil }

// Refused says why requests go out unchanged although Options.Inject asks for a header; nil if
// they do not, or if it does not ask.
func (f *Feature) Refused() error { return f.refused }

// closeInjection keeps the counts.
func (f *Feature) closeInjection() error {
	f.Injected()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.injector == nil {
		return nil
	}
	in := f.injector
	f.injector = nil
	return in.Close()
}

var _ kernel.Feature = (*Feature)(nil)
