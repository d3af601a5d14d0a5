package sdk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/embedded"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// LoggerProvider is the OpenTelemetry face of core's logs: bridges of logging
// libraries send through it as it is. It is safe for concurrent use.
type LoggerProvider struct {
	embedded.LoggerProvider
	pipe    *core.Pipe
	limits  core.Limits
	members []string // of baggage, that become attributes
	stopped atomic.Bool

	mu      sync.Mutex
	loggers map[scopeKey]*logger
}

// NewLoggerProvider makes a LoggerProvider that sends through a pipe, which stays
// its owner's. Of limits, Attributes and ValueLength count.
func NewLoggerProvider(pipe *core.Pipe, limits core.Limits) *LoggerProvider {
	return &LoggerProvider{pipe: pipe, limits: limits, loggers: map[scopeKey]*logger{}}
}

// Logger implements log.LoggerProvider. The same scope gives the same logger.
func (p *LoggerProvider) Logger(name string, opts ...log.LoggerOption) log.Logger {
	c := log.NewLoggerConfig(opts...)
	attrs := c.InstrumentationAttributes()
	key := scopeKey{name, c.InstrumentationVersion(), c.SchemaURL(), attrs.Equivalent()}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.loggers[key]
	if l == nil {
		scope := core.NewScope(key.name, key.version, key.schemaURL, appendAttrs(nil, attrs.ToSlice())...)
		l = &logger{provider: p, core: core.NewLogger(p.pipe, scope, p.limits)}
		p.loggers[key] = l
	}
	return l
}

// Stop ends all loggers: they are not enabled any more, and drop what they are
// given.
func (p *LoggerProvider) Stop() { p.stopped.Store(true) }

type logger struct {
	embedded.Logger
	provider *LoggerProvider
	core     *core.Logger
}

// Enabled implements log.Logger: everything is sent, whatever its severity or
// name, until the provider is stopped.
func (l *logger) Enabled(context.Context, log.EnabledParameters) bool {
	return !l.provider.stopped.Load()
}

// attrSet gathers the attributes of a record, up to a limit.
type attrSet struct {
	list    []core.Attr
	limit   int // below 0: none
	dropped int
}

var attrSets = sync.Pool{New: func() any { return new(attrSet) }}

// keptAttrs is how much room for attributes is used again.
const keptAttrs = 128

// Emit implements log.Logger. It does not block: when there is no room, the
// record is dropped and counted.
func (l *logger) Emit(ctx context.Context, r log.Record) {
	if l.provider.stopped.Load() {
		return
	}
	attrs := attrSets.Get().(*attrSet)
	attrs.list, attrs.limit, attrs.dropped = attrs.list[:0], l.provider.limits.Attributes, 0
	if ctx != nil {
		attrs.list = appendIDs(ctx, attrs.list)
		attrs.list = appendMembers(ctx, attrs.list, l.provider.members)
	}
	r.WalkAttributes(func(a attribute.KeyValue) bool {
		attrs.set(&a)
		return true
	})
	if r.Err() != nil {
		attrs.exception(&r)
	}
	out := core.Record{
		Time: sinceEpoch(r.Timestamp()), Observed: sinceEpoch(r.ObservedTimestamp()),
		Severity: severity(r.Severity()), Level: r.SeverityText(), Event: r.EventName(),
		Attrs: attrs.list, Dropped: attrs.dropped,
	}
	var structured core.Value
	if body := r.Body(); body.Type() == attribute.STRING {
		out.Body = body.AsString()
	} else {
		structured = value(&body)
		out.Value = &structured
	}
	if sc, ok := spanOf(ctx); ok {
		out.Span = &sc
	}
	l.core.Emit(&out)
	if cap(attrs.list) <= keptAttrs {
		clear(attrs.list)
		attrSets.Put(attrs)
	}
}

// set adds an attribute or replaces it. One without a key is none.
func (s *attrSet) set(a *attribute.KeyValue) {
	if a.Key == "" {
		return
	}
	for i := range s.list {
		if s.list[i].Key == string(a.Key) {
			s.list[i].Value = value(&a.Value)
			return
		}
	}
	if s.limit >= 0 && len(s.list) >= s.limit {
		s.dropped++
		return
	}
	s.list = append(s.list, core.Of(string(a.Key), value(&a.Value)))
}

// exception adds what is known of the error of a record unless the record says
// it. An error that panics when it is asked, a nil pointer for example, is told
// as such.
func (s *attrSet) exception(r *log.Record) {
	const message, kind = "exception.message", "exception.type"
	var hasMessage, hasKind bool
	r.WalkAttributes(func(a attribute.KeyValue) bool {
		hasMessage = hasMessage || a.Key == message
		hasKind = hasKind || a.Key == kind
		return true
	})
	add := func(key attribute.Key, text string) {
		a := key.String(text)
		s.set(&a)
	}
	defer func() {
		if p := recover(); p != nil {
			add(message, fmt.Sprintf("!PANIC: %v", p))
		}
	}()
	if !hasMessage {
		if text := r.Err().Error(); text != "" {
			add(message, text)
		}
	}
	if !hasKind {
		add(kind, errorName(r.Err()))
	}
}

var wrapped = reflect.TypeOf(fmt.Errorf("%w", errors.New("")))

// errorName is the type of an error, behind what fmt.Errorf wraps around it,
// unless it says itself what it is.
func errorName(err error) string {
	if named, ok := err.(interface{ ErrorType() string }); ok {
		if name := named.ErrorType(); name != "" {
			return name
		}
	}
	for reflect.TypeOf(err) == wrapped {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	return typeName(err)
}

// severity is unknown, 0, for what there is not.
func severity(s log.Severity) core.Severity {
	if s < log.SeverityTrace1 || s > log.SeverityFatal4 {
		return 0
	}
	return core.Severity(s)
}

// sinceEpoch is the zero time for what OTLP cannot tell.
func sinceEpoch(t time.Time) time.Time {
	if t.UnixNano() <= 0 {
		return time.Time{}
	}
	return t
}
