package sdk

import (
	"context"
	"runtime/pprof"
	"unsafe"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Labels of a goroutine while it works for a trace (Options.ProfileLabels), as
// profilers read them: those of the process, by runtime/pprof, and of the kernel.
const (
	labelTrace = "trace_id"
	labelSpan  = "span_id"
)

// labelled is a context whose labels the goroutine has, and the one whose it had.
type labelled struct {
	context.Context
	before context.Context
}

// entry reports whether work of a trace begins here: what a span within it does is its work, too.
func entry(kind core.SpanKind, parent *core.SpanContext) bool {
	switch kind {
	case core.KindServer, core.KindConsumer:
		return true
	case core.KindInternal:
		return !parent.IsValid() || parent.Remote
	}
	return false
}

// label puts the ids of a span that is kept on the goroutine, and on the context,
// for goroutines that get their labels from it.
func (h *handle) label(sc *core.SpanContext) {
	if !sc.IsSampled() {
		return // nobody will look for it
	}
	l := &labelled{before: h.Context}
	l.Context = pprof.WithLabels(h.Context, pprof.Labels(labelTrace, sc.TraceID.String(), labelSpan, sc.SpanID.String()))
	pprof.SetGoroutineLabels(l.Context)
	h.Context = l
}

// unlabel gives the goroutine the labels that it had, at the span's end.
func (h *handle) unlabel() {
	if l, ok := h.Context.(*labelled); ok {
		pprof.SetGoroutineLabels(l.before)
	}
}

// handle is the one that the span stands in.
func (s *span) handle() *handle {
	return (*handle)(unsafe.Add(unsafe.Pointer(s), -int(unsafe.Offsetof(handle{}.span))))
}
