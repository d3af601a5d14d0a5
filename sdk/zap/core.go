// Package sdkzap logs from zap into Guanlan's SDK: the same JSON lines as its
// slog handler writes, to the standard output or a file, and the same records
// over OTLP, with the ids of the span. Nothing of it makes the one who logs
// wait.
package sdkzap

import (
	"context"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/zap/internal/fields"
)

// New makes a logger of records from the level of the SDK on. See Core.
func New(opts ...zap.Option) *zap.Logger { return zap.New(Core(nil), opts...) }

// Core makes a core of records from level on; nil is the level of sdk.Options.
// It writes to the SDK that runs when a record comes, so it may be made before
// sdk.Start; until then, lines go straight to the standard output.
//
// Namespaces, objects and inline objects are groups as those of slog: members
// of an object in the line, over OTLP joined to their attributes by dots. The
// name of the logger is the attribute logger; the caller and the stack are the
// code.* attributes of OpenTelemetry's semantic conventions.
//
// Under pressure, records are dropped and counted, see sdk.Stats. A value that
// panics while it is written is told as such in its place. Before zap ends the
// process for a record of the level fatal, Write flushes for two seconds at
// most; lines of panics are flushed for a quarter of a second at most.
func Core(level zapcore.LevelEnabler) zapcore.Core { return &logCore{level: level} }

// Context is a field that says which span a record belongs to. For child
// loggers, pass it to With. It is no attribute, and other cores ignore it. A
// field with the key ctx or context that holds one, as zap.Any and zap.Reflect
// make them, does the same.
func Context(ctx context.Context) zap.Field {
	return zap.Field{Key: "context", Type: zapcore.SkipType, Interface: ctx}
}

const (
	// fatalFlush is how long the end of the process may be held up.
	fatalFlush = 2 * time.Second
	// panicFlush is how long a panic may be, which perhaps is recovered.
	panicFlush = 250 * time.Millisecond
)

type logCore struct {
	level  zapcore.LevelEnabler // nil: that of the SDK
	ctx    context.Context      // of With; or nil
	fields *sdk.LogFields       // of With; or nil
}

// Enabled implements zapcore.LevelEnabler.
func (c *logCore) Enabled(level zapcore.Level) bool {
	if c.level != nil {
		return c.level.Enabled(level)
	}
	return int(fields.Severity(level)) >= int(sdk.DefaultLog().Level())+int(core.SeverityInfo)
}

// With implements zapcore.Core.
func (c *logCore) With(with []zapcore.Field) zapcore.Core {
	child := *c
	if c.fields == nil {
		child.fields = new(sdk.LogFields)
	} else {
		child.fields = c.fields.Clone()
	}
	if ctx := fields.Context(with); ctx != nil {
		child.ctx = ctx
	}
	fields.Add(child.fields, with)
	return &child
}

// Check implements zapcore.Core.
func (c *logCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core. It returns nil: what is dropped is counted, and
// a program cannot do anything about it.
func (c *logCore) Write(e zapcore.Entry, with []zapcore.Field) error {
	ctx := c.ctx
	if own := fields.Context(with); own != nil {
		ctx = own
	}
	log := sdk.DefaultLog()
	r := log.Record(ctx, e.Time, fields.Severity(e.Level), fields.Level(e.Level), e.Message)
	fields.AddEntry(&r.LogFields, &e)
	if c.fields != nil {
		r.AddFields(c.fields)
	}
	fields.Add(&r.LogFields, with)
	r.Write()
	switch {
	case e.Level >= zapcore.FatalLevel:
		flush(log.Flush, fatalFlush)
	case e.Level == zapcore.PanicLevel:
		flush(log.FlushLines, panicFlush)
	}
	return nil
}

func flush(what func(context.Context) error, most time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	return what(ctx)
}

// Sync implements zapcore.Core: it waits until what was logged is written and
// sent, for two seconds at most.
func (c *logCore) Sync() error { return flush(sdk.DefaultLog().Flush, fatalFlush) }
