package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
	"github.com/guanlan-io/guanlan/internal/store"
)

// The engine side is tested with a codec of one row a span or record: its name
// or body is the row's only column besides the time.

// rowCount is a helper that counts rows by the part of their id before "/". It
// must agree with the rows after every crash.
type rowCount struct {
	mu     sync.Mutex
	counts map[string]int
}

func (h *rowCount) add(id string) {
	batch, _, _ := strings.Cut(id, "/")
	h.mu.Lock()
	h.counts[batch]++
	h.mu.Unlock()
}

func (h *rowCount) freeze() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return json.Marshal(h.counts)
}

func (h *rowCount) restore(blob []byte) error { return json.Unmarshal(blob, &h.counts) }

func idCodecs() (func(Options) (codecs, error), *rowCount) {
	h := &rowCount{counts: map[string]int{}}
	add := func(lr *logstorage.LogRows, t store.Tenant, at pcommon.Timestamp, id string) {
		// A stream for each batch, so that the index has something to lose.
		batch, _, _ := strings.Cut(id, "/")
		lr.MustAdd(logstorage.TenantID{AccountID: t.Account, ProjectID: t.Project}, int64(at),
			[]logstorage.Field{{Name: "batch", Value: batch}, {Name: "id", Value: id}}, 1)
		h.add(id)
	}
	c := codecs{
		spans: func(lr *logstorage.LogRows, t store.Tenant, payload []byte, _ time.Time) (added, dropped int, err error) {
			td, err := new(ptrace.ProtoUnmarshaler).UnmarshalTraces(payload)
			if err != nil {
				return 0, 0, err
			}
			for _, rs := range td.ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					for _, span := range ss.Spans().All() {
						add(lr, t, span.EndTimestamp(), span.Name())
						added++
					}
				}
			}
			return added, 0, nil
		},
		logs: func(lr *logstorage.LogRows, t store.Tenant, payload []byte, _ time.Time) (added, dropped int, err error) {
			ld, err := new(plog.ProtoUnmarshaler).UnmarshalLogs(payload)
			if err != nil {
				return 0, 0, err
			}
			for _, rl := range ld.ResourceLogs().All() {
				for _, sl := range rl.ScopeLogs().All() {
					for _, rec := range sl.LogRecords().All() {
						add(lr, t, rec.Timestamp(), rec.Body().Str())
						added++
					}
				}
			}
			return added, 0, nil
		},
		helpers: map[string]checkpointed{"row count": h},
	}
	return func(Options) (codecs, error) { return c, nil }, h
}

// often makes checkpoints all the time.
var often = timing{linger: time.Millisecond, bytes: 64 << 10, rows: 1000, after: 20 * time.Millisecond, settle: 100 * time.Millisecond, refresh: 50 * time.Millisecond}

// seldom makes none while a test runs.
var seldom = timing{linger: time.Millisecond, bytes: 1 << 40, rows: 1 << 40, after: time.Hour, settle: time.Hour, refresh: time.Hour}

func testLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// testLog passes warnings to the test.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func mustOpenStore(t testing.TB, dir string, tm timing, change ...func(*Options)) (*Store, *rowCount) {
	t.Helper()
	opts := Options{Dir: dir, Memory: 64 << 20, Logger: testLogger(testLog{t}, slog.LevelWarn), DiskReserve: 1}
	for _, c := range change {
		c(&opts)
	}
	newCodecs, h := idCodecs()
	s, err := open(opts, newCodecs, tm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, h
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkpointAll makes a checkpoint that has everything written so far.
func checkpointAll(s *Store) error {
	if err := s.Flush(context.Background()); err != nil {
		return err
	}
	return s.checkpoint()
}

// spansOf makes a batch of n spans, ids NAME/0, NAME/1, …, that end at at.
func spansOf(name string, n int, at time.Time) ptrace.Traces {
	td := ptrace.NewTraces()
	ss := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	for i := range n {
		span := ss.Spans().AppendEmpty()
		span.SetName(name + "/" + strconv.Itoa(i))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Duration(i))))
	}
	return td
}

func logsOf(name string, n int, at time.Time) plog.Logs {
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	for i := range n {
		rec := sl.LogRecords().AppendEmpty()
		rec.Body().SetStr(name + "/" + strconv.Itoa(i))
		rec.SetTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Duration(i))))
	}
	return ld
}

func mustWrite(t testing.TB, s *Store, name string, n int, at time.Time) {
	t.Helper()
	if err := s.WriteTraces(t.Context(), store.Tenant{}, spansOf(name, n, at)); err != nil {
		t.Fatal(err)
	}
}

// ids returns how often each id is stored in a signal.
func ids(t testing.TB, s *Store, e *engine, tenant store.Tenant) map[string]int {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return query(t, s, e, tenant, "*")
}

// query returns how often each id is found by a LogsQL query.
func query(t testing.TB, s *Store, e *engine, tenant store.Tenant, text string) map[string]int {
	t.Helper()
	ctx, done, err := s.reading(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	q, err := logstorage.ParseQueryAtTimestamp(text, time.Now().UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := map[string]int{}
	qctx := logstorage.NewQueryContext(ctx, &logstorage.QueryStats{},
		[]logstorage.TenantID{{AccountID: tenant.Account, ProjectID: tenant.Project}}, q, false, nil)
	err = e.db.RunQuery(qctx, func(_ uint, db *logstorage.DataBlock) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range db.Columns {
			if c.Name != "id" {
				continue
			}
			for _, v := range c.Values {
				got[strings.Clone(v)]++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantIDs is what ids returns for batches of n rows.
func wantIDs(batches map[string]int) map[string]int {
	want := map[string]int{}
	for name, n := range batches {
		for i := range n {
			want[name+"/"+strconv.Itoa(i)] = 1
		}
	}
	return want
}

// crash takes a copy of the folder as a kill would leave it now.
func crash(t testing.TB, dir string) string {
	t.Helper()
	for {
		to := t.TempDir()
		err := copyTree(dir, to)
		if errors.Is(err, fs.ErrNotExist) && t.Context().Err() == nil {
			continue // the engine has just renamed a file; a kill would see one name or the other
		}
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
}

// copyTree copies the CHECKPOINT first and what it names after it: a copy of
// a running store is not a picture of one moment, as a kill is. Callers see
// to it that no checkpoint ends meanwhile.
func copyTree(from, to string) error { return os.CopyFS(to, os.DirFS(from)) }

var noon = func() time.Time { return time.Now().UTC().Truncate(oneDay).Add(-oneDay / 2) }() // of yesterday

func TestWriteAndReopen(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	mustWrite(t, s, "a", 10, noon)
	mustWrite(t, s, "b", 5, noon.Add(-oneDay))
	other := store.Tenant{Account: 3, Project: 4}
	if err := s.WriteTraces(t.Context(), other, spansOf("c", 2, noon)); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteLogs(t.Context(), store.Tenant{}, logsOf("d", 3, noon)); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store, when string) {
		t.Helper()
		for _, c := range []struct {
			e      *engine
			tenant store.Tenant
			want   map[string]int
		}{
			{s.traces, store.Tenant{}, map[string]int{"a": 10, "b": 5}},
			{s.traces, other, map[string]int{"c": 2}},
			{s.logs, store.Tenant{}, map[string]int{"d": 3}},
			{s.logs, other, nil},
		} {
			if diff := cmp.Diff(wantIDs(c.want), ids(t, s, c.e, c.tenant)); diff != "" {
				t.Errorf("%s: %s of tenant %v (-want +got):\n%s", when, c.e.name, c.tenant, diff)
			}
		}
	}
	check(s, "running")
	killed := crash(t, dir)
	mustClose(t, s)

	s, h := mustOpenStore(t, dir, seldom)
	check(s, "closed and opened")
	if r := s.Stats().Recovery; !r.Clean || r.ReplayedBatches != 0 {
		t.Errorf("closed in order, but recovery was %+v", r)
	}
	if want := map[string]int{"a": 10, "b": 5, "c": 2, "d": 3}; !maps.Equal(h.counts, want) {
		t.Errorf("helper has %v, want %v", h.counts, want)
	}
	mustClose(t, s)

	s, h = mustOpenStore(t, killed, seldom)
	check(s, "killed and opened")
	if r := s.Stats().Recovery; r.Clean || r.ReplayedBatches != 4 {
		t.Errorf("killed, but recovery was %+v", r)
	}
	if want := map[string]int{"a": 10, "b": 5, "c": 2, "d": 3}; !maps.Equal(h.counts, want) {
		t.Errorf("helper has %v, want %v", h.counts, want)
	}
}

// Rows that the engine wrote to files by itself after the last checkpoint must
// not be there twice, nor partitions that it created.
func TestKillAfterFlushToFiles(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	want := map[string]int{}
	put := func(name string, n int, at time.Time) {
		mustWrite(t, s, name, n, at)
		want[name] = n
	}
	put("before", 10, noon)
	if err := checkpointAll(s); err != nil {
		t.Fatal(err)
	}
	put("after", 7, noon)
	put("new day", 5, noon.Add(-2*oneDay))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.traces.db.MustForceMerge("") // writes what is in memory to files, too
	files, _, err := countParts(s.traces.partitionDir(noon.Format(dayFormat)))
	if err != nil || files != 17 {
		t.Fatalf("rows in files: %d, %v; the test needs 17", files, err)
	}
	for round := range 3 {
		dir = crash(t, dir)
		s, h := mustOpenStore(t, dir, seldom)
		if diff := cmp.Diff(wantIDs(want), ids(t, s, s.traces, store.Tenant{})); diff != "" {
			t.Errorf("round %d (-want +got):\n%s", round, diff)
		}
		if diff := cmp.Diff(want, h.counts); diff != "" {
			t.Errorf("round %d: helper (-want +got):\n%s", round, diff)
		}
		r := s.Stats().Recovery
		if r.Restored != 1 || r.ReplayedBatches != 2 || r.Removed > 1 {
			t.Errorf("round %d: recovery %+v", round, r)
		}
	}
}

// A settled partition must not keep rows twice when it is written again and
// the process is killed before the next checkpoint.
func TestKillAfterWriteToSettledPartition(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	mustWrite(t, s, "first", 10, noon)
	mustClose(t, s) // settles all

	s, _ = mustOpenStore(t, dir, seldom)
	if got := s.current.Signals["traces"].Partitions[noon.Format(dayFormat)]; got != "" {
		t.Fatalf("partition has snapshot %q, want it settled", got)
	}
	mustWrite(t, s, "second", 7, noon)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.current.Signals["traces"].Partitions[noon.Format(dayFormat)]; got == "" {
		t.Fatal("written partition has no snapshot in CHECKPOINT")
	}
	s.traces.db.MustForceMerge("")
	dir = crash(t, dir)
	s, _ = mustOpenStore(t, dir, seldom)
	want := wantIDs(map[string]int{"first": 10, "second": 7})
	if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Partitions settle when they are not written for a while, and lose their
// snapshots; the journal is emptied.
func TestSettling(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, timing{bytes: 1 << 40, rows: 1 << 40, after: time.Hour, settle: time.Millisecond, refresh: time.Hour})
	name := noon.Format(dayFormat)
	mustWrite(t, s, "a", 10, noon)
	if err := checkpointAll(s); err != nil {
		t.Fatal(err)
	}
	if s.current.Signals["traces"].Partitions[name] == "" {
		t.Error("settled although it was just written")
	}
	time.Sleep(2 * time.Millisecond) // lets the real clock pass the settle time
	mustWrite(t, s, "b", 1, noon.Add(-oneDay))
	if err := checkpointAll(s); err != nil {
		t.Fatal(err)
	}
	if got := s.current.Signals["traces"].Partitions[name]; got != "" {
		t.Errorf("snapshot %q is kept", got)
	}
	if left, _ := os.ReadDir(s.traces.partitionDir(name) + "/" + snapshotsDir); len(left) != 0 {
		t.Errorf("snapshots left on the disk: %v", left)
	}
	if js := s.Stats().Traces.Journal; js.Bytes != 0 {
		t.Errorf("journal: %+v", js)
	}
	dir = crash(t, dir)
	s, _ = mustOpenStore(t, dir, seldom)
	want := wantIDs(map[string]int{"a": 10, "b": 1})
	if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConcurrentWritersAndCheckpoints(t *testing.T) {
	dir := t.TempDir()
	s, h := mustOpenStore(t, dir, often)
	const writers, batches = 6, 40
	want := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range batches {
				name := fmt.Sprintf("%d-%d", w, i)
				n := 1 + (w*7+i*13)%50
				at := noon.Add(-time.Duration(i%4) * oneDay)
				var err error
				if w%2 == 0 {
					err = s.WriteTraces(t.Context(), store.Tenant{}, spansOf(name, n, at))
				} else {
					err = s.WriteLogs(t.Context(), store.Tenant{}, logsOf(name, n, at))
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				want[name] = n
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			s.Stats()
			if err := s.checkpoint(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	stored := func(s *Store) map[string]int {
		got := ids(t, s, s.traces, store.Tenant{})
		maps.Copy(got, ids(t, s, s.logs, store.Tenant{}))
		return got
	}
	if diff := cmp.Diff(wantIDs(want), stored(s)); diff != "" {
		t.Errorf("running (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, h.counts); diff != "" {
		t.Errorf("helper (-want +got):\n%s", diff)
	}
	mustClose(t, s)
	s, h = mustOpenStore(t, dir, often)
	if diff := cmp.Diff(wantIDs(want), stored(s)); diff != "" {
		t.Errorf("reopened (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, h.counts); diff != "" {
		t.Errorf("helper, reopened (-want +got):\n%s", diff)
	}
	if q := s.Stats(); q.QueueBytes != 0 || q.QueueBatches != 0 {
		t.Errorf("queue is not empty: %d bytes, %d batches", q.QueueBytes, q.QueueBatches)
	}
}

func TestCloseIsFinal(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	mustWrite(t, s, "a", 1, noon)
	mustClose(t, s)
	mustClose(t, s)
	if err := s.WriteTraces(t.Context(), store.Tenant{}, spansOf("b", 1, noon)); !isUnavailable(err) {
		t.Errorf("write: %v", err)
	}
	if err := s.Flush(context.Background()); !isUnavailable(err) {
		t.Errorf("flush: %v", err)
	}
	if st := s.Stats(); st.Refused.Closing != 1 {
		t.Errorf("stats: %+v", st.Refused)
	}
	names := slices.Sorted(maps.Keys(s.current.Signals))
	if !slices.Equal(names, []string{"logs", "traces"}) {
		t.Errorf("signals in CHECKPOINT: %v", names)
	}
}

func isUnavailable(err error) bool { return errors.Is(err, store.ErrUnavailable) }
