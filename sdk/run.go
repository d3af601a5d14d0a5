package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/sdk/errs"
)

// Limits of the steps of an exit, from the first signal to the end of the
// process. Together they are 59 s when everything and one pool hang: a
// terminationGracePeriodSeconds of 60 is enough.
const (
	// defaultPreStop is for Kubernetes alone: endpoints are removed while the
	// signal is sent, and proxies need a few seconds to hear of it.
	defaultPreStop = 5 * time.Second
	// defaultDrain is as long as most proxies wait for an answer at least.
	defaultDrain = 30 * time.Second
	// breakOff is for what has just been told to end: requests, servers, and
	// whatever closes or flushes.
	breakOff      = time.Second
	workersLimit  = 10 * time.Second
	closingLimit  = 5 * time.Second // of each
	flushingLimit = 5 * time.Second
)

// Part is a part of a service that Run runs: what HTTP, Server, GRPC, Worker and
// OnExit make, the options PreStop and Drain, and a *Health.
type Part interface{ join(*life) }

type partFunc func(*life)

func (f partFunc) join(l *life) { f(l) }

// Worker is a part that does something in the background. Its context ends once
// all requests have been answered; then it must return, and an error that is
// just the end of the context is none. It may return nil earlier, when it is
// done; an error, or a panic, ends the service.
func Worker(name string, run func(context.Context) error) Part {
	return partFunc(func(l *life) { l.workers = append(l.workers, task{fmt.Sprintf("worker %q", name), run}) })
}

// OnExit is a part that closes something after all servers and workers have
// ended, in the reverse order of the arguments of Run: what was opened first,
// and may be used by the others, is closed last. It has 5 s.
func OnExit(name string, close func(context.Context) error) Part {
	return partFunc(func(l *life) { l.closers = append(l.closers, task{fmt.Sprintf("closing of %q", name), close}) })
}

// PreStop sets how long servers go on to accept requests after the service has
// said that it is not ready any more. Default: 5 s in Kubernetes
// (KUBERNETES_SERVICE_HOST is set), otherwise 0.
func PreStop(d time.Duration) Part { return partFunc(func(l *life) { l.preStop = d }) }

// Drain sets how long requests have to end, once servers accept no more.
// Default: 30 s.
func Drain(d time.Duration) Part { return partFunc(func(l *life) { l.drain = d }) }

func (h *Health) join(l *life) { l.healths = append(l.healths, h) }

// Run is the life of a service. It opens all ports, or fails before anything
// runs; serves; and waits for SIGTERM, SIGINT, the end of ctx or the first part
// that fails. Then, one after the other:
//
//  1. Health says that the service is not ready.
//  2. PreStop: servers go on, until balancers have heard of it.
//  3. Servers accept no more, and all at once answer what they have: Drain.
//     Only after it, requests that are still there are broken off.
//  4. The context of workers ends, and they return: 10 s.
//  5. What OnExit was told of is closed, last first.
//  6. Telemetry is flushed: Shutdown.
//
// It returns nil when it was asked to end and all went well; otherwise what
// failed, joined. Telemetry that cannot be sent is told to otel.Handle and is no
// failure. What does not end in its time is left behind, and is named in
// the error and in a record of slog.Default.
//
// The contexts of HTTP requests and workers have the values of ctx, but do not
// end with it; those of gRPC calls are made by the server, and have only what its
// interceptors give them. A second signal ends the process at once, with status 128 and the
// signal's number, and without what is left to do.
//
// A service calls Run once, and last in its main.
func Run(ctx context.Context, parts ...Part) error {
	signals := make(chan os.Signal, 2)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		if !signal.Ignored(s) { // as nohup has it
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	return newLife(os.Getenv, parts).run(ctx, signals)
}

func newLife(getenv func(string) string, parts []Part) *life {
	l := &life{drain: defaultDrain, listen: listen, flush: Shutdown, die: die}
	if getenv("KUBERNETES_SERVICE_HOST") != "" {
		l.preStop = defaultPreStop
	}
	for _, p := range parts {
		p.join(l)
	}
	return l
}

// die ends the process as a shell says that a signal did. Nothing may stand in
// its way, also not a log that waits for its turn.
func die(s os.Signal) {
	fmt.Fprintf(os.Stderr, "second signal (%v): the process ends at once\n", s)
	number := 1
	if n, ok := s.(syscall.Signal); ok {
		number = int(n)
	}
	os.Exit(128 + number)
}

// task is something with a name that is told when it fails.
type task struct {
	name string
	run  func(context.Context) error
}

// life is a service from its start to its end.
type life struct {
	servers []*server
	workers []task
	closers []task
	healths []*Health
	preStop time.Duration
	drain   time.Duration

	listen func(context.Context, string) (net.Listener, error)
	flush  func(context.Context) error
	die    func(os.Signal)

	mu   sync.Mutex
	errs []error
}

func (l *life) failed(err error) {
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.errs = append(l.errs, err)
	}
}

func (l *life) run(ctx context.Context, signals <-chan os.Signal) error {
	root := context.WithoutCancel(ctx)
	if err := errs.Check(); err != nil {
		slog.WarnContext(ctx, "the table of errors is wrong", "error", err)
	}
	if err := l.open(ctx); err != nil {
		slog.ErrorContext(ctx, "exit begins", "reason", err.Error())
		l.failed(err)
		return l.end(root)
	}
	requests, cancelRequests := context.WithCancelCause(root)
	defer cancelRequests(nil)
	work, cancelWork := context.WithCancel(root)
	defer cancelWork()

	// Each says at most once that it failed: nobody waits here after the first.
	ended := make(chan error, len(l.servers)+len(l.workers))
	var serving, working sync.WaitGroup
	running := newNames()
	for _, s := range l.servers {
		s.prepare(requests)
		serving.Add(1)
		go func() {
			defer serving.Done()
			ended <- s.run()
		}()
	}
	for _, w := range l.workers {
		working.Add(1)
		running.add(w.name)
		go func() {
			defer working.Done()
			defer running.remove(w.name)
			err := fmt.Errorf("%s: it ended its goroutine", w.name)
			defer func() { ended <- err }()
			err = w.work(work)
		}()
	}
	for _, h := range l.healths {
		h.Started()
	}
	why, signalled := l.wait(ctx, signals, ended)
	l.failed(why)

	over := make(chan struct{})
	var watching sync.WaitGroup
	defer watching.Wait()
	defer close(over)
	watching.Add(1)
	go func() {
		defer watching.Done()
		l.watch(signals, signalled, over)
	}()

	for _, h := range l.healths {
		h.Exiting()
	}
	if l.preStop > 0 && len(l.servers) > 0 {
		time.Sleep(l.preStop)
	}
	l.drainAll(root, cancelRequests)
	within(breakOff, serving.Wait)
	cancelWork()
	if !within(workersLimit, working.Wait) {
		for _, name := range running.left() {
			l.hangs(root, fmt.Errorf("%s not done %v after its context ended", name, workersLimit))
		}
	}
	for { // what failed beside the first
		select {
		case err := <-ended:
			l.failed(err)
			continue
		default:
		}
		break
	}
	return l.end(root)
}

// open opens the ports of all servers, or none.
func (l *life) open(ctx context.Context) error {
	for i, s := range l.servers {
		at, err := l.listen(ctx, s.addr)
		if err != nil {
			for _, before := range l.servers[:i] {
				_ = before.listener.Close()
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("open port of %s: %w; another process has it: end that one or choose another address", s.name, err)
			}
			return fmt.Errorf("open port of %s: %w", s.name, err)
		}
		s.listener = at
	}
	for _, s := range l.servers {
		slog.InfoContext(ctx, "listening", "server", s.name, "address", s.listener.Addr().String())
	}
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, "tcp", addr)
}

// wait waits for a reason to end: an error, or nil when it is asked for.
func (l *life) wait(ctx context.Context, signals <-chan os.Signal, ended <-chan error) (err error, signalled bool) {
	for left := len(l.servers) + len(l.workers); ; {
		select {
		case s := <-signals:
			slog.InfoContext(ctx, "exit begins", "reason", s.String())
			return nil, true
		case <-ctx.Done():
			slog.InfoContext(ctx, "exit begins", "reason", errorText(context.Cause(ctx)))
			return nil, false
		case err := <-ended:
			if left--; err != nil {
				slog.ErrorContext(ctx, "exit begins", "reason", err.Error())
				return err, false
			}
			if left == 0 { // there were workers only, and they are done
				slog.InfoContext(ctx, "exit begins", "reason", "all workers are done")
				return nil, false
			}
		}
	}
}

// watch ends the process at the second signal.
func (l *life) watch(signals <-chan os.Signal, signalled bool, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case s := <-signals:
			if signalled {
				l.die(s)
			}
			signalled = true
		}
	}
}

// drainAll lets all servers end what they have.
func (l *life) drainAll(ctx context.Context, cancelRequests context.CancelCauseFunc) {
	ctx, cancel := context.WithTimeout(ctx, l.drain)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range l.servers {
		s.draining.Store(true)
		all.Add(1)
		go func() {
			defer all.Done()
			err := s.drain(ctx)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				l.hangs(ctx, fmt.Errorf("drain of %s not done after %v: %s", s.name, l.drain, s.busy()))
				cancelRequests(errDrained)
				s.stop()
			default:
				l.failed(fmt.Errorf("drain of %s: %w", s.name, err))
			}
		}()
	}
	all.Wait()
	cancelRequests(errDrained)
}

var errDrained = errors.New("the service ends: the time for requests is over")

// end closes what was opened and flushes telemetry.
func (l *life) end(ctx context.Context) error {
	for _, c := range slices.Backward(l.closers) {
		l.limited(ctx, closingLimit, c)
	}
	slog.InfoContext(ctx, "exit is done but for telemetry", "failures", len(l.errs))
	// A service does not fail for its telemetry: who is to hear of it is told by
	// the SDK's own means.
	l.limited(ctx, flushingLimit, task{"flush of telemetry", func(ctx context.Context) error {
		if err := l.flush(ctx); err != nil {
			tellError(fmt.Errorf("flush telemetry: %w", err))
		}
		return nil
	}})
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

// limited runs a task, and leaves it behind when it hangs.
func (l *life) limited(ctx context.Context, limit time.Duration, t task) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	if !within(limit+breakOff, func() { err = t.guarded(ctx) }) {
		l.hangs(ctx, fmt.Errorf("%s not done after %v", t.name, limit))
		return
	}
	if err != nil {
		l.failed(fmt.Errorf("%s: %w", t.name, err))
	}
}

// hangs notes and logs what did not end in its time.
func (l *life) hangs(ctx context.Context, err error) {
	slog.WarnContext(ctx, err.Error())
	l.failed(err)
}

func (t task) guarded(ctx context.Context) error {
	return caught(func() error { return t.run(ctx) })
}

// work runs a worker to its end, and says how that was.
func (t task) work(ctx context.Context) error {
	err := t.guarded(ctx)
	ended := func() bool { return errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) }
	if err == nil || ctx.Err() != nil && askError(err, ended, func(any) bool { return false }) {
		return nil
	}
	return fmt.Errorf("%s: %w", t.name, err)
}

// within runs f in a goroutine of its own and waits at most limit: what hangs
// is left behind, for the process ends soon.
func within(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// names are those of what has not ended.
type names struct {
	mu    sync.Mutex
	count map[string]int
}

func newNames() *names { return &names{count: map[string]int{}} }

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count[name]++
}

func (n *names) remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count[name]--; n.count[name] == 0 {
		delete(n.count, name)
	}
}

func (n *names) left() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for name := range n.count {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
