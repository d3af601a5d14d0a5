package red

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestWeight(t *testing.T) {
	for state, want := range map[string]float64{
		"":                              1,
		"ot=th:0":                       1,
		"ot=th:8":                       2,
		"ot=th:c":                       4,
		"ot=th:80000000000000":          2,
		"ot=rv:12345678901234;th:c":     4,
		"a=b, ot=th:c ,c=d":             4,
		"ot=th:e8":                      256.0 / 24,
		"ot=th:ffffffffffffff":          maxWeight,
		"ot=th:":                        1,
		"ot=th:C":                       1,
		"ot=th:800000000000000":         1, // 15 digits
		"ot=th:zz":                      1,
		"ot=p:8":                        1,
		"not=th:8":                      1,
		"ot@vendor=th:8":                1,
		"ot=th:8;th:c":                  2,
		",,ot=;th:8":                    2,
		"rojo=00f067aa0ba902b7,ot=th:8": 2,
	} {
		if got := weight(state); math.Abs(got-want) > 1e-9 {
			t.Errorf("weight(%q) = %v, want %v", state, got, want)
		}
	}
}

func FuzzWeight(f *testing.F) {
	f.Add("ot=th:8,x=y")
	f.Add("ot=rv:0;th:ffffffffffffff;")
	f.Fuzz(func(t *testing.T, state string) {
		if w := weight(state); !(w >= 1 && w <= maxWeight) {
			t.Errorf("weight(%q) = %v, want 1 to %d", state, w, maxWeight)
		}
	})
}

func TestRounderKeepsTheTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRounder()
		exact, rounded := 0.0, uint64(0)
		for _, w := range rapid.SliceOf(rapid.Float64Range(1, 1000)).Draw(t, "weights") {
			n := r.round(w)
			if n < uint64(w) {
				t.Fatalf("round(%v) = %d", w, n)
			}
			exact += w
			rounded += n
			if off := math.Abs(exact - float64(rounded)); off >= 1+1e-6 {
				t.Fatalf("%v rounded to %d: off by %v", exact, rounded, off)
			}
		}
	})
}

// Two kinds of spans that alternate, each of weight 1.5: carrying remainders
// would give all extra counts to one of them.
func TestRounderIsFairToARhythm(t *testing.T) {
	const pairs = 10_000
	r := newRounder()
	var first, second uint64
	for range pairs {
		first += r.round(1.5)
		second += r.round(1.5)
	}
	// The extra counts of the first are binomial with p = ½; 8 standard deviations.
	if want, off := 1.5*pairs, 8*math.Sqrt(pairs)/2; math.Abs(float64(first)-want) > off || math.Abs(float64(second)-want) > off {
		t.Errorf("got %d and %d, want %v ± %v each", first, second, want, off)
	}
}
