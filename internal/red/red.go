// Package red makes metrics from spans: request, error and duration metrics
// (Aggregator) and the calls between services (Graph). It is to stand before
// any sampling in the pipeline, so that its figures are those of all traffic;
// spans that a sampler thinned out earlier count with the weight that their
// tracestate tells (ot=th).
//
// Names, dimensions and connection types are those of the OpenTelemetry
// spanmetrics and servicegraph connectors, because dashboards and Grafana's
// service graph query them. What differs from those connectors:
//
//   - Memory is bounded. Beyond the limit on series, spans are counted in an
//     overflow series of their service (otel.metric.overflow) that still tells
//     kind and status, so that rates and error ratios of a service stay right.
//   - A series begins with a zero. Without it, the calls of the first interval
//     are invisible to rate and increase, which is all calls of a rare error.
//   - A series that ends is marked stale (no recorded value), so that it leaves
//     charts at once and begins again from zero.
//   - Weights are rounded without bias, see rounder.
//
// Spans are read where they lie and nothing of them is kept: identity is a
// hash of the parts, text is copied once, on first sight. A span that belongs
// to a known series allocates nothing.
//
// The package has no clock: callers say what time it is. All methods are safe
// for concurrent use.
package red

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Defaults and limits.
const (
	// DefaultExpiration is how long a series without spans is kept. Five
	// minutes is Prometheus' lookback: a chart would drop the series then
	// anyhow.
	DefaultExpiration = 5 * time.Minute
	// DefaultMaxSeries bounds the series of one tenant. A series takes about
	// 1 KiB here and, with the default buckets, 20 series in Prometheus.
	DefaultMaxSeries = 10_000
	// DefaultMaxSeriesPerService keeps one service with ids in its span names
	// from using up the limit of all. It is the default limit of the
	// OpenTelemetry SDKs on one instrument.
	DefaultMaxSeriesPerService = 2_000
	// DefaultMaxExemplars bounds the exemplars of one series and flush. Stores
	// keep exemplars in a ring of fixed size: more per series means fewer
	// minutes of them.
	DefaultMaxExemplars = 2
	// DefaultMaxTenants bounds the tenants that are aggregated at once.
	DefaultMaxTenants = 100

	// maxLabel bounds a span name or another value that becomes a label, in
	// bytes. Longer ones are cut: they are statements or URLs, not names.
	maxLabel = 512
	// pointsPerFlush is about how many points are handed to emit at once; it
	// bounds the memory of a flush and the size of what goes downstream.
	pointsPerFlush = 4_000
	// maxDimensions bounds the extra dimensions: each is a search through the
	// attributes of every span.
	maxDimensions = 16
)

// Stats tells what aggregators did. One Stats may be shared by many; the
// fields are then sums. Safe for concurrent use.
type Stats struct {
	Spans      atomic.Uint64 // spans counted; by a graph, spans that can be a side of a call
	Series     atomic.Int64  // series (edges) in memory
	Removed    atomic.Uint64 // series (edges) removed because they were idle
	Overflowed atomic.Uint64 // spans (calls) counted in an overflow series
	Waiting    atomic.Int64  // graph only: spans kept to be paired
	Expired    atomic.Uint64 // graph only: spans whose other side did not arrive in time
	Dropped    atomic.Uint64 // graph only: spans given up early because too many waited
}

// Dimension is an attribute that becomes a dimension.
type Dimension struct {
	// Name of the attribute, looked up in the span, then in its resource.
	Name string
	// Default is the value where neither has it; the dimension is left out
	// when it is empty.
	Default string
}

func checkDimensions(dims []Dimension, reserved ...string) error {
	if len(dims) > maxDimensions {
		return fmt.Errorf("%d dimensions: want at most %d", len(dims), maxDimensions)
	}
	seen := map[string]bool{}
	for _, r := range reserved {
		seen[labelName(r)] = true
	}
	for _, d := range dims {
		if d.Name == "" {
			return fmt.Errorf("dimension without a name")
		}
		if seen[labelName(d.Name)] {
			return fmt.Errorf("dimension %q is there already", d.Name)
		}
		seen[labelName(d.Name)] = true
	}
	return nil
}

// labelName is how name will read as a Prometheus label: names that differ in
// punctuation only would collide there.
func labelName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}

// label returns s as it may stand in a label: not too long and valid UTF-8. It
// allocates only to repair.
func label(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
		for i := 0; i < utf8.UTFMax-1 && len(s) > 0; i++ { // do not cut a character in two
			if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
				break
			}
			s = s[:len(s)-1]
		}
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}
