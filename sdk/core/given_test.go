package core

import (
	"math"
	"sync"
	"testing"
	"time"
)

func TestGivenValuesReplaceEachOther(t *testing.T) {
	m := NewMeter(testScope, 0)
	start := time.Unix(7, 0)
	calls := m.Instrument(InstrumentOptions{Name: "calls", Form: Counter, Integer: true, Start: start}).With()
	cpu := m.Instrument(InstrumentOptions{Name: "cpu", Form: Counter}).With()
	pauses := m.Instrument(InstrumentOptions{Name: "pauses", Form: Histogram, Bounds: []float64{1, 2}}).With()
	limit := m.Instrument(InstrumentOptions{Name: "limit", Form: UpDownCounter, Integer: true}).With()
	for i := range 3 {
		calls.SetTotal(int64(10 + i))
		cpu.SetTotalFloat(0.5 + float64(i))
		pauses.SetBuckets([]uint64{uint64(i), 4, 1}, 8.5)
		limit.SetTotal(99)
	}
	pauses.SetBuckets([]uint64{3}, 9.5)                   // fewer: the others stay
	pauses.SetBuckets([]uint64{3, 4, 1, 1000, 1000}, 9.5) // more: they have no bucket
	limit.Clear()

	got := collect(t, m)
	if _, there := got["limit"]; there {
		t.Error("a series without a value is exported")
	}
	p := got["calls"][metricSum][0].(message)[dataPoints][0].(message)
	if p[numberInt][0] != uint64(12) || p[pointStart][0] != uint64(start.UnixNano()) {
		t.Errorf("calls: %v, want 12 since %v", p, start)
	}
	p = got["cpu"][metricSum][0].(message)[dataPoints][0].(message)
	if p[numberDouble][0] != math.Float64bits(2.5) {
		t.Errorf("cpu: %v, want 2.5", p)
	}
	p = got["pauses"][metricHistogram][0].(message)[dataPoints][0].(message)
	if p[histogramCount][0] != uint64(8) || packed(p[histogramCounts]) != "[3 4 1]" || p[histogramSum][0] != math.Float64bits(9.5) {
		t.Errorf("pauses: %v, want 8 in [3 4 1] with the sum 9.5", p)
	}
	const least, most = 11, 12 // fields of a point: nobody knows them of what is given
	if p[least] != nil || p[most] != nil {
		t.Errorf("pauses: %v, want no extremes", p)
	}
	limit.SetTotal(5)
	if p := collect(t, m)["limit"][metricSum][0].(message)[dataPoints][0].(message); p[numberInt][0] != uint64(5) {
		t.Errorf("limit: %v, want 5 again", p)
	}
}

func TestGivenWhileCollecting(t *testing.T) {
	m := NewMeter(testScope, 0)
	h := m.Instrument(InstrumentOptions{Name: "h", Form: Histogram, Bounds: []float64{1}}).With()
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := range uint64(1000) {
			h.SetBuckets([]uint64{i, i}, float64(i))
		}
	}()
	for range 100 {
		AppendMetrics(nil, nil, []*Meter{m}, time.Now())
	}
	wg.Wait()
	p := collect(t, m)["h"][metricHistogram][0].(message)[dataPoints][0].(message)
	if p[histogramCount][0] != uint64(1998) {
		t.Errorf("count %v, want 1998", p[histogramCount])
	}
	if n := testing.AllocsPerRun(100, func() { h.SetBuckets([]uint64{1, 2}, 3) }); n != 0 {
		t.Errorf("SetBuckets takes %v allocations", n)
	}
}
