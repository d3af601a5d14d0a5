package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Tasks are pieces of work that cross from one goroutine to another: by Go, by
// Wrap, by a channel with a Carrier, or by a Pool. Each has a span within that
// of whoever handed it over, counts in the histogram guanlan.task.duration, and
// in guanlan.task.wait where it had to wait for its turn.
var tasks = NewOperations(OperationOptions[taskKey]{
	Scope: scopeOfSDK, Kind: core.KindInternal,
	Metric: "guanlan.task.duration", Description: "Duration of tasks, without the time they waited.", Attrs: taskKey.attrs,
})

var taskWaits = perSDK[*boundSeries[taskKey]]{make: func(s *SDK) *boundSeries[taskKey] {
	return newBoundSeries(s.meter(scopeOfSDK, Version), "guanlan.task.wait", "How long tasks waited for their turn.", nil, taskKey.attrs)
}}

// taskKey is what the series of a task depends on.
type taskKey struct{ name, pool, failure string }

func (k taskKey) attrs() []core.Attr {
	attrs := append(make([]core.Attr, 0, 3), core.String(attrTask, k.name))
	if k.pool != "" {
		attrs = append(attrs, core.String(attrPool, k.pool))
	}
	if k.failure != "" {
		attrs = append(attrs, core.String("error.type", k.failure))
	}
	return attrs
}

// Attributes of spans and metrics of tasks.
const (
	attrTask = "guanlan.task.name"
	attrPool = "guanlan.pool.name"
	attrWait = "guanlan.task.wait" // seconds
)

// handover is work that crosses.
type handover struct {
	taskKey
	waited time.Duration // below 0: it did not have to
	links  []Carrier     // of a batch
	began  time.Time     // set by run, where there are links
	fatal  bool          // nobody above recovers from a panic
	rescue bool          // a panic becomes an error
	fn     func(context.Context) error
}

// run does the work in a span. Without an SDK it only does the work.
func (t *handover) run(ctx context.Context) (err error) {
	if t.links != nil {
		t.began = time.Now()
	}
	op := tasks.Start(ctx, t.name)
	if waits, ok := taskWaits.of(); ok && t.waited >= 0 {
		sc := *op.recorded().Context()
		waits.of(&t.taskKey).Record(t.waited.Seconds(), &sc)
	}
	described := op.Recording()
	if described {
		t.describe(op.Span())
	}
	returned := false
	defer func() {
		var thrown *PanicError
		switch {
		case returned && err != nil:
			t.failure = taskFailure(err)
		case !returned:
			// Nothing was thrown when the goroutine ends by runtime.Goexit.
			if p := recover(); p != nil {
				t.failure, thrown = failureOfPanic, &PanicError{p, stack()}
			}
		}
		if kept := op.Finish(t.failure); kept {
			sp := op.Span()
			if !described {
				t.describe(sp)
			}
			switch {
			case thrown != nil:
				sp.SetStatus(core.StatusError, "")
				sp.AddEvent("exception", time.Time{}, exceptionOf(thrown)...)
			case err != nil:
				sp.SetStatus(core.StatusError, errorText(err))
			}
		}
		op.End(t.taskKey)
		switch {
		case thrown == nil:
		case t.rescue:
			err = thrown
		default:
			if t.fatal {
				lastWords(op.Ctx(), t.name, thrown)
			}
			// From here, so that the runtime's trace goes down to where it was
			// thrown first.
			panic(thrown.Value)
		}
	}()
	err = t.fn(op.Ctx())
	returned = true
	return err
}

// describe sets what is known when a task begins; it may have ended since.
func (t *handover) describe(sp *Span) {
	if t.pool != "" {
		sp.SetAttr(core.String(attrPool, t.pool))
	}
	if t.waited >= 0 {
		sp.SetAttr(core.Float(attrWait, t.waited.Seconds()))
	}
	for i := range t.links {
		if c := &t.links[i]; c.span.IsValid() {
			sp.AddLink(&c.span, core.Float(attrWait, t.began.Sub(c.left).Seconds()))
		}
	}
}

// taskFailure is the class of an error.
func taskFailure(err error) string {
	if panicOf(err) != nil {
		return failureOfPanic
	}
	return askError(err, func() string {
		if errors.Is(err, context.Canceled) {
			return "canceled"
		}
		return failureOf(err)
	}, typeName)
}

// lastFlush is how long a process that is about to crash waits for its last
// telemetry: a receiver nearby takes milliseconds, and supervisors are waiting.
const lastFlush = time.Second

// lastWords tells of a panic that ends the process, in a goroutine of its own: a
// log handler may be stuck.
func lastWords(ctx context.Context, name string, p *PanicError) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	told := make(chan struct{})
	go func() {
		defer close(told)
		defer func() { _ = recover() }() // the first panic is the one to tell of
		slog.Default().LogAttrs(ctx, slog.LevelError, "panic in a goroutine: the process ends", slog.String(attrTask, name), slog.String("exception.type", typeName(p.Value)),
			slog.String("exception.message", fmt.Sprint(p.Value)), slog.String("exception.stacktrace", p.Stack))
		if s := Default(); s != nil {
			_ = s.Flush(ctx)
		}
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// Go runs fn in a goroutine of its own, in a span within that of ctx. Keep name
// to few values: it is on metrics. fn's context is ctx, which ends when a
// request has been answered: pass Detach(ctx) for work that goes on then.
//
// A panic ends the process, as in any goroutine. Before, it is recorded on the
// span and in a log record, and what is recorded is sent, for which the process
// waits a second at most.
func Go(ctx context.Context, name string, fn func(context.Context)) {
	t := &handover{taskKey: taskKey{name: name}, waited: -1, fatal: true, fn: plain(fn)}
	go func() { _ = t.run(ctx) }()
}

// Wrap makes a function for whoever runs functions elsewhere: a pool of another
// library, a timer. It runs fn in a span within that of ctx, as often as it is
// called, and counts how long it took until it was. Panics pass through it.
func Wrap(ctx context.Context, name string, fn func(context.Context)) func() {
	run := WrapError(ctx, name, plain(fn))
	return func() { _ = run() }
}

// WrapError is Wrap for functions that may fail, as those of an errgroup.
func WrapError(ctx context.Context, name string, fn func(context.Context) error) func() error {
	handed := time.Now()
	return func() error {
		t := &handover{taskKey: taskKey{name: name}, waited: time.Since(handed), fn: fn}
		return t.run(ctx)
	}
}

func plain(fn func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error {
		fn(ctx)
		return nil
	}
}

// Detach is ctx without its end and its deadline, for work that outlives what
// it began with. The span, the ids, the baggage and all other values stay.
func Detach(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
