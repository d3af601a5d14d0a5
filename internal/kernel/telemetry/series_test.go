//go:build linux

package telemetry

import (
	"fmt"
	"math"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

// sumOf adds up the points of a metric, by peer.
func sumOf(m pmetric.Metrics, name string) (total int64, peers map[string]int64) {
	peers = map[string]int64{}
	for _, rm := range m.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, x := range sm.Metrics().All() {
				if x.Name() != name {
					continue
				}
				for _, p := range x.Sum().DataPoints().All() {
					peer, _ := p.Attributes().Get("network.peer.address")
					total += p.IntValue()
					peers[peer.AsString()] += p.IntValue()
				}
			}
		}
	}
	return total, peers
}

func crowd(n int, bytes func(i int) uint64) []tcp.Flow {
	flows := make([]tcp.Flow, n)
	for i := range flows {
		flows[i] = tcp.Flow{Identity: tcp.Identity{Process: postgres, Role: tcp.Server, Local: addr("10.0.0.9:5432"),
			Remote: addr(fmt.Sprintf("10.%d.%d.%d:0", 1+i>>16, i>>8&255, i&255))}, BytesReceived: bytes(i)}
	}
	return flows
}

// Nothing is lost when there are too many peers: the small ones are one.
func TestTooManyPeersAreOne(t *testing.T) {
	n := NewNetwork(origin)
	n.sets.max = 10
	var want int64
	flows := crowd(100, func(i int) uint64 { want += int64(i + 1); return uint64(i + 1) })
	total, peers := sumOf(n.Metrics(report(noon, flows...)), "kernel.tcp.io")
	if total != want || len(peers) != 11 || peers[others] != 91*90/2 || peers["10.1.0.99"] != 100 {
		t.Errorf("%d bytes, want %d, by %v", total, want, peers)
	}
	if n.Folded() != 90 {
		t.Errorf("%d were folded, want 90", n.Folded())
	}
	// Who has a place keeps it, whatever comes.
	flows = append(crowd(100, func(i int) uint64 { return uint64(i + 1) })[90:], crowd(300, func(int) uint64 { return 1 << 20 })[200:]...)
	_, peers = sumOf(n.Metrics(report(noon.Add(10*time.Second), flows...)), "kernel.tcp.io")
	if peers["10.1.0.99"] != 100 || peers[others] != 100<<20 {
		t.Errorf("in the second interval by %v", peers)
	}
	// An hour without a word frees a place.
	_, peers = sumOf(n.Metrics(report(noon.Add(2*time.Hour), crowd(3, func(int) uint64 { return 7 })...)), "kernel.tcp.io")
	if len(peers) != 3 || peers["10.1.0.2"] != 7 {
		t.Errorf("two hours later by %v", peers)
	}
}

// Services that come and go, such as the steps of a build, are bounded as well.
func TestTooManyServicesAreOne(t *testing.T) {
	n := NewNetwork(origin)
	n.sets.max = 10
	var flows []tcp.Flow
	for i := range 100 {
		f := crowd(1, func(int) uint64 { return 5 })[0]
		f.Process = kernel.Process{PID: i + 1, Comm: fmt.Sprint("step", i)}
		flows = append(flows, f)
	}
	m := n.Metrics(report(noon, flows...))
	if total, _ := sumOf(m, "kernel.tcp.io"); total != 500 || len(n.sets.all) > 21 {
		t.Errorf("%d bytes in %d sets", total, len(n.sets.all))
	}
}

// A series ends some minutes after its traffic and begins again with a zero.
func TestSilenceAndReturn(t *testing.T) {
	n := NewNetwork(origin)
	points := func(at time.Duration, flows ...tcp.Flow) int {
		count := 0
		for _, rm := range n.Metrics(report(noon.Add(at), flows...)).ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if m.Name() == "kernel.tcp.io" {
					count += m.Sum().DataPoints().Len()
				}
			}
		}
		return count
	}
	one := crowd(1, func(int) uint64 { return 5 })
	for _, tt := range []struct {
		at    time.Duration
		flows []tcp.Flow
		want  int
		why   string
	}{
		{0, one, 2, "a zero and the first"},
		{10 * time.Second, one, 1, "the second"},
		{20 * time.Second, nil, 1, "nothing, which is told"},
		{toldFor + 20*time.Second, nil, 0, "silence"},
		{toldFor + 30*time.Second, one, 2, "a zero and the next"},
	} {
		if got := points(tt.at, tt.flows...); got != tt.want {
			t.Errorf("after %v: %d points, want %d: %s", tt.at, got, tt.want, tt.why)
		}
	}
}

// What the store reads from buckets is what the kernel's slots say, within half
// a slot and half a bucket.
func TestBucketsKeepQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h tcp.RTTHistogram
		n := 0
		for range rapid.IntRange(1, 5).Draw(t, "slots") {
			c := rapid.IntRange(1, 1000).Draw(t, "count")
			h[rapid.IntRange(1, len(h)-2).Draw(t, "slot")] += uint32(c)
			n += c
		}
		p := pmetric.NewExponentialHistogramDataPoint()
		p.SetScale(histogramScale)
		fill(p, h[:], h.Bound)
		if p.Count() != uint64(n) {
			t.Fatalf("count %d, want %d", p.Count(), n)
		}
		q := rapid.Float64Range(0.01, 0.99).Draw(t, "quantile")
		got, want := quantileOf(p, q), h.Quantile(q).Seconds()
		if r := got / want; r < 0.65 || r > 1.5 {
			t.Errorf("quantile %g: %g s, the kernel's slots say %g s", q, got, want)
		}
	})
}

// quantileOf is the upper bound of the bucket that holds the quantile.
func quantileOf(p pmetric.ExponentialHistogramDataPoint, q float64) float64 {
	rank, seen := math.Max(1, math.Ceil(q*float64(p.Count()))), 0.0
	for i, n := range p.Positive().BucketCounts().All() {
		if seen += float64(n); seen >= rank {
			return math.Exp2(float64(int(p.Positive().Offset())+i+1) / (1 << histogramScale))
		}
	}
	return math.Inf(1)
}
