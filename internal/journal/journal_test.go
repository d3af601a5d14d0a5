package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct {
	Seq     uint64
	Tag     Tag
	Payload string
}

func mustOpen(t testing.TB, dir string, opts Options) *Journal {
	t.Helper()
	j, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func mustAppend(t testing.TB, j *Journal, payload string) entry {
	t.Helper()
	tag := Tag{byte(len(payload)), 1, 23: 9}
	seq, err := j.Append(t.Context(), tag, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return entry{seq, tag, payload}
}

// failer is the part of testing.T that rapid.T has too.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func replay(t failer, j *Journal, from uint64) []entry {
	t.Helper()
	var got []entry
	err := j.Replay(from, func(seq uint64, tag Tag, payload []byte) error {
		got = append(got, entry{seq, tag, string(payload)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestReplayReturnsWhatWasAppended(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncInterval, SyncAlways} {
		dir := t.TempDir()
		j := mustOpen(t, dir, Options{Sync: policy, SegmentBytes: 300})
		var want []entry
		for i := range 20 {
			want = append(want, mustAppend(t, j, fmt.Sprintf("%0*d", i*5, i)))
		}
		if want[0].Seq != 1 || want[19].Seq != 20 {
			t.Fatalf("numbers run from %d to %d", want[0].Seq, want[19].Seq)
		}
		for _, from := range []uint64{0, 1, 2, 11, 20} {
			if diff := cmp.Diff(want[max(from, 1)-1:], replay(t, j, from)); diff != "" {
				t.Errorf("open journal from %d (-want +got):\n%s", from, diff)
			}
		}
		if got := replay(t, j, 21); got != nil {
			t.Errorf("past the end: %v", got)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = mustOpen(t, dir, Options{SegmentBytes: 300})
		want = append(want, mustAppend(t, j, "after"))
		if diff := cmp.Diff(want, replay(t, j, 0)); diff != "" {
			t.Errorf("reopened (-want +got):\n%s", diff)
		}
		if s := j.Stats(); s.Damaged+s.Torn != 0 || s.NextSeq != 22 {
			t.Errorf("stats of a sound journal: %+v", s)
		}
	}
}

func TestReplayStopsAtTheError(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	for range 3 {
		mustAppend(t, j, "x")
	}
	stop := errors.New("stop")
	n := 0
	err := j.Replay(0, func(uint64, Tag, []byte) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("err %v after %d records", err, n)
	}
}

func TestTruncateBefore(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{SegmentBytes: 100}) // two records a segment
	var want []entry
	for range 7 {
		want = append(want, mustAppend(t, j, "twenty bytes of data"))
	}
	truncate := func(seq uint64, files int) {
		t.Helper()
		if err := j.TruncateBefore(seq); err != nil {
			t.Fatal(err)
		}
		if got := segmentFiles(t, dir); len(got) != files {
			t.Errorf("before %d: %d files, want %d: %q", seq, len(got), files, got)
		}
		got := replay(t, j, seq)
		if diff := cmp.Diff(want[min(int(seq)-1, len(want)):], got); len(got) > 0 && diff != "" {
			t.Errorf("before %d (-want +got):\n%s", seq, diff)
		}
	}
	truncate(1, 4)
	truncate(2, 4)
	truncate(3, 3)
	truncate(6, 2)
	truncate(7, 1)
	truncate(8, 1) // an empty one in its place
	if s := j.Stats(); s.Bytes != 0 || s.Damaged != 0 {
		t.Errorf("emptied: %+v", s)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // numbers go on, files do not pile up
		j = mustOpen(t, dir, Options{})
		j.Close()
	}
	j = mustOpen(t, dir, Options{})
	if e := mustAppend(t, j, "next"); e.Seq != 8 {
		t.Errorf("number after emptying and reopening: %d, want 8", e.Seq)
	}
	if got := segmentFiles(t, dir); len(got) != 1 {
		t.Errorf("files: %q", got)
	}
}

func TestMinSeq(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{})
	mustAppend(t, j, "one")
	j.Close()
	j = mustOpen(t, dir, Options{MinSeq: 10})
	want := []entry{mustAppend(t, j, "ten")}
	if diff := cmp.Diff(want, replay(t, j, 10)); diff != "" || want[0].Seq != 10 {
		t.Errorf("number %d (-want +got):\n%s", want[0].Seq, diff)
	}
	if s := j.Stats(); s.Damaged != 0 {
		t.Errorf("the gap counts as damage: %+v", s)
	}
}

func TestRefusals(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	if _, err := j.Append(t.Context(), Tag{}, make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	j.Close()
	if _, err := j.Append(t.Context(), Tag{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := j.TruncateBefore(1); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// A refused record must not come back after a restart, whatever the device
// did, and the journal must take records again once the device is well.
func TestRefusedRecordsStayAway(t *testing.T) {
	short := func(err error) func(int) (int, error) {
		return func(size int) (int, error) { return size / 2, err }
	}
	whole := func(err error) func(int) (int, error) {
		return func(size int) (int, error) { return size, err }
	}
	cases := []struct {
		name   string
		policy SyncPolicy
		fail   plan
		want   error
	}{
		{"no space", SyncInterval, plan{write: short(syscall.ENOSPC)}, ErrFull},
		{"no quota", SyncInterval, plan{write: short(syscall.EDQUOT)}, ErrFull},
		{"short write", SyncInterval, plan{write: short(errDevice)}, errDevice},
		{"written and refused", SyncInterval, plan{write: whole(errDevice)}, errDevice},
		{"truncation fails", SyncInterval, plan{write: whole(errDevice), truncate: errDevice}, errDevice},
		{"truncation and creation fail", SyncInterval, plan{write: whole(errDevice), truncate: errDevice, make: errDevice}, errDevice},
		{"fsync fails", SyncAlways, plan{sync: errDevice}, errDevice},
		{"fsync and creation fail", SyncAlways, plan{sync: errDevice, make: errDevice}, errDevice},
		{"fsync and truncation fail", SyncAlways, plan{sync: errDevice, truncate: errDevice}, errDevice},
	}
	for _, c := range cases {
		for before := range 2 { // records before the failure: the first one is special
			t.Run(fmt.Sprintf("%s after %d", c.name, before), func(t *testing.T) {
				dir, d := t.TempDir(), &faults{}
				j, err := open(dir, Options{Sync: c.policy}, d)
				if err != nil {
					t.Fatal(err)
				}
				defer j.Close()
				var want []entry
				for range before {
					want = append(want, mustAppend(t, j, "before"))
				}
				d.set(c.fail)
				for range 2 {
					if before == 0 && c.fail.make != nil {
						continue // nothing could be created in the first place
					}
					if _, err := j.Append(t.Context(), Tag{}, []byte("refused")); !errors.Is(err, c.want) {
						t.Errorf("append: %v, want %v", err, c.want)
					}
				}
				d.set(plan{})
				want = append(want, mustAppend(t, j, "after"))
				if diff := cmp.Diff(want, replay(t, j, 0)); diff != "" {
					t.Errorf("running (-want +got):\n%s", diff)
				}
				// As after a kill: the folder as it is.
				killed := filepath.Join(t.TempDir(), "killed")
				if err := copyDir(dir, killed); err != nil {
					t.Fatal(err)
				}
				j2 := mustOpen(t, killed, Options{})
				want = append(want, mustAppend(t, j2, "restarted"))
				if diff := cmp.Diff(want, replay(t, j2, 0)); diff != "" {
					t.Errorf("restarted (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Under SyncInterval a failed fsync is counted, the segment is left, and what
// was accepted is still there.
func TestSyncErrorUnderInterval(t *testing.T) {
	dir, d := t.TempDir(), &faults{}
	j, err := open(dir, Options{}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	want := []entry{mustAppend(t, j, "a")}
	d.set(plan{sync: errDevice})
	if err := j.Sync(); !errors.Is(err, errDevice) {
		t.Errorf("Sync: %v", err)
	}
	d.set(plan{})
	want = append(want, mustAppend(t, j, "b"))
	if err := j.Sync(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, replay(t, j, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s := j.Stats()
	if s.SyncErrors != 1 || s.LastSyncError == "" || s.Segments != 2 {
		t.Errorf("stats: %+v", s)
	}
}

// Appenders that wait share an fsync, and each one's record is covered by an
// fsync that began after it was written.
func TestGroupCommit(t *testing.T) {
	dir, d := t.TempDir(), &faults{}
	j, err := open(dir, Options{Sync: SyncAlways, SegmentBytes: 4 << 10}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	first, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.set(plan{onSync: func() { once.Do(func() { close(first); <-release }) }})

	const writers = 50
	var wg sync.WaitGroup
	results := make([]error, writers)
	start := func(i int) {
		wg.Go(func() { _, results[i] = j.Append(t.Context(), Tag{byte(i)}, bytes.Repeat([]byte{byte(i)}, 200)) })
	}
	start(0)
	<-first // its fsync runs; the others pile up
	for i := 1; i < writers; i++ {
		start(i)
	}
	for j.Stats().Records < writers {
	}
	close(release)
	wg.Wait()
	if err := errors.Join(results...); err != nil {
		t.Fatal(err)
	}
	if n := len(replay(t, j, 0)); n != writers {
		t.Errorf("%d records, want %d", n, writers)
	}
	// One fsync for the first, one round for the rest: a call a segment.
	if rounds := j.Stats().Syncs; rounds != 2 {
		t.Errorf("%d rounds of fsync for %d appends, want 2", rounds, writers)
	}
}

func TestConcurrentUse(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncInterval, SyncAlways} {
		dir := t.TempDir()
		j := mustOpen(t, dir, Options{Sync: policy, SyncEvery: 1, SegmentBytes: 2 << 10})
		var wg sync.WaitGroup
		var mu sync.Mutex
		want := map[uint64]string{}
		for w := range 8 {
			wg.Go(func() {
				for i := range 100 {
					payload := fmt.Sprint(w, " ", i)
					seq, err := j.Append(t.Context(), Tag{byte(w)}, []byte(payload))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					want[seq] = payload
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for range 50 {
				j.Stats()
				if err := j.Replay(0, func(uint64, Tag, []byte) error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		got := map[uint64]string{}
		for _, e := range replay(t, j, 0) {
			got[e.Seq] = e.Payload
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if s := j.Stats(); s.Damaged != 0 {
			t.Errorf("stats: %+v", s)
		}
	}
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "README")
	if err := os.WriteFile(foreign, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := mustOpen(t, dir, Options{})
	mustAppend(t, j, "x")
	if err := j.TruncateBefore(2); err != nil {
		t.Fatal(err)
	}
	if got := replay(t, j, 0); got != nil {
		t.Errorf("got %v", got)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
}
