package stocktest

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	metric "go.opentelemetry.io/otel/sdk/metric"
	stock "go.opentelemetry.io/otel/sdk/trace"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
	sdkredis "github.com/guanlan-io/guanlan/sdk/redis"
)

// BenchmarkRedis is what a command costs on a client whose commands go unsent,
// bare, with this SDK, and with the stock one and redisotel.
func BenchmarkRedis(b *testing.B) {
	measure := func(b *testing.B, ctx context.Context, instrument func(*redis.Client)) {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		defer rdb.Close()
		instrument(rdb)
		rdb.AddHook(unsent{}) // the last hook is the innermost
		cmd := redis.NewStringCmd(ctx, "get", "a key")
		b.ReportAllocs()
		for b.Loop() {
			if err := rdb.Process(ctx, cmd); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("bare", func(b *testing.B) { measure(b, context.Background(), func(*redis.Client) {}) })
	for _, share := range []float64{0, 1} {
		b.Run(fmt.Sprintf("ours/sampled=%v", share), func(b *testing.B) {
			s, err := sdk.Start(context.Background(), sdk.Options{Client: &http.Client{Transport: discard{}}, Sampler: core.NewByThreshold(share), Failed: func(error) {}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Shutdown(context.Background())
			ctx, root := s.TracerProvider().Tracer("t").Start(context.Background(), "root")
			defer root.End()
			measure(b, ctx, func(c *redis.Client) { sdkredis.Instrument(c) })
		})
		b.Run(fmt.Sprintf("redisotel/sampled=%v", share), func(b *testing.B) {
			tp := stock.NewTracerProvider(stock.WithSampler(stock.ParentBased(stock.TraceIDRatioBased(share))), stock.WithBatcher(discard{}))
			mp := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
			defer tp.Shutdown(context.Background())
			ctx, root := tp.Tracer("t").Start(context.Background(), "root")
			defer root.End()
			measure(b, ctx, func(c *redis.Client) {
				if err := redisotel.InstrumentTracing(c, redisotel.WithTracerProvider(tp), redisotel.WithDBStatement(true), redisotel.WithCallerEnabled(false)); err != nil {
					b.Fatal(err)
				}
				if err := redisotel.InstrumentMetrics(c, redisotel.WithMeterProvider(mp)); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// unsent answers commands without sending them.
type unsent struct{}

func (unsent) DialHook(next redis.DialHook) redis.DialHook { return next }
func (unsent) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { return nil }
}
func (unsent) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return nil }
}
