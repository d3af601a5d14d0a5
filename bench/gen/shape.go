package gen

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// Span is what questions to a store can depend on.
type Span struct {
	TraceID [16]byte
	SpanID  [8]byte
	Parent  [8]byte // zero for a root
	Service string
	Name    string
	Kind    int
	Status  int // HTTP status of what was served or called; 0 for other spans
	Error   bool
	Start   int64 // Unix nanoseconds
	End     int64
	User    int // see UserID

	service   int
	operation int
	instance  int
	from, to  int    // instances of the caller and of the callee
	route     int    // that a call goes to
	rnd       uint64 // for the attributes that nobody asks for
}

// UserID is the value of the attribute user.id of the spans of user u.
func UserID(u int) string { return string(appendUser(nil, u)) }

func appendUser(b []byte, u int) []byte { return appendInt(append(b, "u-"...), int64(1_000_000+u)) }

// tree says what each span of a trace is: a request to a service that asks
// a second one, which asks a third one; each runs statements.
var tree = [SpansPerTrace]struct {
	parent int // index; -1 for the root
	depth  int // of the service in the chain
	first  int // its first operation…
	count  int // …and among how many it is drawn
	kind   int
	// Where it lies in its parent, in 1/256: start, shortest and longest.
	start, short, long int64
}{
	{-1, 0, 0, routes, KindServer, 0, 0, 0},
	{0, 0, firstStatement, statements, KindClient, 5, 6, 30},
	{0, 0, firstCall, calls, KindClient, 40, 120, 160},
	{2, 1, 0, routes, KindServer, 6, 230, 244},
	{3, 1, firstStatement, statements, KindClient, 10, 30, 90},
	{3, 1, firstCall, calls, KindClient, 110, 90, 130},
	{5, 2, 0, routes, KindServer, 8, 225, 240},
	{6, 2, firstStatement, statements, KindClient, 12, 40, 110},
	{6, 2, firstStatement, statements, KindClient, 130, 40, 110},
	{0, 0, ownWork, 1, KindInternal, 205, 10, 45},
}

// Rates of what goes wrong.
const (
	failingTraces = 40 // one in so many
	notFound      = 30 // one in so many served requests
)

// shape appends traces that end evenly between from and to.
func (w *world) shape(dst []Span, r *rand.PCG, traces int, from, to int64) []Span {
	normal := rand.New(r)
	step := (to - from) / int64(traces)
	for t := range traces {
		a, b := r.Uint64(), r.Uint64()
		var id [16]byte
		binary.BigEndian.PutUint64(id[:], a)
		binary.BigEndian.PutUint64(id[8:], b)

		// Log-normal with a median of 40 ms and a long tail, at most 30 s.
		total := min(int64(40e6*math.Exp(normal.NormFloat64())), 30e9)
		u := r.Uint64()
		x := float64(u>>40) / (1 << 24)
		user := int(x * x * x * Users) // few users do most
		failing := u%failingTraces == 0
		reach := int(u>>8) & 3 // how far up the failure is felt

		var services, instances, served [3]int
		services[0] = edge(u >> 16 & 0xff)
		for d := range instances {
			instances[d] = int(u>>(24+3*d)) & 7 % instancesPerService
		}
		first := len(dst)
		end := from + int64(t)*step + step
		for k := range tree {
			n := &tree[k]
			v := r.Uint64()
			s := Span{
				TraceID: id, Kind: n.kind, User: user, rnd: v * 0x9e3779b97f4a7c15,
				service: services[n.depth], instance: instances[n.depth],
				operation: n.first + skewed(v, n.count),
			}
			binary.LittleEndian.PutUint64(s.SpanID[:], v^a)
			if n.parent < 0 {
				s.Start, s.End = end-total, end
			} else {
				p := &dst[first+n.parent]
				length := p.End - p.Start
				s.Parent = p.SpanID
				s.Start = p.Start + length*n.start/256
				s.End = s.Start + length*(n.short+int64(v>>32&0xff)*(n.long-n.short)/255)/256
			}
			svc := &w.services[s.service]
			switch {
			case n.first == firstCall:
				callee := svc.callee[s.operation-firstCall]
				services[n.depth+1] = callee
				s.route = skewed(v>>20, routes)
				served[n.depth+1] = s.route
				s.to = callee*instancesPerService + instances[n.depth+1]
			case n.kind == KindServer && n.depth > 0:
				s.operation = served[n.depth]
				s.from = services[n.depth-1]*instancesPerService + instances[n.depth-1]
			}
			s.Error = failing && failed(k, reach)
			if n.kind == KindServer || n.first == firstCall {
				s.Status = status(v, s.Error)
				if n.first == 0 && n.parent >= 0 {
					s.Status = dst[first+n.parent].Status
				}
			}
			s.Service = svc.name
			s.Name = svc.operation[s.operation].name
			dst = append(dst, s)
		}
	}
	return dst
}

// edge is the service that a trace enters by: mostly the gateway.
func edge(byte uint64) int {
	switch {
	case byte < 140:
		return 0
	case byte < 210:
		return 1
	}
	return int(byte) % len(serviceNames)
}

// skewed draws below n, low numbers more often.
func skewed(v uint64, n int) int {
	x := v & 0xffff
	return int(x * x * uint64(n) >> 32)
}

// failed tells whether span k of a failing trace failed: the last statement,
// and what waited for it as far up as it was felt.
func failed(k, reach int) bool {
	switch k {
	case 8, 6, 5:
		return true
	case 3, 2:
		return reach >= 1
	case 0:
		return reach >= 2
	}
	return false
}

func status(v uint64, failed bool) int {
	switch {
	case failed:
		return 500 + int(v>>50)%4
	case v>>40%notFound == 0:
		return 404
	case v>>52%8 == 0:
		return 201
	}
	return 200
}
