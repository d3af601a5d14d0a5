package sdk

import (
	"context"
	"log/slog"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// LogHandler is a slog.Handler that writes JSON lines to a spool and sends the
// same records over OTLP, with the ids of the span, the request and the business
// case in the context. It never blocks: under pressure, records are dropped and
// counted, errors last.
//
// Lines are as slog.JSONHandler writes them, with trace_id, span_id, request_id
// and biz_id behind the message. Over OTLP, groups are joined to their attributes
// by dots.
type LogHandler struct {
	log    *Log // nil: that of the SDK that runs
	level  slog.Leveler
	fields *LogFields // of WithAttrs and WithGroup; or nil
}

// NewLogHandler makes a handler of records from level on; nil is slog.LevelInfo.
// Either of spool and logger may be nil.
func NewLogHandler(spool *core.Spool, logger *core.Logger, level slog.Leveler) *LogHandler {
	return newLog(spool, nil, logger, level).Handler()
}

// DefaultLogHandler makes a handler of the SDK that runs when a record comes,
// from its level on, so it may be made before Start:
//
//	slog.SetDefault(slog.New(sdk.DefaultLogHandler()))
//
// Before Start, lines go straight to the standard output, as those of
// slog.JSONHandler do.
func DefaultLogHandler() *LogHandler { return new(LogHandler) }

// Enabled implements slog.Handler.
func (h *LogHandler) Enabled(_ context.Context, level slog.Level) bool {
	if h.level != nil {
		return level >= h.level.Level()
	}
	return level >= h.target().Level()
}

func (h *LogHandler) target() *Log {
	if h.log != nil {
		return h.log
	}
	return DefaultLog()
}

// with makes a copy that more may be added to.
func (h *LogHandler) with() *LogHandler {
	c := *h
	if h.fields == nil {
		c.fields = new(LogFields)
	} else {
		c.fields = h.fields.Clone()
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := h.with()
	c.fields.OpenGroup(name)
	return c
}

// WithAttrs implements slog.Handler.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := h.with()
	for _, a := range attrs {
		addSlog(c.fields, a)
	}
	return c
}

// Handle implements slog.Handler. It returns nil: what is dropped is counted,
// and a program cannot do anything about it.
func (h *LogHandler) Handle(ctx context.Context, r slog.Record) error {
	rec := h.target().Record(ctx, r.Time, severityOf(r.Level), levelText(r.Level), r.Message)
	if woven && !claimSlog(&r) {
		rec.lineOnly = true
	}
	if h.fields != nil {
		rec.AddFields(h.fields)
	}
	r.Attrs(func(a slog.Attr) bool {
		addSlog(&rec.LogFields, a)
		return true
	})
	rec.Write()
	return nil
}

// severityOf maps levels as OpenTelemetry's bridge does: slog's are four apart,
// too.
func severityOf(l slog.Level) core.Severity { return core.Severity(min(max(int(l)+9, 1), 24)) }

// levelText is l.String without making a string for the usual ones.
func levelText(l slog.Level) string {
	switch l {
	case slog.LevelDebug:
		return "DEBUG"
	case slog.LevelInfo:
		return "INFO"
	case slog.LevelWarn:
		return "WARN"
	case slog.LevelError:
		return "ERROR"
	}
	return l.String()
}

// addSlog adds an attribute of slog.
func addSlog(f *LogFields, a slog.Attr) {
	v := a.Value
	if v.Kind() == slog.KindLogValuer {
		v = v.Resolve()
	}
	switch v.Kind() {
	case slog.KindGroup:
		if a.Key == "" { // its attributes stand here
			for _, b := range v.Group() {
				addSlog(f, b)
			}
			return
		}
		f.OpenGroup(a.Key)
		for _, b := range v.Group() {
			addSlog(f, b)
		}
		f.CloseGroup()
	case slog.KindString:
		f.addString(a.Key, v.String())
	case slog.KindInt64:
		f.addInt(a.Key, v.Int64())
	case slog.KindUint64:
		f.AddUint(a.Key, v.Uint64())
	case slog.KindFloat64:
		f.Add(core.Float(a.Key, v.Float64()))
	case slog.KindBool:
		f.Add(core.Bool(a.Key, v.Bool()))
	case slog.KindDuration:
		f.addInt(a.Key, int64(v.Duration()))
	case slog.KindTime:
		f.AddTime(a.Key, v.Time())
	default:
		if a.Key != "" || v.Any() != nil { // a zero Attr is none
			f.AddAny(a.Key, v.Any())
		}
	}
}
