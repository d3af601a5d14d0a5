package fields

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap/zapcore"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// Add adds fields. Namespaces that they open stay open.
func Add(f *sdk.LogFields, fields []zapcore.Field) {
	for i := range fields {
		addField(f, &fields[i])
	}
}

// addField adds a field. Kinds that run no code of others, most of them, go
// straight.
func addField(f *sdk.LogFields, z *zapcore.Field) {
	switch z.Type {
	case zapcore.StringType:
		f.Add(core.String(z.Key, z.String))
	case zapcore.Int64Type, zapcore.Int32Type, zapcore.Int16Type, zapcore.Int8Type, zapcore.DurationType:
		f.Add(core.Int(z.Key, z.Integer))
	case zapcore.BoolType:
		f.Add(core.Bool(z.Key, z.Integer == 1))
	case zapcore.Float64Type:
		f.Add(core.Float(z.Key, math.Float64frombits(uint64(z.Integer))))
	case zapcore.NamespaceType:
		f.OpenGroup(z.Key)
	case zapcore.SkipType:
	default:
		if contextOf(z) == nil {
			foreign(f, z)
		}
	}
}

// foreign adds a field that may run code of others, which may panic.
func foreign(f *sdk.LogFields, z *zapcore.Field) {
	mark := f.Mark()
	defer func() {
		if p := recover(); p != nil {
			f.Rewind(mark)
			f.Add(core.String(z.Key, panicText(z.Interface, p)))
		}
	}()
	if z.Type == zapcore.ErrorType {
		if err, plain := plainError(z.Interface); plain {
			f.Add(core.String(z.Key, err.Error()))
			return
		}
	}
	z.AddTo(&object{into: fieldsAdder{f}})
}

// panicText tells of a panic as lines of slog do. That of a nil pointer says
// nothing, so it is told as zap does.
func panicText(v, p any) (text string) {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
		return "<nil>"
	}
	defer func() {
		if recover() != nil { // not even that can be said of it
			text = "!PANIC"
		}
	}()
	return fmt.Sprintf("!PANIC: %v", p)
}

// plainError reports whether of an error zap writes nothing but its text.
func plainError(v any) (err error, plain bool) {
	switch v.(type) {
	case fmt.Formatter, interface{ Errors() []error }:
		return nil, false
	}
	err, plain = v.(error)
	return err, plain
}

// maxDepth bounds objects in objects: one that holds itself would use up the
// stack, which cannot be recovered from.
const maxDepth = 32

var errTooDeep = errors.New("more than " + strconv.Itoa(maxDepth) + " objects in each other; the rest is left out")

// adder takes the members of an object.
type adder interface {
	add(core.Attr)
	addUint(key string, v uint64)
	addAny(key string, v any)
	openGroup(name string)
	closeGroup()
	groups() int
}

// fieldsAdder adds to a record. Objects are groups there.
type fieldsAdder struct{ f *sdk.LogFields }

func (a fieldsAdder) add(attr core.Attr)           { a.f.Add(attr) }
func (a fieldsAdder) addUint(key string, v uint64) { a.f.AddUint(key, v) }
func (a fieldsAdder) addAny(key string, v any)     { a.f.AddAny(key, v) }
func (a fieldsAdder) openGroup(name string)        { a.f.OpenGroup(name) }
func (a fieldsAdder) closeGroup()                  { a.f.CloseGroup() }
func (a fieldsAdder) groups() int                  { return a.f.Groups() }

// mapAdder makes a map, which objects inside of arrays are.
type mapAdder struct {
	names  []string      // of open groups
	levels [][]core.Attr // the map itself, and those of the groups
}

func (m *mapAdder) add(attr core.Attr) {
	last := len(m.levels) - 1
	m.levels[last] = append(m.levels[last], attr)
}
func (m *mapAdder) addUint(key string, v uint64) { m.add(core.Of(key, unsigned(v))) }
func (m *mapAdder) addAny(key string, v any)     { m.add(core.Of(key, reflected(v))) }
func (m *mapAdder) groups() int                  { return len(m.names) }

func (m *mapAdder) openGroup(name string) {
	m.names = append(m.names, name)
	m.levels = append(m.levels, nil)
}

func (m *mapAdder) closeGroup() {
	last := len(m.names) - 1
	name, members := m.names[last], m.levels[last+1]
	m.names, m.levels = m.names[:last], m.levels[:last+1]
	if len(members) > 0 {
		m.add(core.Of(name, core.MapValue(members)))
	}
}

func (m *mapAdder) value() core.Value {
	for len(m.names) > 0 {
		m.closeGroup()
	}
	return core.MapValue(m.levels[0])
}

// unsigned is a number; one beyond 63 bits, which OTLP has not, is text.
func unsigned(v uint64) core.Value {
	if v > math.MaxInt64 {
		return core.StringValue(strconv.FormatUint(v, 10))
	}
	return core.IntValue(int64(v))
}

// reflected is what encoding/json makes of a value; an error is its text. A
// panic goes through: it is told of in place of the whole field.
func reflected(v any) core.Value {
	_, marshals := v.(json.Marshaler)
	if err, ok := v.(error); ok && !marshals {
		return core.StringValue(err.Error())
	}
	text, err := json.Marshal(v)
	if err != nil {
		return core.StringValue("!ERROR: " + err.Error())
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var x any
	if err := dec.Decode(&x); err != nil {
		return core.StringValue(string(text))
	}
	return fromJSON(x)
}

func fromJSON(x any) core.Value {
	switch x := x.(type) {
	case bool:
		return core.BoolValue(x)
	case string:
		return core.StringValue(x)
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return core.IntValue(n)
		}
		if f, err := x.Float64(); err == nil && strings.ContainsAny(string(x), ".eE") {
			return core.FloatValue(f)
		}
		return core.StringValue(string(x))
	case []any:
		list := make([]core.Value, len(x))
		for i := range x {
			list[i] = fromJSON(x[i])
		}
		return core.SliceValue(list)
	case map[string]any:
		members := make([]core.Attr, 0, len(x))
		for key, v := range x {
			members = append(members, core.Of(key, fromJSON(v)))
		}
		slices.SortFunc(members, func(a, b core.Attr) int { return strings.Compare(a.Key, b.Key) })
		return core.MapValue(members)
	}
	return core.Value{}
}
