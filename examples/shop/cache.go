package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/guanlan-io/guanlan/sdk"
)

// runCache stands in for Redis. It knows nothing of OpenTelemetry; it has a
// /metrics page for Prometheus, as most software one runs but did not write.
func runCache(ctx context.Context, c config) error {
	redis := miniredis.NewMiniRedis()
	if err := redis.StartAddr(c.cache); err != nil {
		return fmt.Errorf("listen on %s: %w", c.cache, err)
	}
	slog.Info("listening", "address", redis.Addr())

	commands := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cache_commands_total", Help: "Commands received.",
	}, []string{"command"})
	redis.Server().SetPreHook(func(_ *server.Peer, command string, _ ...string) bool {
		commands.WithLabelValues(strings.ToLower(command)).Inc()
		return false
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		commands,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "cache_keys", Help: "Keys held.",
		}, func() float64 { return float64(len(redis.Keys())) }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return sdk.Run(ctx, sdk.HTTP(c.cacheMetrics, mux), sdk.Drain(drainTimeout),
		sdk.OnExit("cache", func(context.Context) error { redis.Close(); return nil }),
		sdk.Worker("clock", func(ctx context.Context) error { // miniredis has none of its own
			for sleep(ctx, time.Second) == nil {
				redis.FastForward(time.Second)
			}
			return ctx.Err()
		}))
}
