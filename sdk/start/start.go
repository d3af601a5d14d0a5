//go:build guanlan_woven

package start

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/internal/exit"
)

// complainEvery is how often is told at most that telemetry cannot be sent.
const complainEvery = time.Minute

func init() {
	opts := sdk.Options{Failed: complain}
	testing := underTest()
	if testing {
		if !wanted() {
			return
		}
		// Tests may look at every header, and at the standard error.
		opts.IDs.Quiet, opts.Failed = true, func(error) {}
	}
	s, err := sdk.StartProvisional(context.Background(), opts)
	if err != nil {
		opts.Failed(err)
	}
	if !s.Enabled() {
		return
	}
	if !testing {
		exit.AtSignals(sdk.LastFlush)
	}
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

// wanted reports whether somebody says where telemetry is to go. Tests may look for
// goroutines that are left over: without a receiver they need not be there.
func wanted() bool {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "GUANLAN_ENDPOINT"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
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
