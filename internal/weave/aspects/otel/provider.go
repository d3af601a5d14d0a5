//go:build guanlan_woven

package otel

import (
	"fmt"
	"os"
	"sync"

	"go.opentelemetry.io/otel/internal/global"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

func init() {
	global.SetTracerProvider(trace.GuanlanProvider{})
	global.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
}

var guanlanOnce sync.Once

// guanlanKeeps reports whether the spans of the global provider remain those of the
// woven SDK, though the program sets another one. One tree needs one SDK: what was
// instrumented twice would be there twice, and what is sampled would differ.
// GUANLAN_OTEL_SDK=keep leaves the program its own; then the two have the ids of
// their parents in common, and send each to its own receiver.
func guanlanKeeps(tp trace.TracerProvider) bool {
	if _, same := tp.(trace.GuanlanProvider); same {
		return false
	}
	if os.Getenv("GUANLAN_OTEL_SDK") == "keep" || os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	guanlanOnce.Do(func() {
		fmt.Fprintf(os.Stderr, "guanlan: this program is woven: spans go to Guanlan, not to its %T; GUANLAN_OTEL_SDK=keep changes that\n", tp)
	})
	return true
}
