package sdk

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Operations instruments operations of one kind: a span for each, the histogram
// of the durations of all of them, sampled or not, and the failed ones kept
// whatever the sampler said. It is what the instrumentation of this SDK is made
// of, and serves for libraries that have none.
//
// It belongs to the SDK that runs when an operation starts, so it may be made
// before Start; without one it costs next to nothing. It is safe for concurrent
// use.
//
// K is what the series of an operation depends on. Keep it to what has few
// values: an operation and an outcome, never an id.
type Operations[K comparable] struct {
	opts  OperationOptions[K]
	fixed *SDK // or nil: the running one
	bound perSDK[*binding[K]]
}

// OperationOptions describe operations.
type OperationOptions[K comparable] struct {
	Scope   string        // instrumentation scope: the path of the package that instruments
	Version string        // of that package; default Version
	Kind    core.SpanKind // servers and consumers tell the sampler how they fare
	// Metric is the histogram of durations, in seconds; empty for none. The
	// part of its name before the first dot, as http, rpc or db, says what
	// family of work this is: an operation directly within a span that other
	// instrumentation has made for the same work gets no span of its own, and
	// other instrumentation within it joins it.
	Metric, Description string
	// Bounds of its buckets; default those of the semantic conventions for
	// requests, 5 ms to 10 s.
	Bounds []float64
	// Attrs are the attributes of a series.
	Attrs func(K) []core.Attr

	slot  func(K) uintptr // see boundSeries
	known bool            // who begins them knows whether they are there already
}

// binding is Operations of one SDK.
type binding[K comparable] struct {
	sdk      *SDK
	kind     core.SpanKind
	work     work
	tracer   operationTracer
	duration *boundSeries[K] // or nil
	sampler  *core.Adaptive  // hears of operations; or nil
}

// NewOperations makes Operations.
func NewOperations[K comparable](opts OperationOptions[K]) *Operations[K] {
	if opts.Version == "" {
		opts.Version = Version
	}
	o := &Operations[K]{opts: opts}
	o.bound.make = o.bind
	return o
}

// newOperations makes Operations of one SDK.
func newOperations[K comparable](s *SDK, opts OperationOptions[K]) *Operations[K] {
	o := NewOperations(opts)
	o.fixed = s
	return o
}

// of is nil when no SDK runs.
func (o *Operations[K]) of() *binding[K] {
	s := o.fixed
	if s == nil {
		s = running.Load()
	}
	if s == nil || !s.Enabled() {
		return nil
	}
	return o.bound.in(s)
}

func (o *Operations[K]) bind(s *SDK) *binding[K] {
	w := work{ours: true, family: o.opts.family(), metric: o.opts.Metric, kind: o.opts.Kind, known: o.opts.known}
	b := &binding[K]{sdk: s, kind: o.opts.Kind, work: w, tracer: s.tracer(o.opts.Scope, o.opts.Version, w)}
	if o.opts.Kind == core.KindServer || o.opts.Kind == core.KindConsumer {
		b.sampler = s.adaptive
	}
	if o.opts.Metric != "" {
		b.duration = newBoundSeries(s.meter(o.opts.Scope, o.opts.Version), o.opts.Metric, o.opts.Description, o.opts.Bounds, o.opts.Attrs)
		b.duration.slot = o.opts.slot
	}
	return b
}

// perSDK keeps something for the SDK that runs.
type perSDK[T any] struct {
	make  func(*SDK) T
	bound atomic.Pointer[ofSDK[T]]
	mu    sync.Mutex // of making bound
}

type ofSDK[T any] struct {
	sdk   *SDK
	value T
}

// of is false when no SDK runs.
func (p *perSDK[T]) of() (value T, ok bool) {
	s := running.Load()
	if s == nil || !s.Enabled() {
		return value, false
	}
	return p.in(s), true
}

func (p *perSDK[T]) in(s *SDK) T {
	if b := p.bound.Load(); b != nil && b.sdk == s {
		return b.value
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.bound.Load(); b != nil && b.sdk == s {
		return b.value
	}
	b := &ofSDK[T]{s, p.make(s)}
	p.bound.Store(b)
	return b.value
}

// Operation is an operation under way. It is for one goroutine at a time.
type Operation[K comparable] struct {
	handle
	binding *binding[K] // nil: nothing is recorded
	name    string
	// took is how long it took, once it has finished. Until then it is when it
	// began, see sinceStart.
	took    time.Duration
	lasting bool
	kept    bool // at its end
}

var processStart = time.Now()

// sinceStart is the monotonic clock. Reading that of the wall, too, is a tenth of
// what an operation costs, and is left to those that are kept.
func sinceStart() time.Duration { return time.Since(processStart) }

// Start begins an operation within the span of ctx. End it, whatever happens.
func (o *Operations[K]) Start(ctx context.Context, name string) *Operation[K] {
	op := &Operation[K]{}
	o.StartIn(op, ctx, name)
	return op
}

// StartIn is Start of an operation that is part of something larger, so that
// one allocation serves both. It must be zero, and must not be copied.
func (o *Operations[K]) StartIn(op *Operation[K], ctx context.Context, name string) {
	var id *idText
	if o.opts.Kind == core.KindServer {
		id = new(idText)
	}
	o.start(op, ctx, name, id)
}

// start is StartIn; a server gives the room for the id of a request that came
// without.
func (o *Operations[K]) start(op *Operation[K], ctx context.Context, name string, id *idText) {
	op.Context = ctx
	if op.binding = o.of(); op.binding == nil {
		return
	}
	b := op.binding
	op.name, op.took = name, sinceStart()
	if woven && !fromElsewhere(b.kind) {
		ctx = withinLocal(ctx)
		op.Context = ctx
	}
	parent, how := b.work.place(b.sdk, &op.Context, name)
	switch how {
	case placedTwice:
		op.binding = nil
		return
	case placedWithin:
	default:
		first := entry(b.kind, &parent)
		op.open(b.tracer, parent, name, b.kind)
		parent = *op.recorded().Context()
		if b.sdk.labels && first {
			op.label(&parent)
		}
	}
	if id != nil {
		if came := requestIDIn(ctx); came != nil {
			op.request = *came
		} else {
			op.request = id.of(parent.TraceID)
		}
	}
	if op.Recording() {
		op.tellIDs()
	}
}

// tellIDs sets what is known of the request, on a span that is recorded: its id,
// where that is not the trace id, and what the baggage says.
func (op *Operation[K]) tellIDs() {
	sp, ctx := op.recorded(), op.ctx() // which has a span, and says all there is to say
	if op.request != "" {
		if id, ok := core.ParseTraceID(op.request); !ok || id != sp.Context().TraceID {
			sp.SetAttr(core.String(attrRequestID, op.request))
		}
	}
	if kind := op.binding.kind; kind == core.KindServer || kind == core.KindConsumer {
		if id := BizID(ctx); id != "" {
			sp.SetAttr(core.String(attrBizID, id))
		}
	}
	setMembers(ctx, sp, op.binding.sdk.members)
}

// Ctx is the context to call on with: it holds the span.
func (op *Operation[K]) Ctx() context.Context {
	if op.binding == nil {
		return op.handle.Context
	}
	return op.ctx()
}

// Recording reports whether the span is kept as far as is known: whether
// attributes are worth making.
func (op *Operation[K]) Recording() bool { return op.recorded().Context().IsSampled() }

// Span is where attributes and events go. What is set on a span that is not
// recorded is ignored.
func (op *Operation[K]) Span() *Span { return op.recorded() }

// Lasting says that the operation lasts as long as its caller wants, as a stream
// does: it is not a slow one for being long, neither to be kept for that nor to
// tell the sampler that the service is slow.
func (op *Operation[K]) Lasting() { op.lasting = true }

// Finish stops the clock. failure is the class of the error, which becomes
// error.type: one of few values, empty when all went well. It reports whether
// the span is kept, which failures are for certain, so that whatever describes
// the operation can be set now.
func (op *Operation[K]) Finish(failure string) (kept bool) {
	b := op.binding
	if b == nil {
		return false
	}
	op.took = sinceStart() - op.took
	sp := op.recorded()
	certain := failure != ""
	if b.sampler != nil {
		took := op.took
		if op.lasting {
			took = 0
		}
		b.sampler.Observe(took, certain)
		certain = certain || took > b.sampler.Slow()
	}
	failed := failure != "" || sp.Failed()
	// What is only looked for here, others need not pay for.
	if !certain && !failed || op.handle.Context.Value(untracedKey{}) != nil {
		op.kept = op.Recording()
		return op.kept
	}
	parent, _ := contextIn(op.handle.Context)
	late := !sp.Recording()
	if sp.Rescue(&parent, op.name, b.kind, time.Now().Add(-op.took)); late {
		op.tellIDs()
	}
	if failed {
		op.span.failure().addTo(sp)
	}
	if failure != "" {
		sp.SetAttr(core.String("error.type", failure))
		sp.SetStatus(core.StatusError, "")
	}
	op.kept = sp.Recording()
	return op.kept
}

// Exception is what went wrong, an error or what a panic was called with.
type Exception struct {
	at    time.Time
	attrs []core.Attr
}

// NewException describes v now. The stack is that of the caller: within a
// deferred function, that of the panic which is passing by.
func NewException(v any, withStack bool) Exception {
	attrs := []core.Attr{core.String("exception.type", typeName(v)), core.String("exception.message", fmt.Sprint(v))}
	if withStack {
		attrs = append(attrs, core.String("exception.stacktrace", stack()))
	}
	return Exception{time.Now(), attrs}
}

// Exception adds an event to the span. To have it for certain, call it after
// Finish.
func (op *Operation[K]) Exception(e Exception) {
	op.recorded().AddEvent("exception", e.at, e.attrs...)
}

// End counts the operation and ends the span. Finish must have been called.
func (op *Operation[K]) End(key K) {
	op.measure(&key)
	op.recorded().EndAfter(op.took)
	op.unlabel()
}

// Count counts an operation that has no span.
func (o *Operations[K]) Count(key K, took time.Duration) {
	if b := o.of(); b != nil && b.duration != nil {
		b.duration.of(&key).Record(took.Seconds(), nil)
	}
}

// measure counts the operation. The span may go on.
func (op *Operation[K]) measure(key *K) {
	b := op.binding
	if b == nil || b.duration == nil {
		return
	}
	kept := *op.recorded().Context() // also a rescued one may be an exemplar
	if !kept.IsValid() {
		kept, _ = contextIn(op.handle.Context)
	}
	if op.kept {
		kept.Flags |= core.FlagSampled
	}
	b.duration.of(key).Record(op.took.Seconds(), &kept)
}

// operation is the name that an operation began with, whose span s is.
func (s *span) operation() string {
	// A span of an operation stands in its handle, and that begins it. What K is
	// changes nothing of where things are.
	return (*Operation[struct{}])(unsafe.Pointer(s.handle())).name
}
