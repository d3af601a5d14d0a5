package sdk

import (
	"sync"
	"sync/atomic"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// boundSeries finds the series of a histogram of durations by what it depends
// on, a small key, much quicker than by attributes.
type boundSeries[K comparable] struct {
	instrument *core.Instrument
	attrs      func(K) []core.Attr

	// slot is where in recent a key is looked for; nil: nowhere. Hashing a key
	// of several strings costs more than the rest of a recording.
	slot   func(K) uintptr
	recent [recentSeries]atomic.Pointer[foundSeries[K]]

	mu     sync.RWMutex
	series map[K]*foundSeries[K]
}

// recentSeries is as many as a service has busy routes; a power of two.
const recentSeries = 64

type foundSeries[K comparable] struct {
	key    K
	series *core.Series
}

// maxBoundSeries bounds the series that are remembered; others are looked up.
const maxBoundSeries = core.DefaultCardinality

// secondsBounds are those of the semantic conventions for durations of
// requests.
var secondsBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

func newBoundSeries[K comparable](m *core.Meter, name, description string, bounds []float64, attrs func(K) []core.Attr) *boundSeries[K] {
	if bounds == nil {
		bounds = secondsBounds
	}
	return &boundSeries[K]{
		instrument: m.Instrument(core.InstrumentOptions{Name: name, Description: description, Unit: "s", Form: core.Histogram, Bounds: bounds}),
		attrs:      attrs, series: map[K]*foundSeries[K]{},
	}
}

func (b *boundSeries[K]) of(key *K) *core.Series {
	if b.slot == nil {
		return b.find(key).series
	}
	place := &b.recent[b.slot(*key)%recentSeries]
	found := place.Load()
	if found == nil || found.key != *key {
		found = b.find(key)
		place.Store(found)
	}
	return found.series
}

func (b *boundSeries[K]) find(key *K) *foundSeries[K] {
	b.mu.RLock()
	found := b.series[*key]
	b.mu.RUnlock()
	if found != nil {
		return found
	}
	found = &foundSeries[K]{*key, b.instrument.With(b.attrs(*key)...)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.series) < maxBoundSeries {
		b.series[*key] = found
	}
	return found
}
