package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// Errors of a Pool.
var (
	// ErrPoolFull is returned when the queue of a pool has no room.
	ErrPoolFull = errors.New("the queue of the pool is full")
	// ErrPoolClosed is returned, and told of jobs, when a pool was closed.
	ErrPoolClosed = errors.New("the pool is closed")
)

// PoolOptions configure a Pool. The zero value of a field is its default.
type PoolOptions struct {
	// Name is on metrics and spans; required to tell pools apart.
	Name string
	// Workers is how many jobs run at a time. Default GOMAXPROCS.
	Workers int
	// Queue is how many jobs may wait. Default 256; below 0 none.
	Queue int
	// Failed hears of jobs that return an error or panic, which is then a
	// *PanicError, and of those that Close gave up. It is called by workers,
	// several at a time. Default: an error record of slog.Default.
	Failed func(ctx context.Context, name string, err error)
}

// defaultQueue is some tens of jobs for each worker of a small machine.
const defaultQueue = 256

// Pool runs jobs in a bounded number of goroutines. A job has a span within that
// of whoever submitted it; the pool counts how many wait and run, how long they
// do, and how many were turned down: guanlan.task.wait, guanlan.task.duration,
// guanlan.pool.queue.length, guanlan.pool.workers.busy and
// guanlan.pool.rejected. It is safe for concurrent use. Close it.
type Pool struct {
	opts   PoolOptions
	series perSDK[*poolSeries]

	mu     sync.RWMutex // held for reading while a job is put into jobs
	closed bool         // jobs is closed, or about to be
	jobs   chan job
	ending chan struct{} // closed by Close
	once   sync.Once

	ctx     context.Context // ends when jobs are given up
	giveUp  context.CancelFunc
	done    chan struct{} // closed when all workers have ended
	workers sync.WaitGroup
	left    atomic.Int64 // jobs that wait or run
}

type job struct {
	ctx    context.Context
	name   string
	fn     func(context.Context) error
	at     time.Time
	queued *core.Series // that it counts in while it waits; or nil
}

// poolSeries are the metrics of a pool beside those of tasks.
type poolSeries struct {
	queue, busy            *core.Series
	full, ended, overtaken *core.Series // rejected, by reason
}

func newPoolSeries(s *SDK, pool string) *poolSeries {
	m := s.meter(scopeOfSDK, Version)
	name := core.String(attrPool, pool)
	rejected := m.Instrument(core.InstrumentOptions{Name: "guanlan.pool.rejected", Description: "Jobs that a pool did not take, or gave up.", Unit: "{job}", Form: core.Counter, Integer: true})
	reason := func(r string) *core.Series { return rejected.With(name, core.String("guanlan.pool.reason", r)) }
	return &poolSeries{
		queue: m.Instrument(core.InstrumentOptions{Name: "guanlan.pool.queue.length", Description: "Jobs that wait in a pool.", Unit: "{job}", Form: core.UpDownCounter, Integer: true}).With(name),
		busy:  m.Instrument(core.InstrumentOptions{Name: "guanlan.pool.workers.busy", Description: "Jobs that a pool runs.", Unit: "{job}", Form: core.UpDownCounter, Integer: true}).With(name),
		full:  reason("full"), ended: reason("closed"), overtaken: reason("canceled"),
	}
}

// processors is GOMAXPROCS. The function of that name would keep the runtime
// from following the cgroup.
func processors() int {
	s := []metrics.Sample{{Name: "/sched/gomaxprocs:threads"}}
	if metrics.Read(s); s[0].Value.Kind() != metrics.KindUint64 {
		return 1
	}
	return int(s[0].Value.Uint64())
}

// NewPool starts a pool.
func NewPool(opts PoolOptions) *Pool {
	if opts.Workers <= 0 {
		opts.Workers = processors()
	}
	switch {
	case opts.Queue == 0:
		opts.Queue = defaultQueue
	case opts.Queue < 0:
		opts.Queue = 0
	}
	if opts.Failed == nil {
		opts.Failed = func(ctx context.Context, name string, err error) {
			slog.Default().LogAttrs(ctx, slog.LevelError, "job failed", slog.String(attrPool, opts.Name), slog.String(attrTask, name), slog.String("error", errorText(err)))
		}
	}
	p := &Pool{opts: opts, jobs: make(chan job, opts.Queue), ending: make(chan struct{}), done: make(chan struct{})}
	p.series.make = func(s *SDK) *poolSeries { return newPoolSeries(s, opts.Name) }
	p.ctx, p.giveUp = context.WithCancel(context.Background())
	p.workers.Add(opts.Workers)
	for range opts.Workers {
		go p.work()
	}
	return p
}

// Submit hands a job over, and waits for room in the queue until ctx ends. The
// error says that the job was not taken: ErrPoolClosed, or what ctx ended with.
// What fn returns goes to PoolOptions.Failed.
//
// fn's context is ctx, so a job of a request ends with it: pass Detach(ctx) for
// one that goes on. It also ends when Close gives up. Keep name to few values:
// it is on metrics. A job that submits to its own pool may wait for itself: have
// it use TrySubmit.
func (p *Pool) Submit(ctx context.Context, name string, fn func(context.Context) error) error {
	return p.submit(ctx, name, fn, true)
}

// TrySubmit is Submit that does not wait: without room it returns ErrPoolFull.
func (p *Pool) TrySubmit(ctx context.Context, name string, fn func(context.Context) error) error {
	return p.submit(ctx, name, fn, false)
}

func (p *Pool) submit(ctx context.Context, name string, fn func(context.Context) error, wait bool) error {
	series, counted := p.series.of()
	j := job{ctx: ctx, name: name, fn: fn, at: time.Now()}
	if counted {
		j.queued = series.queue
	}
	err := p.put(ctx, j, wait)
	if err != nil && counted {
		switch err {
		case ErrPoolFull:
			series.full.Add(1)
		case ErrPoolClosed:
			series.ended.Add(1)
		default:
			series.overtaken.Add(1)
		}
	}
	return err
}

func (p *Pool) put(ctx context.Context, j job, wait bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return ErrPoolClosed
	}
	// Counted before it is there, as it may be gone at once.
	p.left.Add(1)
	j.wait(1)
	select {
	case p.jobs <- j:
		return nil
	default:
	}
	err := ErrPoolFull
	if wait {
		select {
		case p.jobs <- j:
			return nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-p.ending:
			err = ErrPoolClosed
		}
	}
	p.left.Add(-1)
	j.wait(-1)
	return err
}

// wait counts a job that waits.
func (j *job) wait(n int64) {
	if j.queued != nil {
		j.queued.Add(n)
	}
}

// work runs jobs until there are none to come.
func (p *Pool) work() {
	ended := false
	defer func() {
		if !ended { // a job ended the goroutine by runtime.Goexit: another takes its place
			go p.work()
			return
		}
		p.workers.Done()
	}()
	for j := range p.jobs {
		j.wait(-1)
		p.do(&j)
	}
	ended = true
}

// do runs a job.
func (p *Pool) do(j *job) {
	defer p.left.Add(-1)
	series, counted := p.series.of()
	if p.ctx.Err() != nil { // given up
		if counted {
			series.ended.Add(1)
		}
		p.failed(j.ctx, j.name, ErrPoolClosed)
		return
	}
	if counted {
		series.busy.Add(1)
		defer series.busy.Add(-1)
	}
	ctx, cancel := context.WithCancel(j.ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	t := handover{taskKey: taskKey{name: j.name, pool: p.opts.Name}, waited: time.Since(j.at), rescue: true, fn: func(ctx context.Context) error {
		if ctx.Err() != nil { // while it waited
			return context.Cause(ctx)
		}
		return j.fn(ctx)
	}}
	if err := t.run(ctx); err != nil {
		p.failed(ctx, j.name, err)
	}
}

// failed tells of a job; a hook that panics costs no worker.
func (p *Pool) failed(ctx context.Context, name string, err error) {
	defer func() { _ = recover() }()
	p.opts.Failed(ctx, name, err)
}

// Close takes no more jobs and waits until those that were taken have run. When
// ctx ends before, it gives up: the contexts of jobs that run end, those that
// wait are not run, and an error says how many they are. It may be called again.
func (p *Pool) Close(ctx context.Context) error {
	p.end()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-p.done: // at the same time
		return nil
	default:
	}
	n := p.left.Load()
	p.giveUp()
	return fmt.Errorf("close pool %q: give up %d jobs that run or wait: %w", p.opts.Name, n, context.Cause(ctx))
}

// end has the workers end when there are no jobs left.
func (p *Pool) end() {
	// Those that wait for room hold mu, and let it go when they hear of this.
	p.once.Do(func() {
		close(p.ending)
		p.mu.Lock()
		p.closed = true
		close(p.jobs)
		p.mu.Unlock()
		go func() {
			p.workers.Wait()
			p.giveUp()
			close(p.done)
		}()
	})
}
