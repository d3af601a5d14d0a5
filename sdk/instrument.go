package sdk

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// instrument is what synchronous instruments have in common.
type instrument struct {
	provider *MeterProvider
	core     *core.Instrument
	form     core.Form
	series   seriesBySet
}

// int64Instrument is a synchronous instrument of integers, whatever it does with
// them.
type int64Instrument struct {
	embedded.Int64Counter
	embedded.Int64UpDownCounter
	embedded.Int64Gauge
	embedded.Int64Histogram
	instrument
}

// float64Instrument is a synchronous instrument of fractions.
type float64Instrument struct {
	embedded.Float64Counter
	embedded.Float64UpDownCounter
	embedded.Float64Gauge
	embedded.Float64Histogram
	instrument
}

// Add implements metric.Int64Counter and metric.Int64UpDownCounter. What is
// negative does not count for a counter.
func (i *int64Instrument) Add(ctx context.Context, n int64, opts ...metric.AddOption) {
	if len(opts) == 0 {
		i.measure(ctx, n, attribute.Set{})
		return
	}
	c := metric.NewAddConfig(opts)
	i.measure(ctx, n, c.Attributes())
}

// Record implements metric.Int64Gauge and metric.Int64Histogram.
func (i *int64Instrument) Record(ctx context.Context, n int64, opts ...metric.RecordOption) {
	if len(opts) == 0 {
		i.measure(ctx, n, attribute.Set{})
		return
	}
	c := metric.NewRecordConfig(opts)
	i.measure(ctx, n, c.Attributes())
}

func (i *int64Instrument) measure(ctx context.Context, n int64, set attribute.Set) {
	if i.provider.stopped.Load() || i.form == core.Counter && n < 0 {
		return
	}
	s := i.of(&set)
	switch i.form {
	case core.Histogram:
		recordIn(ctx, s, float64(n))
		return
	case core.Gauge:
		s.Set(n)
	default:
		s.Add(n)
	}
	if sc, ok := spanOf(ctx); ok {
		s.Exemplar(float64(n), &sc)
	}
}

// Add implements metric.Float64Counter and metric.Float64UpDownCounter. What is
// negative does not count for a counter, and NaN for none.
func (i *float64Instrument) Add(ctx context.Context, v float64, opts ...metric.AddOption) {
	if len(opts) == 0 {
		i.measure(ctx, v, attribute.Set{})
		return
	}
	c := metric.NewAddConfig(opts)
	i.measure(ctx, v, c.Attributes())
}

// Record implements metric.Float64Gauge and metric.Float64Histogram. A histogram
// does not count NaN.
func (i *float64Instrument) Record(ctx context.Context, v float64, opts ...metric.RecordOption) {
	if len(opts) == 0 {
		i.measure(ctx, v, attribute.Set{})
		return
	}
	c := metric.NewRecordConfig(opts)
	i.measure(ctx, v, c.Attributes())
}

func (i *float64Instrument) measure(ctx context.Context, v float64, set attribute.Set) {
	if i.provider.stopped.Load() || i.form == core.Counter && v < 0 || i.form != core.Gauge && v != v {
		return
	}
	s := i.of(&set)
	switch i.form {
	case core.Histogram:
		recordIn(ctx, s, v)
		return
	case core.Gauge:
		s.SetFloat(v)
	default:
		s.AddFloat(v)
	}
	if sc, ok := spanOf(ctx); ok {
		s.Exemplar(v, &sc)
	}
}

func recordIn(ctx context.Context, s *core.Series, v float64) {
	if sc, ok := spanOf(ctx); ok {
		s.Record(v, &sc)
		return
	}
	s.Record(v, nil)
}

// spanOf is contextOf for who may be given no context.
func spanOf(ctx context.Context) (sc core.SpanContext, ok bool) {
	if ctx == nil {
		return sc, false
	}
	return contextOf(ctx)
}

// Enabled implements the synchronous instruments: false once measurements do not
// count any more.
func (i *instrument) Enabled(context.Context) bool { return !i.provider.stopped.Load() }

// of is the series of a set of attributes.
func (i *instrument) of(set *attribute.Set) *core.Series {
	key := set.Equivalent()
	if s := i.series.get(key); s != nil {
		return s
	}
	s := i.core.With(appendAttrs(nil, set.ToSlice())...)
	i.series.put(key, s)
	return s
}

// seriesBySet remembers the series of sets of attributes, by the hash that a set
// comes with, as OpenTelemetry's own SDK does. Finding one takes no lock: slots
// are filled and never emptied, and when half of them are, a table of twice the
// size takes their place. What is beyond maxBoundSeries is not remembered.
type seriesBySet struct {
	table atomic.Pointer[[]atomic.Pointer[boundSet]]
	mu    sync.Mutex // of those who put
	len   int
}

type boundSet struct {
	key    attribute.Distinct
	series *core.Series
}

var setSeed = maphash.MakeSeed()

// firstSets is the size of the first table: most instruments have few series.
const firstSets = 16

func (t *seriesBySet) get(key attribute.Distinct) *core.Series {
	table := t.table.Load()
	if table == nil {
		return nil
	}
	if found := slot(*table, key).Load(); found != nil && found.key == key { // it may have been filled just now
		return found.series
	}
	return nil
}

// slot is where a key is or belongs. There always is an empty slot.
func slot(table []atomic.Pointer[boundSet], key attribute.Distinct) *atomic.Pointer[boundSet] {
	for n := maphash.Comparable(setSeed, key); ; n++ {
		s := &table[n&uint64(len(table)-1)]
		if found := s.Load(); found == nil || found.key == key {
			return s
		}
	}
}

func (t *seriesBySet) put(key attribute.Distinct, s *core.Series) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.len >= maxBoundSeries {
		return
	}
	old := t.table.Load()
	if old == nil {
		first := make([]atomic.Pointer[boundSet], firstSets)
		old = &first
		t.table.Store(old)
	}
	if 2*t.len >= len(*old) {
		larger := make([]atomic.Pointer[boundSet], 2*len(*old))
		for i := range *old {
			if e := (*old)[i].Load(); e != nil {
				slot(larger, e.key).Store(e)
			}
		}
		old = &larger
		t.table.Store(old)
	}
	if at := slot(*old, key); at.Load() == nil {
		at.Store(&boundSet{key, s})
		t.len++
	}
}

func (m *meter) int64(name, description, unit string, form core.Form, bounds []float64) (*int64Instrument, error) {
	i, _, err := instrumentOf(m, name, instrumentKey{description: description, unit: unit, form: form, integer: true}, bounds, func(c *core.Instrument) *int64Instrument {
		return &int64Instrument{instrument: instrument{provider: m.provider, core: c, form: form}}
	})
	return i, err
}

func (m *meter) float64(name, description, unit string, form core.Form, bounds []float64) (*float64Instrument, error) {
	i, _, err := instrumentOf(m, name, instrumentKey{description: description, unit: unit, form: form}, bounds, func(c *core.Instrument) *float64Instrument {
		return &float64Instrument{instrument: instrument{provider: m.provider, core: c, form: form}}
	})
	return i, err
}

// Int64Counter implements metric.Meter.
func (m *meter) Int64Counter(name string, opts ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	c := metric.NewInt64CounterConfig(opts...)
	return m.int64(name, c.Description(), c.Unit(), core.Counter, nil)
}

// Int64UpDownCounter implements metric.Meter.
func (m *meter) Int64UpDownCounter(name string, opts ...metric.Int64UpDownCounterOption) (metric.Int64UpDownCounter, error) {
	c := metric.NewInt64UpDownCounterConfig(opts...)
	return m.int64(name, c.Description(), c.Unit(), core.UpDownCounter, nil)
}

// Int64Gauge implements metric.Meter.
func (m *meter) Int64Gauge(name string, opts ...metric.Int64GaugeOption) (metric.Int64Gauge, error) {
	c := metric.NewInt64GaugeConfig(opts...)
	return m.int64(name, c.Description(), c.Unit(), core.Gauge, nil)
}

// Int64Histogram implements metric.Meter.
func (m *meter) Int64Histogram(name string, opts ...metric.Int64HistogramOption) (metric.Int64Histogram, error) {
	c := metric.NewInt64HistogramConfig(opts...)
	return m.int64(name, c.Description(), c.Unit(), core.Histogram, c.ExplicitBucketBoundaries())
}

// Float64Counter implements metric.Meter.
func (m *meter) Float64Counter(name string, opts ...metric.Float64CounterOption) (metric.Float64Counter, error) {
	c := metric.NewFloat64CounterConfig(opts...)
	return m.float64(name, c.Description(), c.Unit(), core.Counter, nil)
}

// Float64UpDownCounter implements metric.Meter.
func (m *meter) Float64UpDownCounter(name string, opts ...metric.Float64UpDownCounterOption) (metric.Float64UpDownCounter, error) {
	c := metric.NewFloat64UpDownCounterConfig(opts...)
	return m.float64(name, c.Description(), c.Unit(), core.UpDownCounter, nil)
}

// Float64Gauge implements metric.Meter.
func (m *meter) Float64Gauge(name string, opts ...metric.Float64GaugeOption) (metric.Float64Gauge, error) {
	c := metric.NewFloat64GaugeConfig(opts...)
	return m.float64(name, c.Description(), c.Unit(), core.Gauge, nil)
}

// Float64Histogram implements metric.Meter.
func (m *meter) Float64Histogram(name string, opts ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	c := metric.NewFloat64HistogramConfig(opts...)
	return m.float64(name, c.Description(), c.Unit(), core.Histogram, c.ExplicitBucketBoundaries())
}
