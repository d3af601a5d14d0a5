//go:build unix

package red

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// traffic returns batches as services send them: ten services in a chain of
// calls, each trace with a server, a client and two internal spans a service
// and a database call at the end; thirteen attributes a span. Every service
// sends its own batch.
func traffic(batches, perBatch int, tracestate string) []ptrace.Traces {
	const services = 10
	rnd := rand.New(rand.NewPCG(1, 2))
	out := make([]ptrace.Traces, 0, batches)
	trace := uint64(1)
	for len(out) < batches {
		group := make([]ptrace.SpanSlice, services)
		for i := range group {
			td := ptrace.NewTraces()
			rs := td.ResourceSpans().AppendEmpty()
			rs.Resource().Attributes().PutStr("service.name", fmt.Sprintf("service-%d", i))
			rs.Resource().Attributes().PutStr("service.instance.id", fmt.Sprintf("instance-%d", i))
			group[i] = rs.ScopeSpans().AppendEmpty().Spans()
			out = append(out, td)
		}
		for group[0].Len() < perBatch {
			var id pcommon.TraceID
			binary.BigEndian.PutUint64(id[:], rnd.Uint64())
			binary.BigEndian.PutUint64(id[8:], trace)
			trace++
			var parent pcommon.SpanID
			for i := range group {
				for j, kind := range []ptrace.SpanKind{ptrace.SpanKindServer, ptrace.SpanKindInternal, ptrace.SpanKindInternal, ptrace.SpanKindClient} {
					span := group[i].AppendEmpty()
					span.SetTraceID(id)
					span.SetParentSpanID(parent)
					binary.BigEndian.PutUint64(parent[:], rnd.Uint64())
					span.SetSpanID(parent)
					span.SetKind(kind)
					span.SetName(fmt.Sprintf("GET /api/v1/orders/{id}/items/%d", rnd.IntN(20)+j*20))
					d := time.Duration(rnd.ExpFloat64() * float64(30*time.Millisecond))
					span.SetStartTimestamp(1_700_000_000_000_000_000)
					span.SetEndTimestamp(1_700_000_000_000_000_000 + pcommon.Timestamp(d))
					span.TraceState().FromRaw(tracestate)
					if rnd.IntN(50) == 0 {
						span.Status().SetCode(ptrace.StatusCodeError)
					}
					m := span.Attributes()
					m.PutStr("http.request.method", "GET")
					m.PutInt("http.response.status_code", 200)
					m.PutStr("http.route", "/api/v1/orders/{id}/items")
					m.PutStr("url.path", "/api/v1/orders/17/items")
					m.PutStr("url.scheme", "http")
					m.PutStr("network.protocol.version", "1.1")
					m.PutStr("user_agent.original", "Go-http-client/1.1")
					m.PutStr("client.address", "10.0.0.1")
					m.PutStr("server.address", "orders.internal")
					m.PutInt("server.port", 8080)
					m.PutStr("enduser.id", "u-1")
					m.PutStr("app.channel", "web")
					m.PutStr("app.region", "eu")
					if kind == ptrace.SpanKindClient && i == services-1 {
						m.PutStr("db.system.name", "postgresql")
						m.PutStr("db.namespace", "orders")
					}
				}
			}
		}
	}
	return out[:batches]
}

func spansOf(batches []ptrace.Traces) (n int) {
	for _, td := range batches {
		n += td.SpanCount()
	}
	return n
}

// cpu returns the processor time used so far. On a shared machine it tells more
// than the clock does.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The figure that counts is cpu-ns/span. Ingestion is to sustain 80,000 spans/s on
// two cores.
func BenchmarkAggregator(b *testing.B) {
	for _, c := range []struct {
		name       string
		opts       Options
		tracestate string
	}{
		{"explicit", Options{}, ""},
		{"weighted", Options{}, "ot=th:c;rv:c1234567890abc"},
		{"exponential", Options{Histogram: HistogramOptions{Exponential: true}}, ""},
		{"dimensions", Options{Dimensions: []Dimension{{Name: "http.response.status_code"}, {Name: "app.region"}}}, ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			batches := traffic(100, 1000, c.tracestate)
			now := time.Unix(1_700_000_000, 0)
			a, err := NewAggregator(c.opts, now, nil)
			if err != nil {
				b.Fatal(err)
			}
			for _, td := range batches {
				a.Observe(now, td)
			}
			perBatch := spansOf(batches) / len(batches)
			b.ReportAllocs()
			runtime.GC()
			b.ResetTimer()
			before := cpu()
			for i := range b.N {
				a.Observe(now, batches[i%len(batches)])
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N*perBatch), "cpu-ns/span")
		})
	}
}

func BenchmarkAggregatorFlush(b *testing.B) {
	batches := traffic(100, 1000, "")
	now := time.Unix(1_700_000_000, 0)
	stats := &Stats{}
	a, err := NewAggregator(Options{}, now, stats)
	if err != nil {
		b.Fatal(err)
	}
	for _, td := range batches {
		a.Observe(now, td)
	}
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		now = now.Add(15 * time.Second)
		for _, td := range batches[:10] {
			a.Observe(now, td)
		}
		a.Flush(now, func(pmetric.Metrics) {})
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/float64(stats.Series.Load()), "cpu-ns/series")
}

func BenchmarkGraph(b *testing.B) {
	for _, c := range []struct{ name, tracestate string }{{"plain", ""}, {"weighted", "ot=th:c;rv:c1234567890abc"}} {
		b.Run(c.name, func(b *testing.B) {
			batches := traffic(200, 1000, c.tracestate)
			now := time.Unix(1_700_000_000, 0)
			stats := &Stats{}
			g, err := NewGraph(GraphOptions{}, now, stats)
			if err != nil {
				b.Fatal(err)
			}
			// A batch of a thousand spans every 12.5 ms: 80,000 spans/s. The
			// ids come again after 2.5 s, which would look like retries; a
			// counter in the trace ids makes them new.
			observe := func(i int) {
				td := batches[i%len(batches)]
				round := byte(i / len(batches))
				spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
				for k := range spans.Len() {
					id := spans.At(k).TraceID()
					id[15], id[14] = round, byte(i/len(batches)>>8)
					spans.At(k).SetTraceID(id)
				}
				now = now.Add(12500 * time.Microsecond)
				g.Observe(now, td)
			}
			const warm = 2000 // 25 s
			for i := range warm {
				observe(i)
			}
			b.ReportAllocs()
			runtime.GC()
			b.ResetTimer()
			before := cpu()
			for i := range b.N {
				observe(warm + i)
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N*1000), "cpu-ns/span")
			b.ReportMetric(float64(stats.Waiting.Load()), "waiting")
			if stats.Expired.Load() != 0 || stats.Dropped.Load() != 0 {
				b.Errorf("%d spans expired and %d dropped, want none", stats.Expired.Load(), stats.Dropped.Load())
			}
		})
	}
}
