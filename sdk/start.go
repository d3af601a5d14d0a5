package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	nolog "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	nometric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Version of the SDK.
const Version = "0.1.0-dev"

// Options configure the SDK. A zero field is taken from the standard OTEL_
// variables of the environment, and from OpenTelemetry's default where there is
// none.
type Options struct {
	ServiceName string               // OTEL_SERVICE_NAME
	Resource    []attribute.KeyValue // added to OTEL_RESOURCE_ATTRIBUTES
	Endpoint    string               // OTEL_EXPORTER_OTLP_ENDPOINT; default http://localhost:4318
	Headers     map[string]string    // added to OTEL_EXPORTER_OTLP_HEADERS
	Sampler     core.Sampler         // OTEL_TRACES_SAMPLER; default: core.Adaptive with the default core.Policy
	// Client sends what is exported; default: one of its own, see
	// core.SenderOptions.
	Client *http.Client
	// Failed hears of what could not be sent. Default: otel.Handle.
	Failed func(error)
}

// SDK is a running SDK. It is safe for concurrent use.
type SDK struct {
	traces   trace.TracerProvider
	counts   *MeterProvider  // nil when nothing is sent
	records  *LoggerProvider // nil when nothing is sent
	server   *HTTPServer
	client   *HTTPClient
	pipe     *core.Pipe // of spans; nil when nothing is sent
	logs     *core.Pipe
	logger   *core.Logger
	spool    *core.Spool // to the standard output
	resource []byte
	meters   []*core.Meter
	metrics  *core.Sender
	failed   func(error)

	stop    context.CancelFunc // ends the collection of metrics
	stopped sync.WaitGroup
	once    sync.Once
	err     error // of Shutdown
}

// scopeOfSDK is the instrumentation scope of what this package instruments
// itself.
const scopeOfSDK = "github.com/guanlan-io/guanlan/sdk"

// Start starts the SDK and makes it OpenTelemetry's global one. It returns an
// SDK in any case, also with an error, which says what of the configuration
// cannot be used: a service must not fail for its telemetry. Without a receiver
// it goes on, and counts what it drops.
//
// Call Shutdown before the process ends.
func Start(_ context.Context, opts Options) (*SDK, error) {
	c, err := configure(opts, os.Getenv)
	s := &SDK{failed: opts.Failed, resource: core.EncodeResource(c.resource, ""), spool: core.NewSpool(os.Stdout, 0)}
	if s.failed == nil {
		s.failed = otel.Handle
	}
	if c.disabled {
		s.traces = noop.NewTracerProvider()
		return s, err
	}
	traces, err1 := core.NewSender(c.traces)
	metrics, err2 := core.NewSender(c.metrics)
	logs, err3 := core.NewSender(c.logs)
	if bad := errors.Join(err1, err2, err3); bad != nil {
		s.traces = noop.NewTracerProvider()
		return s, errors.Join(err, bad)
	}
	s.metrics = metrics
	s.pipe = core.NewPipe(s.resource, core.PipeOptions{
		Send: traces.Send, Delay: c.delay,
		Failed: func(n int, err error) { s.failed(fmt.Errorf("drop %d spans: %w", n, err)) },
	})
	s.logs = core.NewPipe(s.resource, core.PipeOptions{
		Send: logs.Send, Delay: c.logDelay,
		Failed: func(n int, err error) { s.failed(fmt.Errorf("drop %d log records: %w", n, err)) },
	})
	s.logger = core.NewLogger(s.logs, core.NewScope(scopeOfSDK, Version, ""), c.logLimit)
	provider := NewTracerProvider(core.NewProvider(core.Options{Sampler: c.sampler, Limits: &c.limits, Pipe: s.pipe}))
	s.traces = provider
	meter := core.NewMeter(core.NewScope(scopeOfSDK, Version, ""), 0)
	s.meters = []*core.Meter{meter}
	own := provider.Tracer(scopeOfSDK, trace.WithInstrumentationVersion(Version)).(*tracer)
	adaptive, _ := c.sampler.(*core.Adaptive)
	s.server, s.client = newHTTPServer(own, meter, adaptive), newHTTPClient(own, meter)
	s.counts = NewMeterProvider(MeterOptions{Failed: s.failed, Timeout: min(defaultCallbackTimeout, c.interval/2)})
	s.records = NewLoggerProvider(s.logs, c.logLimit)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.stopped.Add(1)
	go func() {
		defer s.stopped.Done()
		s.collectLoop(ctx, c.interval)
	}()
	if adaptive != nil {
		s.stopped.Add(1)
		go func() {
			defer s.stopped.Done()
			turnLoop(ctx, adaptive)
		}()
	}
	running.Store(s)
	otel.SetTracerProvider(provider)
	otel.SetMeterProvider(s.counts)
	otel.SetLoggerProvider(s.records)
	otel.SetTextMapPropagator(Propagator{})
	return s, err
}

// TracerProvider is what was made OpenTelemetry's global one.
func (s *SDK) TracerProvider() trace.TracerProvider { return s.traces }

// MeterProvider is what was made OpenTelemetry's global one. Its instruments
// count until Shutdown; those of an SDK that is disabled or could not start do
// nothing.
func (s *SDK) MeterProvider() metric.MeterProvider {
	if s.counts == nil {
		return nometric.NewMeterProvider()
	}
	return s.counts
}

// LoggerProvider is what was made OpenTelemetry's global one. Its loggers send
// until Shutdown; those of an SDK that is disabled or could not start do
// nothing.
func (s *SDK) LoggerProvider() log.LoggerProvider {
	if s.records == nil {
		return nolog.NewLoggerProvider()
	}
	return s.records
}

// HTTPServer instruments HTTP servers; nil when the SDK is disabled or could
// not start, which Handler of a nil HTTPServer takes for what it is.
func (s *SDK) HTTPServer() *HTTPServer { return s.server }

// LogHandler makes a slog.Handler that writes to the standard output and sends
// over OTLP. See NewLogHandler.
func (s *SDK) LogHandler(level slog.Leveler) *LogHandler {
	return NewLogHandler(s.spool, s.logger, level)
}

// HTTPClient instruments HTTP clients; nil where HTTPServer is.
func (s *SDK) HTTPClient() *HTTPClient { return s.client }

// turnLoop ends the windows of a sampler.
func turnLoop(ctx context.Context, a *core.Adaptive) {
	timer := time.NewTimer(a.Window())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			a.Turn(now)
			timer.Reset(a.Window())
		}
	}
}

func (s *SDK) collectLoop(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.sendMetrics(ctx); err != nil && ctx.Err() == nil {
				s.failed(err)
			}
		}
	}
}

// sendMetrics sends what was counted. Sums go on counting, so that what one
// request misses is in the next.
func (s *SDK) sendMetrics(ctx context.Context) error {
	if s.counts.stopped.Load() {
		return nil // all has been sent
	}
	body, points, err := s.counts.Collect(ctx, s.resource, s.meters...)
	if err != nil {
		return fmt.Errorf("collect metrics: %w", err)
	}
	if points == 0 {
		return nil
	}
	rejected, err := s.metrics.Send(ctx, body, points)
	if err != nil {
		return fmt.Errorf("send metrics: %w", err)
	}
	if rejected > 0 {
		return fmt.Errorf("send metrics: the receiver turned down %d of %d points", rejected, points)
	}
	return nil
}

// Stats counts what became of spans, log records and log lines.
type Stats struct {
	Spans, Logs core.PipeStats
	Lines       core.SpoolStats
}

// Stats counts what happened so far.
func (s *SDK) Stats() (st Stats) {
	if s.pipe != nil {
		st.Spans, st.Logs = s.pipe.Stats(), s.logs.Stats()
	}
	st.Lines = s.spool.Stats()
	return st
}

// Flush sends what has been recorded so far.
func (s *SDK) Flush(ctx context.Context) error {
	if s.pipe == nil {
		return nil
	}
	return errors.Join(s.pipe.Flush(ctx), s.logs.Flush(ctx), s.sendMetrics(ctx))
}

// Shutdown flushes and stops. What is recorded afterwards is dropped. It may be
// called again.
func (s *SDK) Shutdown(ctx context.Context) error {
	s.once.Do(func() {
		s.err = s.spool.Close(ctx)
		if s.pipe == nil {
			return
		}
		s.stop()
		s.stopped.Wait()
		s.records.Stop()
		s.err = errors.Join(s.err, s.pipe.Close(ctx), s.logs.Close(ctx), s.sendMetrics(ctx))
		s.counts.Stop()
	})
	return s.err
}
