package sdk

import (
	"fmt"
	"slices"
	"strings"
)

// without is what does not go over the wire beside the ids.
type without struct{ trace, baggage bool }

// Names in OTEL_PROPAGATORS.
const (
	traceContextPropagator = "tracecontext"
	baggagePropagator      = "baggage"
)

// propagators reads what goes over the wire. Those that only OpenTelemetry has
// are left out.
func (e *environment) propagators() without {
	const name, none = "OTEL_PROPAGATORS", "none"
	used := e.list(name)
	var unknown []string
	used = slices.DeleteFunc(used, func(p string) bool {
		known := p == traceContextPropagator || p == baggagePropagator || p == none
		if !known {
			unknown = append(unknown, p)
		}
		return !known
	})
	if len(used) == 0 {
		used = []string{traceContextPropagator, baggagePropagator}
	} else if len(used) > 1 {
		used = slices.DeleteFunc(used, func(p string) bool { return p == none })
	}
	if len(unknown) > 0 {
		e.errs = append(e.errs, fmt.Errorf("environment variable %s names %q: want tracecontext, baggage or none; what is used is %s", name, unknown, strings.Join(used, ",")))
	}
	return without{!slices.Contains(used, traceContextPropagator), !slices.Contains(used, baggagePropagator)}
}

// clear takes out what does not go over the wire.
func (w without) clear(c *came) {
	if w.trace {
		c.parent, c.state = "", ""
	}
	if w.baggage {
		c.members = ""
	}
}
