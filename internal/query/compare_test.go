package query

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"pgregory.net/rapid"
)

// expectedBySum is the mean of |x/n - (k-x)/m| summed over every outcome, in
// exact rational arithmetic.
func expectedBySum(k, n, m int64) float64 {
	sum := new(big.Rat)
	all := new(big.Int).Binomial(n+m, n)
	for x := max(0, k-m); x <= min(k, n); x++ {
		ways := new(big.Int).Mul(new(big.Int).Binomial(k, x), new(big.Int).Binomial(n+m-k, n-x))
		d := new(big.Rat).Sub(big.NewRat(x, n), big.NewRat(k-x, m))
		d.Abs(d).Mul(d, new(big.Rat).SetFrac(ways, all))
		sum.Add(sum, d)
	}
	f, _ := sum.Float64()
	return f
}

func TestExpectedDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, m := rapid.Int64Range(1, 80).Draw(t, "n"), rapid.Int64Range(1, 80).Draw(t, "m")
		k := rapid.Int64Range(0, n+m).Draw(t, "k")
		got, want := expected(uint64(k), uint64(n), uint64(m)), expectedBySum(k, n, m)
		if math.Abs(got-want) > 1e-10 {
			t.Fatalf("k=%d n=%d m=%d: got %v, want %v", k, n, m, got, want)
		}
	})
	// Large numbers must stay finite and close to the normal approximation.
	const k, n, m = 3e6, 1e6, 9e6
	p := k / (n + m)
	want := math.Sqrt(2 / math.Pi * p * (1 - p) * (1/n + 1/m))
	if got := expected(k, n, m); math.Abs(got/want-1) > 1e-3 {
		t.Errorf("got %v, want about %v", got, want)
	}
}

func TestDifference(t *testing.T) {
	score := func(selected, baseline uint64, pairs ...pair) float64 {
		return difference("f", pairs, selected, baseline).Score
	}
	near := func(name string, got, want, within float64) {
		t.Helper()
		if math.Abs(got-want) > within {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	near("the same shares", score(100, 1000, pair{"a", 50, 500}, pair{"b", 50, 500}), 0, 0)
	near("disjoint", score(100, 1000, pair{"a", 100, 0}, pair{"b", 0, 1000}), 1, 1e-12)
	near("disjoint, small selection", score(5, 100000, pair{"a", 5, 0}, pair{"b", 0, 100000}), 1, 1e-3)
	near("a unique id each", score(3, 3, pair{"a", 1, 0}, pair{"b", 1, 0}, pair{"c", 1, 0}, pair{"d", 0, 1}, pair{"e", 0, 1}, pair{"f", 0, 1}), 0, 0)
	near("missing outside", score(100, 1000, pair{"a", 100, 0}), 1, 1e-12)
	near("missing everywhere but in one", score(100, 100000, pair{"a", 1, 0}), 0, 0.01)
	near("half of it", score(1000, 1000, pair{"a", 1000, 500}, pair{"b", 0, 500}), 0.5, 0.02)
	near("no selection", score(0, 10, pair{"a", 0, 10}), 0, 0)
	near("no baseline", score(10, 0, pair{"a", 10, 0}), 0, 0)

	got := difference("f", []pair{{"a", 30, 300}, {"b", 10, 600}}, 50, 1000)
	want := []ValueDiff{{"b", 0.2, 0.6}, {"a", 0.6, 0.3}, {"", 0.2, 0.1}}
	if diff := cmp.Diff(want, got.Values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

// TestDifferenceOfRandomSelections draws selections by chance: whatever their
// size and however many values there are, the score must stay near 0.
func TestDifferenceOfRandomSelections(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, values := range []int{2, 10, 300, 3000, 4900, 5000} {
		for _, selected := range []int{5, 50, 1000} {
			const total = 5000
			sum := 0.0
			const runs = 20
			for range runs {
				counts := make([]pair, values)
				for i := range total {
					counts[i%values].outside++
				}
				for _, i := range rng.Perm(total)[:selected] {
					counts[i%values].in++
					counts[i%values].outside--
				}
				sum += difference("f", counts, uint64(selected), total-uint64(selected)).Score
			}
			if mean := sum / runs; mean > 0.1 {
				t.Errorf("%d values, %d of %d selected: mean score %.3f", values, selected, total, mean)
			}
		}
	}
}

func TestCompare(t *testing.T) {
	var list []sp
	for i := range 400 {
		s := sp{trace: i + 1, id: 1, service: "order", name: fmt.Sprint("op", i%4), kind: ptrace.SpanKindServer,
			attrs:    map[string]any{"user.id": fmt.Sprint(i), "region": []string{"east", "west"}[i%2]},
			resource: map[string]any{"host.name": fmt.Sprint("h", i%5)}}
		s.to = time.Duration(i) * time.Second
		s.from = s.to - 10*time.Millisecond
		if i >= 300 && i%4 == 1 { // slow: op1, region west, version 2
			s.from = s.to - 900*time.Millisecond
			s.attrs["version"] = "2"
			s.failed = true
		}
		list = append(list, s)
	}
	e, _ := ask(spans(list...), plog.NewLogs())
	got, err := e.Compare(t.Context(), hour, Box{Start: noon.Add(300 * time.Second), End: noon.Add(400 * time.Second), MinNs: 5e8, Filter: "status = error"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Selected != 25 || got.Baseline != 375 {
		t.Errorf("got %d selected, %d baseline; want 25 and 375", got.Selected, got.Baseline)
	}
	var order []string
	for _, f := range got.Fields {
		order = append(order, f.Field)
		if f.Score <= 0 || f.Score > 1 {
			t.Errorf("%s: score %v", f.Field, f.Score)
		}
	}
	// version tells the slow ones apart entirely, the operation nearly, the
	// region half; the rest is chance. status is what was selected by.
	if diff := cmp.Diff([]string{"span.version", "name", "span.region"}, order[:min(3, len(order))]); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, f := range order {
		if f == "status" || f == "span.user.id" || f == "service.name" {
			t.Errorf("%s is ranked", f)
		}
	}
	if v := got.Fields[0].Values[0]; (v != ValueDiff{"", 0, 1} && v != ValueDiff{"2", 1, 0}) {
		t.Errorf("got first value %+v", v)
	}
	if _, err := e.Compare(t.Context(), hour, Box{Start: hour.End, End: hour.End.Add(time.Hour)}); err == nil {
		t.Error("a box outside the window is accepted")
	}
}
