//go:build !guanlan_stock

package sdk

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// stock is whether OpenTelemetry's own SDK takes the place of ours: built with
// the tag guanlan_stock. See package sdk/stock.
const stock = false

// Span is what operations record in.
type Span = core.Span

// recorder is what a handle needs beside the span.
type recorder struct{}

// operationTracer starts the spans of operations.
type operationTracer = *tracer

func (s *SDK) tracer(scope, version string, w work) operationTracer {
	t := *s.provider.Tracer(scope, trace.WithInstrumentationVersion(version)).(*tracer)
	t.work = w
	return &t
}

// open begins the span of an operation.
func (h *handle) open(t operationTracer, parent core.SpanContext, name string, kind core.SpanKind) {
	h.span.tracer = t
	t.core.Start(&h.span.core, &parent, name, kind, time.Time{}, t.provider.weighed(h.Context, &parent, nil)...)
}

// of is the span of an operation.
func (*recorder) of(h *handle) *Span { return &h.span.core }

// other is OpenTelemetry's SDK, where it takes the place of ours.
type other struct{}

func (*SDK) startOther(context.Context, *config) error { return nil }
func (other) flush(context.Context) error              { return nil }
func (other) shutdown(context.Context) error           { return nil }

// logOther is what a Log needs of it.
type logOther struct{}

// emit sends a record.
func (logOther) emit(own *core.Logger, r *core.Record) { own.Emit(r) }

// ctx is the context with the span.
func (h *handle) ctx() context.Context { return h }
