package stocktest

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	stocklog "go.opentelemetry.io/otel/sdk/log"
	stockmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

func meterProviders() map[string]metric.MeterProvider {
	return map[string]metric.MeterProvider{
		"stock": stockmetric.NewMeterProvider(stockmetric.WithReader(stockmetric.NewManualReader())),
		"ours":  sdk.NewMeterProvider(sdk.MeterOptions{}),
	}
}

var requestAttrs = []attribute.KeyValue{attribute.String("http.request.method", "GET"), attribute.String("http.route", "/orders/{id}"), attribute.Int("http.response.status_code", 200)}

// BenchmarkMeter measures recording, with attributes that were made beforehand
// and with such that are made for each measurement.
func BenchmarkMeter(b *testing.B) {
	for name, p := range meterProviders() {
		m := p.Meter("m")
		h := must(m.Float64Histogram("h"))
		c := must(m.Int64Counter("c"))
		set := metric.WithAttributeSet(attribute.NewSet(requestAttrs...))
		record, add := []metric.RecordOption{set}, []metric.AddOption{set}
		ctx := context.Background()
		run := func(what string, f func(ctx context.Context)) {
			for where, ctx := range map[string]context.Context{"unsampled": ctx, "kept": keptSpan()} {
				b.Run(what+"/"+where+"/"+name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						f(ctx)
					}
				})
			}
		}
		run("histogram", func(ctx context.Context) { h.Record(ctx, 0.02, record...) })
		run("counter", func(ctx context.Context) { c.Add(ctx, 1, add...) })
		run("histogram-made", func(ctx context.Context) { h.Record(ctx, 0.02, metric.WithAttributes(requestAttrs...)) })
	}
}

// nowhere is an exporter that is always done.
type nowhere struct{}

func (nowhere) Export(context.Context, []stocklog.Record) error { return nil }
func (nowhere) Shutdown(context.Context) error                  { return nil }
func (nowhere) ForceFlush(context.Context) error                { return nil }

// BenchmarkLogger measures a record in a kept span; ours is encoded as well.
func BenchmarkLogger(b *testing.B) {
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
	defer pipe.Close(context.Background())
	for name, p := range map[string]log.LoggerProvider{
		"stock": stocklog.NewLoggerProvider(stocklog.WithProcessor(stocklog.NewBatchProcessor(nowhere{}))),
		"ours":  sdk.NewLoggerProvider(pipe, core.DefaultLimits),
	} {
		b.Run(name, func(b *testing.B) {
			l, ctx := p.Logger("l"), keptSpan()
			var r log.Record
			r.SetTimestamp(noon)
			r.SetSeverity(log.SeverityInfo)
			r.SetSeverityText("INFO")
			r.SetBody(attribute.StringValue("order placed"))
			r.AddAttributes(requestAttrs...)
			b.ReportAllocs()
			for b.Loop() {
				l.Emit(ctx, r)
			}
		})
	}
}
