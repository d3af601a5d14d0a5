//go:build guanlan_woven

package zapcore

import (
	"context"
	"io"
	"reflect"

	"go.uber.org/zap/buffer"

	"github.com/guanlan-io/guanlan/sdk"
)

// guanlanWith is what a core that encodes knows of itself.
type guanlanWith struct {
	*guanlanFields
	quiet bool // another core exports what it writes
}

// guanlanFields are the fields of With, encoded once, as zap does it. They do not
// change.
type guanlanFields struct {
	ctx    context.Context // or nil
	fields *sdk.LogFields
	own    guanlanOwn
}

func (w guanlanWith) with(fields []Field) guanlanWith {
	child := &guanlanFields{}
	if w.guanlanFields == nil {
		child.fields = sdk.ExportFields()
	} else {
		*child = *w.guanlanFields
		child.fields = child.fields.Clone()
	}
	if ctx := guanlanFieldsContext(fields); ctx != nil {
		child.ctx = ctx
	}
	child.own = child.own.and(fields)
	guanlanFieldsAdd(child.fields, fields)
	return guanlanWith{guanlanFields: child}
}

// guanlanOwn says which ids a line has by itself: the program's own stay the only
// ones. Those in a namespace are something else.
type guanlanOwn struct{ span, request, biz, nested bool }

func (own guanlanOwn) and(fields []Field) guanlanOwn {
	for i := range fields {
		switch {
		case own.nested:
			return own
		case fields[i].Type == NamespaceType:
			own.nested = true
		default:
			if id := own.id(fields[i].Key); id != nil {
				*id = true
			}
		}
	}
	return own
}

func (own *guanlanOwn) id(name string) *bool {
	switch name {
	case "trace_id", "span_id": // which belong together
		return &own.span
	case "request_id":
		return &own.request
	case "biz_id":
		return &own.biz
	}
	return nil
}

func (own *guanlanOwn) has(name string) bool {
	id := own.id(name)
	return id != nil && *id
}

// guanlanEncode encodes an entry with the ids of its request, and exports it.
func (c *ioCore) guanlanEncode(ent Entry, fields []Field) (*buffer.Buffer, error) {
	ctx := guanlanFieldsContext(fields)
	var own guanlanOwn
	if w := c.guanlan.guanlanFields; w != nil {
		own = w.own
		if ctx == nil {
			ctx = w.ctx
		}
	}
	ids := sdk.LogIDsOf(ctx)
	if c.guanlanExports() {
		c.guanlanExport(&ids, &ent, fields)
	}
	if ids.None() {
		return c.enc.EncodeEntry(ent, fields)
	}
	own = own.and(fields)
	// Before the fields of With, among which may be a namespace that is open.
	switch enc := c.enc.(type) {
	case *jsonEncoder:
		with := enc.guanlanWith(&ids, own)
		defer with.guanlanFree()
		return with.EncodeEntry(ent, fields)
	case consoleEncoder:
		with := enc.jsonEncoder.guanlanWith(&ids, own)
		defer with.guanlanFree()
		return consoleEncoder{with}.EncodeEntry(ent, fields)
	}
	all := make([]Field, 0, 4+len(fields))
	for name, value := range ids.All {
		if !own.has(name) {
			all = append(all, Field{Key: name, Type: StringType, String: value})
		}
	}
	return c.enc.EncodeEntry(ent, append(all, fields...))
}

// guanlanWith is the encoder with ids in front of its fields.
func (enc *jsonEncoder) guanlanWith(ids *sdk.LogIDs, own guanlanOwn) *jsonEncoder {
	with := enc.clone()
	for name, value := range ids.All {
		if !own.has(name) {
			with.AddString(name, value)
		}
	}
	if enc.buf.Len() > 0 {
		with.addElementSeparator()
		_, _ = with.buf.Write(enc.buf.Bytes())
	}
	return with
}

func (enc *jsonEncoder) guanlanFree() {
	enc.buf.Free()
	putJSONEncoder(enc)
}

func (c *ioCore) guanlanExport(ids *sdk.LogIDs, ent *Entry, fields []Field) {
	r := sdk.DefaultLog().Export(ids, ent.Time, guanlanFieldsSeverity(ent.Level), guanlanFieldsLevel(ent.Level), ent.Message)
	if r == nil {
		return
	}
	guanlanFieldsAddEntry(&r.LogFields, ent)
	if w := c.guanlan.guanlanFields; w != nil {
		r.AddFields(w.fields)
	}
	guanlanFieldsAdd(&r.LogFields, fields)
	r.Write()
}

// guanlanExports reports whether the core exports: what is written to nowhere is
// not meant to be seen.
func (c *ioCore) guanlanExports() bool {
	return !c.guanlan.quiet && c.out != WriteSyncer(writerWrapper{io.Discard})
}

// guanlanWrite has one of several cores write an entry. The first that exports is
// the one that does. A core of others is not seen through: one that wraps a core
// that encodes counts for itself.
func guanlanWrite(cores []Core, i int, ent Entry, fields []Field) error {
	if c, ok := cores[i].(*ioCore); ok && len(cores) > 1 && guanlanExported(cores, i) {
		quiet := *c
		quiet.guanlan.quiet = true
		return quiet.Write(ent, fields)
	}
	return cores[i].Write(ent, fields)
}

// guanlanBinding is the package whose core exports, too.
const guanlanBinding = "github.com/guanlan-io/guanlan/sdk/zap"

// guanlanExported reports whether a core other than the one at i exports what all
// of them get.
func guanlanExported(cores []Core, i int) bool {
	for j, c := range cores {
		switch c := c.(type) {
		case *ioCore:
			if j < i && c.guanlanExports() {
				return true
			}
		case *hooked:
		default:
			if t := reflect.TypeOf(c); t.Kind() == reflect.Pointer && t.Elem().PkgPath() == guanlanBinding {
				return true
			}
		}
	}
	return false
}
