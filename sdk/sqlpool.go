package sdk

import (
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// ConnectionStats is the state of a pool of connections to a database. What
// stays zero, as the pool does not know it, makes no metric.
type ConnectionStats struct {
	Used, Idle       int // connections
	Max              int // of connections; 0 is no limit
	IdleMin, IdleMax int
	Pending          int // callers that wait for a connection now

	Waits    int64 // how often a caller had to wait so far
	WaitTime time.Duration
	Timeouts int64            // how often in vain
	Closed   map[string]int64 // connections that the pool gave up, by the reason
}

// ObserveConnections reports a pool of connections, with the names that the
// semantic conventions have for it: its state whenever the SDK that runs
// collects metrics. stats must not wait for anything: all metrics wait for it.
// Pools of the same name are added up.
// Call stop when the pool is closed.
func ObserveConnections(name string, stats func() ConnectionStats) (stop func()) {
	p := &dbPool{name: core.String("db.client.connection.pool.name", name), stats: stats}
	dbPools.mu.Lock()
	defer dbPools.mu.Unlock()
	if dbPools.all == nil {
		dbPools.all = map[*dbPool]struct{}{}
	}
	dbPools.all[p] = struct{}{}
	return func() {
		dbPools.mu.Lock()
		defer dbPools.mu.Unlock()
		if _, ok := dbPools.all[p]; ok {
			delete(dbPools.all, p)
			p.observe(p.meter, ConnectionStats{}, true)
		}
	}
}

// dbPools are the pools that are observed.
var dbPools struct {
	mu  sync.Mutex // of them all and what they told; not held while one is asked
	all map[*dbPool]struct{}
}

type dbPool struct {
	name  core.Attr
	stats func() ConnectionStats
	asked bool        // now: by one collection at a time, so that no sum goes back
	meter *core.Meter // that it was reported to last
	told  map[toldKey]float64
}

// toldKey is a series of a pool.
type toldKey struct{ metric, value string }

// observePools brings the metrics of all pools up to date; it is called before s
// collects.
func observePools(s *SDK) {
	if running.Load() != s || !s.Enabled() {
		return
	}
	m := s.meter(scopeOfSDK, Version)
	for _, p := range poolsToAsk() {
		now, ok := p.ask()
		dbPools.mu.Lock()
		p.asked = false
		if _, there := dbPools.all[p]; ok && there { // it may have been closed meanwhile
			p.observe(m, now, false)
		}
		dbPools.mu.Unlock()
	}
}

// poolsToAsk are the pools that no other collection is asking.
func poolsToAsk() (pools []*dbPool) {
	dbPools.mu.Lock()
	defer dbPools.mu.Unlock()
	for p := range dbPools.all {
		if !p.asked {
			p.asked = true
			pools = append(pools, p)
		}
	}
	return pools
}

// observe reports to a meter. A pool that is gone takes back what goes up and
// down.
func (p *dbPool) observe(m *core.Meter, s ConnectionStats, gone bool) {
	if m == nil {
		return
	}
	if p.meter != m {
		p.meter, p.told = m, map[toldKey]float64{}
	}
	const connections = "{connection}"
	count := func(metric, description, unit string, n int, attr ...string) {
		p.tell(metric, description, unit, core.UpDownCounter, float64(n), attr...)
	}
	count("db.client.connection.count", "The number of connections that are in the state.", connections, s.Used, "db.client.connection.state", "used")
	count("db.client.connection.count", "The number of connections that are in the state.", connections, s.Idle, "db.client.connection.state", "idle")
	count("db.client.connection.max", "The maximum number of open connections allowed.", connections, s.Max)
	count("db.client.connection.idle.max", "The maximum number of idle open connections allowed.", connections, s.IdleMax)
	count("db.client.connection.idle.min", "The minimum number of idle open connections allowed.", connections, s.IdleMin)
	count("db.client.connection.pending_requests", "The number of requests that wait for an open connection.", "{request}", s.Pending)
	if gone {
		return
	}
	p.tell("db.client.connection.timeouts", "The number of times that waiting for a connection ended without one.", "{timeout}", core.Counter, float64(s.Timeouts))
	// The conventions have a histogram of waits; pools tell only their sum.
	p.tell("db.client.connection.waits", "The number of times that a connection had to be waited for.", "{wait}", core.Counter, float64(s.Waits))
	p.tell("db.client.connection.waited", "The time that connections were waited for.", "s", core.Counter, s.WaitTime.Seconds())
	for reason, n := range s.Closed {
		p.tell("db.client.connection.closed", "The number of connections that the pool gave up.", connections, core.Counter, float64(n), "db.client.connection.close.reason", reason)
	}
}

// ask is false when a pool cannot say how it is: what panics here would take the
// service with it.
func (p *dbPool) ask() (s ConnectionStats, ok bool) {
	defer func() { _ = recover() }()
	return p.stats(), true
}

// tell brings the series of a metric to a value. Zero is told of what had
// another value before, and of the parts of a sum.
func (p *dbPool) tell(metric, description, unit string, form core.Form, v float64, attr ...string) {
	attrs := []core.Attr{p.name}
	key := toldKey{metric: metric}
	if len(attr) > 0 {
		attrs = append(attrs, core.String(attr[0], attr[1]))
		key.value = attr[1]
	}
	before, was := p.told[key]
	if v == before && (was || key.value == "") {
		return
	}
	p.told[key] = v
	if form == core.Counter && v < before { // nodes have left a cluster, or a small number ran over
		return
	}
	series := p.meter.Instrument(core.InstrumentOptions{Name: metric, Description: description, Unit: unit, Form: form, Integer: unit != "s"}).With(attrs...)
	if unit == "s" {
		series.AddFloat(v - before)
		return
	}
	series.Add(int64(v - before))
}
