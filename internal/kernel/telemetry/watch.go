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
	"github.com/guanlan-io/guanlan/internal/kernel/dns"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/profile"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/kube"
	"github.com/guanlan-io/guanlan/internal/pprofile"
	"github.com/guanlan-io/guanlan/internal/semconv"
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
	Origin Origin
	Host   kernel.Options // but for Pins
	// Pin is the folder of a BPF file system in which tcp, oom and audit outlive the
	// process; "": nowhere. Where there is none it is told as a missing part.
	Pin     string
	DNS     *dns.Options // names of peers: nothing without TCP
	TCP     *tcp.Options
	OOM     *oom.Options
	Audit   *audit.Options
	Profile *profile.Options
	Attach  *attach.Options // at least one target
	// Kubernetes names the cluster that peers and pods have names of; nil: none. Without
	// a cluster around this process it is none as well.
	Kubernetes *Kubernetes

	// Limits say what of TCP is a signal; default: tcp.DefaultLimits with what TCP says is slow.
	Limits *tcp.Limits
	// RuleSources name the files that the rules of Audit are from, "" for those
	// that come with the program.
	RuleSources []string
	// FindingsOnly leaves out audit events that meet no rule.
	FindingsOnly bool
	// Statistics makes the kernel measure programs, also those of others: two
	// readings of the clock a run.
	Statistics bool
	// Answer lets Ask find the watch.
	Answer bool
	// HealthEvery is how often features say how they fare; default 10 s.
	HealthEvery time.Duration

	// Where telemetry goes; what nobody takes is not made, so that there are to be
	// the same of them for Change. They are called from one
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
	origin      Origin
	permanent   func(error) bool
	healthEvery time.Duration

	host    *kernel.Host
	pins    *kernel.Pins // nil without
	noPins  error        // why there are none, though they are wanted
	running *kernel.Running
	stats   io.Closer
	network *Network
	dns     atomic.Pointer[dns.Feature] // that runs; nil without
	cluster *kube.Cluster               // nil without
	began   time.Time
	asked   io.Closer // answers who asks how it fares

	changing  sync.Mutex        // of the next three
	o         Options           // of the last Change
	changes   map[string]string // by feature: what the last Change did to it
	rulesTold time.Time         // when the audit last told its rules

	out   sync.RWMutex // held for reading while a batch is handed over
	to    outlets
	takes atomic.Pointer[takes]

	events   *queue[any]
	metrics  *queue[told]
	profiles *queue[profile.Profile]
	spans    *queue[attach.Span]
	lost     map[string]*atomic.Uint64 // by feature; the keys do not change

	stopTicking, stopSending context.CancelFunc
	ticking, sending         sync.WaitGroup
	pollErr                  string
}

// told is metrics on their way. Those of TCP are what an interval added: a batch
// that is lost is missing for good. Health says the same and more the next time.
type told struct {
	pmetric.Metrics
	tcp bool
}

// signals is what was found in a report, without the report, which may have MBs.
type signals struct {
	found []tcp.Signal
	at    time.Time
}

// outlets are where telemetry goes; none while it waits for Change.
type outlets struct {
	logs     func(context.Context, plog.Logs) error
	metrics  func(context.Context, pmetric.Metrics) error
	profiles func(context.Context, pdataprofile.Profiles) error
	traces   func(context.Context, ptrace.Traces) error
}

// takes is what callbacks want to know of them, and of what is worth telling.
type takes struct {
	logs, metrics, findingsOnly bool
	limits                      tcp.Limits
	log                         *slog.Logger
}

func (w *Watch) log() *slog.Logger { return w.takes.Load().log }

// errWaits makes a batch come again.
var errWaits = errors.New("the pipelines are being exchanged")

// Start starts the features. Those that this kernel or process cannot do are told
// to the log and in Status; the others run until Close. The error is that of pins
// that another process has (kernel.ErrPinsInUse), or of a cluster that is not told right.
func Start(o Options) (*Watch, error) {
	w := &Watch{o: o, origin: o.Origin, permanent: o.Permanent, healthEvery: o.HealthEvery, began: time.Now(),
		events: newQueue[any](maxEvents), metrics: newQueue[told](maxReports), profiles: newQueue[profile.Profile](maxProfiles),
		spans: newQueue[attach.Span](maxSpans),
		lost:  map[string]*atomic.Uint64{}, changes: map[string]string{}}
	if w.healthEvery <= 0 {
		w.healthEvery = defaultHealthEvery
	}
	if err := w.openNames(&o); err != nil {
		return nil, err
	}
	w.network = NewNetwork(w.origin)
	if o.Pin != "" {
		var err error
		if w.pins, err = kernel.OpenPins(o.Pin); errors.Is(err, kernel.ErrPinsInUse) {
			w.closeNames()
			return nil, err
		} else if err != nil {
			w.noPins = err
		}
	}
	o.Host.Pins = w.pins
	w.host = kernel.NewHost(o.Host)
	for _, name := range append([]string{"dns", "profile", "attach"}, pinnable...) {
		w.lost[name] = &atomic.Uint64{}
	}
	w.direct(&o)
	w.keepPins(&o)
	ctx, stop := context.WithCancel(context.Background())
	w.stopSending = stop
	w.sending.Go(func() { w.events.run(ctx, gatherFor, maxBatch, func(b []any) { w.sendEvents(ctx, b) }) })
	w.sending.Go(func() { w.metrics.run(ctx, 0, 1, func(b []told) { w.sendMetrics(ctx, b[0]) }) })
	w.sending.Go(func() {
		w.profiles.run(ctx, gatherProfiles, maxProfileBatch, func(b []profile.Profile) { w.sendProfiles(ctx, b) })
	})
	w.sending.Go(func() { w.spans.run(ctx, gatherFor, maxBatch, func(b []attach.Span) { w.sendSpans(ctx, b) }) })

	features := w.wanted(&o)
	w.nameBy(features)
	w.running = kernel.Start(context.Background(), w.host, features...)
	if o.Statistics {
		var err error
		if w.stats, err = w.host.KeepStatistics(); err != nil {
			w.log().Warn("keep statistics of BPF programs", "error", err)
		}
	}
	w.tell()
	if o.Answer {
		a, err := w.answer()
		if err != nil {
			w.log().Warn("answer who asks how the watch fares", "error", err)
		} else {
			w.asked = a
		}
	}
	ticking, stop := context.WithCancel(context.Background())
	w.stopTicking = stop
	w.ticking.Go(func() { w.tick(ticking) })
	return w, nil
}

// direct says where telemetry goes from now on.
func (w *Watch) direct(o *Options) {
	t := &takes{logs: o.Logs != nil, metrics: o.Metrics != nil, findingsOnly: o.FindingsOnly, limits: tcp.DefaultLimits(), log: o.Logger}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if o.Limits != nil {
		t.limits = *o.Limits
	}
	w.takes.Store(t)
	w.out.Lock()
	defer w.out.Unlock()
	w.to = outlets{o.Logs, o.Metrics, o.Profiles, o.Traces}
}

// keepPins takes away those of features that are off.
func (w *Watch) keepPins(o *Options) {
	if w.pins == nil {
		return
	}
	var on []string
	for name, wanted := range map[string]bool{"tcp": o.TCP != nil, "oom": o.OOM != nil, "audit": o.Audit != nil} { // pinnable
		if wanted {
			on = append(on, name)
		}
	}
	if err := w.pins.Keep(on...); err != nil {
		w.log().Warn("remove pins of features that are off", "error", err)
	}
}

// wanted makes the features.
func (w *Watch) wanted(o *Options) []kernel.Feature {
	var out []kernel.Feature
	for _, made := range []kernel.Feature{w.newDNS(o), w.newTCP(o), w.newOOM(o), w.newAudit(o), w.newProfile(o), w.newAttach(o)} {
		if made != nil {
			out = append(out, made)
		}
	}
	return out
}

// newDNS is the first: names are there before who needs them.
func (w *Watch) newDNS(all *Options) kernel.Feature {
	if all.DNS == nil || all.TCP == nil {
		return nil
	}
	return dns.New(*all.DNS)
}

func (w *Watch) newTCP(all *Options) kernel.Feature {
	if all.TCP == nil {
		return nil
	}
	o := *all.TCP
	o.OnReport = w.report
	o.OnEvent = func(e tcp.Event) { w.event("tcp", e) }
	return tcp.New(o)
}

func (w *Watch) newOOM(all *Options) kernel.Feature {
	if all.OOM == nil {
		return nil
	}
	o := *all.OOM
	o.OnEvent = func(e oom.Event) { w.event("oom", e) }
	return oom.New(o)
}

func (w *Watch) newAudit(all *Options) kernel.Feature {
	if all.Audit == nil {
		return nil
	}
	o := *all.Audit
	o.OnEvent = func(e audit.Event) {
		if !w.takes.Load().findingsOnly || len(e.Findings) > 0 || e.Kind == audit.Lost {
			w.event("audit", e)
		}
	}
	return audit.New(o)
}

func (w *Watch) newProfile(all *Options) kernel.Feature {
	if all.Profile == nil || all.Profiles == nil {
		return nil
	}
	o := *all.Profile
	o.OnProfile = func(p profile.Profile) {
		if !w.profiles.put(p) {
			w.lost["profile"].Add(1)
		}
	}
	return profile.New(o)
}

func (w *Watch) newAttach(all *Options) kernel.Feature {
	if all.Attach == nil || all.Traces == nil {
		return nil
	}
	o := *all.Attach
	o.OnSpan = func(s attach.Span) {
		if !w.spans.put(s) {
			w.lost["attach"].Add(1)
		}
	}
	o.OnProcess = w.attached
	return attach.New(o)
}

// tell says once what does not run, and what to do about it.
func (w *Watch) tell() {
	warn := func(message string, p Part) {
		if p.Missing == "" {
			w.log().Warn(message, "feature", p.Name, "error", p.Error)
			return
		}
		w.log().Warn(message, "feature", p.Name, "missing", p.Missing, "next", p.Next, "error", p.Error)
	}
	for _, f := range w.features() {
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
	if w.takes.Load().logs && !w.events.put(e) {
		w.lost[feature].Add(1)
	}
}

// report comes from the goroutine that polls, which may work a little.
func (w *Watch) report(r tcp.Report) {
	m := w.network.Metrics(&r)
	if w.takes.Load().metrics && !w.metrics.put(told{m, true}) {
		w.lost["tcp"].Add(1)
	}
	// Events above the limits of their number.
	w.lost["tcp"].Add(r.Suppressed)
	if found := Signals(&r, w.takes.Load().limits); len(found) > 0 {
		w.event("tcp", signals{found, r.To})
	}
}

func (w *Watch) sendEvents(ctx context.Context, batch []any) {
	r := Records{Origin: w.origin}
	for _, e := range batch {
		switch e := e.(type) {
		case tcp.Event:
			r.TCP(&e)
		case signals:
			r.signals(e.found, e.at)
		case oom.Event:
			r.OOM(&e)
		case audit.Event:
			r.Audit(&e)
		case ruling:
			r.Rules(e.at, e.rules, e.sources)
		}
	}
	if r.Len() == 0 {
		return
	}
	logs := r.Take()
	if w.send(ctx, "log records", func(to outlets) error { return offer(ctx, to.logs, logs) }) {
		return
	}
	for _, e := range batch {
		switch e.(type) {
		case tcp.Event, signals:
			w.lost["tcp"].Add(1)
		case oom.Event:
			w.lost["oom"].Add(1)
		case audit.Event:
			w.lost["audit"].Add(1)
		}
	}
}

func (w *Watch) sendMetrics(ctx context.Context, m told) {
	if !w.send(ctx, "metrics", func(to outlets) error { return offer(ctx, to.metrics, m.Metrics) }) && m.tcp {
		w.lost["tcp"].Add(1)
	}
}

func (w *Watch) sendProfiles(ctx context.Context, batch []profile.Profile) {
	b := pprofile.NewBatch()
	for _, p := range batch {
		b.Add(p.Pprof, resourceOfProfile(w.origin, p.Process), string(p.Kind))
	}
	all := b.Profiles()
	if !w.send(ctx, "profiles", func(to outlets) error { return offer(ctx, to.profiles, all) }) {
		w.lost["profile"].Add(uint64(len(batch)))
	}
}

func (w *Watch) sendSpans(ctx context.Context, batch []attach.Span) {
	traces := attach.Traces(attach.Origin{Host: w.origin.Host, Version: w.origin.Version}, batch)
	for _, rs := range traces.ResourceSpans().All() {
		a := rs.Resource().Attributes()
		if uid, ok := a.Get(semconv.K8sPodUID); ok {
			w.origin.Names.pod(uid.AsString(), func(k, v string) { putText(a, k, v) })
		}
	}
	if !w.send(ctx, "spans", func(to outlets) error { return offer(ctx, to.traces, traces) }) {
		w.lost["attach"].Add(uint64(len(batch)))
	}
}

// attached says what became of a program that spans are wanted of.
func (w *Watch) attached(p attach.Process) {
	switch {
	case p.Err != nil:
		w.log().Warn("attach to a program", "pid", p.PID, "executable", p.Exe, "error", p.Err)
	case p.Attached:
		w.log().Info("attached to a program", "pid", p.PID, "executable", p.Exe, "took", p.Took)
		if p.Also != 0 {
			w.log().Warn("another process is attached to a program as well: each span is sent twice",
				"pid", p.PID, "executable", p.Exe, "by", attach.Holder(p.Also), "next", "stop one of them, or name other programs to it")
		}
		for _, k := range p.Injects {
			if len(k.Missing) > 0 {
				w.log().Warn("write traceparent into a program's requests", "pid", p.PID, "executable", p.Exe, "requests", k.Name, "missing", k.Missing)
			}
		}
	}
}

// send offers a batch until it is taken, and gives up after retryFor.
func (w *Watch) send(ctx context.Context, what string, offer func(outlets) error) bool {
	deadline := time.Now().Add(retryFor)
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		w.out.RLock()
		err := offer(w.to)
		w.out.RUnlock()
		if err == nil {
			return true
		}
		if w.permanent != nil && w.permanent(err) || time.Now().Add(wait).After(deadline) || ctx.Err() != nil {
			w.log().Warn("hand over what the kernel told", "what", what, "error", err)
			return false
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// offer hands a batch to an outlet, if there is one now.
func offer[T any](ctx context.Context, to func(context.Context, T) error, batch T) error {
	if to == nil {
		return errWaits
	}
	return to(ctx, batch)
}

// tick tells how features fare.
func (w *Watch) tick(ctx context.Context) {
	tell := func() {
		w.health()
		w.tellRules(time.Now())
	}
	tell()
	kernel.Every(ctx, w.healthEvery, tell)
}

func (w *Watch) health() {
	var all []Health
	for _, s := range w.running.Status() {
		all = append(all, w.healthOf(s))
		if f, ok := s.Feature.(*tcp.Feature); ok && s.Err == nil {
			w.tellPoll(f.Err())
		}
	}
	if w.takes.Load().metrics {
		w.metrics.put(told{Metrics: HealthMetrics(w.origin, all, w.began, time.Now())}) // the next says the same and more
	}
}

func (w *Watch) healthOf(s kernel.Status) Health {
	h := Health{Status: s, Lost: w.lost[s.Name].Load()}
	if s.Name == "tcp" {
		h.Folded = w.network.Folded()
	}
	if f, ok := s.Feature.(*attach.Feature); ok && s.Err == nil && f.Injects() {
		h.Injected = f.Injected().Results()
	}
	return h
}

// tellPoll tells of an error once, until there is another.
func (w *Watch) tellPoll(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != w.pollErr && text != "" {
		w.log().Warn("poll connections", "error", text)
	}
	w.pollErr = text
}

// Close detaches, but for what is pinned, and hands over what is left until ctx ends.
func (w *Watch) Close(ctx context.Context) error {
	w.stopTicking()
	w.ticking.Wait()
	w.health()
	var err error
	if w.asked != nil {
		err = w.asked.Close()
	}
	err = errors.Join(err, w.running.Close())
	if w.stats != nil {
		err = errors.Join(err, w.stats.Close())
	}
	if w.pins != nil {
		err = errors.Join(err, w.pins.Close())
	}
	w.events.close()
	w.metrics.close()
	w.profiles.close()
	w.spans.close()
	stop := context.AfterFunc(ctx, w.stopSending)
	defer stop()
	w.sending.Wait()
	w.stopSending()
	w.closeNames() // the last that was told has names
	return err
}
