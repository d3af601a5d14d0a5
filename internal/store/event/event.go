// Package event keeps traces and logs. It wraps the columnar engine of
// VictoriaLogs, one instance a signal, and gives it what it lacks: a batch is
// durable when a write returns, and each acknowledged row is there exactly once
// after the process was killed.
//
// # How a batch travels
//
// A write encodes the batch as OTLP, appends it to the signal's journal, turns
// it into rows and hands them to an applier, which gives them to the engine.
// The engine keeps new rows in memory for a while. A checkpoint makes the
// engine's state durable as a whole: appliers pause, everything in memory goes
// to files, every partition (a day) written since its last snapshot gets a new
// one made of hard links, and the file CHECKPOINT records the snapshots, the
// last sequence number of the journal that they contain, and the state of the
// helpers that are built from the same rows.
//
// After a kill, Open swaps the files of the partitions for their snapshots,
// removes partitions that CHECKPOINT does not know, and replays the journal
// from the recorded number. Nothing in the rows is needed to tell a row that
// was applied from one that was not.
//
// A partition that was not written for a while is settled: CHECKPOINT lists it
// without a snapshot, and its files are taken as they are. Before a settled
// partition is written again it gets a snapshot, recorded in CHECKPOINT, so
// that in no case rows that CHECKPOINT does not cover stand in files that
// Open would keep.
package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

// Defaults of Options.
const (
	// DefaultQueueBytes holds some 55,000 spans: what a checkpoint keeps
	// waiting at 100,000 spans/s.
	DefaultQueueBytes = 32 << 20
	// DefaultRetention is a week: a release, its canary and the review of it.
	DefaultRetention = 7 * 24 * time.Hour
)

// Options of Open. The zero value of every field but Dir works.
type Options struct {
	// Dir is the data folder. Only one process may have it open.
	Dir string
	// Sync says when an acknowledged batch is on the disk; see package
	// journal. Default: on the disk within 200 ms.
	Sync journal.SyncPolicy
	// SyncEvery is the interval of journal.SyncInterval. Default
	// journal.DefaultSyncEvery.
	SyncEvery time.Duration
	// QueueBytes bounds the batches that are in the journal and not yet in
	// the engine, in bytes of OTLP. Those that are just being turned into rows
	// take some ten times as much. When it is full, writes wait a little and
	// then fail with ErrUnavailable. Default DefaultQueueBytes.
	QueueBytes int64
	// Traces and Logs say how long each signal is kept.
	Traces, Logs Keep
	// DiskReserve is the free space in bytes below which writes are refused.
	// Default: 512 MiB or a tenth of the file system, whichever is less.
	DiskReserve uint64
	// Memory bounds the caches and memory buffers of the engine, in bytes.
	// It is a setting of the process: the first store that is opened decides.
	// Default: a quarter of the machine's or the cgroup's memory, at most
	// 1 GiB.
	Memory int64
	// Logger takes what the store and the engine have to say. Default: none.
	Logger *slog.Logger
	// Now is the clock that batches are stamped with. Default time.Now.
	Now func() time.Time
}

// Keep bounds the data of one signal. Whole days (UTC) are dropped, oldest
// first.
type Keep struct {
	// Retention is how long rows are kept, by their own time; it is rounded
	// up to whole days. Default DefaultRetention.
	Retention time.Duration
	// MaxBytes bounds the files of the signal. The two newest days are kept
	// in any case. Default 0: no bound.
	MaxBytes int64
}

// Store is an open data folder. It implements store.Writer. Its methods are
// safe for concurrent use.
type Store struct {
	opts      Options
	log       *slog.Logger
	folder    *folder
	guard     *diskGuard
	traces    *engine
	logs      *engine
	codecs    codecs
	reader    *reader
	timing    timing
	swap      swapper
	recovery  Recovery // complete when open returns
	crashed   string   // what a process before said when it ended in a panic
	crashedAt time.Time

	queue *queue
	// applying bounds the groups that are rows at a time, of all signals: as
	// rows they take ten times their bytes, and more than there are cores
	// would only wait for each other.
	applying chan struct{}
	rows     rowMemory
	closed   chan struct{} // ends waiting; closed first by Close
	// gate is held for reading by every write; Close sets closing and waits
	// for it.
	gate     sync.RWMutex
	closing  atomic.Bool
	appliers sync.WaitGroup
	reads    readGate

	// convert is held for reading while batches are turned into rows and given
	// to the engine, and taken by a checkpoint: the engine and the helpers
	// know the same batches when it has it.
	convert sync.RWMutex

	// checkpointing serialises checkpoints. state guards current and the file
	// CHECKPOINT. Order: checkpointing, convert, state.
	checkpointing sync.Mutex
	state         sync.Mutex
	current       *checkpoint

	since        backlog
	firstPending chan struct{}
	enough       chan struct{}
	background   sync.WaitGroup

	counters counters
}

// codecs turn encoded TracesData and LogsData into rows. They are called by
// several goroutines. A codec may change helpers while it runs; it has no other
// effect but adding to lr.
type codecs struct {
	spans func(lr *logstorage.LogRows, t store.Tenant, payload []byte, now time.Time) (added, dropped int, err error)
	logs  func(lr *logstorage.LogRows, t store.Tenant, payload []byte, now time.Time) (added, dropped int, err error)
	// helpers are kept in step with the rows, by name.
	helpers map[string]checkpointed
}

// checkpointed is something that codecs build beside the rows and that must
// agree with them after a crash.
type checkpointed interface {
	// freeze returns the state as of now. No codec runs meanwhile, and what
	// codecs have seen is exactly what the checkpoint contains.
	freeze() (blob []byte, err error)
	// restore takes over what freeze returned. It is called once, before any
	// codec runs; where there is no earlier state, freeze is called instead.
	restore(blob []byte) error
}

// timing is when groups are given to the engine and checkpoints are made;
// tests shorten it.
type timing struct {
	linger      time.Duration
	bytes, rows int64
	after       time.Duration
	settle      time.Duration
	refresh     time.Duration
}

// open opens the store. newCodecs is called when the folder is locked.
func open(opts Options, newCodecs func(Options) (codecs, error), tm timing) (_ *Store, err error) {
	if opts.QueueBytes <= 0 {
		opts.QueueBytes = DefaultQueueBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{
		opts: opts, log: opts.Logger, timing: tm,
		queue:        newQueue(opts.QueueBytes),
		applying:     make(chan struct{}, min(runtime.GOMAXPROCS(0), runtime.NumCPU())),
		closed:       make(chan struct{}),
		firstPending: make(chan struct{}, 1),
		enough:       make(chan struct{}, 1),
	}
	// A batch weighs at least minWeight, so these never block whoever holds
	// its weight.
	slots := int(opts.QueueBytes/minWeight) + 1

	s.reads.open()
	if s.folder, err = openFolder(opts.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	s.crashed, s.crashedAt = s.folder.takeLastCrash(s.log)
	if err := s.folder.watchCrash(); err != nil {
		return nil, err
	}
	s.guard = newDiskGuard(opts.Dir, opts.DiskReserve)
	setUpEngine(opts.Memory, s.log)
	s.traces = newEngine(opts.Dir, "traces", kindTraces, opts.Traces, slots)
	s.logs = newEngine(opts.Dir, "logs", kindLogs, opts.Logs, slots)
	if s.codecs, err = newCodecs(opts); err != nil {
		return nil, fmt.Errorf("open data folder %q: %w", opts.Dir, err)
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open data folder %q: %w", opts.Dir, err)
	}
	for _, e := range s.engines() {
		for range cap(s.applying) {
			s.appliers.Go(func() { s.applyLoop(e) })
		}
	}
	s.background.Go(s.checkpointLoop)
	s.background.Go(s.watchDisk)
	return s, nil
}

func (s *Store) engines() []*engine { return []*engine{s.traces, s.logs} }

// Flush waits until everything that was acknowledged before the call can be
// found by reads. Without it that takes about a second.
func (s *Store) Flush(ctx context.Context) error {
	ctx, done, err := s.reading(ctx)
	if err != nil {
		return err
	}
	defer done()
	for _, e := range s.engines() {
		poke(e.hurry)
		if err := e.progress.wait(ctx, e.journal.Stats().NextSeq-1); err != nil {
			return fmt.Errorf("flush %s: %w", e.name, err)
		}
		e.db.DebugFlush()
	}
	return nil
}

// Close stops taking writes, applies what was acknowledged, and makes the next
// Open a plain one that has nothing to replay. Reads in progress are cancelled
// and waited for.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	close(s.closed) // wakes writers that wait for the queue
	s.gate.Lock()   // after writes in progress; later ones see closing
	for _, e := range s.engines() {
		close(e.pending)
	}
	s.gate.Unlock()
	s.appliers.Wait()
	s.background.Wait()
	s.reads.close()

	err := s.closeEngines()
	for _, e := range s.engines() {
		err = errors.Join(err, e.journal.Close())
	}
	err = errors.Join(err, s.folder.close())
	if err != nil {
		return fmt.Errorf("close data folder %q: %w", s.opts.Dir, err)
	}
	return nil
}

// closeEngines closes the engines and records that their files are complete.
func (s *Store) closeEngines() error {
	s.state.Lock()
	defer s.state.Unlock()
	next := newCheckpoint()
	complete := true
	var err error
	if next.blobs, err = s.freezeHelpers(); err != nil {
		complete = false
	}
	for _, e := range s.engines() {
		e.db.MustClose()
		e.db = nil
		applied, ahead := e.progress.state()
		if len(ahead) > 0 || applied+1 != e.journal.Stats().NextSeq {
			complete = false
		}
		names, lerr := listPartitions(e.partitionsDir())
		err = errors.Join(err, lerr)
		next.Signals[e.name] = &signalState{Applied: applied, Partitions: map[string]string{}}
		for _, name := range names {
			next.Signals[e.name].Partitions[name] = ""
		}
	}
	if err != nil || !complete {
		// The old CHECKPOINT, its snapshots and the journal still tell it all.
		return err
	}
	next.Clean = true
	if err := next.write(s.opts.Dir); err != nil {
		return err
	}
	for _, e := range s.engines() {
		err = errors.Join(err,
			removeSnapshots(e.partitionsDir(), next.Signals[e.name].Partitions),
			e.journal.TruncateBefore(e.journal.Stats().NextSeq))
	}
	return err
}

// abandon gives back what a failed open has taken.
func (s *Store) abandon() {
	for _, e := range s.engines() {
		if e == nil {
			continue
		}
		if e.db != nil {
			e.db.MustClose()
		}
		if e.journal != nil {
			_ = e.journal.Close()
		}
	}
	_ = s.folder.close()
}

// readGate lets reads in until it is closed.
type readGate struct {
	mu     sync.RWMutex // held for reading by every read
	ctx    context.Context
	cancel context.CancelFunc
}

func (g *readGate) open() { g.ctx, g.cancel = context.WithCancel(context.Background()) }

func (g *readGate) enter() (release func(), err error) {
	if g.ctx.Err() != nil || !g.mu.TryRLock() {
		return nil, fmt.Errorf("read: data folder is closed: %w", store.ErrUnavailable)
	}
	return g.mu.RUnlock, nil
}

func (g *readGate) close() {
	g.cancel()
	g.mu.Lock()
}

// reading lets a read use the engines. The returned context ends with ctx and
// when the store closes; done must be called when the engines are no longer
// touched.
func (s *Store) reading(ctx context.Context) (_ context.Context, done func(), err error) {
	release, err := s.reads.enter()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.reads.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		release()
	}, nil
}

var _ store.Writer = (*Store)(nil)

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
