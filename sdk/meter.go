package sdk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// MeterProvider is the OpenTelemetry face of core's metrics: what was written
// against the OpenTelemetry API counts on it as it is. It is safe for concurrent
// use.
type MeterProvider struct {
	embedded.MeterProvider
	opts    MeterOptions
	stopped atomic.Bool
	turn    chan struct{} // held while metrics are collected

	mu        sync.Mutex
	meters    map[scopeKey]*meter
	all       []*core.Meter // of meters, in the order of their making
	callbacks []*callback
}

// MeterOptions configure a MeterProvider. The zero value of a field is its
// default.
type MeterOptions struct {
	// Cardinality is how many series an instrument has at most. Default
	// core.DefaultCardinality.
	Cardinality int
	// Timeout is the deadline of callbacks in a collection. What they observed
	// is not in it when they take longer. Default 5 s.
	Timeout time.Duration
	// Failed hears of instruments that contradict each other and of callbacks
	// that fail, once of each. Default: otel.Handle.
	Failed func(error)
}

// defaultCallbackTimeout is short beside the time between two collections.
const defaultCallbackTimeout = 5 * time.Second

// NewMeterProvider makes a MeterProvider.
func NewMeterProvider(opts MeterOptions) *MeterProvider {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultCallbackTimeout
	}
	opts.Failed = guarded(opts.Failed)
	return &MeterProvider{opts: opts, turn: make(chan struct{}, 1), meters: map[scopeKey]*meter{}}
}

// Meter implements metric.MeterProvider. The same scope gives the same meter.
func (p *MeterProvider) Meter(name string, opts ...metric.MeterOption) metric.Meter {
	if p.stopped.Load() {
		return noop.Meter{}
	}
	c := metric.NewMeterConfig(opts...)
	attrs := c.InstrumentationAttributes()
	key := scopeKey{name, c.InstrumentationVersion(), c.SchemaURL(), attrs.Equivalent()}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.meters[key]
	if m == nil {
		scope := core.NewScope(key.name, key.version, key.schemaURL, appendAttrs(nil, attrs.ToSlice())...)
		m = &meter{provider: p, scope: name, core: core.NewMeter(scope, p.opts.Cardinality), instruments: map[instrumentKey]any{}, names: map[string]*spelling{}}
		p.meters[key] = m
		p.all = append(p.all, m.core)
	}
	return m
}

// Collect asks observable instruments for their values and makes an export
// request of all that was counted, that of other meters included; see
// core.AppendMetrics. resource is as core.EncodeResource makes it. When ctx ends,
// callbacks are not waited for any longer. Collections run one at a time; the
// error is that ctx ended before this one could begin.
func (p *MeterProvider) Collect(ctx context.Context, resource []byte, others ...*core.Meter) (request []byte, points int, err error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	var failures []error
	defer func() {
		<-p.turn
		for _, err := range failures { // whoever hears of them may have metrics sent
			p.opts.Failed(err)
		}
	}()
	var callbacks []*callback
	p.mu.Lock()
	if !p.stopped.Load() {
		callbacks = slices.Clone(p.callbacks)
	}
	p.mu.Unlock()
	failures = p.observe(ctx, callbacks)
	p.mu.Lock()
	meters := append(slices.Clip(others), p.all...)
	p.mu.Unlock()
	request, points = core.AppendMetrics(nil, resource, meters, time.Now())
	return request, points, nil
}

// Stop ends all instruments: measurements count no more, and callbacks are not
// called again. What was counted can still be collected.
func (p *MeterProvider) Stop() { p.stopped.Store(true) }

// meter makes the instruments of a scope.
type meter struct {
	embedded.Meter
	provider *MeterProvider
	scope    string
	core     *core.Meter

	mu          sync.Mutex
	instruments map[instrumentKey]any
	names       map[string]*spelling // by the name in lower case
}

var _ metric.Meter = (*meter)(nil)

// instrumentKey is what makes an instrument another one.
type instrumentKey struct {
	name, description, unit string // the name in lower case
	form                    core.Form
	integer, observed       bool
}

// spelling is how the first instrument of a name wrote it.
type spelling struct {
	name   string
	warned bool // that there is another spelling
}

func (k instrumentKey) String() string {
	kind := [...]string{core.Counter: "counter", core.UpDownCounter: "up-down counter", core.Gauge: "gauge", core.Histogram: "histogram"}[k.form]
	if k.observed {
		kind = "observable " + kind
	}
	number := "fractions"
	if k.integer {
		number = "integers"
	}
	return fmt.Sprintf("%s of %s, unit %q, described as %q", kind, number, k.unit, k.description)
}

// ErrInstrumentName is returned, along with an instrument that works, for a name
// that receivers may not take.
var ErrInstrumentName = errors.New("a name of an instrument begins with a letter and has at most 255 letters, digits and _ . - /")

// maxInstrumentName is that of the OpenTelemetry specification.
const maxInstrumentName = 255

func checkName(name string) error {
	for i := range len(name) {
		c := name[i] | 0x20 // letters in lower case
		if c >= 'a' && c <= 'z' && name[i] < 0x80 || i > 0 && (name[i] >= '0' && name[i] <= '9' || strings.IndexByte("_.-/", name[i]) >= 0) {
			continue
		}
		return fmt.Errorf("instrument %q: %w", name, ErrInstrumentName)
	}
	if name == "" || len(name) > maxInstrumentName {
		return fmt.Errorf("instrument %q: %w", name, ErrInstrumentName)
	}
	return nil
}

// checkBounds reports what is wrong with the buckets of a histogram.
func checkBounds(name string, bounds []float64) error {
	for i, b := range bounds {
		if b != b || i > 0 && b <= bounds[i-1] {
			return fmt.Errorf("instrument %q: the bounds of its buckets do not ascend: %v; the default ones are used", name, bounds)
		}
	}
	return nil
}

// instrumentOf finds or makes the instrument of a key. Instruments that share a
// name and contradict each other both work, and are told of.
func instrumentOf[I any](m *meter, name string, key instrumentKey, bounds []float64, create func(*core.Instrument) I) (of I, made bool, err error) {
	err = checkName(name)
	if wrong := checkBounds(name, bounds); wrong != nil {
		err, bounds = errors.Join(err, wrong), nil
	}
	if len(bounds) == 0 {
		bounds = nil
	}
	key.name = strings.ToLower(name)
	var warning error
	defer func() { // without the lock: who hears of it may ask for instruments
		if warning != nil {
			m.provider.opts.Failed(warning)
		}
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.names[key.name]
	if first == nil {
		first = &spelling{name: name}
		m.names[key.name] = first
	} else if first.name != name && !first.warned {
		first.warned = true
		warning = fmt.Errorf("meter %q: instrument %q is also spelled %q: their measurements are those of the former", m.scope, first.name, name)
	}
	if known, ok := m.instruments[key]; ok {
		return known.(I), false, err
	}
	for other := range m.instruments {
		if other.name == key.name {
			warning = fmt.Errorf("meter %q: instrument %q is a %v and also a %v: both are sent; give one of them another name", m.scope, first.name, other, key)
			break
		}
	}
	of = create(m.core.Instrument(core.InstrumentOptions{
		Name: name, Description: key.description, Unit: key.unit,
		Form: key.form, Integer: key.integer, Observed: key.observed, Bounds: slices.Clone(bounds),
	}))
	m.instruments[key] = of
	return of, true, err
}
