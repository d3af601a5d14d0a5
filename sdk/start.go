package sdk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	nolog "go.opentelemetry.io/otel/log/noop"
	"go.opentelemetry.io/otel/metric"
	nometric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/observer"
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
	Protocol    string               // OTEL_EXPORTER_OTLP_PROTOCOL: http/protobuf, the default, or grpc, see package otlpgrpc
	Headers     map[string]string    // added to OTEL_EXPORTER_OTLP_HEADERS
	Sampler     core.Sampler         // OTEL_TRACES_SAMPLER; default: core.Adaptive with the default core.Policy, or that of GUANLAN_ENDPOINT
	Log         LogOptions           // GUANLAN_LOG_ and what follows
	IDs         IDOptions            // of requests and business cases
	HTTP        HTTPOptions          // of HTTP servers
	// Baggage names members of the baggage that become attributes of spans
	// and log records: what is known of a request at the front door, its
	// tenant say, is then on whatever is done for it in any service.
	// GUANLAN_BAGGAGE_ATTRIBUTES, comma-separated; default none.
	Baggage []string
	// Client sends what is exported and asks for sampling policies; default:
	// one of its own, see core.SenderOptions.
	Client *http.Client
	// Failed hears of what could not be sent or written. Default: otel.Handle.
	Failed func(error)
	// NoRuntime switches the observer of the Go runtime off;
	// GUANLAN_RUNTIME_OBSERVER=off does it too.
	NoRuntime bool
	// ProfileLabels puts trace_id and span_id of sampled requests, messages and jobs on the
	// goroutines that work for them, as labels of CPU profiles.
	// GUANLAN_PROFILE_LABELS=true; default off.
	ProfileLabels bool
}

// SDK is a running SDK. It is safe for concurrent use.
type SDK struct {
	traces   trace.TracerProvider // OpenTelemetry's global ones
	counted  metric.MeterProvider
	recorded log.LoggerProvider
	provider *TracerProvider // our own, nil when nothing is recorded
	counts   *MeterProvider
	records  *LoggerProvider
	other    other
	adaptive *core.Adaptive // or nil
	members  []string       // of baggage, that become attributes
	enabled  bool
	labels   bool // goroutines say what trace they work for
	server   *HTTPServer
	client   *HTTPClient
	pipe     *core.Pipe // of spans; nil when nothing is sent
	logs     *core.Pipe
	log      *Log
	resource []byte
	self     *selfMetrics
	mu       sync.Mutex             // of meters
	meters   map[string]*core.Meter // by scope and version
	metrics  Sender                 // nil: none are sent
	senders  []Sender               // of all signals
	failed   func(error)
	runtime  *observer.Observer
	memory   *memoryLimit

	idHeaders *idHeaders
	hosts     hosts

	stop    context.CancelFunc // ends the collection of metrics
	over    context.Context    // ends with Shutdown: no request goes on beyond it
	end     context.CancelFunc
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
func Start(ctx context.Context, opts Options) (*SDK, error) {
	s, err := launch(ctx, opts, false)
	before := running.Swap(s) // in any case: lines go where they were told to
	if woven {
		before.giveWay()
	}
	if s.enabled {
		s.publish()
	}
	return s, err
}

// launch starts an SDK that nobody knows of yet. A provisional one gives way to the
// program's own, and writes no lines but those it is given.
func launch(ctx context.Context, opts Options, provisional bool) (*SDK, error) {
	c, err := configure(opts, os.Getenv)
	s := &SDK{
		failed: guarded(opts.Failed), resource: core.EncodeResource(c.resource, ""),
		traces: noop.NewTracerProvider(), counted: nometric.NewMeterProvider(), recorded: nolog.NewLoggerProvider(),
	}
	if provisional {
		s.log = &Log{direct: stdoutNow{}, level: c.log.Level}
	} else {
		var logErr error
		s.log, logErr = startLog(c.log, s.failed)
		err = errors.Join(err, logErr)
	}
	s.idHeaders, s.hosts = c.idHeaders, c.hosts
	if c.disabled {
		return s, err
	}
	s.memory = newMemoryLimit(c.memory)
	s.memory.follow(time.Now())
	traces, err1 := c.traces.open()
	metrics, err2 := c.metrics.open()
	logs, err3 := c.logs.open()
	for _, sender := range []Sender{traces, metrics, logs} {
		if sender != nil {
			s.senders = append(s.senders, sender)
		}
	}
	if bad := errors.Join(err1, err2, err3); bad != nil {
		return s, errors.Join(err, bad, closeSenders(s.senders...))
	}
	s.metrics = metrics
	s.pipe = core.NewPipe(s.resource, core.PipeOptions{
		Send: sendOf(traces), Delay: c.delay,
		Failed: func(n int, err error) { s.failed(fmt.Errorf("drop %d spans: %w", n, err)) },
	})
	s.logs = core.NewPipe(s.resource, core.PipeOptions{
		Send: sendOf(logs), Delay: c.logDelay,
		Failed: func(n int, err error) { s.failed(fmt.Errorf("drop %d log records: %w", n, err)) },
	})
	if !c.logs.none {
		s.log.logger = core.NewLogger(s.logs, core.NewScope(scopeOfSDK, Version, ""), c.logLimit)
	}
	s.log.members = c.members
	s.provider = NewTracerProvider(core.NewProvider(core.Options{Sampler: c.sampler, Limits: &c.limits, Pipe: s.pipe}))
	s.members, s.provider.members = c.members, c.members
	s.labels, s.provider.labels = c.labels, c.labels
	s.enabled = true
	flushAtExit()
	s.meters = map[string]*core.Meter{}
	s.adaptive, _ = c.sampler.(*core.Adaptive)
	s.self = newSelfMetrics(s.meter(scopeOfSDK, Version), s.log, c)
	s.server, s.client = newHTTPServer(s), newHTTPClient(s)
	s.server.quiet, s.server.proxies = opts.IDs.Quiet, c.proxies
	if c.accessLog {
		s.server.access = newAccessLog(opts.HTTP.AccessLogHandler, s)
	}
	s.counts = NewMeterProvider(MeterOptions{Failed: s.failed, Timeout: min(defaultCallbackTimeout, c.interval/2)})
	s.records = NewLoggerProvider(s.logs, c.logLimit)
	s.records.members = c.members
	s.traces = s.provider // also when none are sent: whoever is called may send theirs
	if !c.metrics.none {
		s.counted = s.counts
	}
	if !c.logs.none {
		s.recorded = s.records
	}
	err = errors.Join(err, s.startOther(ctx, c))
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.over, s.end = context.WithCancel(context.Background())
	if c.observe {
		s.runtime = observer.New(observer.Options{Meter: s.meter(scopeOfRuntime, Version)})
		s.beside(func() { s.runtime.Run(run) })
	}
	s.beside(func() { s.collectLoop(run, c.interval) })
	if s.adaptive != nil {
		s.beside(func() { s.turnLoop(run) })
	}
	if c.remote != nil {
		s.beside(func() { newRemotePolicy(*c.remote, s.adaptive, s.failed).loop(run) })
	}
	return s, err
}

// sendOf is nil for what is not sent.
func sendOf(to Sender) func(context.Context, []byte, int) (int, error) {
	if to == nil {
		return nil
	}
	return to.Send
}

// guarded makes a hook harmless: when it panics, what runs on our goroutines must
// not take the service with it.
func guarded(hook func(error)) func(error) {
	if hook == nil {
		hook = tellError
	}
	return func(err error) {
		defer func() { _ = recover() }()
		hook(err)
	}
}

// Enabled reports whether anything is recorded: false when the SDK is disabled
// by its configuration, or could not start for it.
func (s *SDK) Enabled() bool { return s.enabled }

// TracerProvider is what was made OpenTelemetry's global one.
func (s *SDK) TracerProvider() trace.TracerProvider { return s.traces }

// MeterProvider is what was made OpenTelemetry's global one. Its instruments
// count until Shutdown; those of an SDK that is disabled or could not start do
// nothing.
func (s *SDK) MeterProvider() metric.MeterProvider { return s.counted }

// LoggerProvider is what was made OpenTelemetry's global one. Its loggers send
// until Shutdown; those of an SDK that is disabled or could not start do
// nothing.
func (s *SDK) LoggerProvider() log.LoggerProvider { return s.recorded }

// meter makes instruments of one scope. The same scope gives the same meter.
func (s *SDK) meter(scope, version string) *core.Meter {
	key := scope + " " + version
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meters[key]
	if m == nil {
		m = core.NewMeter(core.NewScope(scope, version, ""), 0)
		s.meters[key] = m
	}
	return m
}

// HTTPServer instruments HTTP servers; nil when the SDK is disabled or could
// not start, which Handler of a nil HTTPServer takes for what it is.
func (s *SDK) HTTPServer() *HTTPServer { return s.server }

// HTTPClient instruments HTTP clients; nil where HTTPServer is.
func (s *SDK) HTTPClient() *HTTPClient { return s.client }

// turnLoop ends the windows of the sampler.
func (s *SDK) turnLoop(ctx context.Context) {
	timer := time.NewTimer(s.adaptive.Window())
	defer timer.Stop()
	before := s.pipe.Stats()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			stats := s.pipe.Stats()
			full := float64(stats.Full - before.Full)
			lost := full / max(full+float64(stats.Added-before.Added), 1)
			before = stats
			s.adaptive.Turn(now, lost)
			timer.Reset(s.adaptive.Window())
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
	if s.over.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.over, cancel)()
	s.freshen(time.Now())
	observePools(s)
	if s.metrics == nil {
		return nil
	}
	s.mu.Lock()
	meters := slices.Collect(maps.Values(s.meters))
	s.mu.Unlock()
	body, points, err := s.counts.Collect(ctx, s.resource, meters...)
	if err != nil {
		return fmt.Errorf("collect metrics: %w", err)
	}
	if points == 0 {
		return nil
	}
	rejected, err := s.metrics.Send(ctx, body, points)
	s.self.sentPoints(points, rejected, err)
	if err != nil {
		return fmt.Errorf("send metrics: %w", err)
	}
	if rejected > 0 {
		return fmt.Errorf("send metrics: the receiver turned down %d of %d points", rejected, points)
	}
	return nil
}

// SamplingShare is the share of the traces that begin here which is kept at the
// moment, where the sampler is an adaptive one; 0 elsewhere.
func (s *SDK) SamplingShare() float64 {
	if s.adaptive == nil {
		return 0
	}
	return s.adaptive.Share()
}

// Stats counts what became of spans, log records and log lines.
type Stats struct {
	Spans, Logs core.PipeStats
	Lines       core.SpoolStats // to the standard output
	FileLines   core.SpoolStats // to the file of LogOptions
	// MemoryLimit is the soft limit of the Go runtime, in bytes, that the SDK
	// has set from the cgroup; 0 when it has not.
	MemoryLimit int64
}

// Stats counts what happened so far. The same is sent as metrics.
func (s *SDK) Stats() (st Stats) {
	if s.pipe != nil {
		st.Spans, st.Logs = s.pipe.Stats(), s.logs.Stats()
	}
	if s.log.stdout != nil {
		st.Lines = s.log.stdout.Stats()
	}
	if s.log.file != nil {
		st.FileLines = s.log.file.Stats()
	}
	st.MemoryLimit = s.memory.set()
	return st
}

// Flush sends what has been recorded so far, and writes log lines.
func (s *SDK) Flush(ctx context.Context) error {
	if s.pipe == nil {
		return s.log.FlushLines(ctx)
	}
	return together(
		func() error { return s.log.FlushLines(ctx) },
		func() error { return s.sendAll(ctx, s.pipe.Flush, s.logs.Flush, s.sendMetrics) },
		func() error { return s.other.flush(ctx) },
	)
}

// Shutdown flushes and stops. What is recorded afterwards is dropped, except for
// log lines: why a process ends is often told last. They are written at once, by
// the goroutine that logs. It may be called again.
func (s *SDK) Shutdown(ctx context.Context) error {
	s.once.Do(func() {
		s.err = together(func() error { return s.log.closeLines(ctx) }, func() error {
			if s.pipe == nil {
				return nil
			}
			s.stop()
			defer s.end()
			defer s.counts.Stop()
			s.records.Stop()
			err := together(
				func() error { return s.sendAll(ctx, s.pipe.Close, s.logs.Close, s.sendLastMetrics) },
				func() error { return s.other.shutdown(ctx) },
			)
			return errors.Join(err, closeSenders(s.senders...))
		})
	})
	return s.err
}

// untilMetrics is how long metrics wait for spans and log records at most, which
// they then tell the fate of. A receiver that is well takes a fraction of it.
const untilMetrics = 500 * time.Millisecond

// sendAll has the signals sent side by side: a receiver that hangs for one of
// them must not use up the time of the others.
func (s *SDK) sendAll(ctx context.Context, spans, logs, metrics func(context.Context) error) error {
	wait := untilMetrics
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)/4)
	}
	sent := make(chan struct{})
	return together(func() error {
		defer close(sent)
		return together(func() error { return spans(ctx) }, func() error { return logs(ctx) })
	}, func() error {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-sent:
		case <-timer.C:
		}
		return metrics(ctx)
	})
}

// sendLastMetrics is sendMetrics when what runs beside has ended.
func (s *SDK) sendLastMetrics(ctx context.Context) error {
	if err := s.await(ctx); err != nil {
		return err
	}
	return s.sendMetrics(ctx)
}

// beside runs f beside the service. It must end with the context of collection.
func (s *SDK) beside(f func()) {
	s.stopped.Add(1)
	go func() {
		defer s.stopped.Done()
		f()
	}()
}

// await waits until what runs beside the service has stopped. What calls hooks
// of others, as the collection of metrics does, may never do so.
func (s *SDK) await(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stopped.Wait()
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the collection of metrics: %w", ctx.Err())
	}
}
