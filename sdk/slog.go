package sdk

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// LogHandler is a slog.Handler that writes JSON lines to a spool and sends the
// same records over OTLP, with the ids of the span, the request and the business
// case in the context. It never
// blocks: under pressure, records are dropped and counted, errors last.
//
// Lines are as slog.JSONHandler writes them, with trace_id, span_id, request_id
// and biz_id behind the message. Over OTLP, groups are joined to their attributes by dots.
type LogHandler struct {
	spool  *core.Spool  // or nil
	logger *core.Logger // or nil
	level  slog.Leveler

	line    []byte      // attributes of WithAttrs, and groups that they opened
	open    int         // how many
	pending []string    // groups that nothing is in yet
	prefix  string      // of names over OTLP
	attrs   []core.Attr // of WithAttrs
}

// NewLogHandler makes a handler of records from level on; nil is slog.LevelInfo.
// Either of spool and logger may be nil.
func NewLogHandler(spool *core.Spool, logger *core.Logger, level slog.Leveler) *LogHandler {
	if level == nil {
		level = slog.LevelInfo
	}
	return &LogHandler{spool: spool, logger: logger, level: level}
}

// Enabled implements slog.Handler.
func (h *LogHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithGroup implements slog.Handler.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.pending = append(slices.Clip(h.pending), name)
	c.prefix = h.prefix + name + "."
	return &c
}

// WithAttrs implements slog.Handler.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := *h
	w := lineWriter{line: slices.Clone(h.line), attrs: slices.Clip(h.attrs), prefix: h.prefix, open: h.open, pending: h.pending, sends: h.logger != nil}
	for _, a := range attrs {
		w.attr(a)
	}
	c.line, c.attrs, c.open, c.pending = w.line, w.attrs, w.open, w.pending
	return &c
}

// lineWriter is what a record needs while it is handled.
type lineWriter struct {
	line    []byte
	attrs   []core.Attr
	prefix  string
	open    int
	pending []string
	sends   bool
	clock   clock
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
		var digits [10]byte
		digits[0] = '.'
		for i := 9; i > 0; i-- {
			digits[i] = byte('0' + n%10)
			n /= 10
		}
		end := len(digits)
		for digits[end-1] == '0' {
			end--
		}
		b = append(b, digits[:end]...)
	}
	return append(b, c.zone...)
}

var lineWriters = sync.Pool{New: func() any { return new(lineWriter) }}

// keptLine is how large buffers may be to be used again.
const keptLine = 16 << 10

// Handle implements slog.Handler. It returns nil: what is dropped is counted,
// and a program cannot do anything about it.
func (h *LogHandler) Handle(ctx context.Context, r slog.Record) error {
	w := lineWriters.Get().(*lineWriter)
	severity := severityOf(r.Level)
	sc, inSpan := contextOf(ctx)
	*w = lineWriter{line: w.line[:0], attrs: append(w.attrs[:0], h.attrs...), prefix: h.prefix, open: h.open, pending: h.pending, sends: h.logger != nil, clock: w.clock}
	w.line = append(w.line, '{')
	if !r.Time.IsZero() {
		w.line = append(w.line, `"time":"`...)
		w.line = w.clock.append(w.line, r.Time)
		w.line = append(w.line, `",`...)
	}
	level := levelText(r.Level)
	w.line = append(append(append(w.line, `"level":"`...), level...), `","msg":`...)
	w.line = appendJSON(w.line, r.Message)
	if inSpan {
		w.line = append(w.line, `,"trace_id":"`...)
		w.line = hex.AppendEncode(w.line, sc.TraceID[:])
		w.line = append(w.line, `","span_id":"`...)
		w.line = hex.AppendEncode(w.line, sc.SpanID[:])
		w.line = append(w.line, '"')
	}
	if id := requestIDOf(ctx); id != nil {
		w.id(attrRequestID, *id)
	}
	if id := BizID(ctx); id != "" {
		w.id(attrBizID, id)
	}
	w.line = append(w.line, h.line...)
	r.Attrs(func(a slog.Attr) bool {
		w.attr(a)
		return true
	})
	for range w.open {
		w.line = append(w.line, '}')
	}
	w.line = append(w.line, '}', '\n')
	if h.spool != nil {
		h.spool.Line(w.line, severity)
	}
	if h.logger != nil {
		rec := core.Record{Time: r.Time, Severity: severity, Level: level, Body: r.Message, Attrs: w.attrs}
		if inSpan {
			rec.Span = &sc
		}
		h.logger.Emit(&rec)
	}
	if cap(w.line) <= keptLine {
		clear(w.attrs)
		lineWriters.Put(w)
	}
	return nil
}

// id writes an id outside of all groups.
func (w *lineWriter) id(name, id string) {
	w.line = append(append(append(append(append(w.line, `,"`...), name...), `":"`...), id...), '"')
	if w.sends {
		w.attrs = append(w.attrs, core.String(name, id))
	}
}

// severityOf maps levels as OpenTelemetry's bridge does: slog's are four apart,
// too.
func severityOf(l slog.Level) core.Severity { return core.Severity(min(max(int(l)+9, 1), 24)) }

// levelText is l.String without making a string for the usual ones.
func levelText(l slog.Level) string {
	switch l {
	case slog.LevelDebug:
		return "DEBUG"
	case slog.LevelInfo:
		return "INFO"
	case slog.LevelWarn:
		return "WARN"
	case slog.LevelError:
		return "ERROR"
	}
	return l.String()
}

// attr writes an attribute, in its group.
func (w *lineWriter) attr(a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		group := v.Group()
		if len(group) == 0 {
			return
		}
		if a.Key == "" { // its attributes stand here
			for _, b := range group {
				w.attr(b)
			}
			return
		}
		prefix, open, pending := w.prefix, w.open, w.pending
		w.prefix += a.Key + "."
		w.pending = append(slices.Clip(pending), a.Key)
		for _, b := range group {
			w.attr(b)
		}
		if w.open > open+len(pending) { // something was in it
			w.line = append(w.line, '}')
			w.open--
			w.pending = nil
		} else {
			w.pending = pending
		}
		w.prefix = prefix
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	for _, name := range w.pending {
		w.key(name)
		w.line = append(w.line, '{')
		w.open++
	}
	w.pending = nil
	w.key(a.Key)
	w.value(v)
	if w.sends {
		name := a.Key
		if w.prefix != "" {
			name = w.prefix + name
		}
		w.attrs = append(w.attrs, core.Of(name, sendable(v)))
	}
}

func (w *lineWriter) key(name string) {
	if last := w.line[max(len(w.line)-1, 0):]; len(last) == 0 || last[0] != '{' {
		w.line = append(w.line, ',')
	}
	w.line = append(appendJSON(w.line, name), ':')
}

func (w *lineWriter) value(v slog.Value) {
	switch v.Kind() {
	case slog.KindString:
		w.line = appendJSON(w.line, v.String())
	case slog.KindInt64:
		w.line = strconv.AppendInt(w.line, v.Int64(), 10)
	case slog.KindUint64:
		w.line = strconv.AppendUint(w.line, v.Uint64(), 10)
	case slog.KindFloat64:
		f := v.Float64()
		if math.IsNaN(f) || math.IsInf(f, 0) { // JSON has none
			w.line = appendJSON(w.line, strconv.FormatFloat(f, 'g', -1, 64))
			return
		}
		w.line = strconv.AppendFloat(w.line, f, 'g', -1, 64)
	case slog.KindBool:
		w.line = strconv.AppendBool(w.line, v.Bool())
	case slog.KindDuration:
		w.line = strconv.AppendInt(w.line, int64(v.Duration()), 10)
	case slog.KindTime:
		w.line = append(w.line, '"')
		w.line = v.Time().AppendFormat(w.line, time.RFC3339Nano)
		w.line = append(w.line, '"')
	default:
		w.line = append(w.line, anyJSON(v.Any())...)
	}
}

// anyJSON is the JSON of what has no kind of its own; an error is its text. What
// cannot be marshalled, or panics, is told as such.
func anyJSON(v any) (text []byte) {
	defer func() {
		if p := recover(); p != nil {
			text = appendJSON(nil, fmt.Sprintf("!PANIC: %v", p))
		}
	}()
	_, marshals := v.(json.Marshaler)
	if err, ok := v.(error); ok && !marshals {
		return appendJSON(nil, err.Error())
	}
	text, err := json.Marshal(v)
	if err != nil {
		return appendJSON(nil, "!ERROR: "+err.Error())
	}
	return text
}

// sendable is the value over OTLP.
func sendable(v slog.Value) core.Value {
	switch v.Kind() {
	case slog.KindString:
		return core.StringValue(v.String())
	case slog.KindInt64:
		return core.IntValue(v.Int64())
	case slog.KindUint64:
		if u := v.Uint64(); u > math.MaxInt64 {
			return core.StringValue(strconv.FormatUint(u, 10))
		}
		return core.IntValue(int64(v.Uint64()))
	case slog.KindFloat64:
		return core.FloatValue(v.Float64())
	case slog.KindBool:
		return core.BoolValue(v.Bool())
	case slog.KindDuration:
		return core.IntValue(int64(v.Duration()))
	case slog.KindTime:
		return core.StringValue(v.Time().Format(time.RFC3339Nano))
	}
	switch x := v.Any().(type) {
	case nil:
		return core.Value{}
	case []byte:
		return core.BytesValue(x)
	case []string:
		return core.StringsValue(x)
	}
	text := anyJSON(v.Any())
	var s string
	if json.Unmarshal(text, &s) == nil {
		return core.StringValue(s)
	}
	return core.StringValue(string(text))
}

// appendJSON appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendJSON(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, s[from:i]...), "\uFFFD"...)
			from = i + 1
		}
		i += size
	}
	return append(append(dst, s[from:]...), '"')
}
