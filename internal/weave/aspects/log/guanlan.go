//go:build guanlan_woven

package log

import (
	"sync/atomic"
	"time"
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
	if _, sends := l.Writer().(interface{ GuanlanSends() }); !sends {
		hooks.Send(at, text)
	}
}
