package errs

import (
	"context"
	"log/slog"
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Names of attributes.
const (
	keyErrorType = "error.type"
	keyClass     = "guanlan.error.class"
)

// Attributes describe err on a span: error.type, which is the name of its code,
// and its class. Both have few values.
func Attributes(err error) []attribute.KeyValue {
	if err == nil {
		return nil
	}
	code := CodeOf(err)
	return []attribute.KeyValue{attribute.String(keyErrorType, code.name), attribute.String(keyClass, code.class.String())}
}

// Record notes err on the span in ctx. Of class Server and System, the span has
// failed, and an exception event has the whole error with its causes and
// fields; of class Client, it has not: a service that says no works. Call it
// once, where the error ends.
func Record(ctx context.Context, err error) {
	if err == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	code, e := find(err)
	attrs := Attributes(err)
	span.SetAttributes(attrs...)
	if code.class == Client {
		return
	}
	if e != nil {
		for _, f := range e.fields {
			attrs = appendField(attrs, "", f)
		}
	}
	// Also of a span that does not record: it may be kept for its failure, and
	// has the error then.
	span.RecordError(err, trace.WithAttributes(attrs...))
	span.SetStatus(codes.Error, code.title)
}

// appendField converts a field; groups are joined by dots.
func appendField(dst []attribute.KeyValue, prefix string, a slog.Attr) []attribute.KeyValue {
	v := a.Value.Resolve()
	key := attribute.Key(prefix + a.Key)
	switch v.Kind() {
	case slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, in := range v.Group() {
			dst = appendField(dst, prefix, in)
		}
		return dst
	case slog.KindBool:
		return append(dst, key.Bool(v.Bool()))
	case slog.KindInt64:
		return append(dst, key.Int64(v.Int64()))
	case slog.KindUint64:
		if u := v.Uint64(); u <= math.MaxInt64 {
			return append(dst, key.Int64(int64(u)))
		}
	case slog.KindFloat64:
		return append(dst, key.Float64(v.Float64()))
	case slog.KindTime:
		return append(dst, key.String(v.Time().Format(time.RFC3339Nano)))
	}
	return append(dst, key.String(v.String()))
}
