package sdkzap

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelzap"
	stock "go.opentelemetry.io/otel/sdk/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// devNull makes the standard output one that takes all.
func devNull(t testing.TB) *os.File {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdout
	os.Stdout = null
	t.Cleanup(func() { os.Stdout = before; _ = null.Close() })
	return null
}

func startNull(t testing.TB, disabled bool) *sdk.SDK {
	t.Helper()
	if disabled {
		t.Setenv("OTEL_SDK_DISABLED", "true")
	}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	s, err := sdk.Start(context.Background(), sdk.Options{Endpoint: server.URL, Sampler: core.NewByThreshold(1), Failed: func(error) {},
		Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return s
}

// spanContext is a context with a span of ours.
func spanContext(t testing.TB) context.Context {
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
	t.Cleanup(func() { _ = pipe.Close(context.Background()) })
	ctx, _ := sdk.NewTracerProvider(core.NewProvider(core.Options{Pipe: pipe})).Tracer("x").Start(context.Background(), "n")
	return ctx
}

// The slice of the fields is zap's; nothing is allocated beside it.
func TestAllocations(t *testing.T) {
	devNull(t)
	startNull(t, false)
	log, ctx := New().With(zap.String("service", "shop")), spanContext(t)
	n := testing.AllocsPerRun(2000, func() {
		log.Info("order placed", Context(ctx), zap.String("order.id", "4711"), zap.Int("items", 3), zap.Duration("took", time.Millisecond))
	})
	if n > 1 && !raceDetector {
		t.Errorf("a record takes %v allocations", n)
	}
}

func BenchmarkLog(b *testing.B) {
	run := func(name string, log *zap.Logger, field func(context.Context) zap.Field) {
		ctx := spanContext(b)
		b.Run(name, func(b *testing.B) {
			log := log.With(zap.String("service", "shop"))
			b.ReportAllocs()
			for b.Loop() {
				log.Info("order placed", field(ctx), zap.String("order.id", "4711"), zap.Int("items", 3), zap.Duration("took", time.Millisecond))
			}
		})
	}
	null := devNull(b)
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	lines := zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(null), zapcore.InfoLevel)
	run("zap line", zap.New(lines), func(context.Context) zap.Field { return zap.Skip() })
	provider := stock.NewLoggerProvider(stock.WithProcessor(stock.NewBatchProcessor(discard{})))
	run("zap line and otelzap", zap.New(zapcore.NewTee(lines, otelzap.NewCore("x", otelzap.WithLoggerProvider(provider)))), func(ctx context.Context) zap.Field { return zap.Reflect("ctx", ctx) })
	_ = provider.Shutdown(context.Background())

	ours := func(name string, disabled bool) {
		b.Run(name, func(b *testing.B) {
			startNull(b, disabled)
			ctx := spanContext(b)
			log := New().With(zap.String("service", "shop"))
			b.ReportAllocs()
			for b.Loop() {
				log.Info("order placed", Context(ctx), zap.String("order.id", "4711"), zap.Int("items", 3), zap.Duration("took", time.Millisecond))
			}
		})
	}
	ours("our line with ids", true)
	ours("our line with ids and OTLP", false)
}

type discard struct{}

func (discard) Export(context.Context, []stock.Record) error { return nil }
func (discard) Shutdown(context.Context) error               { return nil }
func (discard) ForceFlush(context.Context) error             { return nil }
