package stocktest

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/guanlan-io/guanlan/sdk"
)

// childURL tells a child where the receiver is. What was asked for before Start
// is handed over once in the life of a process, so the test needs one of its own.
const childURL = "GUANLAN_STOCKTEST_RECEIVER"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		early(url)
		return
	}
	os.Exit(m.Run())
}

// early is a program whose packages ask OpenTelemetry for everything before the
// SDK is started.
func early(url string) {
	ctx := context.Background()
	tracer := otel.Tracer("early")
	meter := otel.Meter("early")
	logger := otel.Logger("early")
	counter := must(meter.Int64Counter("counter"))
	histogram := must(meter.Float64Histogram("histogram", metric.WithExplicitBucketBoundaries(1)))
	must(meter.Int64ObservableCounter("own", metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { o.Observe(5); return nil })))
	gauge := must(meter.Float64ObservableGauge("registered"))
	must(meter.RegisterCallback(func(_ context.Context, o metric.Observer) error { o.ObserveFloat64(gauge, 0.5); return nil }, gauge))
	counter.Add(ctx, 100) // nobody listens yet

	s := must(sdk.Start(ctx, sdk.Options{Endpoint: url, ServiceName: "early"}))
	ctx, span := tracer.Start(ctx, "span", trace.WithSpanKind(trace.SpanKindServer))
	counter.Add(ctx, 7, metric.WithAttributes(attribute.String("a", "b")))
	histogram.Record(ctx, 0.5)
	var r log.Record
	r.SetBody(attribute.StringValue("logged"))
	logger.Emit(ctx, r)
	span.End()
	if err := s.Shutdown(context.Background()); err != nil {
		panic(err)
	}
	// All of it goes on to be harmless.
	_, span = tracer.Start(ctx, "late")
	span.End()
	counter.Add(ctx, 1)
	histogram.Record(ctx, 1)
	logger.Emit(ctx, r)
	must(meter.Int64Counter("late")).Add(ctx, 1)
	must(otel.Meter("late").Int64Counter("late")).Add(ctx, 1)
	if err := s.Flush(ctx); err == nil {
		panic("flushed after Shutdown")
	}
	if counter.Enabled(ctx) || logger.Enabled(ctx, log.EnabledParameters{}) {
		panic("enabled after Shutdown")
	}
}

func TestWhatWasAskedForBeforeStartWorks(t *testing.T) {
	r := newReceiver(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+r.URL, "OTEL_TRACES_SAMPLER=always_on")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := &service{t: t, r: r}
	sp := s.span("span", tracepb.Span_SPAN_KIND_SERVER)
	l, _ := s.record("logged")
	s.inSpan(l, sp)
	if p := s.metric("early", "counter").GetSum().GetDataPoints(); len(p) != 1 || p[0].GetAsInt() != 7 || string(p[0].Exemplars[0].TraceId) != string(sp.TraceId) {
		t.Errorf("counter %v", p)
	}
	if p := s.metric("early", "histogram").GetHistogram().GetDataPoints(); len(p) != 1 || p[0].Count != 1 || len(p[0].ExplicitBounds) != 1 {
		t.Errorf("histogram %v", p)
	}
	if p := s.metric("early", "own").GetSum().GetDataPoints(); len(p) != 1 || p[0].GetAsInt() != 5 {
		t.Errorf("an instrument with a callback of its own %v", p)
	}
	if p := s.metric("early", "registered").GetGauge().GetDataPoints(); len(p) != 1 || p[0].GetAsDouble() != 0.5 {
		t.Errorf("an instrument of a registered callback %v", p)
	}
	if len(r.spans) != 1 || len(r.logs) != 1 {
		t.Errorf("%d requests of spans and %d of logs, want none of what came after Shutdown", len(r.spans), len(r.logs))
	}
}

func TestADisabledSDKDoesNothing(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "true")
	r := newReceiver(t)
	s, err := sdk.Start(t.Context(), sdk.Options{Endpoint: r.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := must(s.MeterProvider().Meter("m").Int64Counter("c"))
	c.Add(t.Context(), 1)
	logger := s.LoggerProvider().Logger("l")
	var record log.Record
	logger.Emit(t.Context(), record)
	if c.Enabled(t.Context()) || logger.Enabled(t.Context(), log.EnabledParameters{}) {
		t.Error("enabled")
	}
	if err := s.Shutdown(t.Context()); err != nil || len(r.metrics)+len(r.logs) > 0 {
		t.Errorf("error %v, sent %v, %v", err, r.metrics, r.logs)
	}
}
