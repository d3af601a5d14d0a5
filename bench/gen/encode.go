package gen

import (
	"encoding/binary"
	"math"
	"strconv"
)

// encoder writes one request. Spans are gathered by resource, as a gateway
// does; the parts that never change were encoded when the world was made, so
// that a span costs a fraction of a microsecond.
type encoder struct {
	w       *world
	bucket  [][]byte // encoded spans or records, by resource
	used    []int    // resources with spans, in order of appearance
	scratch []byte
	value   []byte
	out     []byte
}

func (e *encoder) reset(w *world) {
	if e.w != w {
		*e = encoder{w: w, bucket: make([][]byte, w.resources)}
	}
	for _, i := range e.used {
		e.bucket[i] = e.bucket[i][:0]
	}
	e.used = e.used[:0]
}

// Tags of OTLP messages: field number and wire type.
const (
	tagResource = 1<<3 | 2 // ResourceSpans.resource, ScopeSpans.scope, and of logs
	tagScope    = 2<<3 | 2 // ResourceSpans.scope_spans, ScopeSpans.spans, and of logs

	bytesOf   = 2
	fixed64Of = 1
	fixed32Of = 5
	varintOf  = 0
)

// scope is an InstrumentationScope with the tag and length that precede it.
var scope = func() []byte {
	b := appendText(nil, 1, "example.com/shop/telemetry")
	b = appendText(b, 2, "1.4.0")
	return appendMessage(nil, tagResource, b)
}()

// request assembles what was gathered.
func (e *encoder) request() []byte {
	e.out = e.out[:0]
	for _, i := range e.used {
		inst := &e.w.services[i/instancesPerService].instance[i%instancesPerService]
		scoped := len(scope) + len(e.bucket[i])
		size := 1 + varintSize(len(inst.resource)) + len(inst.resource) + 1 + varintSize(scoped) + scoped
		e.out = appendTag(e.out, tagResource, size)
		e.out = appendMessage(e.out, tagResource, inst.resource)
		e.out = appendTag(e.out, tagScope, scoped)
		e.out = append(e.out, scope...)
		e.out = append(e.out, e.bucket[i]...)
	}
	return e.out
}

// add puts the scratch, a span or a record, under its resource.
func (e *encoder) add(resource int) {
	if len(e.bucket[resource]) == 0 {
		e.used = append(e.used, resource)
	}
	e.bucket[resource] = appendMessage(e.bucket[resource], tagScope, e.scratch)
}

// sampled and random, as W3C trace context level 2 has it.
const traceFlags = 0x03

func (e *encoder) span(s *Span, form Form) {
	b := e.scratch[:0]
	op := &e.w.services[s.service].operation[s.operation]
	if form == Rows {
		b = appendFixed64(b, 1, uint64(s.End))
		b = appendTag(b, 5<<3|bytesOf, 1+varintSize(len(s.Name))+len(s.Name))
		b = appendText(b, 1, s.Name)
		b = append(b, op.nameAttr...)
		b = e.w.text(b, "kind", [...]string{"", "internal", "server", "client"}[s.Kind])
		b = e.w.number(b, "duration", s.End-s.Start)
		b = e.w.number(b, "flags", traceFlags)
		if s.Parent != [8]byte{} {
			b = e.w.text(b, "parent_span_id", string(appendHex(e.value[:0], s.Parent[:])))
		}
		if s.Error {
			b = e.w.text(b, "status", "error")
		}
	} else {
		b = appendBytes(b, 1, s.TraceID[:])
		b = appendBytes(b, 2, s.SpanID[:])
		if s.Parent != [8]byte{} {
			b = appendBytes(b, 4, s.Parent[:])
		}
		b = appendText(b, 5, s.Name)
		b = append(b, 6<<3|varintOf, byte(s.Kind))
		b = appendFixed64(b, 7, uint64(s.Start))
		b = appendFixed64(b, 8, uint64(s.End))
	}
	b = append(b, op.fixed...)
	switch {
	case s.Kind == KindServer:
		b = e.served(b, s, op)
	case s.Kind == KindInternal:
		b = e.worked(b, s)
	case s.operation >= firstStatement:
		b = e.stated(b, s)
	default:
		b = e.called(b, s)
	}
	e.value = appendUser(e.value[:0], s.User)
	b = e.attr(b, "user.id")
	if form == Rows {
		b = appendBytes(b, 9, s.TraceID[:])
		b = appendBytes(b, 10, s.SpanID[:])
	} else {
		if s.Error && s.operation >= firstStatement {
			// Event: the time, then what never changes.
			b = appendTag(b, 11<<3|bytesOf, 9+len(e.w.exception))
			b = appendFixed64(b, 1, uint64(s.End))
			b = append(b, e.w.exception...)
		}
		if s.Error {
			// Status: message and code.
			b = append(b, 15<<3|bytesOf, byte(4+len(errorMessage)))
			b = appendText(b, 2, errorMessage)
			b = append(b, 3<<3|varintOf, 2)
		}
		// Tags from 16 on take two bytes.
		b = append(b, 16<<3&0x7f|fixed32Of|0x80, 16>>4)
		b = binary.LittleEndian.AppendUint32(b, traceFlags)
	}
	e.scratch = b
	e.add(s.service*instancesPerService + s.instance)
}

const (
	errorMessage = "upstream request failed"
	stacktrace   = "goroutine 4711 [running]:\nexample.com/shop/store.(*Rows).next(0xc000512000)\n\t/src/shop/store/rows.go:118 +0x1f4\n" +
		"example.com/shop/store.(*Rows).Collect(0xc000512000)\n\t/src/shop/store/rows.go:64 +0x9a\n" +
		"net/http.HandlerFunc.ServeHTTP(0xc000032d80)\n\t/usr/local/go/src/net/http/server.go:2294 +0x29\n"
)

// served adds what changes from request to request on a server span.
func (e *encoder) served(b []byte, s *Span, op *operation) []byte {
	e.value = appendInt(append(e.value[:0], op.path...), int64(s.rnd>>44))
	b = e.attr(b, "url.path")
	b = e.w.number(b, "http.response.status_code", int64(s.Status))
	b = e.w.number(b, "http.response.body.size", size(s.rnd))
	if s.Parent == [8]byte{} {
		v := e.value[:0]
		for i, shift := range [...]uint{0, 8, 16, 24} {
			if i > 0 {
				v = append(v, '.')
			}
			// From 20 to 219 looks like a public address.
			v = appendInt(v, 20+int64(s.rnd>>shift&0xff)*199/255)
		}
		e.value = v
		b = e.attr(b, "client.address")
		return append(b, e.w.agents[(s.rnd>>8)%uint64(len(e.w.agents))]...)
	}
	b = append(b, e.w.services[s.from/instancesPerService].instance[s.from%instancesPerService].client...)
	return e.w.text(b, "user_agent.original", "Go-http-client/2.0")
}

// called does so on the span of a call to another service.
func (e *encoder) called(b []byte, s *Span) []byte {
	callee := &e.w.services[s.to/instancesPerService]
	route := callee.operation[s.route]
	b = e.w.text(b, "http.request.method", methods[s.route])
	v := append(e.value[:0], "https://"...)
	v = append(v, callee.name...)
	v = append(v, ":8443"...)
	v = append(v, route.path...)
	e.value = appendInt(v, int64(s.rnd>>44))
	b = e.attr(b, "url.full")
	b = e.w.number(b, "http.response.status_code", int64(s.Status))
	b = e.w.number(b, "http.request.body.size", size(s.rnd)/4)
	return append(b, callee.instance[s.to%instancesPerService].peer...)
}

// stated does so on the span of a statement.
func (e *encoder) stated(b []byte, s *Span) []byte {
	b = e.w.number(b, "db.response.returned_rows", int64(s.rnd>>20%51))
	if s.Error {
		return append(b, e.w.failures[s.rnd%uint64(len(e.w.failures))]...)
	}
	return e.w.text(b, "app.shard", shards[s.rnd>>30%uint64(len(shards))])
}

// worked does so on the span of a service's own work.
func (e *encoder) worked(b []byte, s *Span) []byte {
	b = e.w.number(b, "thread.id", int64(s.rnd>>52))
	b = e.w.number(b, "app.items", 1+int64(s.rnd>>16%24))
	b = e.w.double(b, "app.amount", float64(s.rnd>>20%5_000_000)/100)
	b = e.w.text(b, "app.tenant", tenants[s.rnd>>12%uint64(len(tenants))])
	e.value = appendHex(append(e.value[:0], "ord-"...), s.SpanID[:5])
	b = e.attr(b, "app.order.id")
	b = e.w.boolean(b, "app.retried", s.rnd%50 == 0)
	return e.w.text(b, "feature_flag.key", flags[s.rnd>>36%uint64(len(flags))])
}

var (
	shards  = numbered("shard-", 16)
	tenants = numbered("tenant-", 120)
	flags   = numbered("flag-", 40)
)

func numbered(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = prefix + strconv.Itoa(i)
	}
	return all
}

// size is a body size from 64 B up to about 64 KiB, small ones more often.
func size(rnd uint64) int64 {
	return 64 + int64(rnd>>10&0xffff)>>(rnd&7)
}

// attr appends e.value as an attribute.
func (e *encoder) attr(b []byte, key string) []byte {
	n := len(e.value)
	b = e.w.attribute(b, key, 1+varintSize(n)+n)
	b = append(b, 1<<3|bytesOf)
	b = binary.AppendUvarint(b, uint64(n))
	return append(b, e.value...)
}

func (w *world) text(b []byte, key, v string) []byte {
	return appendText(w.attribute(b, key, 1+varintSize(len(v))+len(v)), 1, v)
}

func (w *world) number(b []byte, key string, v int64) []byte {
	b = w.attribute(b, key, 1+uvarintSize(uint64(v)))
	b = append(b, 3<<3|varintOf)
	return binary.AppendUvarint(b, uint64(v))
}

func (w *world) double(b []byte, key string, v float64) []byte {
	return appendFixed64(w.attribute(b, key, 9), 4, math.Float64bits(v))
}

func (w *world) boolean(b []byte, key string, v bool) []byte {
	b = w.attribute(b, key, 2)
	bit := byte(0)
	if v {
		bit = 1
	}
	return append(b, 2<<3|varintOf, bit)
}

// attribute appends a KeyValue up to where its AnyValue of n bytes begins.
func (w *world) attribute(b []byte, key string, n int) []byte {
	b = append(b, w.attr)
	b = binary.AppendUvarint(b, uint64(2+len(key)+1+varintSize(n)+n))
	b = append(b, 1<<3|bytesOf, byte(len(key)))
	b = append(b, key...)
	b = append(b, 2<<3|bytesOf)
	return binary.AppendUvarint(b, uint64(n))
}

func appendMessage(b []byte, tag byte, m []byte) []byte {
	return append(appendTag(b, tag, len(m)), m...)
}

func appendTag(b []byte, tag byte, n int) []byte {
	return binary.AppendUvarint(append(b, tag), uint64(n))
}

func appendText(b []byte, field byte, s string) []byte {
	return append(appendTag(b, field<<3|bytesOf, len(s)), s...)
}

func appendBytes(b []byte, field byte, s []byte) []byte {
	return append(append(b, field<<3|bytesOf, byte(len(s))), s...)
}

func appendFixed64(b []byte, field byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, field<<3|fixed64Of), v)
}

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

func appendHex(b, s []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range s {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

func varintSize(n int) int { return uvarintSize(uint64(n)) }

func uvarintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
