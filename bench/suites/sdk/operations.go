package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	stockmetric "go.opentelemetry.io/otel/sdk/metric"
	stocktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// encoder is an exporter that encodes and drops.
type encoder struct{}

func (encoder) Start(context.Context) error { return nil }
func (encoder) Stop(context.Context) error  { return nil }
func (encoder) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	_, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	return err
}

// stockTraces is OpenTelemetry's SDK, with a queue that does not overflow:
// what is dropped costs nothing, and would flatter it.
func stockTraces(sampler stocktrace.Sampler) (*stocktrace.TracerProvider, error) {
	exporter, err := otlptrace.New(context.Background(), encoder{})
	if err != nil {
		return nil, err
	}
	return stocktrace.NewTracerProvider(stocktrace.WithSampler(sampler),
		stocktrace.WithBatcher(exporter, stocktrace.WithMaxQueueSize(1<<16), stocktrace.WithBlocking())), nil
}

// ourTraces is ours; requests are put together and dropped.
func ourTraces(sampler core.Sampler) (*sdk.TracerProvider, *core.Pipe) {
	pipe := core.NewPipe(nil, core.PipeOptions{Send: func(context.Context, []byte, int) (int, error) { return 0, nil }})
	return sdk.NewTracerProvider(core.NewProvider(core.Options{Sampler: sampler, Pipe: pipe})), pipe
}

// discard answers every request with 200.
type discard struct{}

func (discard) RoundTrip(r *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, err
}

func (s *run) http(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	serve := func(h http.Handler) func(int) {
		r := httptest.NewRequest("GET", "/orders/4711", nil)
		r.Header.Set("User-Agent", "bench/1.0")
		w := httptest.NewRecorder()
		return func(n int) {
			for range n {
				h.ServeHTTP(w, r)
			}
		}
	}
	bare := s.measure(serve(mux), nil)
	for _, c := range []struct {
		share               float64
		name, target, alloc string
	}{{0, "HTTP server, 0 % kept", "", ""}, {0.01, "HTTP server, 1 % kept", "<= 800", "<= 3"}, {1, "HTTP server, all kept and encoded", "<= 4000", "<= 8"}} {
		ours, err := sdk.Start(ctx, sdk.Options{Sampler: core.NewByThreshold(c.share), Client: &http.Client{Transport: discard{}}})
		if err != nil {
			return err
		}
		mine := s.measure(serve(ours.HTTPServer().Handler(mux)), func() error { return ours.Flush(ctx) }).less(bare)
		if err := ours.Shutdown(ctx); err != nil {
			return err
		}
		if err := nothingDropped(ours.Stats().Spans); err != nil {
			return err
		}
		traces, err := stockTraces(stocktrace.ParentBased(stocktrace.TraceIDRatioBased(c.share)))
		if err != nil {
			return err
		}
		meters := stockmetric.NewMeterProvider(stockmetric.WithReader(stockmetric.NewManualReader()))
		h := otelhttp.NewHandler(mux, "server", otelhttp.WithTracerProvider(traces), otelhttp.WithMeterProvider(meters),
			otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})))
		stock := s.measure(serve(h), func() error { return traces.ForceFlush(ctx) }).less(bare)
		if err := traces.Shutdown(ctx); err != nil {
			return err
		}
		s.compare("http", c.name, mine, stock, c.target, c.alloc, ">= 5", fmt.Sprintf("over the bare handler's %.0f ns and %.0f allocations", bare.ns, bare.allocs))
	}
	return nil
}

// someAttributes are eight as an HTTP server has them.
func someAttributes() []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("http.request.method", "GET"), attribute.String("http.route", "/orders/{id}"), attribute.String("url.scheme", "http"), attribute.String("url.path", "/orders/4711"),
		attribute.Int("http.response.status_code", 200), attribute.String("server.address", "shop.example"), attribute.Int("server.port", 8080), attribute.String("client.address", "10.1.2.3")}
}

func (s *run) span(ctx context.Context) error {
	through := func(t trace.Tracer) func(int) {
		return func(n int) {
			for range n {
				_, sp := t.Start(ctx, "GET /orders/{id}")
				sp.SetAttributes(someAttributes()...)
				sp.End()
			}
		}
	}
	provider, pipe := ourTraces(nil)
	api := s.measure(through(provider.Tracer("bench")), func() error { return pipe.Flush(ctx) })
	tracer := core.NewProvider(core.Options{Pipe: pipe}).Tracer(core.NewScope("bench", "", ""))
	root := &core.SpanContext{}
	direct := s.measure(func(n int) {
		for range n {
			sp := new(core.Span)
			tracer.Start(sp, root, "GET /orders/{id}", core.KindInternal, time.Time{})
			sp.SetAttrs(core.String("http.request.method", "GET"), core.String("http.route", "/orders/{id}"), core.String("url.scheme", "http"), core.String("url.path", "/orders/4711"),
				core.Int("http.response.status_code", 200), core.String("server.address", "shop.example"), core.Int("server.port", 8080), core.String("client.address", "10.1.2.3"))
			sp.End(time.Time{})
		}
	}, func() error { return pipe.Flush(ctx) })
	if err := errors.Join(pipe.Close(ctx), nothingDropped(pipe.Stats())); err != nil {
		return err
	}
	traces, err := stockTraces(stocktrace.AlwaysSample())
	if err != nil {
		return err
	}
	stock := s.measure(through(traces.Tracer("bench")), func() error { return traces.ForceFlush(ctx) })
	if err := traces.Shutdown(ctx); err != nil {
		return err
	}
	s.compare("span", "span, 8 attributes, encoded, by the OpenTelemetry API", api, stock, "", "", "", "four of the allocations are the API's")
	s.compare("span", "span, 8 attributes, encoded, by package core", direct, stock, "<= 1000", "<= 2", ">= 5", "as our own instrumentation does it")

	child := func(t trace.Tracer) func(int) {
		ctx, _ := t.Start(ctx, "root")
		return func(n int) {
			for range n {
				_, sp := t.Start(ctx, "child")
				sp.End()
			}
		}
	}
	off, pipe := ourTraces(core.NewByThreshold(0))
	if traces, err = stockTraces(stocktrace.ParentBased(stocktrace.NeverSample())); err != nil {
		return err
	}
	s.compare("span", "span that is not kept", s.measure(child(off.Tracer("bench")), nil), s.measure(child(traces.Tracer("bench")), nil), "<= 50", "<= 0", "", "below a local span that is not kept")
	sampler, sc := core.NewAdaptive(core.Policy{Few: -1}, time.Now()), core.SpanContext{TraceID: core.NewTraceID()}
	ratio, params := stocktrace.ParentBased(stocktrace.TraceIDRatioBased(0.01)), stocktrace.SamplingParameters{ParentContext: ctx, TraceID: trace.TraceID(sc.TraceID), Name: "n"}
	s.compare("span", "sampling decision, and telling of the request",
		s.measure(func(n int) {
			for range n {
				sc.TraceID[9]++
				sampler.Decide(&sc, "n", core.KindServer, nil)
				sampler.Observe(time.Millisecond, false)
			}
		}, nil),
		s.measure(func(n int) {
			for range n {
				params.TraceID[9]++
				ratio.ShouldSample(params)
			}
		}, nil), "<= 30", "<= 0", "", "theirs is a fixed ratio and hears of nothing")
	return pipe.Close(ctx)
}

func (s *run) metric(ctx context.Context) error {
	bounds := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	series := core.NewMeter(core.NewScope("bench", "", ""), 0).Instrument(core.InstrumentOptions{Name: "h", Form: core.Histogram, Bounds: bounds}).
		With(core.String("http.request.method", "GET"), core.String("http.route", "/orders/{id}"), core.Int("http.response.status_code", 200))
	h, err := stockmetric.NewMeterProvider(stockmetric.WithReader(stockmetric.NewManualReader())).Meter("bench").Float64Histogram("h", metric.WithExplicitBucketBoundaries(bounds...))
	if err != nil {
		return err
	}
	opts := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("http.request.method", "GET"), attribute.String("http.route", "/orders/{id}"), attribute.Int("http.response.status_code", 200)))}
	s.compare("metric", "histogram, attributes known beforehand",
		s.measure(func(n int) {
			for range n {
				series.Record(0.02, nil)
			}
		}, nil),
		s.measure(func(n int) {
			for range n {
				h.Record(ctx, 0.02, opts...)
			}
		}, nil), "<= 25", "<= 0", "", "")
	return nil
}

func (s *run) propagation(ctx context.Context) error {
	carrier := propagation.HeaderCarrier{"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "Tracestate": {"ot=th:8"}, "Baggage": {"tenant=gold,region=eu"}}
	extract := func(p propagation.TextMapPropagator) func(int) {
		return func(n int) {
			for range n {
				p.Extract(ctx, carrier)
			}
		}
	}
	s.compare("propagation", "extract trace context and baggage", s.measure(extract(sdk.Propagator{}), nil),
		s.measure(extract(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})), nil), "<= 400", "<= 1", "", "ours reads baggage when it is asked for")
	return nil
}

func (s *run) log(ctx context.Context) error {
	spool := core.NewSpool(io.Discard, 0)
	provider, pipe := ourTraces(nil)
	ctx, _ = provider.Tracer("bench").Start(ctx, "n")
	write := func(h slog.Handler) func(int) {
		log := slog.New(h).With("service", "shop")
		return func(n int) {
			for range n {
				log.LogAttrs(ctx, slog.LevelInfo, "order placed", slog.String("order.id", "4711"), slog.Int("items", 3), slog.Duration("took", time.Millisecond))
			}
		}
	}
	s.compareWith("slog's JSON handler", "log", "log line with ids", s.measure(write(sdk.NewLogHandler(spool, nil, nil)), func() error { return spool.Flush(ctx) }),
		s.measure(write(slog.NewJSONHandler(io.Discard, nil)), nil), "<= 700", "<= 0", "", "theirs has no ids and writes at once, to nowhere")
	both := s.measure(write(sdk.NewLogHandler(spool, core.NewLogger(pipe, core.NewScope("bench", "", ""), core.DefaultLimits), nil)), func() error { return errors.Join(spool.Flush(ctx), pipe.Flush(ctx)) })
	s.compare("log", "log line with ids, and the record over OTLP", both, cost{}, "", "", "", "")
	err := errors.Join(spool.Close(ctx), pipe.Close(ctx), nothingDropped(pipe.Stats()))
	if n := spool.Stats().Dropped; n > 0 {
		err = errors.Join(err, fmt.Errorf("%d lines were dropped: the figures flatter us", n))
	}
	return err
}

// nothingDropped guards the figures: what is dropped costs little.
func nothingDropped(st core.PipeStats) error {
	if st.Full > 0 {
		return fmt.Errorf("%d of %d items were dropped: the figures flatter us", st.Full, st.Full+st.Added)
	}
	return nil
}
