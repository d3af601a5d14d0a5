//go:build guanlan_woven

package otel

import (
	"fmt"
	"os"
	"sync"

	"github.com/guanlan-io/guanlan/sdk"
	_ "github.com/guanlan-io/guanlan/sdk/start" // before anything asks for a tracer: see guanlanRuns
	"go.opentelemetry.io/otel/internal/global"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// guanlanRuns is whether spans of the global provider are those of the woven SDK,
// whatever provider the program sets. One tree needs one SDK: what was
// instrumented twice would be there twice, and what is sampled would differ.
//
// It is not where the SDK is off, as in a test binary that nobody receives from,
// and where GUANLAN_OTEL_SDK=keep leaves the program its own: then the two have the
// ids of their parents in common, and send each to its own receiver.
var guanlanRuns = func() bool {
	s := sdk.Default()
	return s != nil && s.Enabled() && os.Getenv("GUANLAN_OTEL_SDK") != "keep"
}()

func init() {
	if guanlanRuns {
		global.SetTracerProvider(trace.GuanlanProvider{})
		global.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	}
}

var guanlanOnce sync.Once

// guanlanKeeps reports whether another global provider is not taken.
func guanlanKeeps(tp trace.TracerProvider) bool {
	if _, same := tp.(trace.GuanlanProvider); same || !guanlanRuns {
		return false
	}
	guanlanOnce.Do(func() {
		fmt.Fprintf(os.Stderr, "guanlan: this program is woven: spans go to Guanlan, not to its %T; GUANLAN_OTEL_SDK=keep changes that\n", tp)
	})
	return true
}
