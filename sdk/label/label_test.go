package label

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func TestBuckets(t *testing.T) {
	b := NewBuckets(100, 1, math.NaN(), 10, 10)
	f := func(v float64, want string) {
		t.Helper()
		if got := b.Of(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
	f(math.Inf(-1), "<1")
	f(0.999, "<1")
	f(1, "1-10")
	f(9.99, "1-10")
	f(10, "10-100")
	f(100, ">=100")
	f(math.Inf(1), ">=100")
	f(math.NaN(), "invalid")
	if got := NewBuckets(0.25, 2_500_000).Of(1); got != "0.25-2500000" {
		t.Errorf("got %s", got)
	}
	if got := NewBuckets().Of(1); got != "other" {
		t.Errorf("without bounds: %s", got)
	}
}

func TestEnum(t *testing.T) {
	e := NewEnum("gold", "silver")
	if got := e.Of("gold") + e.Of("Gold") + e.Of(""); got != "goldotherother" || e.Folded() != 2 {
		t.Errorf("got %s with %d folded", got, e.Folded())
	}
}

func TestLimiter(t *testing.T) {
	l := NewLimiter(2)
	var got []string
	for _, v := range []string{"a", "b", "c", "a", "d", "b", strings.Repeat("x", MaxLength+1)} {
		got = append(got, l.Of(v))
	}
	if fmt.Sprint(got) != "[a b other a other b other]" || l.Folded() != 3 || l.Kept() != 2 {
		t.Errorf("got %v, %d folded, %d kept", got, l.Folded(), l.Kept())
	}
	if l := NewLimiter(0); l.most != DefaultMost {
		t.Errorf("the default is %d", l.most)
	}
}

// However many come at once: no more than most labels, and each value always has
// the same one.
func TestLimiterFromManyGoroutines(t *testing.T) {
	const most = 10
	l := NewLimiter(most)
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			first := map[string]string{}
			for range 5000 {
				v := fmt.Sprint(rng.IntN(50))
				got := l.Of(v)
				if got != v && got != Other {
					t.Errorf("%s is labelled %s", v, got)
				}
				if old, ok := first[v]; ok && old != got {
					t.Errorf("%s is labelled %s and %s", v, old, got)
				}
				first[v] = got
			}
			mu.Lock()
			defer mu.Unlock()
			for _, got := range first {
				seen[got] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != most+1 || l.Kept() != most || l.Folded() == 0 {
		t.Errorf("%d labels, %d kept, %d folded", len(seen), l.Kept(), l.Folded())
	}
}

func TestKnownValuesAllocateNothing(t *testing.T) {
	buckets, enum, limiter := NewBuckets(1, 10), NewEnum("gold"), NewLimiter(2)
	networks, err := NewNetworks(NetworkOptions{Named: map[string]string{"10.2.0.0/16": "office", "2001:db8::/32": ""}, Bits4: 16, Bits6: 48})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := NewRoutes(10, "GET /orders/{id}", "/static/")
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Buckets":           func() { buckets.Of(5) },
		"Enum":              func() { enum.Of("gold") },
		"Enum, folded":      func() { enum.Of("bronze") },
		"Limiter":           func() { limiter.Of("a") },
		"named IPv4":        func() { networks.Of("10.2.3.4:80") },
		"IPv4":              func() { networks.Of("10.3.3.4") },
		"named IPv6":        func() { networks.Of("[2001:db8:1:2::3]:443") },
		"IPv6":              func() { networks.Of("fe80::1%eth0") },
		"IPv4 in IPv6":      func() { networks.Of("::ffff:10.2.3.4") },
		"route":             func() { routes.Of("/orders/4711") },
		"route, below":      func() { routes.Of("/static/a/b/c") },
		"route, a template": func() { routes.Of("/users/4711/mails") },
		"route, too long":   func() { routes.Of("/a/b/c/d/e/f/g/h/i/j/k") },
	} {
		f()
		if n := testing.AllocsPerRun(500, f); n != 0 {
			t.Errorf("%s takes %v allocations", name, n)
		}
	}
}

func BenchmarkLabels(b *testing.B) {
	networks, err := NewNetworks(NetworkOptions{})
	if err != nil {
		b.Fatal(err)
	}
	routes, err := NewRoutes(10, "GET /orders/{id}")
	if err != nil {
		b.Fatal(err)
	}
	limiter := NewLimiter(2)
	for name, f := range map[string]func(){
		"Limiter":  func() { limiter.Of("a") },
		"Networks": func() { networks.Of("10.2.3.4:80") },
		"Route":    func() { routes.Of("/orders/4711") },
		"Template": func() { routes.Of("/users/4711/mails") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
