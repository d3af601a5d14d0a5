package core

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// run has windows of a second look alike and returns the share afterwards.
func run(a *Adaptive, windows, requests, failures, slow int) float64 {
	now := a.turned
	for range windows {
		for i := range requests {
			took := time.Millisecond
			if i < slow {
				took = time.Second
			}
			a.Observe(took, i < failures)
		}
		now = now.Add(time.Second)
		a.Turn(now, 0)
	}
	return a.Share()
}

func TestPolicy(t *testing.T) {
	f := func(name string, p Policy, requests, failures, slow int, want float64) {
		t.Helper()
		if got := run(NewAdaptive(p, time.Unix(0, 0)), 60, requests, failures, slow); math.Abs(got-want) > want/100 {
			t.Errorf("%s: %v is kept, want %v", name, got, want)
		}
	}
	f("nothing is the matter", Policy{}, 1000, 0, 0, 0.01)
	f("few requests", Policy{}, 50, 0, 0, 0.1)
	f("very few requests", Policy{}, 3, 0, 0, 1)
	f("no requests", Policy{}, 0, 0, 0, 1)
	f("few requests, by share only", Policy{Few: -1}, 50, 0, 0, 0.01)
	f("busy", Policy{}, 10_000, 0, 0, 0.005)
	f("very busy", Policy{}, 100_000, 0, 0, 0.001)
	f("some errors", Policy{}, 1000, 5, 0, 0.1)
	f("busy with some errors", Policy{}, 10_000, 100, 0, 0.05)
	f("many errors", Policy{}, 1000, 50, 0, 1)
	f("slow", Policy{}, 1000, 0, 11, 1)
	f("a hundredth is slow", Policy{}, 1000, 0, 10, 0.01)
	f("one of few fails", Policy{Few: -1}, 10, 1, 1, 0.01)
	f("at least", Policy{Base: 0.0002}, 100_000, 0, 0, 0.0001)
	f("fixed", Fixed(0.25), 1000, 500, 500, 0.25)
	f("fixed and quiet", Fixed(0.25), 1, 0, 0, 0.25)
	f("all", Fixed(1), 100_000, 0, 0, 1)
	f("so many a second", PerSecond(20), 1000, 500, 500, 0.02)
	f("so many a second of few", PerSecond(20), 10, 0, 0, 1)
	f("at most", Policy{Most: 0.5}, 1000, 500, 0, 0.5)
}

func TestPolicyIsSmooth(t *testing.T) {
	a := NewAdaptive(Policy{Few: -1}, time.Unix(0, 0))
	if got := run(a, 1, 1000, 5, 0); got <= 0.01 || got >= 0.1 {
		t.Errorf("after one window with errors %v, want between 0.01 and 0.1", got)
	}
	if got := run(a, 1, 1000, 100, 0); got != 1 {
		t.Errorf("at an alarm %v, want all at once", got)
	}
	if got := run(a, 1, 1000, 0, 0); got <= 0.1 || got >= 1 {
		t.Errorf("after the alarm %v, want it to fall slowly", got)
	}
	a.Turn(time.Unix(-5, 0), 0) // the clock goes back
	if got := run(a, 60, 1000, 0, 0); math.Abs(got-0.01) > 1e-4 {
		t.Errorf("a minute later %v", got)
	}
	a.SetPolicy(Policy{Base: 0.5, Few: -1})
	if got := run(a, 60, 1000, 0, 0); math.Abs(got-0.5) > 0.01 {
		t.Errorf("with another policy %v", got)
	}
}

func TestPolicyClasses(t *testing.T) {
	a := NewAdaptive(Policy{Few: -1, Critical: []string{"POST /pay"}, Weights: map[string]map[string]float64{"tenant.tier": {"gold": 50, "free": 0.1, "none": 0}}}, time.Unix(0, 0))
	f := func(name string, want float64, attrs ...Attr) {
		t.Helper()
		var sc SpanContext
		sc.TraceID = TraceID{0: 1, 8: 0, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff} // kept if any is
		d := a.Decide(&sc, name, KindServer, attrs)
		th, ok := StateThreshold(d.State)
		if !d.Keep || !ok || math.Abs(th.Probability()-want) > want/1000 {
			t.Errorf("%s %v: %+v, want a share of %v", name, attrs, d, want)
		}
	}
	f("GET /", 0.01)
	f("POST /pay", 0.2)
	f("GET /", 0.5, String("a", "b"), String("tenant.tier", "gold"))
	f("POST /pay", 0.5, String("tenant.tier", "gold"))
	f("GET /", 0.001, String("tenant.tier", "free"))
	f("GET /", 0.0001, String("tenant.tier", "none"))
	f("POST /pay", 0.2, String("tenant.tier", "free"))
	f("GET /", 0.01, String("tenant.tier", "unknown"))
	// Another policy holds for the next trace, names and weights at once.
	a.SetPolicy(Policy{Base: 0.01, Few: -1, Operations: map[string]float64{"GET /": 0.4}, Critical: []string{"GET /new"}})
	f("GET /", 0.4, String("tenant.tier", "gold"))
	f("POST /pay", 0.01)
	f("GET /new", 0.2)
	a.SetPolicy(Policy{Operations: map[string]float64{"GET /healthz": 0}})
	sc := SpanContext{TraceID: TraceID{0: 1, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}}
	if d := a.Decide(&sc, "GET /healthz", KindServer, nil); d.Keep {
		t.Error("an operation with a share of 0 is kept")
	}
	a.SetPolicy(Fixed(0))
	if d := a.Decide(&sc, "GET /", KindServer, nil); d.Keep && a.Share() > MinProbability {
		t.Errorf("of a share of 0, %v is kept", a.Share())
	}
}

func TestOperations(t *testing.T) {
	a := NewAdaptive(Policy{Critical: []string{"GET /orders/{id}", "GET /orders/{id}/items", "POST /pay", "GET /orders/new", "GET /files/{path...}", "GET /x/{$}", "plain", "GET /a/{b}/c/{d}"}}, time.Now())
	f := func(method, path, want string) {
		t.Helper()
		if got := a.Operation(method, path); got != want {
			t.Errorf("%s %s: got %q, want %q", method, path, got, want)
		}
	}
	f("POST", "/pay", "POST /pay")
	f("GET", "/pay", "GET")
	f("GET", "/orders/42", "GET /orders/{id}")
	f("GET", "/orders/new", "GET /orders/new")
	f("GET", "/orders/", "GET")
	f("GET", "/orders", "GET")
	f("GET", "/orders/42/", "GET")
	f("GET", "/orders/42/items", "GET /orders/{id}/items")
	f("GET", "/orders/42/other", "GET")
	f("GET", "/files/a/b/c", "GET /files/{path...}")
	f("GET", "/files/", "GET /files/{path...}")
	f("GET", "/x/", "GET /x/{$}")
	f("GET", "/x/y", "GET")
	f("GET", "/a/1/c/2", "GET /a/{b}/c/{d}")
	f("GET", "/a/1/d/2", "GET")
	f("GET", "/"+strings.Repeat("long", 1000), "GET")
	f("GET", "", "GET")
	if n := testing.AllocsPerRun(100, func() { a.Operation("GET", "/orders/42/items"); a.Operation("POST", "/pay") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Policies change while requests are decided and windows end.
func TestSetPolicyConcurrently(t *testing.T) {
	a := NewAdaptive(Policy{}, time.Unix(0, 0))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			sc := SpanContext{TraceID: NewTraceID()}
			for n := range 2000 {
				switch i {
				case 0:
					a.SetPolicy(Policy{Base: float64(n+1) / 2000, Critical: []string{"GET /a/{b}"}, Weights: map[string]map[string]float64{"k": {"v": 2}}})
				case 1:
					a.Turn(time.Unix(int64(n), 0), 0)
				default:
					a.Decide(&sc, a.Operation("GET", "/a/1"), KindServer, []Attr{String("k", "v")})
					a.Observe(time.Second, true)
					if keys := a.WeightKeys(); len(keys) > 0 && !a.Weighs(keys[0], "v") && a.Weighs(keys[0], "w") {
						t.Error("weights of another policy")
					}
				}
			}
		})
	}
	wg.Wait()
}

// What is kept, scaled by its weight, must be what there was, while traffic
// comes in bursts and the share follows it. The tolerance is four times the
// standard error that the weights themselves say.
func TestSamplingIsUnbiased(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	a := NewAdaptive(Policy{Base: 0.05, Busy: 100, Few: -1}, time.Unix(0, 0))
	now := time.Unix(0, 0)
	var total, failed, estimate, failedEstimate, variance, failedVariance float64
	for window := range 20_000 {
		n := 50
		if window%30 < 3 {
			n = 1000
		}
		errors := 0.0
		if window%50 < 5 {
			errors = 0.02
		}
		for range n {
			sc := SpanContext{TraceID: TraceID{0: 1}}
			for i := range sc.TraceID[8:] {
				sc.TraceID[8+i] = byte(rnd.Uint32())
			}
			fails := rnd.Float64() < errors
			a.Observe(time.Millisecond, fails)
			total++
			if fails {
				failed++
			}
			d := a.Decide(&sc, "n", KindServer, nil)
			if !d.Keep {
				continue
			}
			th, ok := StateThreshold(d.State)
			if !ok {
				t.Fatalf("kept without a threshold: %+v", d)
			}
			w := th.Weight()
			estimate += w
			variance += w * (w - 1)
			if fails {
				failedEstimate += w
				failedVariance += w * (w - 1)
			}
		}
		now = now.Add(time.Second)
		a.Turn(now, 0)
	}
	if bias := math.Abs(estimate - total); bias > 4*math.Sqrt(variance) || bias > total/100 {
		t.Errorf("%v traces are estimated as %v, standard error %v", total, estimate, math.Sqrt(variance))
	}
	if bias := math.Abs(failedEstimate - failed); bias > 4*math.Sqrt(failedVariance) {
		t.Errorf("%v failures are estimated as %v, standard error %v", failed, failedEstimate, math.Sqrt(failedVariance))
	}
	t.Logf("count %+.2f %%, failures %+.2f %%", 100*(estimate/total-1), 100*(failedEstimate/failed-1))
}

func BenchmarkAdaptive(b *testing.B) {
	a := NewAdaptive(Policy{Few: -1, Critical: []string{"POST /pay"}}, time.Now())
	sc := SpanContext{TraceID: NewTraceID()}
	b.ReportAllocs()
	for b.Loop() {
		sc.TraceID[9]++
		a.Decide(&sc, "GET /", KindServer, nil)
		a.Observe(time.Millisecond, false)
	}
}

// BenchmarkAdaptiveByAll decides by a policy that uses everything.
func BenchmarkAdaptiveByAll(b *testing.B) {
	a := NewAdaptive(Policy{Few: -1, Critical: []string{"POST /pay", "GET /orders/{id}"}, Operations: map[string]float64{"GET /healthz": 0.001}, Weights: map[string]map[string]float64{"tenant.tier": {"gold": 50}}}, time.Now())
	sc := SpanContext{TraceID: NewTraceID()}
	attrs := []Attr{String("tenant.tier", "gold")}
	b.ReportAllocs()
	for b.Loop() {
		sc.TraceID[9]++
		a.Decide(&sc, "GET /orders/{id}", KindServer, attrs)
	}
}

// Traces that are decided without anybody telling of requests are traffic, too.
func TestPolicyCountsDecisions(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := NewAdaptive(Policy{}, now)
	for range 30 {
		for range 20_000 {
			a.Decide(&SpanContext{TraceID: NewTraceID(), Flags: FlagRandom}, "job", KindInternal, nil)
		}
		now = now.Add(time.Second)
		a.Turn(now, 0)
	}
	// A quarter of the base rate at four times the traffic that is busy.
	if got := a.Share(); got < 0.0024 || got > 0.0026 {
		t.Errorf("at 20,000 traces a second the share is %v, want 0.0025", got)
	}
}

// What does not fit is not kept in the first place, whatever alarms say.
func TestPolicyUnderPressure(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := NewAdaptive(Policy{Critical: []string{"pay"}}, now)
	window := func(lost float64) {
		for range 1000 {
			a.Observe(time.Millisecond, true) // all fail: an alarm
		}
		now = now.Add(time.Second)
		a.Turn(now, lost)
	}
	window(0)
	if a.Share() != 1 {
		t.Fatalf("with an alarm the share is %v", a.Share())
	}
	window(0.5)
	if got := a.Share(); got > 0.46 || got < 0.44 {
		t.Errorf("when half of all is lost the share is %v, want 0.45", got)
	}
	for range 20 {
		window(0.5)
	}
	if got := a.Share(); got > 0.0002 {
		t.Errorf("when half is lost all the time the share is %v", got)
	}
	if d := a.Decide(&SpanContext{TraceID: TraceID{9: 0x80, 15: 1}}, "pay", KindServer, nil); d.Keep {
		t.Error("a critical operation is kept beyond what fits")
	}
	for range 100 {
		window(0)
	}
	if a.Share() != 1 {
		t.Errorf("with room again the share is %v", a.Share())
	}
}
