// Package fields turns what zap logs into records of the SDK. It is also merged
// into package zapcore of woven programs, so it imports nothing of zap but that.
package fields

import (
	"context"

	"go.uber.org/zap/zapcore"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// AddEntry adds what an entry says beside its message. It goes before the fields,
// among which namespaces may be open.
func AddEntry(f *sdk.LogFields, e *zapcore.Entry) {
	if e.LoggerName != "" {
		f.Add(core.String("logger", e.LoggerName))
	}
	if e.Caller.Defined {
		f.Add(core.String("code.file.path", e.Caller.File))
		f.Add(core.Int("code.line.number", int64(e.Caller.Line)))
		if e.Caller.Function != "" {
			f.Add(core.String("code.function.name", e.Caller.Function))
		}
	}
	if e.Stack != "" {
		f.Add(core.String("code.stacktrace", e.Stack))
	}
}

// Context finds the context among fields, the last if there are several.
func Context(fields []zapcore.Field) context.Context {
	for i := len(fields) - 1; i >= 0; i-- {
		if ctx := contextOf(&fields[i]); ctx != nil {
			return ctx
		}
	}
	return nil
}

// contextOf is the context that a field is there for. One under another key is a
// value as any other, which embeds a context perhaps. zap.Any takes one that has
// a method String for a Stringer, as those of package context have.
func contextOf(f *zapcore.Field) context.Context {
	if f.Key != "ctx" && f.Key != "context" {
		return nil
	}
	switch f.Type {
	case zapcore.SkipType, zapcore.ReflectType, zapcore.StringerType:
		ctx, _ := f.Interface.(context.Context)
		return ctx
	}
	return nil
}

// Severity maps levels as OpenTelemetry's bridge does, and those below debug,
// which it does not know, to traces.
func Severity(l zapcore.Level) core.Severity {
	switch l {
	case zapcore.DebugLevel:
		return core.SeverityDebug
	case zapcore.InfoLevel:
		return core.SeverityInfo
	case zapcore.WarnLevel:
		return core.SeverityWarn
	case zapcore.ErrorLevel:
		return core.SeverityError
	case zapcore.DPanicLevel:
		return core.SeverityFatal
	case zapcore.PanicLevel:
		return core.SeverityFatal + 1
	case zapcore.FatalLevel:
		return core.SeverityFatal + 2
	}
	if l < zapcore.DebugLevel {
		return core.SeverityTrace
	}
	return core.SeverityFatal + 3
}

// Level is as slog writes levels.
func Level(l zapcore.Level) string { return l.CapitalString() }
