//go:build guanlan_woven

package slog

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// GuanlanHooks are what package sdk does when it is in the program.
type GuanlanHooks struct {
	// IDs fills in what is known of the request that a record in ctx belongs to,
	// and reports whether that is anything.
	IDs func(ctx context.Context, ids *GuanlanIDs) bool
	// Send sends a record, with the attributes that its logger adds.
	Send func(ctx context.Context, r *Record, with *GuanlanFields)
	// Make makes what is sent of fields.
	Make func(*GuanlanFields) (made any)
}

// Guanlan is nil until package sdk has set it: records may be written before.
var Guanlan atomic.Pointer[GuanlanHooks]

// GuanlanIDs are the ids that lines have.
type GuanlanIDs struct {
	InSpan       bool
	Trace        [32]byte // hexadecimal
	Span         [16]byte
	Request, Biz string // or empty
	More         []Attr
}

var guanlanIDs = sync.Pool{New: func() any { return new(GuanlanIDs) }}

// GuanlanFields are what With and WithGroup have added to a logger, the last
// first: handlers keep it as text only. As there, values are those of the moment
// of With: they may change later, while others log.
type GuanlanFields struct {
	Made   atomic.Pointer[any] // what package sdk has made of them, and all before
	Before *GuanlanFields      // until then
	Group  string              // or else
	Attrs  []Attr
	traced bool // the program has its own ids
}

func (h *commonHandler) guanlanWith(attrs []Attr) *GuanlanFields {
	f := &GuanlanFields{Before: h.guanlan, Attrs: h.guanlanReplaced(h.groups, attrs)}
	for i := range f.Attrs {
		f.traced = f.traced || f.Attrs[i].Key == "trace_id"
	}
	return f.made()
}

func (h *commonHandler) guanlanWithin(group string) *GuanlanFields {
	return (&GuanlanFields{Before: h.guanlan, Group: group}).made()
}

// made is f, made if package sdk is there already.
func (f *GuanlanFields) made() *GuanlanFields {
	f.traced = f.traced || f.Before.hasTrace()
	if hooks := Guanlan.Load(); hooks != nil {
		made := hooks.Make(f)
		f.Made.Store(&made)
		f.Before, f.Attrs = nil, nil
	}
	return f
}

func (f *GuanlanFields) hasTrace() bool { return f != nil && f.traced }

// guanlanReplaced is attributes as the handler has them, that are not to be changed.
func (h *commonHandler) guanlanReplaced(groups []string, attrs []Attr) []Attr {
	replace := h.opts.ReplaceAttr
	if replace == nil {
		return slices.Clone(attrs)
	}
	all := make([]Attr, 0, len(attrs))
	for _, a := range attrs {
		a.Value = a.Value.Resolve()
		if a.Value.Kind() == KindGroup {
			inner := groups
			if a.Key != "" {
				inner = append(slices.Clip(groups), a.Key)
			}
			a.Value = GroupValue(h.guanlanReplaced(inner, a.Value.Group())...)
		} else {
			a = replace(groups, a)
			a.Value = a.Value.Resolve()
		}
		if !a.isEmpty() {
			all = append(all, a)
		}
	}
	return all
}

// guanlanSent is what is to be sent of a record: what the program hides from its
// lines, nobody else is told either.
func (h *commonHandler) guanlanSent(r *Record) *Record {
	if h.opts.ReplaceAttr == nil {
		return r
	}
	attrs := make([]Attr, 0, r.NumAttrs())
	r.Attrs(func(a Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	message := h.guanlanReplaced(nil, []Attr{String(MessageKey, r.Message)})
	sent := Record{Time: r.Time, Level: r.Level, PC: r.PC}
	if len(message) > 0 {
		sent.Message = message[0].Value.String()
	}
	sent.AddAttrs(h.guanlanReplaced(h.groups, attrs)...)
	return &sent
}

// guanlanRecord is what a record has beside.
type guanlanRecord struct {
	sent *atomic.Bool    // by one of the handlers that it goes to; or nil
	ctx  context.Context // that it is handled in; or nil: it gets no ids
}

func guanlanNew() guanlanRecord { return guanlanRecord{sent: new(atomic.Bool)} }

// GuanlanClaim reports whether nobody has sent r yet, and takes it on.
func GuanlanClaim(r *Record) bool { return r.guanlan.sent == nil || !r.guanlan.sent.Swap(true) }

// guanlanHandle is handle with what a context says.
func (h *commonHandler) guanlanHandle(ctx context.Context, r Record) error {
	h.guanlanBegin(ctx, &r)
	return h.handle(r)
}

// guanlanBegin sends a record, and has it get ids.
func (h *commonHandler) guanlanBegin(ctx context.Context, r *Record) {
	hooks := Guanlan.Load()
	if hooks == nil || h.w == io.Discard { // who throws records away wants none
		return
	}
	if GuanlanClaim(r) {
		hooks.Send(ctx, h.guanlanSent(r), h.guanlan)
	}
	r.guanlan.ctx = ctx
}

// guanlanIDs writes ids, unless the program does.
func (s *handleState) guanlanIDs(r *Record) {
	ctx := r.guanlan.ctx
	if ctx == nil || s.h.guanlan.hasTrace() {
		return
	}
	own := false
	r.Attrs(func(a Attr) bool {
		own = a.Key == "trace_id"
		return !own
	})
	if own {
		return
	}
	ids := guanlanIDs.Get().(*GuanlanIDs)
	defer guanlanIDs.Put(ids)
	if !Guanlan.Load().IDs(ctx, ids) {
		return
	}
	if ids.InSpan {
		s.guanlanID("trace_id", ids.Trace[:])
		s.guanlanID("span_id", ids.Span[:])
	}
	if ids.Request != "" {
		s.appendAttr(String("request_id", ids.Request))
	}
	if ids.Biz != "" {
		s.appendAttr(String("biz_id", ids.Biz))
	}
	for _, a := range ids.More {
		s.appendAttr(a)
	}
}

// guanlanID writes what needs no quoting.
func (s *handleState) guanlanID(key string, text []byte) {
	if s.h.opts.ReplaceAttr != nil {
		s.appendAttr(String(key, string(text)))
		return
	}
	s.appendKey(key)
	if s.h.json {
		s.buf.WriteByte('"')
		defer s.buf.WriteByte('"')
	}
	s.buf.Write(text)
}

// GuanlanSends says to package log that what is written here is sent as a record.
func (w *handlerWriter) GuanlanSends() {}
