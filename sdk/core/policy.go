package core

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Policy says how many of the traces that begin here are kept: a base rate that
// gives way under load and rises with errors and latency. The zero value of a
// field is its default.
//
// What is decided follows only from windows that have passed, and the
// probability is written into the trace as it was when it was decided. So what
// is kept can be scaled back to what there was, without bias, however quickly
// the rate changes.
type Policy struct {
	// Base is the share that is kept when nothing is the matter. Default 0.01.
	Base float64
	// Few is how many traces a second are kept at least, so that a quiet
	// service shows something. Default 5; below 0 none.
	Few float64
	// Least and Most bound the share. Default 0.0001 and 1.
	Least, Most float64
	// Busy is the requests a second above which the share falls in
	// proportion, so that as many are kept as at Busy, down to BusyFloor of
	// it. Default 5,000 and 0.1.
	Busy, BusyFloor float64
	// From Errors on, the share of requests that fail, ErrorBoost times as
	// much is kept; from AllErrors on, all. Default 0.005, 10 and 0.05.
	Errors, ErrorBoost, AllErrors float64
	// All is kept when the slowest hundredth takes longer than AllP99. Default
	// 800 ms.
	AllP99 time.Duration
	// Critical lists operations of which CriticalFloor is kept at least: names
	// of spans, see Adaptive.Operation. Default 0.2.
	Critical      []string
	CriticalFloor float64
	// Operations have a fixed share of their own, whatever else is here says.
	Operations map[string]float64
	// Weights multiply the share of traces whose first span has an attribute:
	// by key and value of a string.
	Weights map[string]map[string]float64
	// Window is how often the share is set anew, at least 100 ms, Smoothing
	// how much of the way to what the last window asks for it goes each time,
	// but for alarms, which take effect at once. Default 1 s and 0.3.
	Window    time.Duration
	Smoothing float64
}

// Fixed is a policy that keeps a share whatever the traffic is.
func Fixed(share float64) Policy {
	share = min(max(share, MinProbability), 1)
	return Policy{Base: share, Least: share, Most: share, Few: -1, AllErrors: math.MaxFloat64, AllP99: math.MaxInt64}
}

// PerSecond is a policy that keeps so many traces a second, on average.
func PerSecond(traces float64) Policy {
	p := Fixed(MinProbability)
	p.Most, p.Few = 1, traces
	if !(traces > 0) {
		p.Few = -1
	}
	p.Errors, p.Smoothing = math.MaxFloat64, 1
	return p
}

func (p Policy) withDefaults() Policy {
	def := func(v *float64, d float64) {
		if !(*v > 0) {
			*v = d
		}
	}
	def(&p.Base, 0.01)
	def(&p.Least, 0.0001)
	def(&p.Most, 1)
	def(&p.Busy, 5000)
	def(&p.BusyFloor, 0.1)
	def(&p.Errors, 0.005)
	def(&p.ErrorBoost, 10)
	def(&p.AllErrors, 0.05)
	def(&p.CriticalFloor, 0.2)
	def(&p.Smoothing, 0.3)
	if p.Few == 0 {
		p.Few = 5
	}
	p.Most = min(p.Most, 1)
	p.Least = min(p.Least, p.Most)
	p.Smoothing = min(p.Smoothing, 1)
	if p.AllP99 <= 0 {
		p.AllP99 = 800 * time.Millisecond
	}
	p.Window = max(orDefault(p.Window, time.Second), leastWindow)
	return p
}

// leastWindow keeps a policy from outside from making the sampler the work of
// the process.
const leastWindow = 100 * time.Millisecond

// minWindow is how many requests a window must have for its errors and latency
// to count: of fewer, one failure is already many per cent.
const minWindow = 20

// Under pressure, when spans do not fit into the pipe, no more may be kept than
// does: capRoom leaves a part of that free for what is kept for certain, and
// capGrowth looks each window whether there is more room again.
const (
	capRoom   = 0.9
	capGrowth = 1.2
)

// Adaptive samples by a Policy. Instrumentation tells it of every request by
// Observe; its owner calls Turn at the end of each window. It is safe for
// concurrent use; Decide and Observe take no lock.
type Adaptive struct {
	rates atomic.Pointer[rates]

	decided            atomic.Uint64 // traces that began here
	requests, failures atomic.Uint64 // that Observe was told of
	slow               atomic.Uint64 // longer than AllP99
	slowest            atomic.Int64  // AllP99, for Observe

	mu     sync.Mutex
	policy Policy
	names  *operations
	share  float64 // smoothed
	cap    float64 // of all shares: below 1 under pressure
	turned time.Time
}

// rates is what is decided by in one window.
type rates struct {
	plain, critical *ByThreshold
	names           *operations
	weights         map[string]map[string]*weighted
}

// weighted is the rates of traces with an attribute.
type weighted struct{ plain, critical *ByThreshold }

// NewAdaptive makes a sampler; now begins its first window.
func NewAdaptive(p Policy, now time.Time) *Adaptive {
	a := &Adaptive{turned: now, cap: 1}
	a.SetPolicy(p)
	return a
}

// SetPolicy changes the policy; the share moves there by Smoothing. It may be
// called at any time; the policy must not be changed afterwards.
func (a *Adaptive) SetPolicy(p Policy) {
	p = p.withDefaults()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.policy, a.names = p, newOperations(&p)
	a.slowest.Store(int64(p.AllP99))
	if a.share == 0 { // nothing is known of the traffic yet
		if a.share = p.Base; p.Few > 0 {
			a.share = 1
		}
	}
	a.publish(a.share)
}

// Window is how often Turn is to be called.
func (a *Adaptive) Window() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.policy.Window
}

// Slow is how long a request takes that is kept for it.
func (a *Adaptive) Slow() time.Duration { return time.Duration(a.slowest.Load()) }

// Observe tells of a request, kept or not.
func (a *Adaptive) Observe(took time.Duration, failed bool) {
	a.requests.Add(1)
	if failed {
		a.failures.Add(1)
	}
	if int64(took) > a.slowest.Load() {
		a.slow.Add(1)
	}
}

// Turn ends a window and sets the share for the next one. lost is the share of
// spans that were kept and then dropped for want of room: what the sampler says
// is kept must be, or counts come out too low.
func (a *Adaptive) Turn(now time.Time, lost float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	passed := now.Sub(a.turned).Seconds()
	if passed <= 0 { // the clock went back
		a.turned = now
		return
	}
	decided, requests, failures, slow := float64(a.decided.Swap(0)), float64(a.requests.Swap(0)), float64(a.failures.Swap(0)), float64(a.slow.Swap(0))
	a.turned = now
	p := &a.policy
	// Instrumentation by others tells of no requests, but has its traces decided.
	want, qps := p.Base, max(decided, requests)/passed
	if qps > p.Busy {
		want *= max(p.Busy/qps, p.BusyFloor)
	}
	want = max(want, min(1, p.Few/max(qps, 1e-9)))
	alarm := false
	if requests >= minWindow {
		switch {
		case failures >= p.AllErrors*requests, slow > requests/100:
			want, alarm = 1, true
		case failures >= p.Errors*requests:
			want *= p.ErrorBoost
		}
	}
	want = min(max(want, p.Least), p.Most)
	if a.share += p.Smoothing * (want - a.share); alarm {
		a.share = want
	}
	if lost > 0 {
		a.cap = max(min(a.cap, a.share)*(1-min(lost, 1))*capRoom, p.Least)
	} else {
		a.cap = min(a.cap*capGrowth, 1)
	}
	a.publish(a.share)
}

// Share is what is kept of plain traces at the moment.
func (a *Adaptive) Share() float64 { return a.rates.Load().plain.threshold.Probability() }

// publish makes the rates of a share; mu is held.
func (a *Adaptive) publish(share float64) {
	p := &a.policy
	bound := func(v float64) float64 { return min(max(v, p.Least), p.Most, a.cap) }
	weigh := func(weight float64) weighted {
		v := bound(share * weight)
		return weighted{NewByThreshold(v), NewByThreshold(bound(math.Max(v, p.CriticalFloor)))}
	}
	plain := weigh(1)
	r := &rates{plain: plain.plain, critical: plain.critical, names: a.names, weights: map[string]map[string]*weighted{}}
	for key, values := range p.Weights {
		r.weights[key] = map[string]*weighted{}
		for value, weight := range values {
			w := weigh(weight)
			r.weights[key][value] = &w
		}
	}
	a.rates.Store(r)
}

// Decide implements Sampler. Of several attributes with a weight the first one
// counts.
func (a *Adaptive) Decide(sc *SpanContext, name string, kind SpanKind, attrs []Attr) Decision {
	a.decided.Add(1)
	r := a.rates.Load()
	plain, critical := r.plain, r.critical
	if len(r.weights) > 0 && len(attrs) > 0 {
		for i := range attrs {
			if w := r.weights[attrs[i].Key][attrs[i].Value.str]; w != nil {
				plain, critical = w.plain, w.critical
				break
			}
		}
	}
	if len(r.names.named) > 0 {
		if n, ok := r.names.named[name]; ok {
			if n.own != nil {
				return n.own.Decide(sc, name, kind, attrs)
			}
			return critical.Decide(sc, name, kind, attrs)
		}
	}
	return plain.Decide(sc, name, kind, attrs)
}
