package metric

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/store"
)

const benchSeries = 100_000

func benchLabels() []labels.Labels {
	ls := make([]labels.Labels, benchSeries)
	for i := range ls {
		ls[i] = labels.FromStrings(
			"__name__", "http_server_request_duration_seconds_count",
			"job", fmt.Sprintf("svc-%d", i%50),
			"instance", fmt.Sprintf("10.0.%d.%d:9090", i/250%200, i%250),
			"http_route", fmt.Sprintf("/api/v1/r%d", i%100),
			"http_response_status_code", []string{"200", "404", "500"}[i%3],
			"id", strconv.Itoa(i))
	}
	return ls
}

func heapMiB() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// BenchmarkScrape appends one sample to each of 100,000 series, as a scrape
// with known references does.
func BenchmarkScrape(b *testing.B) {
	s := openStore(b)
	ls := benchLabels()
	refs := make([]storage.SeriesRef, len(ls))
	before := heapMiB()
	at := time.Now().Add(-time.Hour)
	scrape := func() {
		a := s.Database(store.Tenant{}).AppenderV2(context.Background())
		for i := range ls {
			var err error
			if refs[i], err = a.Append(refs[i], ls[i], 0, at.UnixMilli(), float64(i%17), nil, nil, storage.AOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		if err := a.Commit(); err != nil {
			b.Fatal(err)
		}
		at = at.Add(15 * time.Second)
	}
	scrape()
	perSeries := (heapMiB() - before) * (1 << 20) / benchSeries
	for b.Loop() {
		scrape()
	}
	b.ReportMetric(perSeries, "B/series")
	b.ReportMetric(float64(benchSeries)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}

// BenchmarkWrite stores OTLP batches of 1,000 points over 10 resources.
func BenchmarkWrite(b *testing.B) {
	s := openStore(b)
	at := time.Now().Add(-time.Hour)
	md := pmetric.NewMetrics()
	for r := range 10 {
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("service.name", fmt.Sprintf("svc-%d", r))
		rm.Resource().Attributes().PutStr("service.instance.id", fmt.Sprintf("i-%d", r))
		rm.Resource().Attributes().PutStr("k8s.pod.name", fmt.Sprintf("p-%d", r))
		sm := rm.ScopeMetrics().AppendEmpty()
		for m := range 10 {
			metric := sm.Metrics().AppendEmpty()
			metric.SetName(fmt.Sprintf("metric.%d", m))
			sum := metric.SetEmptySum()
			sum.SetIsMonotonic(true)
			sum.SetAggregationTemporality(cumulative)
			for p := range 10 {
				dp := sum.DataPoints().AppendEmpty()
				dp.Attributes().PutStr("http.route", fmt.Sprintf("/r/%d", p))
				dp.Attributes().PutInt("http.response.status_code", 200)
			}
		}
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		ts := pcommon.NewTimestampFromTime(at.Add(time.Duration(i) * 100 * time.Millisecond))
		for _, rm := range md.ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				for _, p := range m.Sum().DataPoints().All() {
					p.SetTimestamp(ts)
					p.SetIntValue(int64(i))
				}
			}
		}
		if err := s.Write(context.Background(), store.Tenant{}, md); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "points/s")
}

// BenchmarkQuery evaluates over 100,000 series of 30 minutes.
func BenchmarkQuery(b *testing.B) {
	s := openStore(b)
	ls := benchLabels()
	refs := make([]storage.SeriesRef, len(ls))
	end := time.Now()
	for k := range 60 {
		a := s.Database(store.Tenant{}).Appender(context.Background())
		for i := range ls {
			refs[i], _ = a.Append(refs[i], ls[i], end.Add(time.Duration(k-60)*30*time.Second).UnixMilli(), float64(k*(i%17+1)))
		}
		if err := a.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	for name, expr := range map[string]string{
		"all":     "sum by (job) (rate(http_server_request_duration_seconds_count[5m]))",
		"service": `sum by (http_route) (rate(http_server_request_duration_seconds_count{job="svc-7"}[5m]))`,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, err := s.Instant(context.Background(), store.Tenant{}, expr, end); err != nil || len(got) == 0 {
					b.Fatal(got, err)
				}
			}
		})
	}
}

// BenchmarkIdleTenant tells what an open tenant without data costs.
func BenchmarkIdleTenant(b *testing.B) {
	s := openStore(b)
	before := heapMiB()
	const n = 20
	for b.Loop() {
		for i := range n {
			if err := put(s, store.Tenant{Account: uint32(i + 1)}, "m", time.Now(), 1); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric((heapMiB()-before)*1024/n, "KiB/tenant")
}
