package collector

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// retried and dropped begin what exporters log of a request that was not taken:
	// the first with level info, each time, the second with a stack.
	retried = "Exporting failed. Will retry"
	dropped = "Exporting failed. Dropping data."

	// sayAgain is how often one exporter says of one signal that sending fails. It
	// tries again with each request, and does so for minutes.
	sayAgain = time.Minute
)

// sendLog makes of what exporters log when nobody takes what they send what a user
// needs: a warning when it begins, however few words are asked for, then one a minute;
// and what was lost in sums, without stacks.
type sendLog struct {
	zapcore.Core
	of  sender
	all *senders
}

// sender is an exporter in pipelines of one signal.
type sender struct{ component, signal string }

type senders struct {
	now func() time.Time

	mu    sync.Mutex
	tried map[string]time.Time // by component: all its signals go the same way
	lost  map[sender]*loss
}

// loss is what a sender dropped.
type loss struct {
	log   zapcore.Core
	last  zapcore.Entry // that was not written
	err   zapcore.Field
	items int64 // not told yet
	told  time.Time
}

func newSendLog(next zapcore.Core, now func() time.Time) sendLog {
	return sendLog{Core: next, all: &senders{now: now, tried: map[string]time.Time{}, lost: map[sender]*loss{}}}
}

// Enabled implements zapcore.Core: failures to send count more than their level.
func (l sendLog) Enabled(level zapcore.Level) bool {
	return level >= zapcore.InfoLevel || l.Core.Enabled(level)
}

// With implements zapcore.Core.
func (l sendLog) With(fields []zapcore.Field) zapcore.Core {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	if id, ok := enc.Fields["otelcol.component.id"].(string); ok {
		l.of.component = id
	}
	if signal, ok := enc.Fields["otelcol.signal"].(string); ok {
		l.of.signal = signal
	}
	l.Core = l.Core.With(fields)
	return l
}

// Check implements zapcore.Core.
func (l sendLog) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if strings.HasPrefix(e.Message, retried) || strings.HasPrefix(e.Message, dropped) {
		return ce.AddCore(e, l)
	}
	return l.Core.Check(e, ce)
}

// Write implements zapcore.Core.
func (l sendLog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Stack = ""
	if strings.HasPrefix(e.Message, retried) {
		if !l.all.retries(l.of) {
			return nil
		}
		e.Level, e.Message = zapcore.WarnLevel, "what is sent is not taken; it waits and is sent again"
		return l.Core.Write(e, fields)
	}
	e.Message = "telemetry was dropped, as nobody took it"
	if fields = l.all.drops(l, e, fields); fields == nil {
		return nil
	}
	return l.Core.Write(e, fields)
}

// retries reports whether a failure is to be told.
func (s *senders) retries(of sender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.tried[of.component]; ok && s.now().Sub(last) < sayAgain {
		return false
	}
	s.tried[of.component] = s.now()
	return true
}

// drops adds a loss up and returns what to tell of it, nil if it is to wait.
func (s *senders) drops(l sendLog, e zapcore.Entry, fields []zapcore.Field) []zapcore.Field {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.lost[l.of]
	if of == nil {
		of = &loss{}
		s.lost[l.of] = of
	}
	of.log, of.last = l.Core, e
	for _, f := range fields {
		switch f.Key {
		case "dropped_items":
			of.items += f.Integer
		case "error":
			of.err = f
		}
	}
	if !of.told.IsZero() && s.now().Sub(of.told) < sayAgain || shuttingDown(of.err) {
		return nil
	}
	of.told = s.now()
	return of.tell()
}

// shuttingDown tells the losses of an end, which are told in one by flush: each
// request that waited is one.
func shuttingDown(err zapcore.Field) bool {
	e, ok := err.Interface.(error)
	return ok && strings.Contains(e.Error(), "interrupted due to shutdown")
}

func (o *loss) tell() []zapcore.Field {
	fields := []zapcore.Field{zap.Int64("dropped_items", o.items), o.err}
	o.items = 0
	return fields
}

// flush tells what was lost and not told.
func (s *senders) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.lost {
		if o.items > 0 {
			_ = o.log.Write(o.last, o.tell()) // there is nowhere to say that there is no log
		}
	}
}
