//go:build guanlan_woven

package zerolog

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

const (
	// guanlanMost is how much of an event is decoded: what is longer is somebody's
	// document in a field, and must not cost more the longer it is.
	guanlanMost = 64 << 10
	// guanlanRest is how much is kept of what cannot be decoded, to see why.
	guanlanRest = 1 << 8
)

// guanlanWrite exports an event that is complete but for its end, and adds the ids
// of its request to it.
func (e *Event) guanlanWrite() {
	if e.w == nil { // a part of another event
		return
	}
	ids := sdk.LogIDsOf(e.ctx)
	if e.w != LevelWriter(LevelWriterAdapter{io.Discard}) {
		e.guanlanExport(&ids)
	}
	spanned := e.guanlanHas("trace_id") || e.guanlanHas("span_id") // which belong together
	for name, value := range ids.All {
		own := spanned
		if name != "trace_id" && name != "span_id" {
			own = e.guanlanHas(name)
		}
		if !own {
			e.buf = enc.AppendString(enc.AppendKey(e.buf, name), value)
		}
	}
}

// guanlanHas reports whether the program has set a field itself. Its key stands in
// quotes with a colon behind it; in CBOR, behind its length.
func (e *Event) guanlanHas(key string) bool {
	for rest := e.buf; ; {
		i := bytes.Index(rest, []byte(key))
		if i < 0 {
			return false
		}
		before := byte(0)
		if i > 0 {
			before = rest[i-1]
		}
		rest = rest[i+len(key):]
		if before == '"' && bytes.HasPrefix(rest, []byte(`":`)) || before == 0x60+byte(len(key)) {
			return true
		}
	}
}

// guanlanEvent takes the fields of an event.
type guanlanEvent struct {
	record  *sdk.LogRecord
	level   Level
	groups  int // that are open
	message string
}

var guanlanEvents = sync.Pool{New: func() any { return new(guanlanEvent) }}

func (e *guanlanEvent) OpenGroup(name string) {
	e.groups++
	e.record.OpenGroup(name)
}

func (e *guanlanEvent) CloseGroup() {
	e.groups--
	e.record.CloseGroup()
}

// Add adds what the record does not say already.
func (e *guanlanEvent) Add(a core.Attr) {
	if e.groups == 0 {
		switch {
		case a.Key == MessageFieldName:
			e.message = a.Value.Text()
			return
		case a.Key == TimestampFieldName, a.Key == LevelFieldName && e.level != NoLevel:
			return
		case a.Key == CallerFieldName && e.caller(a.Value.Text()):
			return
		}
	}
	e.record.Add(a)
}

// caller adds a caller as zerolog writes it if it is not told otherwise.
func (e *guanlanEvent) caller(text string) bool {
	i := strings.LastIndexByte(text, ':')
	if i <= 0 {
		return false
	}
	line, err := strconv.ParseInt(text[i+1:], 10, 64)
	if err != nil {
		return false
	}
	e.record.Add(core.String("code.file.path", text[:i]))
	e.record.Add(core.Int("code.line.number", line))
	return true
}

// guanlanExport exports the event. Its fields were encoded as they came, so they
// are decoded here; a program that has set odd functions for encoding may have
// made something odd, of which the rest is told as it is.
func (e *Event) guanlanExport(ids *sdk.LogIDs) {
	severity, level := guanlanLevel(e.level)
	r := sdk.DefaultLog().Export(ids, time.Now(), severity, level, "")
	if r == nil {
		return
	}
	into := guanlanEvents.Get().(*guanlanEvent)
	*into = guanlanEvent{record: r, level: e.level}
	text := e.guanlanText()
	rest := guanlanJsonlogAdd(into, text[:min(len(text), guanlanMost)])
	if rest != "" {
		r.Add(core.String("zerolog.undecoded", strings.ToValidUTF8(rest[:min(len(rest), guanlanRest)], "\uFFFD")))
		// The message comes last.
		if i := strings.LastIndex(text, strconv.Quote(MessageFieldName)+":"); i >= 0 {
			guanlanJsonlogAdd(into, "{"+text[i:])
		}
	}
	r.SetBody(into.message)
	r.Write()
	*into = guanlanEvent{}
	guanlanEvents.Put(into)
}

// GuanlanSends says to package log that what is written here is exported as an
// event.
func (Logger) GuanlanSends() {}

// guanlanText is the event as JSON.
func (e *Event) guanlanText() (text string) {
	if len(e.buf) > 0 && e.buf[0] == '{' {
		return string(e.buf)
	}
	// CBOR, whose decoder panics at what it does not know.
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()
	return decodeIfBinaryToString(enc.AppendEndMarker(bytes.Clone(e.buf)))
}

// guanlanLevel maps levels as those of zap are.
func guanlanLevel(l Level) (core.Severity, string) {
	switch l {
	case TraceLevel:
		return core.SeverityTrace, "TRACE"
	case DebugLevel:
		return core.SeverityDebug, "DEBUG"
	case InfoLevel:
		return core.SeverityInfo, "INFO"
	case WarnLevel:
		return core.SeverityWarn, "WARN"
	case ErrorLevel:
		return core.SeverityError, "ERROR"
	case PanicLevel:
		return core.SeverityFatal + 1, "PANIC"
	case FatalLevel:
		return core.SeverityFatal + 2, "FATAL"
	case NoLevel:
		return 0, ""
	}
	if l < TraceLevel { // of the program's own
		return core.SeverityTrace, l.String()
	}
	return core.SeverityFatal + 3, l.String()
}
