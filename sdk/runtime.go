package sdk

import (
	"time"

	"github.com/guanlan-io/guanlan/sdk/observer"
)

// Runtime is the observer of the Go runtime; nil when there is none. Queries of a
// nil observer answer NaN.
func (s *SDK) Runtime() *observer.Observer { return s.runtime }

// scopeOfRuntime is the instrumentation scope of what the observer exports.
const scopeOfRuntime = "github.com/guanlan-io/guanlan/sdk/observer"

// freshen brings up to date what is measured only when metrics are collected.
func (s *SDK) freshen(now time.Time) {
	s.memory.follow(now)
	s.runtime.Collect()
	s.self.update(s.Stats())
}
