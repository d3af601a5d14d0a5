package telemetry

import (
	"context"
	"log/slog"
	"os"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/bridges/otelzap"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Slog returns a logger that writes JSON lines to standard error and sends the
// same records over OTLP. Both carry the ids of the span in the context given
// to InfoContext and its kin.
func Slog(service string) *slog.Logger {
	return slog.New(slog.NewMultiHandler(
		slogIDs{slog.NewJSONHandler(os.Stderr, nil)},
		otelslog.NewHandler(service),
	))
}

// slogIDs adds the span's ids to a record. The bridge needs no such thing: it
// hands the context on.
type slogIDs struct{ slog.Handler }

func (h slogIDs) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h slogIDs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return slogIDs{h.Handler.WithAttrs(attrs)}
}
func (h slogIDs) WithGroup(name string) slog.Handler { return slogIDs{h.Handler.WithGroup(name)} }

// Zap is Slog for zap: pass the context as a field, see Ctx.
func Zap(service string) *zap.Logger {
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	lines := zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(os.Stderr), zapcore.InfoLevel)
	return zap.New(zapcore.NewTee(zapIDs{lines}, otelzap.NewCore(service)))
}

// Ctx ties a record, or a logger made with With, to the span in ctx.
func Ctx(ctx context.Context) zap.Field { return zap.Any("context", ctx) }

// zapIDs writes the span's ids in place of the context.
type zapIDs struct{ zapcore.Core }

func (c zapIDs) With(fields []zap.Field) zapcore.Core { return zapIDs{c.Core.With(ids(fields))} }

func (c zapIDs) Write(e zapcore.Entry, fields []zap.Field) error {
	return c.Core.Write(e, ids(fields))
}

func (c zapIDs) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func ids(fields []zap.Field) []zap.Field {
	out := make([]zap.Field, 0, len(fields)+1)
	for _, f := range fields {
		ctx, ok := f.Interface.(context.Context)
		if !ok {
			out = append(out, f)
			continue
		}
		if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
			out = append(out, zap.Stringer("trace_id", sc.TraceID()), zap.Stringer("span_id", sc.SpanID()))
		}
	}
	return out
}
