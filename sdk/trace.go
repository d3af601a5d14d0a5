package sdk

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// TracerProvider is the OpenTelemetry face of a core.Provider: what was written
// against the OpenTelemetry API runs on it as it is. It is safe for concurrent
// use.
type TracerProvider struct {
	embedded.TracerProvider
	core     *core.Provider
	adaptive *core.Adaptive // or nil
	members  []string       // of baggage, that become attributes
	labels   bool           // goroutines say what trace they work for

	mu      sync.Mutex
	tracers map[scopeKey]*tracer
	others  atomic.Bool // a tracer of instrumentation that overlaps with ours was asked for
}

type scopeKey struct {
	name, version, schemaURL string
	attributes               attribute.Distinct
}

// NewTracerProvider puts the face on a provider.
func NewTracerProvider(p *core.Provider) *TracerProvider {
	adaptive, _ := p.Sampler().(*core.Adaptive)
	return &TracerProvider{core: p, adaptive: adaptive, tracers: map[scopeKey]*tracer{}}
}

// Tracer implements trace.TracerProvider. The same scope gives the same tracer.
func (p *TracerProvider) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	c := trace.NewTracerConfig(opts...)
	attrs := c.InstrumentationAttributes()
	key := scopeKey{name, c.InstrumentationVersion(), c.SchemaURL(), attrs.Equivalent()}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tracers[key]
	if t == nil {
		scope := core.NewScope(key.name, key.version, key.schemaURL, appendAttrs(nil, attrs.ToSlice())...)
		t = &tracer{provider: p, core: p.core.Tracer(scope), work: work{family: familyOf(name)}}
		if t.family != "" {
			p.others.Store(true)
		}
		p.tracers[key] = t
	}
	return t
}

type tracer struct {
	embedded.Tracer
	provider *TracerProvider
	core     *core.Tracer
	work
}

// spanKey is the key that the OpenTelemetry API keeps spans under in a context.
// It is not exported, but can be seen when the API asks for it.
var spanKey = func() any {
	p := &keyProbe{Context: context.Background()}
	trace.SpanFromContext(p)
	return p.key
}()

type keyProbe struct {
	context.Context
	key any
}

func (p *keyProbe) Value(key any) any { p.key = key; return nil }

// handle is a context and the span in it: one allocation for both.
type handle struct {
	context.Context
	recorder // not last: nothing at the end of a struct takes a word
	span     span
	request  string // id of the request that a server handles; "": ask Context
}

// recorded is the span of an operation.
func (h *handle) recorded() *Span { return h.recorder.of(h) }

// Value implements context.Context.
func (h *handle) Value(key any) any {
	switch {
	case key == spanKey && !stock && h.span.tracer != nil:
		return &h.span
	case key == requestIDKey && h.request != "":
		return &h.request
	case key == nearestKey{} && h.span.tracer != nil:
		return h
	}
	if v := spanView.Load(); v != nil && key == v.key {
		return v.face(h)
	}
	return h.Context.Value(key)
}

// SetSpanView teaches contexts with a span of this SDK to answer another tracing
// API: under the key that it looks for spans with, a context holds what view
// makes of it, once for each span. There is one such API at a time; a nil view is
// none. It is for adapters, as package sdk/opentracing.
func SetSpanView(key any, view func(context.Context) any) {
	if view == nil {
		spanView.Store(nil)
		return
	}
	spanView.Store(&viewOfSpans{key, view})
}

type viewOfSpans struct {
	key any
	of  func(context.Context) any
}

// face is the one face of a span: what is set on it must be there when the next
// one looks.
func (v *viewOfSpans) face(h *handle) any {
	var made any
	for {
		old := h.span.rare.Load()
		if old != nil && old.face != nil && old.face.of == v {
			return old.face.made
		}
		if made == nil {
			made = v.of(h)
		}
		with := old.copy()
		with.face = &faceOfSpan{v, made}
		if h.span.rare.CompareAndSwap(old, with) {
			return made
		}
	}
}

var spanView atomic.Pointer[viewOfSpans]

// sealed is what the API wants embedded.
type sealed struct{ embedded.Span }

// span is the OpenTelemetry face of a core.Span.
type span struct {
	*sealed // nil: nothing of it is called, and a pointer is half of an interface
	core    core.Span
	tracer  *tracer
	rare    atomic.Pointer[rare] // or nil
}

// rare is what few spans have, so that all are a pointer larger only. It is
// replaced, not changed.
type rare struct {
	failed *failure    // the last error, for who ends the span; or nil
	face   *faceOfSpan // or nil
	outer  *span       // the local one that this is a child of; nil: it is an operation's, or the first
	shared *shared     // with other instrumentation; or nil
	// exceptions of a request, kept until it is known whether its span is.
	exceptions []Exception
}

type faceOfSpan struct {
	of   *viewOfSpans
	made any
}

// copy is another one to change; of nil, an empty one.
func (r *rare) copy() *rare {
	if r == nil {
		return &rare{}
	}
	c := *r
	return &c
}

// failure is the last error, or nil.
func (s *span) failure() *failure {
	if r := s.rare.Load(); r != nil {
		return r.failed
	}
	return nil
}

// Start implements trace.Tracer. A local child of a span that is not sampled is
// that span: nothing of either is kept, and ids that nobody sees need not be
// made.
func (t *tracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if ctx == nil {
		ctx = context.Background()
	}
	c := trace.NewSpanStartConfig(opts...)
	var parent core.SpanContext
	var outer *span
	kind := spanKind(c.SpanKind())
	if !c.NewRoot() {
		if !fromElsewhere(kind) {
			ctx = WithLocal(ctx)
		}
		found := ctx.Value(spanKey)
		if t.family != "" {
			if in, s := t.joins(ctx, found, name, kind); s != nil {
				s.SetAttributes(c.Attributes()...)
				for _, l := range c.Links() {
					s.AddLink(l)
				}
				return in, s
			} else if in != nil {
				ctx, found = in, in.Value(spanKey)
			}
		}
		switch s := found.(type) {
		case *span:
			if !s.core.Context().IsSampled() {
				return ctx, s
			}
			parent, outer = *s.core.Context(), s
		case *remoteSpan:
			parent = s.sc
		case trace.Span:
			parent = fromSpanContext(s.SpanContext())
		}
	}
	var h *handle
	if outer == nil {
		h = &handle{Context: ctx}
	} else { // one allocation for both
		inner := &struct {
			handle
			rare rare
		}{handle{Context: ctx}, rare{outer: outer}}
		h = &inner.handle
		h.span.rare.Store(&inner.rare)
	}
	s := &h.span
	s.tracer = t
	var few [8]core.Attr
	attrs := t.provider.weighed(ctx, &parent, appendAttrs(few[:0], c.Attributes()))
	t.core.Start(&s.core, &parent, name, kind, c.Timestamp(), attrs...)
	if t.family != "" {
		s.change(func(r *rare) { r.shared = &shared{kind: kind} })
	}
	if outer != nil {
		s.core.Within(&outer.core)
	}
	setMembers(ctx, &s.core, t.provider.members)
	for _, l := range c.Links() {
		s.AddLink(l)
	}
	if t.provider.labels && entry(kind, &parent) {
		h.label(s.core.Context())
	}
	return h, s
}

func spanKind(k trace.SpanKind) core.SpanKind {
	switch k {
	case trace.SpanKindServer:
		return core.KindServer
	case trace.SpanKindClient:
		return core.KindClient
	case trace.SpanKindProducer:
		return core.KindProducer
	case trace.SpanKindConsumer:
		return core.KindConsumer
	}
	return core.KindInternal
}

func fromSpanContext(sc trace.SpanContext) core.SpanContext {
	return core.SpanContext{
		TraceID: core.TraceID(sc.TraceID()),
		SpanID:  core.SpanID(sc.SpanID()),
		Flags:   byte(sc.TraceFlags()),
		Remote:  sc.IsRemote(),
		State:   sc.TraceState().String(),
	}
}

// toSpanContext is the OpenTelemetry form of a context.
func toSpanContext(sc *core.SpanContext) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    trace.TraceID(sc.TraceID),
		SpanID:     trace.SpanID(sc.SpanID),
		TraceFlags: trace.TraceFlags(sc.Flags),
		TraceState: parseState(sc.State),
		Remote:     sc.Remote,
	})
}

// lastState is the tracestate that was parsed last. The sampler gives the same
// one to most traces.
var lastState atomic.Pointer[parsedState]

type parsedState struct {
	text  string
	state trace.TraceState
}

// parseState turns a tracestate into OpenTelemetry's form; an empty one when it
// is malformed.
func parseState(text string) trace.TraceState {
	if text == "" {
		return trace.TraceState{}
	}
	if last := lastState.Load(); last != nil && last.text == text {
		return last.state
	}
	state, err := trace.ParseTraceState(text)
	if err != nil {
		return trace.TraceState{}
	}
	lastState.Store(&parsedState{text, state})
	return state
}

// SpanContext implements trace.Span.
func (s *span) SpanContext() trace.SpanContext { return toSpanContext(s.core.Context()) }

// IsRecording implements trace.Span.
func (s *span) IsRecording() bool { return s.core.Recording() }

// TracerProvider implements trace.Span.
func (s *span) TracerProvider() trace.TracerProvider { return s.tracer.provider }

// SetName implements trace.Span.
func (s *span) SetName(name string) {
	if s.tracer.ours && !s.nameGiven(name) {
		return
	}
	s.core.SetName(name)
}

// SetStatus implements trace.Span.
func (s *span) SetStatus(code codes.Code, description string) {
	switch code {
	case codes.Error:
		s.core.SetStatus(core.StatusError, description)
	case codes.Ok:
		s.core.SetStatus(core.StatusOK, "")
	}
}

// SetAttributes implements trace.Span.
func (s *span) SetAttributes(kv ...attribute.KeyValue) {
	if !s.core.Context().IsSampled() {
		return
	}
	var few [8]core.Attr
	s.core.SetAttrs(appendAttrs(few[:0], kv)...)
}

// AddEvent implements trace.Span.
func (s *span) AddEvent(name string, opts ...trace.EventOption) {
	if s.core.Context().IsSampled() {
		c := trace.NewEventConfig(opts...)
		s.event(name, &c)
	}
}

func (s *span) event(name string, c *trace.EventConfig, more ...core.Attr) {
	attrs := more
	if c.StackTrace() {
		attrs = append(attrs, core.String("exception.stacktrace", stack()))
	}
	s.core.AddEvent(name, c.Timestamp(), appendAttrs(attrs, c.Attributes())...)
}

// RecordError implements trace.Span.
func (s *span) RecordError(err error, opts ...trace.EventOption) {
	if err == nil {
		return
	}
	c := trace.NewEventConfig(opts...)
	sampled := s.core.Context().IsSampled()
	s.note(err, &c, sampled)
	if sampled {
		s.event("exception", &c, exceptionOf(err)...)
	}
}

// AddLink implements trace.Span.
func (s *span) AddLink(l trace.Link) {
	if !l.SpanContext.IsValid() && len(l.Attributes) == 0 && l.SpanContext.TraceState().Len() == 0 {
		return
	}
	sc := fromSpanContext(l.SpanContext)
	s.core.AddLink(&sc, appendAttrs(nil, l.Attributes)...)
}

// End implements trace.Span. Deferred, it sees a panic that is passing by, notes
// it as an exception and lets it go on. That of an operation is ended by who
// began it: who else comes here has joined it.
func (s *span) End(opts ...trace.SpanEndOption) {
	if s.Ends() {
		s.EndIn(recover(), opts...)
	}
}

// Ends reports whether End does anything.
func (s *span) Ends() bool { return s.core.Context().IsSampled() && !s.tracer.ours }

// EndIn is End in a deferred function that has recovered p, or nil. What was
// recovered goes on.
func (s *span) EndIn(p any, opts ...trace.SpanEndOption) {
	c := trace.NewSpanEndConfig(opts...)
	if p != nil {
		defer panic(p)
		attrs := []core.Attr{core.String("exception.type", typeName(p)), core.String("exception.message", fmt.Sprint(p))}
		if c.StackTrace() {
			attrs = append(attrs, core.String("exception.stacktrace", stack()))
		}
		s.core.AddEvent("exception", time.Time{}, attrs...)
	}
	s.core.End(c.Timestamp())
	s.handle().unlabel()
}

// typeName is the name of v's type, with the path of its package.
func typeName(v any) string {
	t := reflect.TypeOf(v)
	if t.PkgPath() == "" { // a pointer, or built in
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

// maxStack bounds the stack of an exception.
const maxStack = 16 << 10

func stack() string {
	b := make([]byte, maxStack)
	return string(b[:runtime.Stack(b, false)])
}

// appendAttrs converts attributes.
func appendAttrs(dst []core.Attr, kv []attribute.KeyValue) []core.Attr {
	for i := range kv {
		dst = append(dst, core.Of(string(kv[i].Key), value(&kv[i].Value)))
	}
	return dst
}

// value converts a value. Scalars and strings are not copied.
func value(v *attribute.Value) core.Value {
	switch v.Type() {
	case attribute.STRING:
		return core.StringValue(v.AsString())
	case attribute.INT64:
		return core.IntValue(v.AsInt64())
	case attribute.BOOL:
		return core.BoolValue(v.AsBool())
	case attribute.FLOAT64:
		return core.FloatValue(v.AsFloat64())
	}
	return composite(v, maxDepth)
}

// maxDepth is how deep arrays and maps may be nested, that of OpenTelemetry's own
// SDK: receivers refuse a whole request for one that is too deep.
const maxDepth = 64

// composite converts an array or a map that holds depth levels at most; below
// that are empty values. Of a key that is there several times the last counts.
func composite(v *attribute.Value, depth int) core.Value {
	if depth == 0 {
		return core.Value{}
	}
	inner := func(v *attribute.Value) core.Value {
		switch v.Type() {
		case attribute.SLICE, attribute.MAP, attribute.STRINGSLICE, attribute.INT64SLICE, attribute.BOOLSLICE, attribute.FLOAT64SLICE, attribute.BYTESLICE:
			return composite(v, depth-1)
		}
		return value(v)
	}
	switch v.Type() {
	case attribute.STRINGSLICE:
		return core.StringsValue(v.AsStringSlice())
	case attribute.INT64SLICE:
		return core.IntsValue(v.AsInt64Slice())
	case attribute.BOOLSLICE:
		return core.BoolsValue(v.AsBoolSlice())
	case attribute.FLOAT64SLICE:
		return core.FloatsValue(v.AsFloat64Slice())
	case attribute.BYTESLICE:
		return core.BytesValue(v.AsByteSlice())
	case attribute.SLICE:
		list := v.AsSlice()
		out := make([]core.Value, len(list))
		for i := range list {
			out[i] = inner(&list[i])
		}
		return core.SliceValue(out)
	case attribute.MAP:
		list := v.AsMap() // in the order of the keys
		out := make([]core.Attr, 0, len(list))
		for i := range list {
			if i+1 < len(list) && list[i+1].Key == list[i].Key {
				continue
			}
			out = append(out, core.Of(string(list[i].Key), inner(&list[i].Value)))
		}
		return core.MapValue(out)
	}
	return core.Value{}
}
