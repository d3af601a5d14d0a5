package core

import (
	"time"
)

// Decision is what a Sampler makes of a span that begins a trace here.
type Decision struct {
	Keep bool
	// State is the tracestate of the trace, with the threshold it was decided
	// by.
	State string
}

// Sampler decides about traces that begin here: those without a parent. Of
// others the parent's decision holds. It is called for every request and must
// not block or allocate.
type Sampler interface {
	Decide(sc *SpanContext, name string, kind SpanKind, attrs []Attr) Decision
}

// ByThreshold keeps a fixed share of traces.
type ByThreshold struct {
	threshold Threshold
	state     string
}

// NewByThreshold makes a sampler that keeps a trace with probability p.
func NewByThreshold(p float64) *ByThreshold {
	t := ThresholdOf(p)
	return &ByThreshold{t, WithThreshold("", t)}
}

// Decide implements Sampler.
func (s *ByThreshold) Decide(sc *SpanContext, _ string, _ SpanKind, _ []Attr) Decision {
	if !s.threshold.Keeps(Randomness(sc)) {
		return Decision{}
	}
	if sc.State == "" {
		return Decision{true, s.state}
	}
	return Decision{true, WithThreshold(sc.State, s.threshold)}
}

// Never is a sampler that keeps nothing, not even what fails or is slow: it is
// for who wants no spans at all.
type Never struct {
	// ByParent keeps what belongs to a trace that a caller keeps. Without, that
	// ends here, and whoever is called does not keep it either.
	ByParent bool
}

// Decide implements Sampler.
func (Never) Decide(*SpanContext, string, SpanKind, []Attr) Decision { return Decision{} }

// Options configure a Provider. The zero value of a field is its default.
type Options struct {
	Resource []Attr
	Sampler  Sampler // default: all
	Limits   *Limits // default DefaultLimits
	Pipe     *Pipe   // takes spans that have ended; required, and its owner's
}

// Provider makes tracers. It is safe for concurrent use.
type Provider struct {
	sampler Sampler
	never   *Never // the sampler, if it is that
	limits  Limits
	pipe    *Pipe
}

// NewProvider makes a Provider.
func NewProvider(opts Options) *Provider {
	p := &Provider{sampler: opts.Sampler, limits: DefaultLimits, pipe: opts.Pipe}
	if p.sampler == nil {
		p.sampler = NewByThreshold(1)
	}
	if never, ok := p.sampler.(Never); ok {
		p.never = &never
	}
	if opts.Limits != nil {
		p.limits = *opts.Limits
	}
	return p
}

// Sampler decides about traces that begin here.
func (p *Provider) Sampler() Sampler { return p.sampler }

// Tracer starts spans of one instrumentation scope.
type Tracer struct {
	provider *Provider
	scope    *Scope
}

// Tracer makes a tracer.
func (p *Provider) Tracer(scope *Scope) *Tracer { return &Tracer{p, scope} }

// Start begins a span in s, which must be zero and is s from then on. The
// parent is the zero SpanContext for the first span of a trace, but for the
// trace id where that was chosen elsewhere. Attributes are there for the
// sampler to see; they are set.
func (t *Tracer) Start(s *Span, parent *SpanContext, name string, kind SpanKind, start time.Time, attrs ...Attr) {
	s.tracer = t
	sc := &s.sc
	sc.SpanID = NewSpanID()
	keep := false
	if parent.IsValid() {
		sc.TraceID, sc.Flags, sc.State = parent.TraceID, parent.Flags, parent.State
		if keep = parent.IsSampled(); keep && t.provider.never != nil && !t.provider.never.ByParent {
			keep, sc.Flags, sc.State = false, sc.Flags&^FlagSampled, WithThreshold(sc.State, KeepNone)
		}
	} else {
		if sc.TraceID = parent.TraceID; sc.TraceID.IsZero() {
			sc.TraceID, sc.Flags = NewTraceID(), FlagRandom
		} else { // whoever chose it must not choose what is sampled
			sc.State = explicitRandomness()
		}
		d := t.provider.sampler.Decide(sc, name, kind, attrs)
		if keep = d.Keep; keep {
			sc.Flags |= FlagSampled
		}
		if d.State != "" {
			sc.State = d.State
		}
	}
	if !keep {
		return
	}
	s.rec = newRecord(parent, name, kind, start)
	for i := range attrs {
		s.rec.set(&attrs[i], &t.provider.limits)
	}
}

// Fields of OTLP messages.
// Source: opentelemetry-proto 1.9, resource/v1/resource.proto, common/v1/common.proto.
const (
	resourceAttributes = 1
	resourceSchemaURL  = 3 // of ResourceSpans
	scopeField         = 1 // of ScopeSpans
	scopeSchemaURL     = 3
	scopeName          = 1
	scopeVersion       = 2
	scopeAttributes    = 3
)

// EncodeResource makes what NewPipe takes. Of attributes with the same key the
// last counts.
func EncodeResource(attrs []Attr, schemaURL string) []byte {
	b, at := openField(nil, resourceField)
	b = closeField(appendAttrs(b, resourceAttributes, 0, attrs, -1, -1), at)
	if schemaURL != "" {
		b = appendString(b, resourceSchemaURL, schemaURL)
	}
	return b
}

// NewScope makes a scope. Each is a part of its own in a batch: make one for an
// instrumentation, not for a call.
func NewScope(name, version, schemaURL string, attrs ...Attr) *Scope {
	b, at := openField(nil, scopeField)
	b = appendString(b, scopeName, name)
	if version != "" {
		b = appendString(b, scopeVersion, version)
	}
	b = closeField(appendAttrs(b, scopeAttributes, 0, attrs, -1, -1), at)
	if schemaURL != "" {
		b = appendString(b, scopeSchemaURL, schemaURL)
	}
	return &Scope{b}
}
