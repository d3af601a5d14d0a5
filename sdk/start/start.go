//go:build guanlan_woven

package start

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"guanlan/hook"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/internal/exit"
)

const (
	// lastWord bounds the flush at the end unless GUANLAN_EXIT_TIMEOUT, in
	// milliseconds, does: a receiver that does not answer must not keep a process
	// from ending.
	lastWord = 2 * time.Second
	// complainEvery is how often is told at most that telemetry cannot be sent.
	complainEvery = time.Minute
)

func init() {
	opts := sdk.Options{Failed: complain}
	testing := underTest()
	if testing { // which may look at every header, and at the standard error
		opts.IDs.Quiet, opts.Failed = true, func(error) {}
	}
	s, err := sdk.StartProvisional(context.Background(), opts)
	if err != nil {
		opts.Failed(err)
	}
	if !s.Enabled() {
		return
	}
	hook.AtExit(func() {
		core.Exiting()
		flush()
	})
	if !testing {
		exit.AtSignals(flush)
	}
}

func flush() {
	limit := lastWord
	if ms, err := strconv.Atoi(os.Getenv("GUANLAN_EXIT_TIMEOUT")); err == nil && ms >= 0 {
		limit = time.Duration(ms) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	sdk.FlushAll(ctx)
}

// complained is when that was last, in nanoseconds.
var complained atomic.Int64

// complain writes past package log, which is woven, too.
func complain(err error) {
	now, last := time.Now().UnixNano(), complained.Load()
	if last != 0 && now-last < int64(complainEvery) || !complained.CompareAndSwap(last, now) {
		return
	}
	fmt.Fprintf(os.Stderr, "guanlan: %v\n", err)
}

// underTest reports whether this is a test binary, as go test builds it.
func underTest() bool {
	if strings.HasSuffix(strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"), ".test") {
		return true
	}
	for _, arg := range os.Args[1:] {
		if strings.HasPrefix(arg, "-test.") {
			return true
		}
	}
	return false
}
