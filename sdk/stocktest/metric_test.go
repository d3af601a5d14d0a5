package stocktest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	stock "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// meterProgram counts with a provider, and calls collect when metrics are to be
// sent.
type meterProgram func(p metric.MeterProvider, collect func())

// runMeters runs a program on both SDKs and returns what each collection sent.
func runMeters(t *testing.T, cardinality int, program meterProgram) (stocks, ours []*metricspb.MetricsData) {
	attr := attribute.String("service.name", "shop")
	r := newReceiver(t)
	exporter, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpointURL(r.URL+"/v1/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	p := stock.NewMeterProvider(stock.WithReader(stock.NewPeriodicReader(exporter, stock.WithInterval(time.Hour))), stock.WithResource(resource.NewSchemaless(attr)), stock.WithCardinalityLimit(cardinality))
	program(p, func() {
		if err := p.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		stocks = append(stocks, normalMetrics(r.takeMetrics(), len(stocks) == 0))
	})
	if err := p.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}

	r = newReceiver(t)
	sender, err := core.NewSender(core.SenderOptions{URL: r.URL + "/v1/metrics"})
	if err != nil {
		t.Fatal(err)
	}
	resource := core.EncodeResource([]core.Attr{core.String(string(attr.Key), attr.Value.AsString())}, "")
	own := sdk.NewMeterProvider(sdk.MeterOptions{Cardinality: cardinality, Failed: func(error) {}})
	program(own, func() {
		body, points, err := own.Collect(t.Context(), resource)
		if err != nil {
			t.Fatal(err)
		}
		if points > 0 {
			if _, err := sender.Send(t.Context(), body, points); err != nil {
				t.Fatal(err)
			}
		}
		ours = append(ours, normalMetrics(r.takeMetrics(), len(ours) == 0))
	})
	return stocks, ours
}

func sameMetrics(t *testing.T, cardinality int, program meterProgram) {
	t.Helper()
	stocks, ours := runMeters(t, cardinality, program)
	points := 0
	for round := range stocks {
		if diff := gocmp.Diff(stocks[round], ours[round], protocmp.Transform()); diff != "" {
			t.Fatalf("collection %d: the stock SDK (-) and ours (+) send different things:\n%s", round, diff)
		}
		for _, r := range stocks[round].ResourceMetrics {
			points += len(r.ScopeMetrics)
		}
	}
	if points == 0 {
		t.Fatal("the stock SDK sent nothing: the test compares nothing")
	}
}

// normalMetrics puts what was received in an order and takes out times. Of
// exemplars it says that there are some, in the first collection: the stock SDK
// sends them again and again, ours sends them once, and which ones is for each to
// choose.
func normalMetrics(received []*metricspb.ResourceMetrics, first bool) *metricspb.MetricsData {
	data := &metricspb.MetricsData{}
	exemplars := func(list []*metricspb.Exemplar) []*metricspb.Exemplar {
		if len(list) == 0 || !first {
			return nil
		}
		x := &metricspb.Exemplar{TraceId: list[0].TraceId, SpanId: list[0].SpanId}
		switch list[0].Value.(type) {
		case *metricspb.Exemplar_AsInt:
			x.Value = &metricspb.Exemplar_AsInt{}
		case *metricspb.Exemplar_AsDouble:
			x.Value = &metricspb.Exemplar_AsDouble{}
		}
		return []*metricspb.Exemplar{x}
	}
	for _, r := range received {
		for _, s := range r.ScopeMetrics {
			slices.SortFunc(s.Scope.Attributes, byKey)
			for _, m := range s.Metrics {
				var numbers []*metricspb.NumberDataPoint
				switch d := m.Data.(type) {
				case *metricspb.Metric_Sum:
					numbers = d.Sum.DataPoints
				case *metricspb.Metric_Gauge:
					numbers = d.Gauge.DataPoints
				case *metricspb.Metric_Histogram:
					for _, p := range d.Histogram.DataPoints {
						p.StartTimeUnixNano, p.TimeUnixNano = 0, 0
						p.Exemplars = exemplars(p.Exemplars)
						slices.SortFunc(p.Attributes, byKey)
					}
					slices.SortFunc(d.Histogram.DataPoints, byText)
				}
				for _, p := range numbers {
					p.StartTimeUnixNano, p.TimeUnixNano = 0, 0
					p.Exemplars = exemplars(p.Exemplars)
					slices.SortFunc(p.Attributes, byKey)
				}
				slices.SortFunc(numbers, byText)
			}
			slices.SortFunc(s.Metrics, byText)
		}
		slices.SortFunc(r.ScopeMetrics, byText)
		if len(r.ScopeMetrics) > 0 {
			data.ResourceMetrics = append(data.ResourceMetrics, r)
		}
	}
	return data
}

func byText[M proto.Message](a, b M) int {
	text := prototext.MarshalOptions{}
	return cmp.Compare(text.Format(a), text.Format(b))
}

// keptSpan is a context within a span that is kept.
func keptSpan() context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled}))
}

// must is for instruments that are to be had.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMetricsAreTheStockSDKs(t *testing.T) {
	sameMetrics(t, 0, func(p metric.MeterProvider, collect func()) {
		ctx, kept := context.Background(), keptSpan()
		m := p.Meter("shop", metric.WithInstrumentationVersion("1.2"), metric.WithSchemaURL("https://opentelemetry.io/schemas/1.37.0"), metric.WithInstrumentationAttributes(attribute.Bool("yes", true)))
		all := metric.WithAttributes(attribute.String("s", "x"), attribute.Int("i", -7), attribute.Float64("f", 1.5), attribute.Bool("b", true), attribute.StringSlice("ss", []string{"a", "b"}),
			attribute.Slice("any", attribute.IntValue(1), attribute.StringValue("two")), attribute.Map("map", attribute.Int("z", 1), attribute.Int("a", 2), attribute.Int("z", 3)))
		one := metric.WithAttributeSet(attribute.NewSet(attribute.String("s", "y")))
		must(m.Int64Counter("ic", metric.WithUnit("{x}"), metric.WithDescription("counts"))).Add(ctx, 2, all)
		must(m.Int64Counter("ic", metric.WithUnit("{x}"), metric.WithDescription("counts"))).Add(kept, 3, all, one)
		must(m.Float64Counter("fc")).Add(kept, 0.5)
		must(m.Int64UpDownCounter("iud")).Add(ctx, -2, one)
		must(m.Float64UpDownCounter("fud")).Add(kept, -2.5, one)
		must(m.Int64Gauge("ig")).Record(kept, -2, one)
		must(m.Float64Gauge("fg")).Record(ctx, 7.25)
		h := must(m.Float64Histogram("fh", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(0.5, 1, 2)))
		for _, v := range []float64{-1, 0.5, 0.75, 2, 3} {
			h.Record(kept, v, one)
			h.Record(ctx, v)
		}
		must(m.Int64Histogram("ih")).Record(kept, 30)
		// No bounds are the default ones.
		must(m.Int64Histogram("ih0", metric.WithExplicitBucketBoundaries())).Record(ctx, 30)
		must(m.Int64ObservableCounter("ioc", metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(4, one)
			o.Observe(5, one) // is added
			o.Observe(6)
			return nil
		})))
		must(m.Float64ObservableGauge("fog", metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			o.Observe(4, one)
			o.Observe(5, one) // takes the place
			return nil
		})))
		p.Meter("shop").Int64Counter("untouched")
		must(p.Meter("shop").Int64Counter("ic")).Add(ctx, 1)
		collect()
		collect()
	})
}

func TestContradictingInstrumentsAreTheStockSDKs(t *testing.T) {
	sameMetrics(t, 0, func(p metric.MeterProvider, collect func()) {
		ctx := context.Background()
		m := p.Meter("m")
		must(m.Int64Counter("Requests")).Add(ctx, 1)
		must(m.Int64Counter("requests")).Add(ctx, 1) // is the same one
		must(m.Int64Counter("requests", metric.WithDescription("another"))).Add(ctx, 1)
		must(m.Int64Counter("requests", metric.WithUnit("s"))).Add(ctx, 1)
		must(m.Float64Counter("requests")).Add(ctx, 1.5)
		must(m.Int64UpDownCounter("requests")).Add(ctx, 1)
		must(m.Int64ObservableCounter("requests", metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { o.Observe(9); return nil })))
		h := must(m.Float64Histogram("h", metric.WithExplicitBucketBoundaries(1, 2)))
		h.Record(ctx, 1)
		must(m.Float64Histogram("h", metric.WithExplicitBucketBoundaries(3))).Record(ctx, 1) // the first one's bounds hold
		for _, name := range []string{"", "1st", "a b", "é", strings.Repeat("x", 256)} {
			c, err := m.Int64Counter(name)
			if err == nil {
				t.Errorf("%T: name %q is taken", m, name)
			}
			c.Add(ctx, 1)
		}
		bad, err := m.Float64Histogram("bad", metric.WithExplicitBucketBoundaries(2, 1))
		if err == nil {
			t.Errorf("%T: bounds that do not ascend are taken", m)
		}
		bad.Record(ctx, 1)
		collect()
	})
}

// Programs made at random: what they count is the same.
func TestRandomMetricsAreTheStockSDKs(t *testing.T) {
	seed := rand.Uint64()
	for n := range uint64(40) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, %d", seed, n)
				}
			}()
			limit := []int{0, 4, 10}[n%3]
			sameMetrics(t, limit, func(p metric.MeterProvider, collect func()) {
				randomMetrics(rand.New(rand.NewPCG(seed, n)), p, collect)
			})
		})
	}
}

// observed is what a callback is to observe.
type observed struct {
	value int
	opts  []metric.ObserveOption
}

func randomMetrics(rng *rand.Rand, p metric.MeterProvider, collect func()) {
	set := func() metric.MeasurementOption {
		var kv []attribute.KeyValue
		for range rng.IntN(3) {
			kv = append(kv, []attribute.KeyValue{attribute.Int("code", rng.IntN(4)), attribute.String("route", fmt.Sprint("/", rng.IntN(4))), attribute.Bool("ok", rng.IntN(2) == 0)}[rng.IntN(3)])
		}
		return metric.WithAttributes(kv...)
	}
	fraction := func(n int) float64 { return float64(n) / 8 } // so that sums are exact in any order
	var steps []func(ctx context.Context, n int, opt metric.MeasurementOption)
	var unregister []func() error
	watch := func(register func(read func() []observed)) {
		var now []observed
		register(func() []observed { return now })
		steps = append(steps, func(_ context.Context, n int, opt metric.MeasurementOption) {
			if n%5 == 0 {
				now = nil
				return
			}
			now = append(now, observed{n, []metric.ObserveOption{opt}})
		})
	}
	for range 1 + rng.IntN(8) {
		m := p.Meter(fmt.Sprint("meter", rng.IntN(2)), metric.WithInstrumentationVersion(fmt.Sprint(rng.IntN(2))))
		name := fmt.Sprint("i", rng.IntN(20))
		switch rng.IntN(12) {
		case 0:
			i := must(m.Int64Counter(name))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Add(ctx, int64(max(n, -n)), opt) })
		case 1:
			i := must(m.Float64Counter(name))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Add(ctx, fraction(max(n, -n)), opt) })
		case 2:
			i := must(m.Int64UpDownCounter(name))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Add(ctx, int64(n), opt) })
		case 3:
			i := must(m.Float64UpDownCounter(name))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Add(ctx, fraction(n), opt) })
		case 4:
			i := must(m.Int64Gauge(name))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Record(ctx, int64(n), opt) })
		case 5:
			i := must(m.Float64Gauge(name))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Record(ctx, fraction(n), opt) })
		case 6:
			i := must(m.Int64Histogram(name, metric.WithUnit("ms")))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Record(ctx, int64(n), opt) })
		case 7:
			i := must(m.Float64Histogram(name, metric.WithExplicitBucketBoundaries(-3, 0, 1.5, 20)))
			steps = append(steps, func(ctx context.Context, n int, opt metric.MeasurementOption) { i.Record(ctx, fraction(n), opt) })
		case 8:
			watch(func(read func() []observed) {
				must(m.Int64ObservableUpDownCounter(name, metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
					for _, x := range read() {
						o.Observe(int64(x.value), x.opts...)
					}
					return nil
				})))
			})
		case 9:
			watch(func(read func() []observed) {
				must(m.Float64ObservableCounter(name, metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
					for _, x := range read() {
						o.Observe(fraction(x.value), x.opts...)
					}
					return nil
				})))
			})
		default: // two instruments, one callback
			watch(func(read func() []observed) {
				gauge := must(m.Int64ObservableGauge(name + "/gauge"))
				sum := must(m.Float64ObservableUpDownCounter(name + "/sum"))
				reg := must(m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
					for _, x := range read() {
						o.ObserveInt64(gauge, int64(x.value), x.opts...)
						o.ObserveFloat64(sum, fraction(x.value), x.opts...)
					}
					return nil
				}, gauge, sum))
				unregister = append(unregister, reg.Unregister)
			})
		}
	}
	for range 1 + rng.IntN(4) {
		for range rng.IntN(60) {
			ctx := context.Background()
			if rng.IntN(3) == 0 {
				ctx = keptSpan()
			}
			n := rng.IntN(200) - 100
			opt := set()
			steps[rng.IntN(len(steps))](ctx, n, opt)
		}
		if len(unregister) > 0 && rng.IntN(4) == 0 {
			_ = unregister[0]()
			unregister = unregister[1:]
		}
		collect()
	}
	steps[0](context.Background(), 1, set())
	must(p.Meter("last").Int64Counter("last")).Add(context.Background(), 1)
	collect()
}
