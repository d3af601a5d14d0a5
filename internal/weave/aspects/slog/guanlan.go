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
// first: handlers keep it as text only.
type GuanlanFields struct {
	Before *GuanlanFields
	Group  string // or else
	Attrs  []Attr
	Made   atomic.Pointer[any] // what package sdk has made of them
}

func (f *GuanlanFields) with(attrs []Attr) *GuanlanFields {
	return &GuanlanFields{Before: f, Attrs: slices.Clone(attrs)}
}

func (f *GuanlanFields) within(group string) *GuanlanFields {
	return &GuanlanFields{Before: f, Group: group}
}

func (f *GuanlanFields) has(key string) bool {
	for ; f != nil; f = f.Before {
		for i := range f.Attrs {
			if f.Attrs[i].Key == key {
				return true
			}
		}
	}
	return false
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
		hooks.Send(ctx, r, h.guanlan)
	}
	r.guanlan.ctx = ctx
}

// guanlanIDs writes ids, unless the program does.
func (s *handleState) guanlanIDs(r *Record) {
	ctx := r.guanlan.ctx
	if ctx == nil || s.h.guanlan.has("trace_id") {
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
