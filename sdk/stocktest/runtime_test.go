package stocktest

import (
	"context"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	stockruntime "go.opentelemetry.io/contrib/instrumentation/runtime"
	stockmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/observer"
)

// instrument is what dashboards depend on.
type instrument struct {
	Unit, Description, Kind string
	Attributes              []string // of each series, sorted
}

// collectOurs collects what the observer exports. Values are by name and attributes.
func collectOurs(t *testing.T, o *observer.Observer, m *core.Meter) (map[string]instrument, map[string]float64, map[string]*metricspb.HistogramDataPoint) {
	t.Helper()
	o.Collect()
	body, _ := core.AppendMetrics(nil, nil, []*core.Meter{m}, time.Now())
	var request collectorpb.ExportMetricsServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	found, values, histograms := map[string]instrument{}, map[string]float64{}, map[string]*metricspb.HistogramDataPoint{}
	for _, r := range request.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				i := instrument{Unit: m.Unit, Description: m.Description}
				add := func(p *metricspb.NumberDataPoint) {
					var attrs []string
					for _, a := range p.Attributes {
						attrs = append(attrs, a.Key+"="+a.Value.GetStringValue())
					}
					of := strings.Join(attrs, ",")
					i.Attributes = append(i.Attributes, of)
					switch v := p.Value.(type) {
					case *metricspb.NumberDataPoint_AsInt:
						values[m.Name+of] = float64(v.AsInt)
					case *metricspb.NumberDataPoint_AsDouble:
						values[m.Name+of] = v.AsDouble
						i.Kind += " float"
					}
				}
				switch d := m.Data.(type) {
				case *metricspb.Metric_Sum:
					for _, p := range d.Sum.DataPoints {
						i.Kind = sumKind(d.Sum.IsMonotonic)
						add(p)
					}
				case *metricspb.Metric_Gauge:
					for _, p := range d.Gauge.DataPoints {
						i.Kind = "gauge"
						add(p)
					}
				case *metricspb.Metric_Histogram:
					i.Kind, i.Attributes = "histogram", []string{""}
					histograms[m.Name] = d.Histogram.DataPoints[0]
				}
				slices.Sort(i.Attributes)
				if _, twice := found[m.Name]; twice {
					t.Errorf("%s is there twice", m.Name)
				}
				found[m.Name] = i
			}
		}
	}
	return found, values, histograms
}

func sumKind(monotonic bool) string {
	if monotonic {
		return "counter"
	}
	return "updowncounter"
}

func collectStock(t *testing.T, reader *stockmetric.ManualReader) (map[string]instrument, map[string]float64, map[string]metricdata.HistogramDataPoint[float64]) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found, values, histograms := map[string]instrument{}, map[string]float64{}, map[string]metricdata.HistogramDataPoint[float64]{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			i := instrument{Unit: m.Unit, Description: m.Description}
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				i.Kind = sumKind(d.IsMonotonic)
				for _, p := range d.DataPoints {
					var attrs []string
					for _, a := range p.Attributes.ToSlice() {
						attrs = append(attrs, string(a.Key)+"="+a.Value.AsString())
					}
					of := strings.Join(attrs, ",")
					i.Attributes = append(i.Attributes, of)
					values[m.Name+of] = float64(p.Value)
				}
			case metricdata.Histogram[float64]:
				i.Kind, i.Attributes = "histogram", []string{""}
				histograms[m.Name] = d.DataPoints[0]
			default:
				t.Fatalf("%s is a %T", m.Name, d)
			}
			slices.Sort(i.Attributes)
			found[m.Name] = i
		}
	}
	return found, values, histograms
}

func TestRuntimeMetricsAreTheStockOnes(t *testing.T) {
	debug.SetMemoryLimit(1 << 40) // so that there is one
	t.Cleanup(func() { debug.SetMemoryLimit(math.MaxInt64) })
	meter := core.NewMeter(core.NewScope("observer", "", ""), 0)
	o := observer.New(observer.Options{Meter: meter})
	reader := stockmetric.NewManualReader(stockmetric.WithProducer(stockruntime.NewProducer()))
	provider := stockmetric.NewMeterProvider(stockmetric.WithReader(reader))
	if err := stockruntime.Start(stockruntime.WithMeterProvider(provider), stockruntime.WithMinimumReadMemStatsInterval(0)); err != nil {
		t.Fatal(err)
	}
	want, theirs, stockHistograms := collectStock(t, reader)
	got, values, histograms := collectOurs(t, o, meter)
	if len(want) < 9 {
		t.Errorf("the stock runtime metrics are only %v", slices.Sorted(maps.Keys(want)))
	}
	for name, w := range want {
		g := got[name]
		if w.Kind == "histogram" { // ours tells how the sum is made
			g.Description, _, _ = strings.Cut(g.Description, " Sums are estimated")
		}
		if diff := gocmp.Diff(w, g); diff != "" {
			t.Errorf("%s (-stock +ours):\n%s", name, diff)
		}
	}
	for key, w := range theirs {
		if g := values[key]; math.Abs(g-w) > 0.5*w {
			t.Errorf("%s is %v, stock says %v", key, g, w)
		}
	}

	// Our histogram must hold what theirs holds, in fewer buckets. It was
	// collected later, so that it may be a little ahead.
	for name, w := range stockHistograms {
		g := histograms[name]
		if g == nil || len(g.BucketCounts) != len(g.ExplicitBounds)+1 || len(g.ExplicitBounds) > 24 {
			t.Fatalf("%s: %v", name, g)
		}
		var cumulative, theirCumulative uint64
		j := 0
		for i, bound := range g.ExplicitBounds {
			cumulative += g.BucketCounts[i]
			for ; j < len(w.Bounds) && w.Bounds[j] <= bound; j++ {
				theirCumulative += w.BucketCounts[j]
			}
			if cumulative < theirCumulative || cumulative > theirCumulative+w.Count/10+20 {
				t.Errorf("%s: %d up to %v, stock says %d", name, cumulative, bound, theirCumulative)
			}
		}
		if g.Count < w.Count || g.GetSum() < w.Sum { // theirs takes the lower bounds
			t.Errorf("%s: %d with the sum %v, stock says %d with %v", name, g.Count, g.GetSum(), w.Count, w.Sum)
		}
		if began := time.Unix(0, int64(g.StartTimeUnixNano)); time.Since(began) > time.Hour || !began.Before(w.Time) {
			t.Errorf("%s counts since %v", name, began)
		}
	}

	debug.SetMemoryLimit(math.MaxInt64)
	if got, _, _ := collectOurs(t, o, meter); got["go.memory.limit"].Kind != "" {
		t.Error("a limit that is not there is exported")
	}
}

// What stock does not export must be what the semantic conventions have, or be
// called ours.
func TestRuntimeMetricsBeyondTheStockOnes(t *testing.T) {
	meter := core.NewMeter(core.NewScope("observer", "", ""), 0)
	got, values, _ := collectOurs(t, observer.New(observer.Options{Meter: meter}), meter)
	want := map[string]instrument{
		"go.cpu.time":                        {Unit: "s", Kind: "counter float", Attributes: []string{"go.cpu.state=gc", "go.cpu.state=idle", "go.cpu.state=scavenge", "go.cpu.state=user"}},
		"go.memory.gc.cycles":                {Unit: "{gc_cycle}", Kind: "counter"},
		"go.memory.gc.pause.duration":        {Unit: "s", Kind: "histogram"},
		"process.cpu.time":                   {Unit: "s", Kind: "counter float", Attributes: []string{"cpu.mode=system", "cpu.mode=user"}},
		"process.memory.usage":               {Unit: "By", Kind: "updowncounter"},
		"process.thread.count":               {Unit: "{thread}", Kind: "updowncounter"},
		"process.unix.file_descriptor.count": {Unit: "{file_descriptor}", Kind: "updowncounter"},
		"process.uptime":                     {Unit: "s", Kind: "gauge float"},
		"guanlan.go.heap.live":               {Unit: "By", Kind: "updowncounter"},
		"guanlan.go.heap.objects":            {Unit: "{object}", Kind: "updowncounter"},
		"guanlan.go.mutex.wait_time":         {Unit: "s", Kind: "counter float"},
	}
	series := 0
	for name, g := range got {
		series += len(g.Attributes)
		if g.Description == "" {
			t.Errorf("%s is not described", name)
		}
		w, there := want[name]
		if !there {
			continue
		}
		if w.Attributes == nil {
			w.Attributes = []string{""}
		}
		w.Description = g.Description
		if diff := gocmp.Diff(w, g); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not exported: %v", slices.Sorted(maps.Keys(want)))
	}
	if series > 32 {
		t.Errorf("%d series, want few", series)
	}
	for _, key := range []string{"process.memory.usage", "process.thread.count", "process.unix.file_descriptor.count", "process.uptime"} {
		if values[key] <= 0 {
			t.Errorf("%s is %v", key, values[key])
		}
	}
}
