package metric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/store"
)

// smallDisk mounts a file system of its own for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mount tmpfs: %v (needs CAP_SYS_ADMIN)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all free space of the disk, as another program would, and returns
// what gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.CreateTemp(dir, "other-program-")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	left, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := allocate(f, left); err != nil {
		t.Fatal(err)
	}
	if left, err := freeSpace(dir); left != 0 || err != nil {
		t.Fatalf("filled the disk, but %d bytes are free (%v)", left, err)
	}
	return func() { os.Remove(f.Name()) }
}

// until polls a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

func small(o *Options) { o.MinFree = 4 << 20 }

// scrape appends one sample to each of n series.
func scrape(s *Store, n int, at time.Time) error {
	a := s.Database(store.Tenant{}).Appender(context.Background())
	for i := range n {
		if _, err := a.Append(0, series(i), at.UnixMilli(), float64(at.UnixNano()%997)+float64(i)*0.37); err != nil {
			return errors.Join(err, a.Rollback())
		}
	}
	return a.Commit()
}

func series(i int) labels.Labels {
	return labels.FromStrings("__name__", "m", "i", fmt.Sprint(i), "pad", strings.Repeat("x", 40))
}

// hourBefore is about an hour before now, and followed by ten minutes in which the engine has no
// reason to end a chunk but that it is full: one ends as well where a block does.
func hourBefore(now time.Time) time.Time {
	const block = 2 * time.Hour
	at := now.Add(-time.Hour)
	if end := at.Add(10 * time.Minute); !end.Truncate(block).Equal(at.Truncate(block)) {
		return at.Add(-10 * time.Minute)
	}
	return at
}

func countSamples(t *testing.T, s *Store, now time.Time) float64 {
	t.Helper()
	got, err := s.Instant(context.Background(), store.Tenant{}, "sum(count_over_time(m[2h]))", now)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	return got[0].Value
}

func TestDiskFilledByOthers(t *testing.T) {
	dir := smallDisk(t, "64m")
	s := openStore(t, in(dir), small)
	if got, err := os.Stat(filepath.Join(dir, reserveFile)); err != nil || got.Size() < s.opts.MinFree/2 {
		t.Fatalf("reserve: got %v, %v", got, err)
	}
	now := time.Now()
	at := hourBefore(now)
	const n = 100
	acked := 0.0
	write := func() error {
		at = at.Add(time.Second)
		err := scrape(s, n, at)
		if err == nil {
			acked += n
		}
		return err
	}
	for range 300 { // two full chunks a series: one is pending
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		free := fill(t, dir)
		if err := write(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "free") {
			t.Fatalf("round %d: on a full disk: got %v, want ErrUnavailable that says why", round, err)
		}
		b := newBatch(nil)
		b.gauge("m", "", now, 1)
		if err := s.Write(context.Background(), store.Tenant{}, b.Metrics); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("OTLP on a full disk: got %v, want ErrUnavailable", err)
		}
		if err := s.Database(store.Tenant{}).Delete(context.Background(), 0, 1, labels.MustNewMatcher(labels.MatchEqual, "a", "b")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("delete on a full disk: got %v, want ErrUnavailable", err)
		}
		if st := s.Stats(); !st.Low {
			t.Error("stats do not say that space is low")
		}
		until(t, "the reserve is given back", func() bool { left, _ := freeSpace(dir); return left > 0 })
		// What the engine does by itself once a minute must not fail now.
		s.instances()[0].gen.Load().db.ForceHeadMMap()
		if got := countSamples(t, s, now); got != acked {
			t.Errorf("round %d: read on a full disk: got %v samples, want %v", round, got, acked)
		}
		free()
		until(t, "writes are accepted again", func() bool { return write() == nil })
		if got := countSamples(t, s, now); got != acked {
			t.Errorf("round %d: got %v samples, want %v", round, got, acked)
		}
	}
	closeStore(t, s)
	s = openStore(t, in(dir), small)
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("reopened: got %v samples, want %v", got, acked)
	}
}

func TestDiskFilledByMetrics(t *testing.T) {
	dir := smallDisk(t, "16m")
	s := openStore(t, in(dir), small)
	now := time.Now()
	at := hourBefore(now)
	const n = 2000
	acked := 0.0
	for {
		at = at.Add(time.Second)
		if err := scrape(s, n, at); err != nil {
			if !errors.Is(err, store.ErrUnavailable) {
				t.Fatal(err)
			}
			break
		}
		acked += n
	}
	if acked < 100*n {
		t.Fatalf("refused after %v samples: the disk had room for more", acked)
	}
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("full: got %v samples, want %v", got, acked)
	}
	if s.Stats().Broken != 0 {
		t.Error("the log broke: writes were refused too late")
	}
	closeStore(t, s)
	// A store must open on a full disk, for reading.
	s = openStore(t, in(dir), small)
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("reopened: got %v samples, want %v", got, acked)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	until(t, "writes are accepted", func() bool {
		at = at.Add(time.Second)
		return scrape(s, n, at) == nil
	})
	acked += n
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("grown: got %v samples, want %v", got, acked)
	}
}

// TestLogBreaks fills the disk between admission and commit, so that the log
// is cut in the middle of a record. Nothing acknowledged before or after may
// be lost, also not by the repair at the next start.
func TestLogBreaks(t *testing.T) {
	dir := smallDisk(t, "64m")
	var log logBuffer
	s := openStore(t, in(dir), small, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	now := time.Now()
	at := now.Add(-30 * time.Minute)
	const n = 20_000 // a record of many pages
	acked := 0.0
	for range 5 {
		at = at.Add(time.Second)
		if err := scrape(s, n, at); err != nil {
			t.Fatal(err)
		}
		acked += n
	}
	open := func() (commit func() error) {
		a := s.Database(store.Tenant{}).Appender(context.Background())
		for i := range n {
			if _, err := a.Append(0, series(i), at.UnixMilli(), float64(i)*1.37); err != nil {
				t.Fatal(err)
			}
		}
		return a.Commit
	}
	at = at.Add(time.Second)
	first, second := open(), open()
	// The keeper must not help here: it would give the reserve back.
	s.stop()
	s.upkeep.Wait()
	free := fill(t, dir)
	if err := first(); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("commit on a full disk: got %v, want ErrUnavailable", err)
	}
	free()
	// The other appender's log entry is written behind the torn one.
	if err := second(); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("commit behind a torn record: got %v, want ErrUnavailable", err)
	}
	if err := scrape(s, n, at.Add(time.Second)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("write to a broken log: got %v, want ErrUnavailable", err)
	}
	if got := countSamples(t, s, now); got < acked {
		t.Errorf("reads while broken: got %v samples, want %v at least", got, acked)
	}
	if got := s.Stats().Broken; got != 1 {
		t.Errorf("broken tenants: got %d, want 1", got)
	}
	comeBy(t, s)
	if !strings.Contains(log.String(), "Successfully repaired WAL") {
		t.Errorf("the log was not torn, so this tests nothing:\n%s", log.String())
	}
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("repaired: got %v samples, want %v", got, acked)
	}
	if err := open()(); err != nil { // the sender tries again
		t.Fatal(err)
	}
	acked += n
	for range 3 {
		at = at.Add(time.Second)
		if err := scrape(s, n, at); err != nil {
			t.Fatal(err)
		}
		acked += n
	}
	closeStore(t, s)
	s = openStore(t, in(dir), small)
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("reopened: got %v samples, want %v", got, acked)
	}
}

// comeBy does what the keeper does, after it was stopped, until all is repaired.
func comeBy(t *testing.T, s *Store) {
	t.Helper()
	until(t, "the tenants are back", func() bool {
		s.pollSpace(context.Background())
		s.upkeep.Wait()
		return s.Stats().Broken == 0
	})
}

type logBuffer struct {
	mu sync.Mutex
	strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.String()
}

// TestOutOfOrderLogBreaks does the same to the log of out-of-order samples,
// whose failures the engine only counts.
func TestOutOfOrderLogBreaks(t *testing.T) {
	dir := smallDisk(t, "64m")
	s := openStore(t, in(dir), small)
	s.stop()
	s.upkeep.Wait()
	now := time.Now()
	if err := put(s, store.Tenant{}, "m", now, 1); err != nil {
		t.Fatal(err)
	}
	if err := put(s, store.Tenant{}, "m", now.Add(-time.Minute), 1); err != nil {
		t.Fatal(err)
	}
	// Only the second log fails: its file is closed under it.
	if err := breakFile(filepath.Join(dir, "0", "wbl")); err != nil {
		t.Fatal(err)
	}
	if err := put(s, store.Tenant{}, "m", now.Add(-2*time.Minute), 2); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	comeBy(t, s)
	if err := put(s, store.Tenant{}, "m", now.Add(-2*time.Minute), 2); err != nil {
		t.Fatal(err)
	}
	wantLines(t, instant(t, s, store.Tenant{}, "count_over_time(m[1h])", now), "{} 3")
	closeStore(t, s)
	s = openStore(t, in(dir), small)
	wantLines(t, instant(t, s, store.Tenant{}, "count_over_time(m[1h])", now), "{} 3")
}

// breakFile replaces the descriptors of this process for files under dir by
// ones that cannot be written.
func breakFile(dir string) error {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer full.Close()
	for _, e := range fds {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			continue
		}
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil {
			return err
		}
		if err := unix.Dup3(int(full.Fd()), fd, unix.O_CLOEXEC); err != nil {
			return err
		}
	}
	return nil
}

// TestReserveGone lets the engine fail to write its chunks, which ends the
// process when it happens in the engine's own loop: the tenant is closed
// instead, and comes back whole.
func TestReserveGone(t *testing.T) {
	dir := smallDisk(t, "64m")
	s := openStore(t, in(dir), small)
	s.stop()
	s.upkeep.Wait()
	now := time.Now()
	at := hourBefore(now)
	const n = 3000
	acked := 0.0
	for range 130 { // one full chunk a series is pending, more than the write buffer
		at = at.Add(time.Second)
		if err := scrape(s, n, at); err != nil {
			t.Fatal(err)
		}
		acked += n
	}
	s.space.release()
	free := fill(t, dir)                                     // all of it, the reserve too
	until(t, "the tenant is closed for reads", func() bool { // free space is looked at now and then
		s.pollSpace(context.Background())
		s.upkeep.Wait()
		_, err := s.Instant(context.Background(), store.Tenant{}, "m", now)
		return errors.Is(err, store.ErrUnavailable)
	})
	if err := scrape(s, n, at); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("write: got %v, want ErrUnavailable", err)
	}
	free()
	comeBy(t, s)
	at = at.Add(time.Second)
	if err := scrape(s, n, at); err != nil {
		t.Fatal(err)
	}
	acked += n
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("got %v samples, want %v", got, acked)
	}
	closeStore(t, s)
	s = openStore(t, in(dir), small)
	if got := countSamples(t, s, now); got != acked {
		t.Errorf("reopened: got %v samples, want %v", got, acked)
	}
}

// TestOpenOnFullDisk: the process must start, and the metrics come back by
// themselves.
func TestOpenOnFullDisk(t *testing.T) {
	dir := smallDisk(t, "64m")
	now := time.Now()
	s := openStore(t, in(dir), small)
	if err := put(s, store.Tenant{}, "m", now, 1); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if err := os.Truncate(filepath.Join(dir, reserveFile), 0); err != nil {
		t.Fatal(err)
	}
	free := fill(t, dir)
	s = openStore(t, in(dir), small)
	if _, err := s.Instant(context.Background(), store.Tenant{}, "m", now); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("read: got %v, want ErrUnavailable", err)
	}
	if err := put(s, store.Tenant{}, "m", now.Add(time.Second), 1); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("write: got %v, want ErrUnavailable", err)
	}
	free()
	until(t, "metrics are open", func() bool { return put(s, store.Tenant{}, "m", now.Add(time.Second), 1) == nil })
	wantLines(t, instant(t, s, store.Tenant{}, "count_over_time(m[1m])", now.Add(time.Second)), "{} 2")
}
