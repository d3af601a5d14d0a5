package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
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
// and in the loop it asks its context for Done each time round. That is when the signal
// is taken from it. Others who ask for Done make that happen too early once and do no
// harm: the loop asks after them.
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
	if h.col.GetState() == otelcol.StateRunning {
		signal.Ignore(syscall.SIGHUP) // takes it from all
		signal.Notify(h.came, syscall.SIGHUP)
		h.once.Do(func() { close(h.up) })
	}
	return h.Context.Done()
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
