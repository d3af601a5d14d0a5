package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/otelcol"

	"github.com/guanlan-io/guanlan/collector"
)

// hangups is SIGHUP for as long as it exists; what comes before the collector runs
// waits until it does. It is the context of the collector's Run, because of this:
// the collector's frame asks for the signal itself, would answer it by a restart that a
// wrong configuration ends, and cannot be told not to. It does so right before its loop,
// and the loop asks its context for Done. Then, and only once, the signal is taken from it:
// what arrives in the instant in which nobody has asked for it is lost.
type hangups struct {
	context.Context
	col  *otelcol.Collector
	came chan os.Signal // one waits: two that come in a row are read as one
	up   chan struct{}  // closed when the collector runs
	once sync.Once
}

func newHangups(ctx context.Context, col *otelcol.Collector) *hangups {
	h := &hangups{Context: ctx, col: col, came: make(chan os.Signal, 1), up: make(chan struct{})}
	signal.Notify(h.came, syscall.SIGHUP)
	return h
}

func (h *hangups) stop() { signal.Stop(h.came) }

// Done is that of the context that h was made with.
func (h *hangups) Done() <-chan struct{} {
	select {
	case <-h.up:
	default:
		if askedByLoop() {
			h.once.Do(h.take)
		}
	}
	return h.Context.Done()
}

// take makes h the only one who gets the signal.
func (h *hangups) take() {
	// What the process has got and not yet handed out would be dropped. To stop waits until nothing is on its way.
	waits := make(chan os.Signal, 1)
	signal.Notify(waits, syscall.SIGHUP)
	signal.Stop(waits)
	signal.Ignore(syscall.SIGHUP)
	signal.Notify(h.came, syscall.SIGHUP)
	close(h.up)
}

// loop is the function of the collector's frame that asks for Done once it has asked for signals.
const loop = "go.opentelemetry.io/collector/otelcol.(*Collector).Run"

// askedByLoop reports whether Done was called by loop itself, not on behalf of what it starts.
func askedByLoop() bool {
	var at [1]uintptr
	runtime.Callers(3, at[:]) // past Callers, this function and Done
	frame, _ := runtime.CallersFrames(at[:]).Next()
	return frame.Function == loop
}

// reload reads the configuration again at each SIGHUP until ctx ends. A wrong one
// is told and changes nothing. When the collector runs, and runs again, running is called.
func (h *hangups) reload(ctx context.Context, o collector.Options, screen io.Writer, running func()) {
	select {
	case <-ctx.Done():
		return
	case <-h.up:
		running()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.came:
		}
		began := time.Now()
		if err := o.Reloader.Reload(ctx, h.col, o); err != nil && ctx.Err() == nil {
			fmt.Fprintf(screen, "\n  The configuration was read again and not taken; the one before goes on:\n    %s\n\n",
				strings.ReplaceAll(explain(inShort(err)).Error(), "\n", "\n    "))
		} else if err == nil {
			fmt.Fprintf(screen, "  The configuration was read again (%.1f s)\n\n", time.Since(began).Seconds())
			running()
		}
	}
}
