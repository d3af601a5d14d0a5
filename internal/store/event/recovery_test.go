package event

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

// killedStore is a folder that a kill left behind: rows before and after a
// checkpoint, in two partitions.
func killedStore(t testing.TB) (dir string, want map[string]int) {
	t.Helper()
	live := t.TempDir()
	s, _ := mustOpenStore(t, live, seldom)
	mustWrite(t, s, "a", 10, noon)
	mustWrite(t, s, "b", 10, noon.Add(-oneDay))
	if err := checkpointAll(s); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, "c", 5, noon)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir = crash(t, live)
	mustClose(t, s)
	return dir, wantIDs(map[string]int{"a": 10, "b": 10, "c": 5})
}

func TestDamagedOrMissingCheckpoint(t *testing.T) {
	cases := map[string]func(path string) error{
		"missing": os.Remove,
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"flipped": func(path string) error {
			data, err := os.ReadFile(path)
			if err == nil {
				data[len(data)/2] ^= 1
				err = os.WriteFile(path, data, 0o600)
			}
			return err
		},
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			dir, want := killedStore(t)
			if err := damage(filepath.Join(dir, checkpointFile)); err != nil {
				t.Fatal(err)
			}
			s, _ := mustOpenStore(t, dir, seldom)
			if r := s.Stats().Recovery; !r.CheckpointLost || r.Clean {
				t.Errorf("recovery: %+v", r)
			}
			// At least once: nothing is missing, and only rows that the
			// journal still has may be there twice.
			got := ids(t, s, s.traces, store.Tenant{})
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// From here on it is exact again.
			mustWrite(t, s, "d", 3, noon)
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := ids(t, s, s.traces, store.Tenant{})
			s2, _ := mustOpenStore(t, crash(t, dir), seldom)
			if diff := cmp.Diff(before, ids(t, s2, s2.traces, store.Tenant{})); diff != "" {
				t.Errorf("after another kill (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDamagedJournalRecord(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	for _, name := range []string{"a", "b", "c"} {
		mustWrite(t, s, name, 10, noon)
	}
	killed := crash(t, dir)
	mustClose(t, s)
	segments, err := filepath.Glob(filepath.Join(killed, "journal", "traces", "*.journal"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 0x10 // in the second of three records of one length
	if err := os.WriteFile(segments[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ = mustOpenStore(t, killed, seldom)
	if diff := cmp.Diff(wantIDs(map[string]int{"a": 10, "c": 10}), ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r := s.Stats().Recovery; r.Unreadable != 1 || r.ReplayedBatches != 2 {
		t.Errorf("recovery: %+v", r)
	}
}

// A power failure may take the end of the journal although a checkpoint that
// covers it is on the disk. Sequence numbers must not be used again then, or the
// next kill would lose the rows that got them.
func TestLostJournalTail(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	for _, name := range []string{"a", "b", "c"} {
		mustWrite(t, s, name, 2, noon)
	}
	if err := checkpointAll(s); err != nil {
		t.Fatal(err)
	}
	dir = crash(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
		t.Fatal(err)
	}
	s, _ = mustOpenStore(t, dir, seldom)
	mustWrite(t, s, "d", 2, noon)
	s, _ = mustOpenStore(t, crash(t, dir), seldom)
	want := wantIDs(map[string]int{"a": 2, "b": 2, "c": 2, "d": 2})
	if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUndecodableRecordIsSkipped(t *testing.T) {
	dir, want := killedStore(t)
	j, err := journal.Open(filepath.Join(dir, "journal", "traces"), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []journal.Tag{newTag(kindTraces, store.Tenant{}, noon), newTag(77, store.Tenant{}, noon)} {
		if _, err := j.Append(t.Context(), tag, []byte("\xffnot OTLP")); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ := mustOpenStore(t, dir, seldom)
	if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := s.Stats().Traces.Undecodable; n != 2 {
		t.Errorf("counted %d undecodable records, want 2", n)
	}
}

func TestTag(t *testing.T) {
	now := time.Unix(1_800_000_000, 123_456_789)
	tenant := store.Tenant{Account: 1<<32 - 1, Project: 7}
	kind, gotTenant, gotNow := readTag(newTag(kindLogs, tenant, now))
	if kind != kindLogs || gotTenant != tenant || !gotNow.Equal(now) {
		t.Errorf("got %d %v %v", kind, gotTenant, gotNow)
	}
}

// What the retention removed while CHECKPOINT still named it, in whole or
// half, must not keep the folder from opening.
func TestPartitionRemovedByRetention(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"whole": os.RemoveAll,
		"half": func(dir string) error {
			// As the engine begins: a mark, then the content.
			if err := os.WriteFile(filepath.Join(dir, removeMark), nil, 0o600); err != nil {
				return err
			}
			return os.RemoveAll(filepath.Join(dir, dataDir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, want := killedStore(t)
			gone := noon.Add(-oneDay).Format(dayFormat)
			if err := remove(filepath.Join(dir, "traces", "partitions", gone)); err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(want, func(id string, _ int) bool { return strings.HasPrefix(id, "b/") })
			s, _ := mustOpenStore(t, dir, seldom)
			if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// Late rows create it anew; they must survive a kill once.
			mustWrite(t, s, "late", 4, noon.Add(-oneDay))
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.traces.db.MustForceMerge("")
			maps.Copy(want, wantIDs(map[string]int{"late": 4}))
			s, _ = mustOpenStore(t, crash(t, dir), seldom)
			if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
				t.Errorf("after a kill (-want +got):\n%s", diff)
			}
		})
	}
}

// A partition that was copied into a closed folder, as from a backup, is kept.
func TestPartitionCopiedIn(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	s, _ := mustOpenStore(t, from, seldom)
	mustWrite(t, s, "old", 6, noon.Add(-2*oneDay))
	mustClose(t, s)
	s, _ = mustOpenStore(t, to, seldom)
	mustWrite(t, s, "new", 4, noon)
	mustClose(t, s)
	part := filepath.Join("traces", "partitions", noon.Add(-2*oneDay).Format(dayFormat))
	if err := os.CopyFS(filepath.Join(to, part), os.DirFS(filepath.Join(from, part))); err != nil {
		t.Fatal(err)
	}
	want := wantIDs(map[string]int{"old": 6, "new": 4})
	for range 2 { // opened, and opened after a kill
		s, _ = mustOpenStore(t, to, seldom)
		if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		to = crash(t, to)
	}
}

// While a checkpoint is being made, writes are still acknowledged.
func TestWritesGoOnDuringCheckpoint(t *testing.T) {
	s, _ := mustOpenStore(t, t.TempDir(), seldom)
	s.convert.Lock() // as a checkpoint does
	mustWrite(t, s, "late", 5, noon)
	if st := s.Stats(); st.QueueBatches != 1 || st.QueueBytes < minWeight || st.Traces.RowsAdded != 0 {
		t.Errorf("stats while paused: %+v", st)
	}
	s.convert.Unlock()
	if diff := cmp.Diff(wantIDs(map[string]int{"late": 5}), ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// blockCheckpointFile makes writing CHECKPOINT fail until the result is
// called.
func blockCheckpointFile(t testing.TB, dir string) (unblock func()) {
	t.Helper()
	path := filepath.Join(dir, checkpointFile+".tmp")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFailedCheckpoint(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	want := map[string]int{"a": 10, "b": 5, "c": 2}
	mustWrite(t, s, "a", 10, noon)
	if err := s.checkpoint(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, "b", 5, noon)
	unblock := blockCheckpointFile(t, dir)
	if err := s.checkpoint(); err == nil {
		t.Fatal("checkpoint without CHECKPOINT")
	}
	mustWrite(t, s, "c", 2, noon)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	unblock()
	killed := crash(t, dir)
	for name, open := range map[string]string{"killed after the failure": killed, "killed after the next": dir} {
		if open == dir {
			if err := s.checkpoint(); err != nil {
				t.Fatal(err)
			}
			open = crash(t, dir)
		}
		s2, _ := mustOpenStore(t, open, seldom)
		if diff := cmp.Diff(wantIDs(want), ids(t, s2, s2.traces, store.Tenant{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if st := s.Stats(); st.Checkpoints != 2 || st.CheckpointErrors != 1 {
		t.Errorf("counted %d checkpoints, %d errors", st.Checkpoints, st.CheckpointErrors)
	}
}

// Rows for a settled partition wait while its snapshot cannot be recorded, and
// are neither lost nor doubled when the store closes before it can.
func TestUnsettleWaits(t *testing.T) {
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	mustWrite(t, s, "a", 3, noon)
	mustClose(t, s)

	want := wantIDs(map[string]int{"a": 3, "b": 3})
	s, _ = mustOpenStore(t, dir, seldom)
	unblock := blockCheckpointFile(t, dir)
	mustWrite(t, s, "b", 3, noon)
	mustClose(t, s) // it gives up
	unblock()

	s, _ = mustOpenStore(t, dir, seldom)
	if r := s.Stats().Recovery; r.Clean || r.ReplayedBatches != 1 {
		t.Errorf("recovery: %+v", r)
	}
	if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	mustClose(t, s)

	s, _ = mustOpenStore(t, dir, seldom)
	unblock = blockCheckpointFile(t, dir)
	mustWrite(t, s, "c", 3, noon)
	unblock() // now it goes on by itself
	maps.Copy(want, wantIDs(map[string]int{"c": 3}))
	if diff := cmp.Diff(want, ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Rows that the engine drops because of their time must not stop checkpoints.
func TestRowsOutsideRetention(t *testing.T) {
	s, _ := mustOpenStore(t, t.TempDir(), seldom, func(o *Options) { o.Traces.Retention = time.Hour })
	if got := s.traces.keep.Retention; got != oneDay {
		t.Errorf("retention is %v, want a whole day", got)
	}
	mustWrite(t, s, "old", 3, noon.Add(-30*oneDay))
	mustWrite(t, s, "early", 2, noon.Add(30*oneDay))
	mustWrite(t, s, "now", 4, time.Now())
	if err := checkpointAll(s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantIDs(map[string]int{"now": 4}), ids(t, s, s.traces, store.Tenant{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if st := s.Stats().Traces; st.RowsLate != 3 || st.RowsEarly != 2 {
		t.Errorf("late %d, early %d", st.RowsLate, st.RowsEarly)
	}
}

// snapshotOf makes a partition whose files differ from those of its snapshot.
func snapshotOf(t testing.TB) (partition, snapshot string) {
	t.Helper()
	dir := t.TempDir()
	s, _ := mustOpenStore(t, dir, seldom)
	mustWrite(t, s, "a", 10, noon)
	if err := checkpointAll(s); err != nil {
		t.Fatal(err)
	}
	name := noon.Format(dayFormat)
	snapshot = s.current.Signals["traces"].Partitions[name]
	mustWrite(t, s, "b", 10, noon)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.traces.db.MustForceMerge("")
	killed := crash(t, dir)
	mustClose(t, s)
	return filepath.Join(killed, "traces", "partitions", name), snapshot
}

// tree is the content of all files below dir.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// However often and wherever restoring is interrupted, repeating it leads to
// the files of the snapshot, and the snapshot stays.
func TestInterruptedRestore(t *testing.T) {
	original, snapshot := snapshotOf(t)
	want := tree(t, filepath.Join(original, snapshotsDir, snapshot))
	if before := tree(t, original); before[dataDir+"/parts.json"] == want[dataDir+"/parts.json"] {
		t.Fatal("the partition has not changed since the snapshot")
	}
	check := func(t interface{ Fatalf(string, ...any) }, dir string) {
		for _, table := range []string{dataDir, indexDir} {
			for name, files := range map[string]string{"partition": dir, "snapshot": filepath.Join(dir, snapshotsDir, snapshot)} {
				got := map[string]string{}
				err := fs.WalkDir(os.DirFS(files), table, func(path string, d fs.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						var data []byte
						data, err = os.ReadFile(filepath.Join(files, path))
						got[path] = string(data)
					}
					return err
				})
				wantTable := maps.Clone(want)
				maps.DeleteFunc(wantTable, func(path, _ string) bool { return !strings.HasPrefix(path, table+"/") })
				if diff := cmp.Diff(wantTable, got); diff != "" || err != nil {
					t.Fatalf("%s of the %s (-want +got): %v\n%s", table, name, err, diff)
				}
			}
		}
	}
	errStop := errors.New("stop")
	stopAfter := func(n int) swapper {
		return swapper{step: func() error {
			if n--; n < 0 {
				return errStop
			}
			return nil
		}}
	}
	steps := 0
	for ; ; steps++ {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
			t.Fatal(err)
		}
		err := stopAfter(steps).restorePartition(dir, snapshot)
		if err == nil {
			check(t, dir)
			break
		}
		if !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		if err := (swapper{}).restorePartition(dir, snapshot); err != nil {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		check(t, dir)
	}
	if steps < 10 {
		t.Fatalf("only %d steps", steps)
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
			rt.Fatal(err)
		}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, steps-1), 1, 6).Draw(rt, "stops") {
			if err := stopAfter(n).restorePartition(dir, snapshot); !errors.Is(err, errStop) {
				rt.Fatal(err)
			}
		}
		if err := (swapper{}).restorePartition(dir, snapshot); err != nil {
			rt.Fatal(err)
		}
		check(rt, dir)
	})
}

func TestRestoreFromIncompleteSnapshot(t *testing.T) {
	dir, snapshot := snapshotOf(t)
	if err := os.RemoveAll(filepath.Join(dir, snapshotsDir, snapshot, dataDir)); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	if err := (swapper{}).restorePartition(dir, snapshot); err == nil {
		t.Fatal("restored from half a snapshot")
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}
