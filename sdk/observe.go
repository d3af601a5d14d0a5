package sdk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// observable is an instrument whose values are asked for when metrics are
// collected.
type observable struct {
	meter *meter
	name  string
	key   instrumentKey
	core  *core.Instrument
}

type int64Observable struct {
	metric.Int64Observable
	embedded.Int64ObservableCounter
	embedded.Int64ObservableUpDownCounter
	embedded.Int64ObservableGauge
	*observable
}

type float64Observable struct {
	metric.Float64Observable
	embedded.Float64ObservableCounter
	embedded.Float64ObservableUpDownCounter
	embedded.Float64ObservableGauge
	*observable
}

// observation is a value of an observable: bits of a float, or an integer.
type observation struct {
	of    *observable
	attrs attribute.Set
	bits  uint64
}

// record makes an observation count for the next collection. Of those with the
// same attributes a gauge has the last, and others have the sum.
func (o *observation) record(few []core.Attr) {
	for iter := o.attrs.Iter(); iter.Next(); {
		a := iter.Attribute()
		few = append(few, core.Of(string(a.Key), value(&a.Value)))
	}
	s := o.of.core.With(few...)
	switch key := &o.of.key; {
	case key.form == core.Gauge && key.integer:
		s.Set(int64(o.bits))
	case key.form == core.Gauge:
		s.SetFloat(math.Float64frombits(o.bits))
	case key.integer:
		s.Add(int64(o.bits))
	default:
		s.AddFloat(math.Float64frombits(o.bits))
	}
}

// callback is a function that observes instruments.
//
// It belongs to the program and may do what it likes: panic, block for ever, or
// go on observing after it has returned. So it runs in a goroutine of its own,
// one at a time, and what it observes is put down in a run, which counts as a
// whole if the callback returns in time and else not at all.
type callback struct {
	meter *meter
	of    []*observable // that it may observe
	call  func(context.Context, *run) error

	removed atomic.Bool
	running atomic.Bool
	told    bool // of a failure, since it worked last; of who collects
}

// run is one call of a callback.
type run struct {
	callback *callback
	done     chan struct{}
	err      error // valid after done

	mu     sync.Mutex
	over   bool // what is observed now does not count
	seen   []observation
	misuse error
}

// start calls the callback beside the caller; nil when it still runs since an
// earlier collection, or was unregistered.
func (c *callback) start(ctx context.Context) *run {
	if c.removed.Load() || !c.running.CompareAndSwap(false, true) {
		return nil
	}
	r := &run{callback: c, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer c.running.Store(false)
		r.err = caught(func() error { return c.call(ctx, r) })
	}()
	return r
}

// maxSeen bounds what is put down: 6 MB for a callback that observes without
// end, and far more than any has series for.
const maxSeen = 64 * core.DefaultCardinality

// observe puts a value down.
func (r *run) observe(o *observable, bits uint64, opts []metric.ObserveOption) {
	var attrs attribute.Set
	if len(opts) > 0 {
		c := metric.NewObserveConfig(opts)
		attrs = c.Attributes()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
	case !slices.Contains(r.callback.of, o):
		r.misuse = fmt.Errorf("instrument %q is observed by a callback that was not registered for it", o.name)
	case len(r.seen) >= maxSeen:
		r.misuse = fmt.Errorf("it observes more than %d values: the others are left out", maxSeen)
	default:
		r.seen = append(r.seen, observation{o, attrs, bits})
	}
}

// end makes what was observed count, if the callback has returned, and tells
// what went wrong.
func (r *run) end() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	select {
	case <-r.done:
	default:
		return errOvertime
	}
	var few [8]core.Attr
	for i := range r.seen {
		r.seen[i].record(few[:0])
	}
	return errors.Join(r.err, r.misuse)
}

var errOvertime = errors.New("it takes too long: what it observes is left out until it returns")

// patience is how long a callback has others wait. As they may share state
// without being aware of it they run one after the other, until one blocks.
const patience = 100 * time.Millisecond

// observe calls callbacks and makes what they observe count. It returns what is
// to be told of them. The turn is the caller's.
func (p *MeterProvider) observe(parent context.Context, callbacks []*callback) (failures []error) {
	if len(callbacks) == 0 {
		return nil
	}
	last, cancel := context.WithTimeout(parent, p.opts.Timeout+patience) // those that obey the deadline return in time
	defer cancel()
	ctx, cancel := context.WithTimeout(last, p.opts.Timeout)
	defer cancel()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var runs []*run
	for _, c := range callbacks {
		if ctx.Err() != nil {
			break
		}
		r := c.start(ctx)
		if r == nil {
			continue
		}
		runs = append(runs, r)
		timer.Reset(patience)
		select {
		case <-r.done:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	for _, r := range runs {
		select {
		case <-r.done:
		case <-last.Done():
		}
	}
	for _, r := range runs {
		err := r.end()
		if err == errOvertime && parent.Err() != nil { // it was not given its time
			continue
		}
		c := r.callback
		if err != nil && !c.told { // the first time since it worked last
			failures = append(failures, fmt.Errorf("meter %q: callback of %s: %w", c.meter.scope, c.names(), err))
		}
		c.told = err != nil
	}
	return failures
}

func (c *callback) names() string {
	text := fmt.Sprintf("instrument %q", c.of[0].name)
	if n := len(c.of) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// add has a callback called from the next collection on.
func (p *MeterProvider) add(c *callback) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callbacks = append(p.callbacks, c)
}

// RegisterCallback implements metric.Meter. The callback is not called at the
// same time as itself. It must return before the deadline of its context, or
// what it observed is left out.
func (m *meter) RegisterCallback(f metric.Callback, instruments ...metric.Observable) (metric.Registration, error) {
	c := &callback{meter: m}
	reg := &registration{callback: c}
	if f == nil {
		return reg, fmt.Errorf("meter %q: register a callback: it is nil", m.scope)
	}
	var err error
	for _, i := range instruments {
		var o *observable
		switch i := i.(type) {
		case int64Observable:
			o = i.observable
		case float64Observable:
			o = i.observable
		default:
			return reg, fmt.Errorf("meter %q: register a callback: instrument %T is of another SDK", m.scope, i)
		}
		if o.meter != m {
			err = errors.Join(err, fmt.Errorf("meter %q: register a callback: instrument %q is of meter %q", m.scope, o.name, o.meter.scope))
			continue
		}
		c.of = append(c.of, o)
	}
	if len(c.of) == 0 { // it could observe nothing
		return reg, err
	}
	c.call = func(ctx context.Context, r *run) error { return f(ctx, &groupObserver{run: r}) }
	m.provider.add(c)
	return reg, err
}

type registration struct {
	embedded.Registration
	callback *callback
}

// Unregister implements metric.Registration. It does not wait for a call that
// is under way. It may be called again.
func (r *registration) Unregister() error {
	c := r.callback
	c.removed.Store(true)
	p := c.meter.provider
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callbacks = slices.DeleteFunc(p.callbacks, func(other *callback) bool { return other == c })
	return nil
}

// groupObserver is what a registered callback is given.
type groupObserver struct {
	embedded.Observer
	run *run
}

// ObserveInt64 implements metric.Observer.
func (o *groupObserver) ObserveInt64(of metric.Int64Observable, n int64, opts ...metric.ObserveOption) {
	if i, ok := of.(int64Observable); ok {
		o.run.observe(i.observable, uint64(n), opts)
	}
}

// ObserveFloat64 implements metric.Observer.
func (o *groupObserver) ObserveFloat64(of metric.Float64Observable, v float64, opts ...metric.ObserveOption) {
	if i, ok := of.(float64Observable); ok {
		o.run.observe(i.observable, math.Float64bits(v), opts)
	}
}

// int64Observer is what a callback of one instrument is given.
type int64Observer struct {
	embedded.Int64Observer
	run *run
}

// Observe implements metric.Int64Observer.
func (o *int64Observer) Observe(n int64, opts ...metric.ObserveOption) {
	o.run.observe(o.run.callback.of[0], uint64(n), opts)
}

// float64Observer is what a callback of one instrument is given.
type float64Observer struct {
	embedded.Float64Observer
	run *run
}

// Observe implements metric.Float64Observer.
func (o *float64Observer) Observe(v float64, opts ...metric.ObserveOption) {
	o.run.observe(o.run.callback.of[0], math.Float64bits(v), opts)
}

// observable finds or makes an observable instrument with callbacks of its own.
// Those of who asks for it again are left out: a program that asks for an
// instrument in each request would add one each time.
func (m *meter) observable(name string, key instrumentKey, calls []func(context.Context, *run) error) (*observable, error) {
	key.observed = true
	o, made, err := instrumentOf(m, name, key, nil, func(c *core.Instrument) *observable {
		return &observable{meter: m, name: name, key: key, core: c}
	})
	if !made {
		if len(calls) > 0 {
			m.provider.opts.Failed(fmt.Errorf("meter %q: instrument %q is there already: the callbacks that come with it are left out; use RegisterCallback", m.scope, name))
		}
		return o, err
	}
	for _, call := range calls {
		m.provider.add(&callback{meter: m, of: []*observable{o}, call: call})
	}
	return o, err
}

func (m *meter) int64Observable(name, description, unit string, form core.Form, callbacks []metric.Int64Callback) (int64Observable, error) {
	var calls []func(context.Context, *run) error
	for _, f := range callbacks {
		if f != nil {
			calls = append(calls, func(ctx context.Context, r *run) error { return f(ctx, &int64Observer{run: r}) })
		}
	}
	o, err := m.observable(name, instrumentKey{description: description, unit: unit, form: form, integer: true}, calls)
	return int64Observable{observable: o}, err
}

func (m *meter) float64Observable(name, description, unit string, form core.Form, callbacks []metric.Float64Callback) (float64Observable, error) {
	var calls []func(context.Context, *run) error
	for _, f := range callbacks {
		if f != nil {
			calls = append(calls, func(ctx context.Context, r *run) error { return f(ctx, &float64Observer{run: r}) })
		}
	}
	o, err := m.observable(name, instrumentKey{description: description, unit: unit, form: form}, calls)
	return float64Observable{observable: o}, err
}

// Int64ObservableCounter implements metric.Meter.
func (m *meter) Int64ObservableCounter(name string, opts ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	c := metric.NewInt64ObservableCounterConfig(opts...)
	return m.int64Observable(name, c.Description(), c.Unit(), core.Counter, c.Callbacks())
}

// Int64ObservableUpDownCounter implements metric.Meter.
func (m *meter) Int64ObservableUpDownCounter(name string, opts ...metric.Int64ObservableUpDownCounterOption) (metric.Int64ObservableUpDownCounter, error) {
	c := metric.NewInt64ObservableUpDownCounterConfig(opts...)
	return m.int64Observable(name, c.Description(), c.Unit(), core.UpDownCounter, c.Callbacks())
}

// Int64ObservableGauge implements metric.Meter.
func (m *meter) Int64ObservableGauge(name string, opts ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	c := metric.NewInt64ObservableGaugeConfig(opts...)
	return m.int64Observable(name, c.Description(), c.Unit(), core.Gauge, c.Callbacks())
}

// Float64ObservableCounter implements metric.Meter.
func (m *meter) Float64ObservableCounter(name string, opts ...metric.Float64ObservableCounterOption) (metric.Float64ObservableCounter, error) {
	c := metric.NewFloat64ObservableCounterConfig(opts...)
	return m.float64Observable(name, c.Description(), c.Unit(), core.Counter, c.Callbacks())
}

// Float64ObservableUpDownCounter implements metric.Meter.
func (m *meter) Float64ObservableUpDownCounter(name string, opts ...metric.Float64ObservableUpDownCounterOption) (metric.Float64ObservableUpDownCounter, error) {
	c := metric.NewFloat64ObservableUpDownCounterConfig(opts...)
	return m.float64Observable(name, c.Description(), c.Unit(), core.UpDownCounter, c.Callbacks())
}

// Float64ObservableGauge implements metric.Meter.
func (m *meter) Float64ObservableGauge(name string, opts ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	c := metric.NewFloat64ObservableGaugeConfig(opts...)
	return m.float64Observable(name, c.Description(), c.Unit(), core.Gauge, c.Callbacks())
}
