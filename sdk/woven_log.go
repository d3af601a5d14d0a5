//go:build guanlan_woven

package sdk

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/baggage"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Woven log packages send their records through the SDK that runs. The lines are
// theirs.
func init() {
	slog.Guanlan.Store(&slog.GuanlanHooks{IDs: slogIDs, Send: sendSlog, Make: func(f *slog.GuanlanFields) any { return makeFields(f) }})
	log.Guanlan.Store(&log.GuanlanHooks{Send: sendLine})
}

// sentOnly begins a record that is sent only; nil when it would not be.
func sentOnly(ctx context.Context, at time.Time, severity core.Severity, level, message string) *LogRecord {
	ids := LogIDsOf(ctx)
	return DefaultLog().Export(&ids, at, severity, level, message)
}

func sendLine(at time.Time, text []byte) {
	text = bytes.TrimSuffix(text, []byte{'\n'})
	if r := sentOnly(context.Background(), at, core.SeverityInfo, "INFO", string(text)); r != nil {
		r.Write()
	}
}

func sendSlog(ctx context.Context, from *slog.Record, with *slog.GuanlanFields) {
	r := sentOnly(ctx, from.Time, severityOf(from.Level), levelText(from.Level), from.Message)
	if r == nil {
		return
	}
	if f := fieldsOf(with); f != nil {
		r.AddFields(f)
	}
	from.Attrs(func(a slog.Attr) bool {
		addSlog(&r.LogFields, a)
		return true
	})
	r.Write()
}

// fieldsOf is what With and WithGroup have added. Those of loggers that were made
// before this package was there are made when they are needed.
func fieldsOf(f *slog.GuanlanFields) *LogFields {
	if f == nil {
		return nil
	}
	if made := f.Made.Load(); made != nil {
		return (*made).(*LogFields)
	}
	fields := makeFields(f)
	var made any = fields
	f.Made.Store(&made)
	return fields
}

func makeFields(f *slog.GuanlanFields) *LogFields {
	fields := ExportFields()
	if before := fieldsOf(f.Before); before != nil {
		fields = before.Clone()
	}
	if f.Group != "" {
		fields.OpenGroup(f.Group)
	}
	for _, a := range f.Attrs {
		addSlog(fields, a)
	}
	return fields
}

// slogIDs fills in ids. A context that panics, as a nil pointer does, has none.
func slogIDs(ctx context.Context, ids *slog.GuanlanIDs) (any bool) {
	s := Default()
	if s == nil || !s.enabled {
		return false
	}
	defer func() {
		if recover() != nil {
			any = false
		}
	}()
	ids.Request, ids.Biz, ids.More = "", BizID(ctx), ids.More[:0]
	var sc core.SpanContext
	if sc, ids.InSpan = contextOf(ctx); ids.InSpan {
		sc.TraceID.AppendHex(ids.Trace[:0])
		sc.SpanID.AppendHex(ids.Span[:0])
	}
	if id := requestIDOf(ctx); id != nil {
		ids.Request = *id
	}
	if len(s.members) > 0 {
		b := baggage.FromContext(ours(ctx, baggageKey))
		for _, name := range s.members {
			if v := b.Member(name).Value(); v != "" && name != attrBizID {
				ids.More = append(ids.More, slog.String(name, v))
			}
		}
	}
	return ids.InSpan || ids.Request != "" || ids.Biz != "" || len(ids.More) > 0
}

// claimSlog reports whether no woven handler has sent r.
func claimSlog(r *slog.Record) bool { return slog.GuanlanClaim(r) }
