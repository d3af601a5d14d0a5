package event

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/cgroup"
	"github.com/VictoriaMetrics/VictoriaMetrics/lib/logger"
	"github.com/guanlan-io/guanlan/internal/journal"
)

const (
	// engineFlush is after how long the engine writes rows to files by
	// itself. Checkpoints do it sooner; this is for when they cannot.
	engineFlush = time.Minute
	// futureRetention lets rows of clocks that are ahead in; the engine knows
	// whole days only.
	futureRetention = 24 * time.Hour

	maxDefaultMemory = 1 << 30
	dayFormat        = "20060102" // names of partitions
	oneDay           = 24 * time.Hour
)

// engine is one signal: its journal, its instance of the columnar engine, and
// what is known about the engine's partitions.
type engine struct {
	name     string
	kind     byte
	dir      string
	keep     Keep
	journal  *journal.Journal
	db       *logstorage.Storage
	progress *progress
	// pending are acknowledged batches of backlog bytes. Whoever gathers some
	// of them holds gathering; a signal on hurry makes it stop waiting for
	// more.
	pending   chan *batch
	backlog   atomic.Int64
	gathering sync.Mutex
	hurry     chan struct{}

	mu         sync.Mutex
	partitions map[string]*partition

	rowsAdded, rowsDropped, undecodable, repeatedSnapshots atomic.Uint64
}

// partition is what the store knows of one day of a signal.
type partition struct {
	// writable: CHECKPOINT holds a snapshot of it or does not know it, so
	// rows may be added.
	writable bool
	// dirty: rows were added since the snapshot in CHECKPOINT.
	dirty   bool
	written time.Time // when rows were added last
	rows    uint64    // as of the last snapshot or Open; only of use while not dirty
}

// kept is how long rows really stay: the engine deletes whole days.
func (k Keep) kept() time.Duration {
	if k.Retention <= 0 {
		return DefaultRetention
	}
	return (k.Retention + oneDay - 1) / oneDay * oneDay
}

func newEngine(dir, name string, kind byte, keep Keep, slots int) *engine {
	keep.Retention = keep.kept()
	return &engine{
		name: name, kind: kind, keep: keep,
		dir:        filepath.Join(dir, name),
		partitions: map[string]*partition{},
		pending:    make(chan *batch, slots),
		hurry:      make(chan struct{}, 1),
	}
}

func (e *engine) partitionsDir() string { return filepath.Join(e.dir, "partitions") }

func (e *engine) partitionDir(name string) string { return filepath.Join(e.dir, "partitions", name) }

// openDB opens the engine on folders that are as they should be. Damage that
// it finds in its own files ends the process.
func (e *engine) openDB() {
	e.db = logstorage.MustOpenStorage(e.dir, &logstorage.StorageConfig{
		Retention:              e.keep.Retention,
		MaxDiskSpaceUsageBytes: e.keep.MaxBytes,
		FlushInterval:          engineFlush,
		FutureRetention:        futureRetention,
	})
}

func (e *engine) count(added, dropped int) {
	e.rowsAdded.Add(uint64(added))
	e.rowsDropped.Add(uint64(dropped))
}

// makeWritable sees to it that CHECKPOINT allows rows to be added to the
// partitions that lr is for. It returns false when that could not be done
// before the store closed; then the rows stay in the journal.
func (s *Store) makeWritable(e *engine, lr *logstorage.LogRows) bool {
	var names []string
	var first, last int64 // of the day last seen
	lr.ForEachRow(func(_ uint64, r *logstorage.InsertRow) {
		if len(names) > 0 && first <= r.Timestamp && r.Timestamp <= last {
			return
		}
		t := time.Unix(0, r.Timestamp).UTC().Truncate(oneDay)
		first, last = t.UnixNano(), t.UnixNano()+int64(oneDay)-1
		names = append(names, t.Format(dayFormat))
	})
	var settled []string
	now := time.Now()
	e.mu.Lock()
	for _, name := range names {
		p := e.partitions[name]
		if p == nil { // unknown to CHECKPOINT
			p = &partition{writable: true}
			e.partitions[name] = p
		}
		p.dirty, p.written = true, now
		if !p.writable {
			settled = append(settled, name)
		}
	}
	e.mu.Unlock()
	for _, name := range settled {
		if !s.unsettle(e, name) {
			return false
		}
	}
	return true
}

// The layout that the engine has given to a partition and to its snapshots:
//
//	PARTITION/{datadb,indexdb}/{parts.json,PART/metadata.json}
//	PARTITION/snapshots/NAME/{datadb,indexdb}/…
const (
	dataDir      = "datadb"
	indexDir     = "indexdb"
	snapshotsDir = "snapshots"
	removeMark   = ".delete-this-dir"
)

// partNames reads which parts a table of the engine is made of.
func partNames(table string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(table, "parts.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a table that never had a part
	}
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return nil, fmt.Errorf("read parts of %q: %w", table, err)
	}
	return names, nil
}

// countParts returns the rows in the data files of a partition or snapshot
// and the number of parts of its index.
func countParts(dir string) (rows, indexParts uint64, err error) {
	names, err := partNames(filepath.Join(dir, dataDir))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, dataDir, name, "metadata.json"))
		if err != nil {
			return 0, 0, err
		}
		var header struct{ RowsCount uint64 }
		if err := json.Unmarshal(data, &header); err != nil {
			return 0, 0, fmt.Errorf("read header of part %q: %w", filepath.Join(dir, dataDir, name), err)
		}
		rows += header.RowsCount
	}
	names, err = partNames(filepath.Join(dir, indexDir))
	return rows, uint64(len(names)), err
}

// listPartitions returns the names of the partitions on the disk.
func listPartitions(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, err := time.Parse(dayFormat, e.Name()); err == nil && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// setUpEngine makes the settings that the engine takes from the process's
// flags, once. A program that does not use package flag has not parsed its
// command line; the engine panics then.
func setUpEngine(memory int64, log *slog.Logger) {
	engineLog.to.Store(log)
	setUpOnce.Do(func() {
		if !flag.Parsed() {
			// Only marks the flags as parsed: there is nothing to parse.
			_ = flag.CommandLine.Parse(nil)
		}
		if memory <= 0 {
			memory = defaultMemory()
		}
		// The other half is for what stands before the engine. It takes all
		// that it may have: buffers of files in merges are sized by it.
		err := errors.Join(flag.Set("memory.allowedBytes", strconv.FormatInt(memory/2, 10)), flag.Set("loggerLevel", "WARN"))
		logger.SetOutputForTests(&engineLog) // there is no other way
		if err := errors.Join(err, setUpCompressors()); err != nil {
			log.Warn("the engine runs with settings of its own, which may take more memory", "error", err)
		}
	})
}

// The engine's settings and its logger are the process's, so this is too.
var (
	setUpOnce sync.Once
	engineLog logBridge
)

// logBridge passes lines of the engine's logger on: time, level, place and
// message, separated by tabs.
type logBridge struct{ to atomic.Pointer[slog.Logger] }

func (b *logBridge) Write(p []byte) (int, error) {
	parts := strings.SplitN(strings.TrimSpace(string(p)), "\t", 4)
	if len(parts) < 4 {
		parts = []string{"", "warn", "", string(p)}
	}
	log := b.to.Load()
	switch level, place, message := parts[1], parts[2], parts[3]; level {
	case "info":
		log.Info(message, "engine", place)
	case "warn":
		log.Warn(message, "engine", place)
	default:
		log.Error(message, "engine", place, "level", level)
		if level == "fatal" { // the process ends now, and without a panic
			fmt.Fprintf(os.Stderr, "fatal error of the event engine at %s: %s\n", place, message)
		}
	}
	return len(p), nil
}

// defaultMemory is a quarter of what the process may use, at most 1 GiB.
func defaultMemory() int64 {
	memory := int64(maxDefaultMemory)
	for _, limit := range []int64{machineMemory(), cgroup.GetMemoryLimit(), cgroup.GetHierarchicalMemoryLimit()} {
		if limit > 0 {
			memory = min(memory, limit/4)
		}
	}
	return memory
}
