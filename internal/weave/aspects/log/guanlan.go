//go:build guanlan_woven

package log

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// GuanlanHooks are what package sdk does when it is in the program.
type GuanlanHooks struct {
	// Send sends a message. It must not keep the text.
	Send func(at time.Time, text []byte)
}

// Guanlan is nil until package sdk has set it: lines may be written before.
var Guanlan atomic.Pointer[GuanlanHooks]

// guanlanSend sends what is printed, unless somebody further in does: package
// log/slog, which calls with no depth and is a writer as well, or another writer
// that has the method GuanlanSends.
func guanlanSend(l *Logger, depth int, at time.Time, text []byte) {
	hooks := Guanlan.Load()
	if hooks == nil || depth == 0 {
		return
	}
	switch w := l.Writer().(type) {
	case interface{ GuanlanSends() }:
		return
	case *io.PipeWriter:
		if _, sends := guanlanPipes.Load(weak.Make(w)); sends {
			return
		}
	}
	hooks.Send(at, text)
}

// guanlanPipes are the pipes at whose other end each line is sent, by weak
// pointers to them, as long as they are there.
var guanlanPipes sync.Map

// GuanlanSends says that what is read from a pipe is sent as records.
func GuanlanSends(w *io.PipeWriter) {
	p := weak.Make(w)
	guanlanPipes.Store(p, nil)
	runtime.AddCleanup(w, func(p weak.Pointer[io.PipeWriter]) { guanlanPipes.Delete(p) }, p)
}
