package sdk

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// The same work may be told of by two: by this SDK, and by instrumentation that
// was written for the OpenTelemetry API and knows nothing of it; or by this SDK
// twice, when a server or a client is instrumented at two places. One span is
// enough:
//
//   - Other instrumentation directly within an operation of ours of the same
//     family and kind joins it, the first that comes: what it starts is our span.
//     What it sets is set, and its End does nothing.
//   - An operation of ours directly within a span of such instrumentation has no
//     span of its own. It still counts.
//   - An operation of ours directly within the same one of ours is not there at
//     all.
//
// A server's context may have the caller's span on top of it, which whoever is
// further in has read from the headers again: that is looked through.

// work is what operations of one kind, or the spans of a scope, are about.
type work struct {
	family string // http, rpc, db, messaging; "": known to none
	ours   bool   // spans are those of operations
	metric string // of operations
	kind   core.SpanKind
	known  bool // who begins them knows by himself whether they are there already
}

// families are the scopes of instrumentation that tells of work which this SDK
// tells of, too. What stands behind the last slash may be a version.
var families = map[string]string{
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp":                              "http",
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin":               "http",
	"go.opentelemetry.io/contrib/instrumentation/github.com/labstack/echo/otelecho":              "http",
	"github.com/labstack/echo-opentelemetry":                                                     "http",
	"go.opentelemetry.io/contrib/instrumentation/github.com/gorilla/mux/otelmux":                 "http",
	"go.opentelemetry.io/contrib/instrumentation/github.com/emicklei/go-restful/otelrestful":     "http",
	"github.com/riandyrn/otelchi":                                                                "http",
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc":                "rpc",
	"connectrpc.com/otelconnect":                                                                 "rpc",
	"github.com/XSAM/otelsql":                                                                    "db",
	"github.com/uptrace/opentelemetry-go-extra/otelsql":                                          "db",
	"github.com/uptrace/opentelemetry-go-extra/otelgorm":                                         "db",
	"gorm.io/plugin/opentelemetry":                                                               "db",
	"github.com/go-gorm/opentelemetry":                                                           "db",
	"github.com/exaring/otelpgx":                                                                 "db",
	"github.com/redis/go-redis/extra/redisotel":                                                  "db",
	"go.opentelemetry.io/contrib/instrumentation/go.mongodb.org/mongo-driver/mongo/otelmongo":    "db",
	"go.opentelemetry.io/contrib/instrumentation/go.mongodb.org/mongo-driver/v2/mongo/otelmongo": "db",
	"github.com/twmb/franz-go/plugin/kotel":                                                      "messaging",
	"go.opentelemetry.io/contrib/instrumentation/github.com/Shopify/sarama/otelsarama":           "messaging",
	"github.com/dnwe/otelsarama":                                                                 "messaging",
}

// familyOf is empty for the scopes of all others.
func familyOf(scope string) string {
	if f := families[scope]; f != "" {
		return f
	}
	if i := strings.LastIndexByte(scope, '/'); i > 0 && i+1 < len(scope) && scope[i+1] == 'v' {
		return families[scope[:i]]
	}
	return ""
}

// family is what stands before the first dot of the metric.
func (o *OperationOptions[K]) family() string {
	f, _, _ := strings.Cut(o.Metric, ".")
	return f
}

// fromElsewhere reports whether spans of a kind begin something: what came from
// elsewhere has its parent there, or none.
func fromElsewhere(kind core.SpanKind) bool {
	return kind == core.KindServer || kind == core.KindConsumer
}

// nearestKey finds the *handle of the last span of this process in a context,
// also below a span that came over the wire.
type nearestKey struct{}

// around is the span of this process that a span within ctx is directly in, found
// being that of ctx, and the context with it; nil if there is none. Of what
// begins something, that is also the one that began with the same caller.
func around(ctx context.Context, found any, kind core.SpanKind) (context.Context, *span) {
	switch found := found.(type) {
	case nil:
		return ctx, nil
	case *span:
		return ctx, found
	}
	if !fromElsewhere(kind) {
		return ctx, nil
	}
	h, _ := ctx.Value(nearestKey{}).(*handle)
	if h == nil {
		return ctx, nil
	}
	caller, _ := contextFrom(found)
	if same, _ := contextIn(h.Context); same.TraceID != caller.TraceID || same.SpanID != caller.SpanID {
		return ctx, nil
	}
	return trace.ContextWithSpan(ctx, &h.span), &h.span
}

// placement is where an operation stands.
type placement uint8

const (
	placed       placement = iota
	placedWithin           // it is told of by the span around it
	placedTwice            // it is there already
)

// place finds the parent of an operation in ctx, which it replaces where that is
// not in plain sight.
func (w *work) place(s *SDK, ctx *context.Context, name string) (core.SpanContext, placement) {
	found := (*ctx).Value(spanKey)
	parent, _ := contextFrom(found)
	if stock || found == nil {
		return parent, placed
	}
	if _, plain := found.(*span); !plain && w.known && !woven && !s.provider.others.Load() { // there is nobody to look for
		return parent, placed
	}
	in, outer := around(*ctx, found, w.kind)
	if outer == nil || outer.tracer.family != w.family || w.family == "" {
		return parent, placed
	}
	if outer.tracer.ours {
		if w.known || outer.tracer.provider != s.provider || outer.tracer.metric != w.metric || outer.tracer.kind != w.kind || outer.operation() != name {
			return parent, placed
		}
		*ctx = in
		return *outer.core.Context(), placedTwice
	}
	// Unless it is kept, ours is there for the failures.
	if !outer.core.Context().IsSampled() || outer.kind() != w.kind {
		return parent, placed
	}
	*ctx = in
	if outer.share("") {
		return *outer.core.Context(), placedWithin
	}
	return *outer.core.Context(), placed
}

// joins is the span of an operation of ours that what t starts tells of, and the
// context with it; nil if it has been joined by others, and no context if there is
// none.
func (t *tracer) joins(ctx context.Context, found any, name string, kind core.SpanKind) (context.Context, *span) {
	if t.ours || stock {
		return nil, nil
	}
	in, outer := around(ctx, found, kind)
	if outer == nil || !outer.tracer.ours || outer.tracer.family != t.family || outer.tracer.kind != kind {
		return nil, nil
	}
	if !outer.share(name) {
		return in, nil
	}
	return in, outer
}

// shared is what is known of a span that two tell of, or may come to. It is
// replaced, not changed.
type shared struct {
	kind  core.SpanKind // of one that other instrumentation has started
	taken bool          // somebody has joined it, or is told of by it
	first string        // the name that who joined it began with
	given string        // a name that is not to be replaced
}

// kind is that of a span which other instrumentation has started.
func (s *span) kind() core.SpanKind {
	if r := s.rare.Load(); r != nil && r.shared != nil {
		return r.shared.kind
	}
	return 0
}

// share takes the part of a span that is there for one to join, and reports
// whether it was free.
func (s *span) share(name string) (free bool) {
	s.change(func(r *rare) {
		var with shared
		if r.shared != nil {
			with = *r.shared
		}
		if free = !with.taken; free {
			with.taken, with.first = true, name
			r.shared = &with
		}
	})
	return free
}

// nameGiven notes a name that was set by others than who began the operation. Not
// every call of SetName means it: some instrumentation sets again what it began
// with. It reports whether this one does.
func (s *span) nameGiven(name string) (meant bool) {
	s.change(func(r *rare) {
		var with shared
		if r.shared != nil {
			with = *r.shared
		}
		if meant = !with.taken || name != with.first; meant {
			with.given = name
			r.shared = &with
		}
	})
	return meant
}

// given is the name that was given to a span since it began; or "". For want of a
// better one it is that which who joined it began with.
func (s *span) given(want bool) string {
	r := s.rare.Load()
	if r == nil || r.shared == nil {
		return ""
	}
	if name := r.shared.given; name != "" || !want {
		return name
	}
	return r.shared.first
}

// change changes what few spans have. f may be called several times.
func (s *span) change(f func(*rare)) {
	for {
		old := s.rare.Load()
		with := old.copy()
		f(with)
		if s.rare.CompareAndSwap(old, with) {
			return
		}
	}
}
