package fields

import (
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// object is the zapcore.ObjectEncoder.
type object struct {
	into  adder
	depth int
}

// array is the zapcore.ArrayEncoder.
type array struct {
	list  []core.Value
	depth int
}

func (o *object) AddArray(key string, m zapcore.ArrayMarshaler) error {
	list, err := marshalArray(m, o.depth)
	o.into.add(core.Of(key, list))
	return err
}

func marshalArray(m zapcore.ArrayMarshaler, depth int) (core.Value, error) {
	if depth >= maxDepth {
		return core.Value{}, errTooDeep
	}
	a := &array{depth: depth + 1}
	err := m.MarshalLogArray(a)
	return core.SliceValue(a.list), err
}

// AddObject implements zapcore.ObjectEncoder. Namespaces that the object opens
// end with it.
func (o *object) AddObject(key string, m zapcore.ObjectMarshaler) error {
	if o.depth >= maxDepth {
		return errTooDeep
	}
	outside := o.into.groups()
	o.into.openGroup(key)
	err := m.MarshalLogObject(&object{into: o.into, depth: o.depth + 1})
	for o.into.groups() > outside {
		o.into.closeGroup()
	}
	return err
}

func (a *array) AppendArray(m zapcore.ArrayMarshaler) error {
	list, err := marshalArray(m, a.depth)
	a.add(list)
	return err
}

func (a *array) AppendObject(m zapcore.ObjectMarshaler) error {
	if a.depth >= maxDepth {
		return errTooDeep
	}
	members := &mapAdder{levels: make([][]core.Attr, 1)}
	err := m.MarshalLogObject(&object{into: members, depth: a.depth + 1})
	a.add(members.value())
	return err
}

func (o *object) AddReflected(key string, v any) error {
	o.into.addAny(key, v)
	return nil
}

func (a *array) AppendReflected(v any) error {
	a.add(reflected(v))
	return nil
}

func (o *object) OpenNamespace(key string) { o.into.openGroup(key) }

// AddBinary implements zapcore.ObjectEncoder. Fields of With are kept, and the
// caller may change v.
func (o *object) AddBinary(key string, v []byte) {
	o.into.add(core.Of(key, core.BytesValue(slices.Clone(v))))
}

func (o *object) AddByteString(key string, v []byte) { o.into.add(core.String(key, string(v))) }
func (o *object) AddBool(key string, v bool)         { o.into.add(core.Bool(key, v)) }
func (o *object) AddComplex128(key string, v complex128) {
	o.into.add(core.String(key, complexText(v, 128)))
}
func (o *object) AddComplex64(key string, v complex64) {
	o.into.add(core.String(key, complexText(complex128(v), 64)))
}
func (o *object) AddDuration(key string, v time.Duration) { o.into.add(core.Int(key, int64(v))) }
func (o *object) AddFloat64(key string, v float64)        { o.into.add(core.Float(key, v)) }
func (o *object) AddFloat32(key string, v float32)        { o.into.add(core.Float(key, widen(v))) }
func (o *object) AddInt(key string, v int)                { o.into.add(core.Int(key, int64(v))) }
func (o *object) AddInt64(key string, v int64)            { o.into.add(core.Int(key, v)) }
func (o *object) AddInt32(key string, v int32)            { o.into.add(core.Int(key, int64(v))) }
func (o *object) AddInt16(key string, v int16)            { o.into.add(core.Int(key, int64(v))) }
func (o *object) AddInt8(key string, v int8)              { o.into.add(core.Int(key, int64(v))) }
func (o *object) AddString(key, v string)                 { o.into.add(core.String(key, v)) }
func (o *object) AddTime(key string, v time.Time)         { o.into.add(core.String(key, timeText(v))) }
func (o *object) AddUint(key string, v uint)              { o.into.addUint(key, uint64(v)) }
func (o *object) AddUint64(key string, v uint64)          { o.into.addUint(key, v) }
func (o *object) AddUint32(key string, v uint32)          { o.into.addUint(key, uint64(v)) }
func (o *object) AddUint16(key string, v uint16)          { o.into.addUint(key, uint64(v)) }
func (o *object) AddUint8(key string, v uint8)            { o.into.addUint(key, uint64(v)) }
func (o *object) AddUintptr(key string, v uintptr)        { o.into.addUint(key, uint64(v)) }

func (a *array) add(v core.Value) { a.list = append(a.list, v) }

func (a *array) AppendBool(v bool)              { a.add(core.BoolValue(v)) }
func (a *array) AppendByteString(v []byte)      { a.add(core.StringValue(string(v))) }
func (a *array) AppendComplex128(v complex128)  { a.add(core.StringValue(complexText(v, 128))) }
func (a *array) AppendComplex64(v complex64)    { a.add(core.StringValue(complexText(complex128(v), 64))) }
func (a *array) AppendDuration(v time.Duration) { a.add(core.IntValue(int64(v))) }
func (a *array) AppendTime(v time.Time)         { a.add(core.StringValue(timeText(v))) }
func (a *array) AppendFloat64(v float64)        { a.add(core.FloatValue(v)) }
func (a *array) AppendFloat32(v float32)        { a.add(core.FloatValue(widen(v))) }
func (a *array) AppendInt(v int)                { a.add(core.IntValue(int64(v))) }
func (a *array) AppendInt64(v int64)            { a.add(core.IntValue(v)) }
func (a *array) AppendInt32(v int32)            { a.add(core.IntValue(int64(v))) }
func (a *array) AppendInt16(v int16)            { a.add(core.IntValue(int64(v))) }
func (a *array) AppendInt8(v int8)              { a.add(core.IntValue(int64(v))) }
func (a *array) AppendString(v string)          { a.add(core.StringValue(v)) }
func (a *array) AppendUint(v uint)              { a.add(unsigned(uint64(v))) }
func (a *array) AppendUint64(v uint64)          { a.add(unsigned(v)) }
func (a *array) AppendUint32(v uint32)          { a.add(unsigned(uint64(v))) }
func (a *array) AppendUint16(v uint16)          { a.add(unsigned(uint64(v))) }
func (a *array) AppendUint8(v uint8)            { a.add(unsigned(uint64(v))) }
func (a *array) AppendUintptr(v uintptr)        { a.add(unsigned(uint64(v))) }

func timeText(v time.Time) string { return v.Format(time.RFC3339Nano) }

// complexText is a number as 1+2i.
func complexText(v complex128, bits int) string {
	text := strconv.FormatComplex(v, 'g', -1, bits)
	return text[1 : len(text)-1]
}

// widen keeps the digits: 0.1 stays 0.1.
func widen(v float32) float64 {
	f, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	return f
}
