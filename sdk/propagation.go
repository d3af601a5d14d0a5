package sdk

import (
	"context"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Propagator carries W3C Trace Context, Baggage, and the ids of the request and
// of the business case over headers. It is an OpenTelemetry propagator that reads
// baggage only when somebody asks for it.
type Propagator struct{}

var _ propagation.TextMapPropagator = Propagator{}

// Header names as net/http keeps them.
const (
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
	headerBaggage     = "Baggage"
)

// Fields implements propagation.TextMapPropagator.
func (Propagator) Fields() []string {
	var fields []string
	ids := idHeadersOf()
	if !ids.without.trace {
		fields = append(fields, "traceparent", "tracestate")
	}
	if !ids.without.baggage {
		fields = append(fields, "baggage")
	}
	for _, name := range []string{ids.requestEntry, ids.bizEntry} {
		if name != "" {
			fields = append(fields, name)
		}
	}
	return fields
}

// Extract implements propagation.TextMapPropagator. What is malformed is as if
// it were not there. A request id of 32 hexadecimal digits is the id of the
// trace that begins here, when no other came and ctx has none.
func (Propagator) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	ids := idHeadersOf()
	var c came
	if h, ok := carrier.(propagation.HeaderCarrier); ok {
		c = cameIn(h, ids)
	} else {
		c = came{carrier.Get("traceparent"), carrier.Get("tracestate"), carrier.Get("baggage"), idIn(carrier, ids.requestEntry), idIn(carrier, ids.bizEntry)}
		ids.without.clear(&c)
	}
	return c.in(ctx)
}

// ExtractEntries is Extract of a map whose names are in lower case, as gRPC's
// metadata.
func (Propagator) ExtractEntries(ctx context.Context, entries map[string][]string) context.Context {
	ids := idHeadersOf()
	c := came{parent: only(entries, "traceparent"), state: header(entries, "tracestate"), members: header(entries, "baggage")}
	c.ids(entries, ids.requestEntry, ids.bizEntry)
	ids.without.clear(&c)
	return c.in(ctx)
}

// in is ctx with what came.
func (c *came) in(ctx context.Context) context.Context {
	if *c == noneCame {
		return ctx
	}
	r := new(remote)
	if !r.take(ctx, c) {
		return ctx
	}
	return r
}

// came is what came over the wire, as text.
type came struct {
	parent, state, members string
	request, biz           string // well-formed or empty
}

var noneCame came

// cameIn reads headers.
func cameIn[H ~map[string][]string](h H, ids *idHeaders) (c came) {
	if c.parent = only(h, headerTraceparent); c.parent != "" { // of no use without
		c.state = header(h, headerTracestate)
	}
	c.members = header(h, headerBaggage)
	c.ids(h, ids.request, ids.biz)
	ids.without.clear(&c)
	return c
}

// ids reads the ids that have a name.
func (c *came) ids(h map[string][]string, request, biz string) {
	if request != "" {
		c.request = firstID(h[request])
	}
	if biz != "" {
		c.biz = firstID(h[biz])
	}
}

// idIn reads an id from a carrier.
func idIn(carrier propagation.TextMapCarrier, name string) string {
	if name == "" {
		return ""
	}
	if many, ok := carrier.(propagation.ValuesGetter); ok {
		return firstID(many.Values(name))
	}
	return firstID([]string{carrier.Get(name)})
}

// only is the value of a header that may come once; "" when it comes again, for
// then nobody knows which is meant.
func only[H ~map[string][]string](h H, name string) string {
	if v := h[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// header is what Get says, without making the name canonical first, and with
// several lines joined as HTTP has it, unless they are too long.
func header[H ~map[string][]string](h H, name string) string {
	switch v := h[name]; len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	default:
		return joined(v)
	}
}

// maxJoined is how long lines may be together, in bytes: as much baggage as W3C
// asks for, and more than is passed on of tracestate. A client may send 90,000
// lines in 1 MB, and has not to make a service read them.
const maxJoined = 8192

func joined(lines []string) string {
	size := len(lines) - 1
	for _, line := range lines {
		if size += len(line); size > maxJoined {
			return ""
		}
	}
	return strings.Join(lines, ",")
}

// remote is a context with what came over the wire, or from another goroutine.
type remote struct {
	context.Context
	span    remoteSpan
	hasSpan bool
	request string // id
	biz     string // id, when it has a header of its own

	members string // header baggage, as it came
	once    sync.Once
	baggage context.Context // with the parsed one
}

// take makes r a context within ctx with what came; false when that is nothing.
func (r *remote) take(ctx context.Context, c *came) bool {
	sc, ok := core.ParseTraceparent(c.parent, c.state)
	if !ok {
		if id, isTrace := core.ParseTraceID(c.request); isTrace {
			if _, within := contextIn(ctx); !within {
				sc.TraceID, ok = id, true
			}
		}
	}
	if !ok && c.members == "" && c.request == "" && c.biz == "" {
		return false
	}
	r.Context, r.request, r.biz, r.members = ctx, c.request, c.biz, c.members
	r.span, r.hasSpan = remoteSpan{noRecording, sc}, ok
	return true
}

// baggageKey is the key that the OpenTelemetry API keeps baggage under in a
// context.
var baggageKey = func() any {
	p := &keyProbe{Context: context.Background()}
	baggage.FromContext(p)
	return p.key
}()

// Value implements context.Context.
func (r *remote) Value(key any) any {
	switch {
	case key == spanKey && r.hasSpan:
		return &r.span
	case key == requestIDKey && r.request != "":
		return &r.request
	case key == baggageKey && (r.members != "" || r.biz != ""):
		r.once.Do(r.parse)
		return r.baggage.Value(key)
	}
	return r.Context.Value(key)
}

// parse reads the baggage. Of a business id that came twice the header counts:
// it is there to be seen.
func (r *remote) parse() {
	b, _ := baggage.Parse(r.members) // what of it can be read
	if b.Len() == 0 {
		b = baggage.FromContext(r.Context)
	}
	if r.biz != "" {
		b = withBizMember(b, r.biz)
	}
	r.baggage = baggage.ContextWithBaggage(r.Context, b)
}

// remoteSpan stands for the span of the caller.
type remoteSpan struct {
	noSpan
	sc core.SpanContext
}

// noSpan is a noop.Span, of which one serves all.
type noSpan struct{ trace.Span }

var noRecording = noSpan{noop.Span{}}

// SpanContext implements trace.Span.
func (s *remoteSpan) SpanContext() trace.SpanContext { return toSpanContext(&s.sc) }

// Inject implements propagation.TextMapPropagator. An id that the carrier has
// already stays: it means something to whoever is called.
func (p Propagator) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	var few [2 * maxEntries]string
	for e := p.AppendEntries(few[:0], ctx); len(e) > 0; e = e[2:] {
		if isIDEntry(e[0]) && carrier.Get(e[0]) != "" {
			continue
		}
		carrier.Set(e[0], e[1])
	}
}

// maxEntries is how many there are at most: traceparent, tracestate, baggage and
// the ids.
const maxEntries = 5

func isIDEntry(name string) bool {
	ids := idHeadersOf()
	return name == ids.requestEntry || name == ids.bizEntry
}

// AppendEntries appends what Inject sets: names in lower case, each followed by
// its value.
func (Propagator) AppendEntries(dst []string, ctx context.Context) []string {
	ids := idHeadersOf()
	if sc, ok := contextOf(ctx); ok && !ids.without.trace {
		dst = append(dst, "traceparent", string(core.AppendTraceparent(make([]byte, 0, 55), &sc)))
		if sc.State != "" {
			dst = append(dst, "tracestate", sc.State)
		}
	}
	b := baggage.FromContext(ours(ctx, baggageKey))
	if b.Len() > 0 && !ids.without.baggage {
		dst = append(dst, "baggage", b.String())
	}
	if id := requestIDOf(ctx); id != nil && ids.requestEntry != "" {
		dst = append(dst, ids.requestEntry, *id)
	}
	if id := b.Member(attrBizID).Value(); isID(id) && ids.bizEntry != "" {
		dst = append(dst, ids.bizEntry, id)
	}
	return dst
}

// headerCarrier makes a header a carrier.
type headerCarrier = propagation.HeaderCarrier

// contextOf is the span of a context, or else that of what the goroutine works
// for; false when there is none.
func contextOf(ctx context.Context) (sc core.SpanContext, ok bool) {
	return contextIn(ours(ctx, spanKey))
}

// contextIn is the span of a context; false when there is none.
func contextIn(ctx context.Context) (sc core.SpanContext, ok bool) {
	return contextFrom(ctx.Value(spanKey))
}

// contextFrom is that of what was found under spanKey.
func contextFrom(found any) (sc core.SpanContext, ok bool) {
	at := contextAt(found, &sc)
	return *at, at.IsValid()
}

// contextAt is contextFrom that copies nothing: of spans of ours it is their own,
// of others it is put into room.
func contextAt(found any, room *core.SpanContext) *core.SpanContext {
	switch s := found.(type) {
	case *span:
		return s.core.Context()
	case *remoteSpan:
		return &s.sc
	case trace.Span:
		*room = fromSpanContext(s.SpanContext())
	}
	return room
}
