//go:build guanlan_woven

package logrus

import (
	"fmt"
	"io"
	"log"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// guanlanWithIDs is the entry to format: one that has the ids of its request among
// its fields. Ids that the program has set itself stay.
func (entry *Entry) guanlanWithIDs() *Entry {
	ids := sdk.LogIDsOf(entry.Context)
	if ids.None() {
		return entry
	}
	with := *entry
	with.Data = make(Fields, len(entry.Data)+4)
	for key, v := range entry.Data {
		with.Data[key] = v
	}
	_, trace := entry.Data["trace_id"]
	_, span := entry.Data["span_id"]
	for name, value := range ids.All {
		_, own := entry.Data[name]
		if name == "trace_id" || name == "span_id" { // which belong together
			own = trace || span
		}
		if !own {
			with.Data[name] = value
		}
	}
	return &with
}

// guanlanExport exports an entry that is about to be written.
func (entry *Entry) guanlanExport() {
	if !entry.guanlanExports() {
		return
	}
	ids := sdk.LogIDsOf(entry.Context)
	severity, level := guanlanLevel(entry.Level)
	r := sdk.DefaultLog().Export(&ids, entry.Time, severity, level, entry.Message)
	if r == nil {
		return
	}
	if c := entry.Caller; c != nil {
		r.Add(core.String("code.file.path", c.File))
		r.Add(core.Int("code.line.number", int64(c.Line)))
		r.Add(core.String("code.function.name", c.Function))
	}
	for key, v := range entry.Data {
		guanlanAdd(&r.LogFields, key, v)
	}
	if entry.err != "" {
		r.Add(core.String(FieldKeyLogrusError, entry.err))
	}
	r.Write()
}

// guanlanExports reports whether the entry is written somewhere. A logger without
// an output has its lines written by hooks, or not at all.
func (entry *Entry) guanlanExports() bool {
	l := entry.Logger
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Out != io.Discard || len(l.Hooks[entry.Level]) > 0
}

func guanlanPipe(w *io.PipeWriter) { log.GuanlanSends(w) }

func guanlanAdd(f *sdk.LogFields, key string, v any) {
	switch v := v.(type) {
	case string:
		f.Add(core.String(key, v))
	case bool:
		f.Add(core.Bool(key, v))
	case int:
		f.Add(core.Int(key, int64(v)))
	case int64:
		f.Add(core.Int(key, v))
	case int32:
		f.Add(core.Int(key, int64(v)))
	case int16:
		f.Add(core.Int(key, int64(v)))
	case int8:
		f.Add(core.Int(key, int64(v)))
	case uint:
		f.AddUint(key, uint64(v))
	case uint64:
		f.AddUint(key, v)
	case uint32:
		f.AddUint(key, uint64(v))
	case uint16:
		f.AddUint(key, uint64(v))
	case uint8:
		f.AddUint(key, uint64(v))
	case float64:
		f.Add(core.Float(key, v))
	case float32:
		f.Add(core.Float(key, float64(v)))
	case time.Duration:
		f.Add(core.Int(key, int64(v)))
	case time.Time:
		f.AddTime(key, v)
	case error:
		f.AddAny(key, v)
	case fmt.Stringer:
		f.Add(core.String(key, guanlanText(v)))
	default:
		f.AddAny(key, v)
	}
}

// guanlanText is what a value says of itself, as lines of text have it; one that
// panics is told as such.
func guanlanText(v fmt.Stringer) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("!PANIC: %v", p)
		}
	}()
	return v.String()
}

// guanlanLevel maps levels as those of zap are.
func guanlanLevel(l Level) (core.Severity, string) {
	switch l {
	case PanicLevel:
		return core.SeverityFatal + 1, "PANIC"
	case FatalLevel:
		return core.SeverityFatal + 2, "FATAL"
	case ErrorLevel:
		return core.SeverityError, "ERROR"
	case WarnLevel:
		return core.SeverityWarn, "WARN"
	case InfoLevel:
		return core.SeverityInfo, "INFO"
	case DebugLevel:
		return core.SeverityDebug, "DEBUG"
	}
	return core.SeverityTrace, "TRACE"
}
