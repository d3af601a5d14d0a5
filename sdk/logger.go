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

// recordAttrs is room for the attributes of a record.
type recordAttrs struct{ list []core.Attr }

var recordRoom = sync.Pool{New: func() any { return new(recordAttrs) }}

// keptAttrs is how much room is used again.
const keptAttrs = 128

// Emit implements log.Logger. It does not block: when there is no room, the
// record is dropped and counted.
func (l *logger) Emit(ctx context.Context, r log.Record) {
	if l.provider.stopped.Load() {
		return
	}
	room := recordRoom.Get().(*recordAttrs)
	room.list = room.list[:0]
	r.WalkAttributes(func(a attribute.KeyValue) bool {
		if a.Key != "" { // no attribute, so none that was dropped
			room.set(core.Of(string(a.Key), value(&a.Value)), l.provider.limits.Attributes)
		}
		return true
	})
	if err := r.Err(); err != nil {
		room.exception(err)
	}
	out := core.Record{
		Time: sinceEpoch(r.Timestamp()), Observed: sinceEpoch(r.ObservedTimestamp()),
		Severity: severity(r.Severity()), Level: r.SeverityText(), Event: r.EventName(), Attrs: room.list,
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
	if cap(room.list) <= keptAttrs {
		clear(room.list)
		recordRoom.Put(room)
	}
}

// set adds an attribute, or replaces one that is there and within the limit, so
// that it stays there when others are cut off.
func (r *recordAttrs) set(a core.Attr, limit int) {
	within := r.list
	if limit >= 0 && len(within) > limit {
		within = within[:limit]
	}
	for i := range within {
		if within[i].Key == a.Key {
			within[i] = a
			return
		}
	}
	r.list = append(r.list, a)
}

// exception adds what is known of an error unless the record says it. An error
// that panics when it is asked, a nil pointer for example, is told as such.
func (r *recordAttrs) exception(err error) {
	const message, kind = "exception.message", "exception.type"
	defer func() {
		if p := recover(); p != nil {
			r.list = append(r.list, core.String(message, fmt.Sprintf("!PANIC: %v", p)))
		}
	}()
	var hasMessage, hasKind bool
	for i := range r.list {
		hasMessage = hasMessage || r.list[i].Key == message
		hasKind = hasKind || r.list[i].Key == kind
	}
	if !hasMessage {
		if text := err.Error(); text != "" {
			r.list = append(r.list, core.String(message, text))
		}
	}
	if !hasKind {
		r.list = append(r.list, core.String(kind, errorName(err)))
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
