// Package sdkopentracing lets code that is written against the OpenTracing API
// run on this SDK, beside code that is written against OpenTelemetry's: both make
// spans of the same traces, whichever of them began. It is for the time of a
// migration.
//
//	opentracing.SetGlobalTracer(sdkopentracing.New())
package sdkopentracing

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/opentracing/opentracing-go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk"
)

// scope is the instrumentation scope of the spans.
const scope = "github.com/guanlan-io/guanlan/sdk/opentracing"

// Tracer is an opentracing.Tracer whose spans are those of OpenTelemetry's global
// provider, so it may be made before sdk.Start. It is safe for concurrent use.
//
// Where OpenTracing has more than OpenTelemetry: of several references the first
// ChildOf, else the first FollowsFrom, is the parent, the others are links.
// Baggage that a span is given goes to what is started from it later. A span's
// kind counts when the span starts. A span takes on the baggage of a context that
// it is put into.
type Tracer struct{ tracer trace.Tracer }

var (
	_ opentracing.Tracer                         = (*Tracer)(nil)
	_ opentracing.TracerContextWithSpanExtension = (*Tracer)(nil)
)

// New makes a Tracer. From then on, opentracing.SpanFromContext and
// opentracing.StartSpanFromContext find the spans of this SDK.
func New() *Tracer {
	t := &Tracer{otel.Tracer(scope, trace.WithInstrumentationVersion(sdk.Version))}
	sdk.SetSpanView(activeSpanKey, func(ctx context.Context) any { return t.span(ctx) })
	return t
}

// activeSpanKey is the key that OpenTracing keeps spans under in a context. It
// is not exported, but can be seen when the API asks for it.
var activeSpanKey = func() any {
	p := &keyProbe{Context: context.Background()}
	opentracing.SpanFromContext(p)
	return p.key
}()

type keyProbe struct {
	context.Context
	key any
}

func (p *keyProbe) Value(key any) any { p.key = key; return nil }

// spanContext is what of a span goes to its children: its own context, the ids
// and the baggage, but not the context it was started in, nor those before that.
type spanContext sdk.Carrier

// context is one with what goes to children.
func (c spanContext) context() context.Context {
	return sdk.Carrier(c).Context(context.Background())
}

// ForeachBaggageItem implements opentracing.SpanContext.
func (c spanContext) ForeachBaggageItem(handler func(k, v string) bool) {
	for _, m := range baggage.FromContext(c.context()).Members() {
		if !handler(m.Key(), m.Value()) {
			return
		}
	}
}

// StartSpan implements opentracing.Tracer.
func (t *Tracer) StartSpan(name string, opts ...opentracing.StartSpanOption) opentracing.Span {
	var o opentracing.StartSpanOptions
	for _, opt := range opts {
		opt.Apply(&o)
	}
	ctx, links := parentOf(o.References)
	start := []trace.SpanStartOption{trace.WithLinks(links...)}
	if !o.StartTime.IsZero() {
		start = append(start, trace.WithTimestamp(o.StartTime))
	}
	failed := false
	attrs := make([]attribute.KeyValue, 0, len(o.Tags))
	for key, v := range o.Tags {
		switch key {
		case tagKind:
			start = append(start, trace.WithSpanKind(kindOf(v)))
		case tagError:
			failed = isTrue(v)
		default:
			attrs = append(attrs, attributeOf(key, v))
		}
	}
	ctx, s := t.tracer.Start(ctx, name, append(start, trace.WithAttributes(attrs...))...)
	if failed {
		s.SetStatus(codes.Error, "")
	}
	return t.span(ctx)
}

// parentOf finds the parent, a context without a span if there is none.
func parentOf(refs []opentracing.SpanReference) (parent context.Context, links []trace.Link) {
	at := -1
	for i, r := range refs {
		if _, ok := r.ReferencedContext.(spanContext); ok && (at < 0 || refs[at].Type != opentracing.ChildOfRef && r.Type == opentracing.ChildOfRef) {
			at = i
		}
	}
	if at < 0 {
		return context.Background(), nil
	}
	for i, r := range refs {
		if c, ok := r.ReferencedContext.(spanContext); ok && i != at {
			links = append(links, trace.Link{SpanContext: trace.SpanContextFromContext(c.context())})
		}
	}
	return refs[at].ReferencedContext.(spanContext).context(), links
}

// ContextWithSpanHook implements opentracing.TracerContextWithSpanExtension: a
// context that a span is put into has it for OpenTelemetry, too.
func (t *Tracer) ContextWithSpanHook(ctx context.Context, other opentracing.Span) context.Context {
	s, ok := other.(*span)
	if !ok {
		return ctx
	}
	s.meet(baggage.FromContext(ctx))
	from := s.context()
	if trace.SpanFromContext(ctx) != s.otel {
		ctx = trace.ContextWithSpan(ctx, s.otel)
	}
	if b := baggage.FromContext(from); b.Len() > 0 {
		ctx = baggage.ContextWithBaggage(ctx, b)
	}
	if sdk.RequestID(ctx) == "" {
		ctx = sdk.WithRequestID(ctx, sdk.RequestID(from))
	}
	return ctx
}

// fields is what Inject writes.
func fields(c spanContext) propagation.MapCarrier {
	m := propagation.MapCarrier{}
	sdk.Propagator{}.Inject(c.context(), m)
	return m
}

// Inject implements opentracing.Tracer: W3C Trace Context, Baggage and the ids.
func (t *Tracer) Inject(sc opentracing.SpanContext, format, carrier any) error {
	c, ok := sc.(spanContext)
	if !ok {
		return opentracing.ErrInvalidSpanContext
	}
	switch format {
	case opentracing.Binary:
		w, ok := carrier.(io.Writer)
		if !ok {
			return opentracing.ErrInvalidCarrier
		}
		return writeBinary(w, fields(c))
	case opentracing.TextMap, opentracing.HTTPHeaders:
	default:
		return opentracing.ErrUnsupportedFormat
	}
	if h, ok := carrier.(opentracing.HTTPHeadersCarrier); ok {
		sdk.Propagator{}.Inject(c.context(), propagation.HeaderCarrier(h))
		return nil
	}
	w, ok := carrier.(opentracing.TextMapWriter)
	if !ok {
		return opentracing.ErrInvalidCarrier
	}
	for k, v := range fields(c) {
		w.Set(k, v)
	}
	return nil
}

// Extract implements opentracing.Tracer.
func (t *Tracer) Extract(format, carrier any) (opentracing.SpanContext, error) {
	var from propagation.TextMapCarrier
	switch format {
	case opentracing.Binary:
		r, ok := carrier.(io.Reader)
		if !ok {
			return nil, opentracing.ErrInvalidCarrier
		}
		m, err := readBinary(r)
		if err != nil {
			return nil, err
		}
		from = m
	case opentracing.TextMap, opentracing.HTTPHeaders:
		switch c := carrier.(type) {
		case opentracing.HTTPHeadersCarrier:
			from = propagation.HeaderCarrier(c)
		case opentracing.TextMapReader:
			m := propagation.MapCarrier{}
			if err := c.ForeachKey(func(k, v string) error { m[strings.ToLower(k)] = v; return nil }); err != nil {
				return nil, errors.Join(opentracing.ErrSpanContextCorrupted, err)
			}
			from = m
		default:
			return nil, opentracing.ErrInvalidCarrier
		}
	default:
		return nil, opentracing.ErrUnsupportedFormat
	}
	ctx := sdk.Propagator{}.Extract(context.Background(), from)
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil, opentracing.ErrSpanContextNotFound
	}
	return spanContext(sdk.Capture(ctx)), nil
}

// maxBinary bounds what is read: the headers of W3C are at most 8 KiB of baggage
// and 4 KiB of tracestate.
const maxBinary = 16 << 10

// writeBinary writes the size of a JSON object in four bytes, and the object.
func writeBinary(w io.Writer, m propagation.MapCarrier) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

func readBinary(r io.Reader) (m propagation.MapCarrier, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err == io.EOF {
		return nil, opentracing.ErrSpanContextNotFound
	} else if err != nil {
		return nil, errors.Join(opentracing.ErrSpanContextCorrupted, err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxBinary {
		return nil, opentracing.ErrSpanContextCorrupted
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, errors.Join(opentracing.ErrSpanContextCorrupted, err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, errors.Join(opentracing.ErrSpanContextCorrupted, err)
	}
	return m, nil
}
