package core

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The nested messages of metrics.
var (
	numberForm    = map[int]any{dataPoints: map[int]any{numberAttributes: keyValue, numberExemplars: map[int]any{}}}
	histogramForm = map[int]any{dataPoints: map[int]any{histogramAttributes: keyValue, histogramExemplars: map[int]any{}}}
	metricForm    = map[int]any{metricSum: numberForm, metricGauge: numberForm, metricHistogram: histogramForm}
	metricRequest = map[int]any{requestResources: map[int]any{resourceField: map[int]any{}, resourceScopes: map[int]any{scopeItems: metricForm, scopeField: map[int]any{}}}}
)

// collect is the metrics of a meter by name.
func collect(t *testing.T, m *Meter) map[string]message {
	t.Helper()
	body, points := AppendMetrics(nil, nil, []*Meter{m, NewMeter(NewScope("empty", "", ""), 0)}, time.Unix(100, 0))
	out, n := map[string]message{}, 0
	scopes := decode(t, body, metricRequest)[requestResources][0].(message)[resourceScopes]
	for _, scope := range scopes {
		for _, metric := range scope.(message)[scopeItems] {
			got := metric.(message)
			out[got[metricName][0].(string)] = got
			for _, data := range []int{metricSum, metricGauge, metricHistogram} {
				for _, d := range got[data] {
					n += len(d.(message)[dataPoints])
				}
			}
		}
	}
	if n != points {
		t.Errorf("AppendMetrics says %d points, %d are there", points, n)
	}
	if len(scopes) > 1 {
		t.Errorf("%d scopes, want none without points", len(scopes))
	}
	return out
}

func TestMetrics(t *testing.T) {
	m := NewMeter(testScope, 0)
	requests := m.Instrument(InstrumentOptions{Name: "requests", Description: "served", Unit: "{request}", Form: Counter, Integer: true})
	requests.With(String("code", "200"), String("a", "x")).Add(2)
	requests.With(String("a", "x"), String("code", "500"), String("code", "200")).Add(3) // the same series
	m.Instrument(InstrumentOptions{Name: "open", Form: UpDownCounter}).With().AddFloat(-1.5)
	m.Instrument(InstrumentOptions{Name: "level", Form: Gauge, Integer: true}).With().Set(-7)
	m.Instrument(InstrumentOptions{Name: "untouched", Form: Counter}).With()

	h := m.Instrument(InstrumentOptions{Name: "duration", Unit: "s", Form: Histogram, Bounds: []float64{0.1, 1}}).With(String("route", "/"))
	kept := &SpanContext{TraceID: TraceID{1}, SpanID: SpanID{2}, Flags: FlagSampled}
	for _, v := range []float64{0.1, 0.5, 3, math.NaN()} {
		h.Record(v, kept)
	}
	h.Record(0.7, &SpanContext{TraceID: TraceID{3}, SpanID: SpanID{4}}) // not kept
	h.Record(0.8, nil)

	got := collect(t, m)
	if _, ok := got["untouched"]; ok || len(got) != 4 {
		t.Errorf("metrics %v, want the four that have values", reflect.ValueOf(got).MapKeys())
	}
	sum := got["requests"][metricSum][0].(message)
	point := sum[dataPoints][0].(message)
	if len(sum[dataPoints]) != 1 || point[numberInt][0] != uint64(5) || sum[dataMonotonic][0] != uint64(1) || sum[dataTemporality][0] != uint64(2) || point[pointTime][0] != uint64(100e9) {
		t.Errorf("requests: %v", sum)
	}
	if a := attrs(point[numberAttributes]); fmt.Sprint(a) != "map[a:map[1:[x]] code:map[1:[200]]]" {
		t.Errorf("attributes of requests: %v", a)
	}
	if p := got["open"][metricSum][0].(message); p[dataMonotonic] != nil || p[dataPoints][0].(message)[numberDouble][0] != math.Float64bits(-1.5) {
		t.Errorf("open: %v", p)
	}
	if p := got["level"][metricGauge][0].(message)[dataPoints][0].(message); int64(p[numberInt][0].(uint64)) != -7 || p[pointStart] != nil {
		t.Errorf("level: %v", p)
	}
	p := got["duration"][metricHistogram][0].(message)[dataPoints][0].(message)
	if p[histogramCount][0] != uint64(5) || math.Abs(math.Float64frombits(p[histogramSum][0].(uint64))-5.1) > 1e-9 || packed(p[histogramCounts]) != "[1 3 1]" {
		t.Errorf("duration: %v", p)
	}
	var values []float64
	for _, e := range p[histogramExemplars] {
		if e.(message)[exemplarTrace][0].(string)[0] != 1 {
			t.Errorf("an exemplar of a span that is not kept: %v", e)
		}
		values = append(values, math.Float64frombits(e.(message)[exemplarDouble][0].(uint64)))
	}
	if fmt.Sprint(values) != "[3 0.5]" {
		t.Errorf("exemplars %v, want the largest and one more", values)
	}
	if p := collect(t, m)["duration"][metricHistogram][0].(message)[dataPoints][0].(message); len(p[histogramExemplars]) != 0 || p[histogramCount][0] != uint64(5) {
		t.Errorf("collected again: %v, want the same count and no exemplar twice", p)
	}
}

// What was observed counts once, and what is not observed any more is not there.
func TestObserved(t *testing.T) {
	m := NewMeter(testScope, 4)
	sum := m.Instrument(InstrumentOptions{Name: "sum", Form: Counter, Integer: true, Observed: true})
	gauge := m.Instrument(InstrumentOptions{Name: "gauge", Form: Gauge, Observed: true})
	began := time.Now()
	rounds := []struct {
		sums map[string][]int64 // several are added up
		want string
	}{
		{map[string][]int64{"a": {5}, "b": {1, 2}}, "a=5 b=3"},
		{map[string][]int64{"a": {6}}, "a=6"},
		{map[string][]int64{}, ""},
		{map[string][]int64{"a": {7}}, "a=7"},
		{map[string][]int64{"c": {1}, "d": {2}, "e": {3}}, "c=1 d=2 e=3"}, // a and b make room
		{map[string][]int64{"c": {1}, "d": {2}, "e": {3}, "f": {4}, "g": {5}}, "c=1 d=2 e=3 overflow=9"},
		{map[string][]int64{"f": {4}, "g": {5}}, "f=4 g=5"},
	}
	for n, r := range rounds {
		for _, key := range slices.Sorted(maps.Keys(r.sums)) {
			for _, v := range r.sums[key] {
				sum.With(String("key", key)).Add(v)
				gauge.With(String("key", key)).SetFloat(float64(v))
			}
		}
		var got []string
		all := collect(t, m)
		for _, data := range all["sum"][metricSum] {
			for _, p := range data.(message)[dataPoints] {
				p := p.(message)
				key := "overflow"
				if k, ok := attrs(p[numberAttributes])["key"]; ok {
					key = k.(message)[anyString][0].(string)
				}
				got = append(got, fmt.Sprintf("%s=%d", key, p[numberInt][0]))
				if at := time.Unix(0, int64(p[pointStart][0].(uint64))); at.After(began) {
					t.Errorf("round %d: %s counts from %v, want the time of the instrument", n, key, at)
				}
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != r.want {
			t.Errorf("round %d: %v, want %s", n, got, r.want)
		}
		if _, ok := all["gauge"]; ok != (len(r.sums) > 0) {
			t.Errorf("round %d: a gauge that was observed: %v", n, ok)
		}
	}
}

func TestExtremes(t *testing.T) {
	for _, bounds := range [][]float64{{0, 1}, nil, {}, hundred()} {
		h := NewMeter(testScope, 0)
		s := h.Instrument(InstrumentOptions{Name: "h", Form: Histogram, Bounds: bounds}).With()
		values := []float64{3, -2, 0.5, 3, 50, 99.5, math.NaN()}
		for _, v := range values {
			s.Record(v, nil)
		}
		p := collect(t, h)["h"][metricHistogram][0].(message)[dataPoints][0].(message)
		if least, most := math.Float64frombits(p[histogramMin][0].(uint64)), math.Float64frombits(p[histogramMax][0].(uint64)); least != -2 || most != 99.5 {
			t.Errorf("from %v to %v, want -2 to 99.5", least, most)
		}
		if bounds == nil {
			bounds = DefaultBounds
		}
		want := make([]uint64, len(bounds)+1)
		for _, v := range values[:6] {
			n := 0
			for ; n < len(bounds) && v > bounds[n]; n++ {
			}
			want[n]++
		}
		if packed(p[histogramCounts]) != fmt.Sprint(want) {
			t.Errorf("buckets %v, want %v", packed(p[histogramCounts]), want)
		}
	}
}

func hundred() (bounds []float64) {
	for n := range 100 {
		bounds = append(bounds, float64(n))
	}
	return bounds
}

func TestExemplarsOfNumbers(t *testing.T) {
	m := NewMeter(testScope, 0)
	kept := &SpanContext{TraceID: TraceID{1}, SpanID: SpanID{2}, Flags: FlagSampled}
	whole := m.Instrument(InstrumentOptions{Name: "whole", Form: Counter, Integer: true}).With()
	whole.Add(7)
	whole.Exemplar(7, kept)
	whole.Exemplar(8, &SpanContext{TraceID: TraceID{1}, SpanID: SpanID{2}}) // not kept
	level := m.Instrument(InstrumentOptions{Name: "level", Form: Gauge}).With()
	level.SetFloat(0.5)
	level.Exemplar(0.5, kept)
	got := collect(t, m)
	p := got["whole"][metricSum][0].(message)[dataPoints][0].(message)
	if x := p[numberExemplars]; len(x) != 1 || x[0].(message)[exemplarInt][0] != uint64(7) || x[0].(message)[exemplarTrace][0].(string)[0] != 1 {
		t.Errorf("exemplars of an integer: %v", x)
	}
	p = got["level"][metricGauge][0].(message)[dataPoints][0].(message)
	if x := p[numberExemplars]; len(x) != 1 || x[0].(message)[exemplarDouble][0] != math.Float64bits(0.5) {
		t.Errorf("exemplars of a fraction: %v", x)
	}
}

// However many measurements there are: the largest is an exemplar, and one more.
func TestTheLargestIsAnExemplar(t *testing.T) {
	m := NewMeter(testScope, 0)
	s := m.Instrument(InstrumentOptions{Name: "h", Form: Histogram}).With()
	for n := range 1000 {
		v := float64((n * 619) % 1000)
		s.Record(v, &SpanContext{TraceID: TraceID{1}, SpanID: SpanID{2}, Flags: FlagSampled})
	}
	p := collect(t, m)["h"][metricHistogram][0].(message)[dataPoints][0].(message)
	if x := p[histogramExemplars]; len(x) != 2 || x[0].(message)[exemplarDouble][0] != math.Float64bits(999) {
		t.Errorf("exemplars %v, want 999 and another", x)
	}
}

func TestNothingPoisonsASum(t *testing.T) {
	m := NewMeter(testScope, 0)
	s := m.Instrument(InstrumentOptions{Name: "sum", Form: Counter}).With()
	s.AddFloat(1.5)
	s.AddFloat(math.NaN())
	if p := collect(t, m)["sum"][metricSum][0].(message)[dataPoints][0].(message); p[numberDouble][0] != math.Float64bits(1.5) {
		t.Errorf("after NaN the sum is %v", p)
	}
}

func packed(field []any) string {
	var out []uint64
	for b := []byte(field[0].(string)); len(b) > 0; b = b[8:] {
		out = append(out, binary.LittleEndian.Uint64(b))
	}
	return fmt.Sprint(out)
}

func TestCardinalityIsBounded(t *testing.T) {
	m := NewMeter(testScope, 10)
	i := m.Instrument(InstrumentOptions{Name: "n", Form: Counter, Integer: true})
	for n := range 1000 {
		i.With(Int("id", int64(n))).Add(1)
	}
	points := collect(t, m)["n"][metricSum][0].(message)[dataPoints]
	var total, overflow uint64
	for _, p := range points {
		n := p.(message)[numberInt][0].(uint64)
		total += n
		if _, ok := attrs(p.(message)[numberAttributes])[overflowKey]; ok {
			overflow += n
		}
	}
	if len(points) != 10 || total != 1000 || overflow != 991 {
		t.Errorf("%d series with %d in all, %d of them overflow; want 10, 1000, 991", len(points), total, overflow)
	}
}

func TestMetricsFromManyGoroutines(t *testing.T) {
	m := NewMeter(testScope, 0)
	c := m.Instrument(InstrumentOptions{Name: "c", Form: Counter, Integer: true})
	h := m.Instrument(InstrumentOptions{Name: "h", Form: Histogram})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 1000 {
				c.With(Int("g", int64(i%3))).Add(1)
				h.With().Record(float64(i), &SpanContext{TraceID: TraceID{byte(g)}, Flags: FlagSampled})
				if i%100 == 0 {
					AppendMetrics(nil, nil, []*Meter{m}, time.Now())
				}
			}
		}()
	}
	wg.Wait()
	got := collect(t, m)
	var n uint64
	for _, p := range got["c"][metricSum][0].(message)[dataPoints] {
		n += p.(message)[numberInt][0].(uint64)
	}
	p := got["h"][metricHistogram][0].(message)[dataPoints][0].(message)
	if n != 4000 || p[histogramCount][0] != uint64(4000) || math.Float64frombits(p[histogramSum][0].(uint64)) != 4*999*500 {
		t.Errorf("counted %d, histogram %v", n, p)
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool drops what it is given at random")
	}
	m := NewMeter(testScope, 0)
	h := m.Instrument(InstrumentOptions{Name: "h", Form: Histogram})
	bound := h.With(String("route", "/"))
	sc := &SpanContext{TraceID: TraceID{1}, Flags: FlagSampled}
	if n := testing.AllocsPerRun(1000, func() { bound.Record(0.2, sc) }); n != 0 {
		t.Errorf("Record takes %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { h.With(String("route", "/")) }); n != 0 {
		t.Errorf("finding a series takes %v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	s := NewMeter(testScope, 0).Instrument(InstrumentOptions{Name: "h", Form: Histogram, Bounds: []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}}).With()
	for name, sc := range map[string]*SpanContext{"unsampled": nil, "kept": {TraceID: TraceID{1}, Flags: FlagSampled}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Record(0.02, sc)
			}
		})
	}
}

func BenchmarkWith(b *testing.B) {
	i := NewMeter(testScope, 0).Instrument(InstrumentOptions{Name: "h", Form: Histogram})
	b.ReportAllocs()
	for b.Loop() {
		i.With(String("http.request.method", "GET"), String("http.route", "/orders/{id}"), Int("http.response.status_code", 200)).Record(0.02, nil)
	}
}
