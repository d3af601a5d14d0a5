//go:build linux

package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	pdataprofile "go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/profile"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/pprofile"
)

const (
	// maxEvents bounds events on their way: some 10 MB of audit with long command
	// lines, 0.2 s at 50,000 a second and minutes of what is usual.
	maxEvents = 10_000
	// maxBatch is how many go in one piece.
	maxBatch = 1000
	// gatherFor is how long an event waits for others.
	gatherFor = 50 * time.Millisecond
	// maxReports bounds metrics on their way: a minute and more of reports.
	maxReports = 12
	// maxProfiles bounds profiles on their way, some 20 KB each; gatherProfiles is
	// how long one waits for those of other processes, which share names with it.
	maxProfiles, maxProfileBatch = 1024, 64
	gatherProfiles               = time.Second
	// maxSpans bounds spans on their way: some 10 MB, 2 s of 10,000 requests a second.
	maxSpans = 20_000
	// retryFor is how long a batch that was refused for now is offered again,
	// which also bounds how much comes late.
	retryFor              = time.Minute
	retryFirst, retryMost = 100 * time.Millisecond, 5 * time.Second
	defaultHealthEvery    = 10 * time.Second
)

// Options of Start. Features that are nil are off; their callbacks are replaced.
type Options struct {
	Origin  Origin
	Host    kernel.Options
	TCP     *tcp.Options
	OOM     *oom.Options
	Audit   *audit.Options
	Profile *profile.Options
	Attach  *attach.Options // at least one target

	// Limits say what of TCP is a signal; default: tcp.DefaultLimits with what TCP says is slow.
	Limits *tcp.Limits
	// FindingsOnly leaves out audit events that meet no rule.
	FindingsOnly bool
	// Statistics makes the kernel measure programs, also those of others: two
	// readings of the clock a run.
	Statistics bool
	// HealthEvery is how often features say how they fare; default 10 s.
	HealthEvery time.Duration

	// Where telemetry goes; what nobody takes is not made. They are called from one
	// goroutine each and own what they get. An error that Permanent does not hold
	// for makes the same batch come again.
	Logs      func(context.Context, plog.Logs) error
	Metrics   func(context.Context, pmetric.Metrics) error
	Profiles  func(context.Context, pdataprofile.Profiles) error
	Traces    func(context.Context, ptrace.Traces) error
	Permanent func(error) bool

	Logger *slog.Logger
}

// Watch is features that run and their telemetry on its way.
type Watch struct {
	o        Options
	log      *slog.Logger
	host     *kernel.Host
	features []kernel.Feature
	running  *kernel.Running
	stats    io.Closer
	network  *Network
	tcp      *tcp.Feature
	limits   tcp.Limits
	began    time.Time

	events   *queue[any]
	metrics  *queue[pmetric.Metrics]
	profiles *queue[profile.Profile]
	spans    *queue[attach.Span]
	lost     map[string]*atomic.Uint64 // by feature; the keys do not change

	stopTicking, stopSending context.CancelFunc
	ticking, sending         sync.WaitGroup
	pollErr                  string
}

// Start starts the features. Those that this kernel or process cannot do are told
// to the log and in Status; the others run until Close.
func Start(o Options) *Watch {
	w := &Watch{o: o, log: o.Logger, host: kernel.NewHost(o.Host), network: NewNetwork(o.Origin), began: time.Now(),
		events: newQueue[any](maxEvents), metrics: newQueue[pmetric.Metrics](maxReports), profiles: newQueue[profile.Profile](maxProfiles),
		spans: newQueue[attach.Span](maxSpans),
		lost:  map[string]*atomic.Uint64{}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.o.HealthEvery <= 0 {
		w.o.HealthEvery = defaultHealthEvery
	}
	w.features = w.wanted()
	for _, f := range w.features {
		w.lost[f.Name()] = &atomic.Uint64{}
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stopSending = stop
	w.sending.Go(func() { w.events.run(ctx, gatherFor, maxBatch, func(b []any) { w.sendEvents(ctx, b) }) })
	w.sending.Go(func() { w.metrics.run(ctx, 0, 1, func(b []pmetric.Metrics) { w.sendMetrics(ctx, b[0]) }) })
	w.sending.Go(func() {
		w.profiles.run(ctx, gatherProfiles, maxProfileBatch, func(b []profile.Profile) { w.sendProfiles(ctx, b) })
	})
	w.sending.Go(func() { w.spans.run(ctx, gatherFor, maxBatch, func(b []attach.Span) { w.sendSpans(ctx, b) }) })

	w.running = kernel.Start(context.Background(), w.host, w.features...)
	if o.Statistics {
		var err error
		if w.stats, err = w.host.KeepStatistics(); err != nil {
			w.log.Warn("keep statistics of BPF programs", "error", err)
		}
	}
	w.tell()
	ticking, stop := context.WithCancel(context.Background())
	w.stopTicking = stop
	w.ticking.Go(func() { w.tick(ticking) })
	return w
}

func (w *Watch) wanted() []kernel.Feature {
	var out []kernel.Feature
	if w.o.TCP != nil {
		o := *w.o.TCP
		o.OnReport = w.report
		o.OnEvent = func(e tcp.Event) { w.event("tcp", e) }
		w.limits = tcp.DefaultLimits()
		if w.o.Limits != nil {
			w.limits = *w.o.Limits
		}
		w.tcp = tcp.New(o)
		out = append(out, w.tcp)
	}
	if w.o.OOM != nil {
		o := *w.o.OOM
		o.OnEvent = func(e oom.Event) { w.event("oom", e) }
		out = append(out, oom.New(o))
	}
	if w.o.Audit != nil {
		o := *w.o.Audit
		o.OnEvent = func(e audit.Event) {
			if !w.o.FindingsOnly || len(e.Findings) > 0 || e.Kind == audit.Lost {
				w.event("audit", e)
			}
		}
		out = append(out, audit.New(o))
	}
	if w.o.Profile != nil && w.o.Profiles != nil {
		o := *w.o.Profile
		o.OnProfile = func(p profile.Profile) {
			if !w.profiles.put(p) {
				w.lost["profile"].Add(1)
			}
		}
		out = append(out, profile.New(o))
	}
	if w.o.Attach != nil && w.o.Traces != nil {
		o := *w.o.Attach
		o.OnSpan = func(s attach.Span) {
			if !w.spans.put(s) {
				w.lost["attach"].Add(1)
			}
		}
		o.OnProcess = w.attached
		out = append(out, attach.New(o))
	}
	return out
}

// tell says once what does not run, and what to do about it.
func (w *Watch) tell() {
	warn := func(message string, p Part) {
		if p.Missing == "" {
			w.log.Warn(message, "feature", p.Name, "error", p.Error)
			return
		}
		w.log.Warn(message, "feature", p.Name, "missing", p.Missing, "next", p.Next, "error", p.Error)
	}
	for _, f := range w.Features() {
		switch f.State {
		case Missing, Failed:
			warn("kernel feature does not run", Part{f.Name, f.Missing, f.Next, f.Error})
		case Partly:
			for _, p := range f.Parts {
				warn("part of a kernel feature does not run", p)
			}
		}
	}
}

// event takes one event from the goroutine that reads a ring: it must be quick.
func (w *Watch) event(feature string, e any) {
	if w.o.Logs != nil && !w.events.put(e) {
		w.lost[feature].Add(1)
	}
}

// report comes from the goroutine that polls, which may work a little.
func (w *Watch) report(r tcp.Report) {
	m := w.network.Metrics(&r)
	if w.o.Metrics != nil && !w.metrics.put(m) {
		w.lost["tcp"].Add(1)
	}
	w.event("tcp", r)
}

func (w *Watch) sendEvents(ctx context.Context, batch []any) {
	r := Records{Origin: w.o.Origin}
	for _, e := range batch {
		switch e := e.(type) {
		case tcp.Event:
			r.TCP(&e)
		case tcp.Report:
			r.Signals(&e, w.limits)
		case oom.Event:
			r.OOM(&e)
		case audit.Event:
			r.Audit(&e)
		}
	}
	if r.Len() == 0 {
		return
	}
	logs := r.Take()
	if w.send(ctx, "log records", func() error { return w.o.Logs(ctx, logs) }) {
		return
	}
	for _, e := range batch {
		switch e.(type) {
		case tcp.Event:
			w.lost["tcp"].Add(1)
		case oom.Event:
			w.lost["oom"].Add(1)
		case audit.Event:
			w.lost["audit"].Add(1)
		}
	}
}

func (w *Watch) sendMetrics(ctx context.Context, m pmetric.Metrics) {
	w.send(ctx, "metrics", func() error { return w.o.Metrics(ctx, m) })
}

func (w *Watch) sendProfiles(ctx context.Context, batch []profile.Profile) {
	b := pprofile.NewBatch()
	for _, p := range batch {
		b.Add(p.Pprof, resourceOfProfile(w.o.Origin, p.Process), string(p.Kind))
	}
	all := b.Profiles()
	if !w.send(ctx, "profiles", func() error { return w.o.Profiles(ctx, all) }) {
		w.lost["profile"].Add(uint64(len(batch)))
	}
}

func (w *Watch) sendSpans(ctx context.Context, batch []attach.Span) {
	traces := attach.Traces(attach.Origin{Host: w.o.Origin.Host, Version: w.o.Origin.Version}, batch)
	if !w.send(ctx, "spans", func() error { return w.o.Traces(ctx, traces) }) {
		w.lost["attach"].Add(uint64(len(batch)))
	}
}

// attached says what became of a program that spans are wanted of.
func (w *Watch) attached(p attach.Process) {
	switch {
	case p.Err != nil:
		w.log.Warn("attach to a program", "pid", p.PID, "executable", p.Exe, "error", p.Err)
	case p.Attached:
		w.log.Info("attached to a program", "pid", p.PID, "executable", p.Exe, "took", p.Took)
	}
}

// send offers a batch until it is taken, and gives up after retryFor.
func (w *Watch) send(ctx context.Context, what string, offer func() error) bool {
	deadline := time.Now().Add(retryFor)
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		err := offer()
		if err == nil {
			return true
		}
		if w.o.Permanent != nil && w.o.Permanent(err) || time.Now().Add(wait).After(deadline) || ctx.Err() != nil {
			w.log.Warn("hand over what the kernel told", "what", what, "error", err)
			return false
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// tick tells how features fare.
func (w *Watch) tick(ctx context.Context) {
	t := time.NewTicker(w.o.HealthEvery)
	defer t.Stop()
	w.health()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.health()
		}
	}
}

func (w *Watch) health() {
	if w.tcp != nil {
		text := ""
		if err := w.tcp.Err(); err != nil {
			text = err.Error()
		}
		if text != w.pollErr && text != "" {
			w.log.Warn("poll connections", "error", text)
		}
		w.pollErr = text
	}
	if w.o.Metrics == nil {
		return
	}
	var all []Health
	for _, s := range w.running.Status() {
		h := Health{Status: s, Lost: w.lost[s.Name].Load()}
		if s.Name == "tcp" {
			h.Folded = w.network.Folded()
		}
		all = append(all, h)
	}
	w.metrics.put(HealthMetrics(w.o.Origin, all, w.began, time.Now())) // the next says the same and more
}

// Close detaches, and hands over what is left until ctx ends.
func (w *Watch) Close(ctx context.Context) error {
	w.stopTicking()
	w.ticking.Wait()
	w.health()
	err := w.running.Close()
	if w.stats != nil {
		err = errors.Join(err, w.stats.Close())
	}
	w.events.close()
	w.metrics.close()
	w.profiles.close()
	w.spans.close()
	stop := context.AfterFunc(ctx, w.stopSending)
	defer stop()
	w.sending.Wait()
	w.stopSending()
	return err
}
