package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// LogFields are the attributes of log records, written at the same time as JSON
// for the line and as attributes for OTLP. They may be made beforehand, for
// loggers that add them to each record. The zero value is empty. It must not be
// copied but by Clone, and is not safe for concurrent use.
type LogFields struct {
	line   []byte
	attrs  []core.Attr
	groups []string // that what is added is in, outermost first
	opened int      // how many of them are in line
	prefix string   // groups, joined by dots: of names over OTLP

	lineOnly bool // there is no OTLP
	sendOnly bool // there is no line
}

// Add adds an attribute. One with an empty key is added all the same.
func (f *LogFields) Add(a core.Attr) {
	if !f.sendOnly {
		f.key(a.Key)
		f.line = a.Value.AppendJSON(f.line)
	}
	f.send(a)
}

// addString is Add of a string: what most attributes are need not be put together
// for a line alone.
func (f *LogFields) addString(key, s string) {
	if !f.sendOnly {
		f.key(key)
		f.line = core.AppendJSONString(f.line, s)
	}
	if !f.lineOnly {
		f.send(core.String(key, s))
	}
}

// addInt is Add of an integer.
func (f *LogFields) addInt(key string, n int64) {
	if !f.sendOnly {
		f.key(key)
		f.line = strconv.AppendInt(f.line, n, 10)
	}
	if !f.lineOnly {
		f.send(core.Int(key, n))
	}
}

// AddTime adds a time, as text.
func (f *LogFields) AddTime(key string, t time.Time) {
	if !f.sendOnly {
		f.key(key)
		f.line = append(f.line, '"')
		f.line = t.AppendFormat(f.line, time.RFC3339Nano)
		f.line = append(f.line, '"')
	}
	if !f.lineOnly {
		f.send(core.String(key, t.Format(time.RFC3339Nano)))
	}
}

// AddUint adds a number; over OTLP one beyond 63 bits is text.
func (f *LogFields) AddUint(key string, u uint64) {
	if !f.sendOnly {
		f.key(key)
		f.line = strconv.AppendUint(f.line, u, 10)
	}
	if u > math.MaxInt64 {
		f.send(core.String(key, strconv.FormatUint(u, 10)))
		return
	}
	f.send(core.Int(key, int64(u)))
}

// AddAny adds what encoding/json makes of a value; an error is its text. What
// cannot be marshalled, or panics, is told as such.
func (f *LogFields) AddAny(key string, v any) {
	switch x := v.(type) {
	case nil:
		f.Add(core.Attr{Key: key})
		return
	case []byte:
		f.Add(core.Of(key, core.BytesValue(slices.Clone(x)))) // fields may be kept, and the caller may change it
		return
	case []string:
		if x != nil {
			f.Add(core.Of(key, core.StringsValue(slices.Clone(x))))
			return
		}
	}
	text := anyJSON(v)
	if !f.sendOnly {
		f.key(key)
		f.line = append(f.line, text...)
	}
	if f.lineOnly {
		return
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		s = string(text)
	}
	f.send(core.String(key, s))
}

// OpenGroup begins a group that all is in that is added until it is closed. It
// may stay open. An empty one is not written.
func (f *LogFields) OpenGroup(name string) {
	f.groups = append(f.groups, name)
	f.prefix += name + "."
}

// CloseGroup ends the group that was opened last.
func (f *LogFields) CloseGroup() {
	last := len(f.groups) - 1
	f.prefix = f.prefix[:len(f.prefix)-len(f.groups[last])-1]
	f.groups = f.groups[:last]
	if f.opened > last {
		f.line = append(f.line, '}')
		f.opened = last
	}
}

// LogMark is a state of LogFields.
type LogMark struct {
	line, attrs, groups, opened int
	prefix                      string
}

// Mark notes what is there, for Rewind.
func (f *LogFields) Mark() LogMark {
	return LogMark{len(f.line), len(f.attrs), len(f.groups), f.opened, f.prefix}
}

// Rewind takes back what was added and opened since. Groups that were open then
// must not have been closed.
func (f *LogFields) Rewind(m LogMark) {
	f.line, f.attrs, f.groups, f.opened, f.prefix = f.line[:m.line], f.attrs[:m.attrs], f.groups[:m.groups], m.opened, m.prefix
}

// Clone makes a copy that is independent.
func (f *LogFields) Clone() *LogFields {
	c := *f
	c.line, c.attrs, c.groups = slices.Clone(f.line), slices.Clone(f.attrs), slices.Clone(f.groups)
	return &c
}

// AddFields adds fields that were made beforehand, and the groups that are open
// there.
func (f *LogFields) AddFields(with *LogFields) {
	if line := with.line; len(line) > 0 && !f.sendOnly {
		f.begin()
		if n := len(f.line); n > 0 && f.line[n-1] == '{' {
			line = line[1:] // without its comma
		}
		f.line = append(f.line, line...)
		f.opened += with.opened
	}
	for _, a := range with.attrs {
		f.send(a)
	}
	f.groups = append(f.groups, with.groups...)
	f.prefix += with.prefix
}

// Groups is how many groups are open.
func (f *LogFields) Groups() int { return len(f.groups) }

// key begins a member.
func (f *LogFields) key(name string) {
	f.begin()
	f.member(name)
}

// begin writes the groups that nothing was in yet.
func (f *LogFields) begin() {
	for ; f.opened < len(f.groups); f.opened++ {
		f.member(f.groups[f.opened])
		f.line = append(f.line, '{')
	}
}

func (f *LogFields) member(name string) {
	if n := len(f.line); n == 0 || f.line[n-1] != '{' {
		f.line = append(f.line, ',')
	}
	f.line = append(core.AppendJSONString(f.line, name), ':')
}

func (f *LogFields) send(a core.Attr) {
	if f.lineOnly {
		return
	}
	if f.prefix != "" {
		a.Key = f.prefix + a.Key
	}
	f.attrs = append(f.attrs, a)
}

// anyJSON is the JSON of what has no kind of its own; an error is its text. What
// cannot be marshalled, or panics, is told as such.
func anyJSON(v any) (text []byte) {
	defer func() {
		if p := recover(); p != nil {
			text = core.AppendJSONString(nil, fmt.Sprintf("!PANIC: %v", p))
		}
	}()
	_, marshals := v.(json.Marshaler)
	if err, ok := v.(error); ok && !marshals {
		return core.AppendJSONString(nil, err.Error())
	}
	text, err := json.Marshal(v)
	if err != nil {
		return core.AppendJSONString(nil, "!ERROR: "+err.Error())
	}
	return text
}

// LogRecord is a record that is being written: made by Log.Record, it takes
// fields until Write, and must not be used afterwards.
type LogRecord struct {
	LogFields
	log      *Log
	severity core.Severity
	record   core.Record // for OTLP; empty where there is none
	span     core.SpanContext
	clock    clock
}

var logRecords = sync.Pool{New: func() any { return new(LogRecord) }}

// keptLine is how large buffers may be to be used again.
const keptLine = 16 << 10

// Record begins a record. A zero time is left out. level is what is written for
// the severity. Of ctx, which may be nil, the ids of the span are added.
func (l *Log) Record(ctx context.Context, at time.Time, severity core.Severity, level, message string) *LogRecord {
	r := logRecords.Get().(*LogRecord)
	r.attrs, r.groups, r.opened, r.prefix = r.attrs[:0], r.groups[:0], 0, ""
	r.log, r.sendOnly = l, false
	r.lineOnly = l.logger == nil
	r.severity = severity
	if l.logger != nil {
		r.record = core.Record{Time: at, Severity: severity, Level: level, Body: message}
	}
	b := r.line[:0]
	if at.IsZero() {
		b = append(b, `{"level":`...)
	} else {
		b = append(b, `{"time":"`...)
		b = r.clock.append(b, at)
		b = append(b, `","level":`...)
	}
	b = core.AppendJSONString(b, level)
	b = append(b, `,"msg":`...)
	r.line = core.AppendJSONString(b, message)
	if ctx == nil && woven { // what the goroutine works for is known
		ctx = context.Background()
	}
	if ctx != nil {
		r.ids(ctx)
	}
	return r
}

// ids adds what a context says of the request. One that panics, as a nil pointer
// or a struct that embeds none does, says nothing.
func (r *LogRecord) ids(ctx context.Context) {
	begun := len(r.line) // there is nothing else yet
	defer func() {
		if recover() != nil {
			r.line, r.attrs, r.record.Span = r.line[:begun], r.attrs[:0], nil
		}
	}()
	var room core.SpanContext
	if sc := contextAt(ours(ctx, spanKey).Value(spanKey), &room); sc.IsValid() {
		b := append(r.line, `,"trace_id":"`...)
		b = sc.TraceID.AppendHex(b)
		b = append(b, `","span_id":"`...)
		b = sc.SpanID.AppendHex(b)
		r.line = append(b, '"')
		if r.log.logger != nil {
			r.span = *sc
			r.record.Span = &r.span
		}
	}
	if id := requestIDOf(ctx); id != nil {
		r.id(attrRequestID, *id)
	}
	if id := BizID(ctx); id != "" {
		r.id(attrBizID, id)
	}
	var few [8]core.Attr
	for _, a := range appendMembers(ctx, few[:0], r.log.members) {
		if a.Key != attrBizID {
			r.Add(a)
		}
	}
}

// id adds an id, which is well-formed: nothing of it needs quoting.
func (r *LogRecord) id(name, id string) {
	r.line = append(append(append(append(append(r.line, `,"`...), name...), `":"`...), id...), '"')
	if !r.lineOnly {
		r.attrs = append(r.attrs, core.String(name, id))
	}
}

// Write hands the record over. It does not block; what is dropped is counted,
// and a program cannot do anything about it.
func (r *LogRecord) Write() {
	if !r.sendOnly {
		for range r.opened {
			r.line = append(r.line, '}')
		}
		r.line = append(r.line, '}', '\n')
		r.log.write(r.line, r.severity)
	}
	if !r.lineOnly {
		r.record.Attrs = r.attrs
		r.log.logOther.emit(r.log.logger, &r.record)
	}
	if cap(r.line) <= keptLine {
		if clear(r.groups); r.log.logger != nil {
			clear(r.attrs)
			r.record = core.Record{}
		}
		r.log = nil
		logRecords.Put(r)
	}
}

// clock formats times, and remembers the second: most of a time is that of the
// line before.
type clock struct {
	second   int64
	location *time.Location
	text     [len("2006-01-02T15:04:05")]byte
	zone     string
}

// append appends t as time.RFC3339Nano does.
func (c *clock) append(b []byte, t time.Time) []byte {
	if second := t.Unix(); second != c.second || t.Location() != c.location || c.zone == "" {
		text := t.Format(time.RFC3339)
		if len(text) < len(c.text)+1 || t.Year() > 9999 || t.Year() < 0 {
			return t.AppendFormat(b, time.RFC3339Nano)
		}
		c.second, c.location, c.zone = second, t.Location(), text[len(c.text):]
		copy(c.text[:], text)
	}
	b = append(b, c.text[:]...)
	if n := t.Nanosecond(); n > 0 {
		point := len(b)
		b = strconv.AppendUint(b, uint64(n)+1e9, 10) // nine digits behind the first
		b[point] = '.'
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return append(b, c.zone...)
}
