package event

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/guanlan-io/guanlan/internal/store"
)

// mountSmall mounts a file system of the given size.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("mounting a tmpfs needs root, and CI must run this test")
		}
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount tmpfs: %v", err)
		}
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := mountSmall(t, "64m")
	s, _ := mustOpenStore(t, filepath.Join(dir, "data"), timing{bytes: 256 << 10, rows: 1 << 40, after: 50 * time.Millisecond, settle: time.Hour, refresh: 50 * time.Millisecond},
		func(o *Options) { o.DiskReserve = 0 })
	want := map[string]int{"before": 100}
	mustWrite(t, s, "before", 100, noon)

	// Someone else fills the device to one MiB below the reserve.
	ballast := filepath.Join(dir, "ballast")
	free, reserve, err := s.guard.look()
	if err != nil || reserve == 0 {
		t.Fatal(free, reserve, err)
	}
	if err := os.WriteFile(ballast, make([]byte, free-reserve+1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(name string) error {
		return s.WriteTraces(t.Context(), store.Tenant{}, spansOf(name, 10, noon))
	}
	deadline := time.Now().Add(time.Minute)
	for n := 0; ; n++ {
		name := "filling-" + time.Now().Format("150405.000000000")
		if err = write(name); err != nil {
			break
		}
		want[name] = 10
		if time.Now().After(deadline) {
			t.Fatal("never refused")
		}
	}
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "MiB free") || !strings.Contains(err.Error(), dir) {
		t.Errorf("full: %v", err)
	}
	// Reads go on, and so do checkpoints.
	if got := len(ids(t, s, s.traces, store.Tenant{})); got != len(wantIDs(want)) {
		t.Errorf("%d rows while full, want %d", got, len(wantIDs(want)))
	}
	if err := s.checkpoint(); err != nil {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for write("after") != nil {
		if time.Since(back) > time.Minute {
			t.Fatal("still refused a minute after space came back")
		}
		time.Sleep(10 * time.Millisecond)
	}
	want["after"] = 10
	if st := s.Stats(); st.Refused.Disk == 0 {
		t.Errorf("stats: %+v", st.Refused)
	}
	if got := len(ids(t, s, s.traces, store.Tenant{})); got != len(wantIDs(want)) {
		t.Errorf("%d rows, want %d", got, len(wantIDs(want)))
	}
	mustClose(t, s) // before the unmount
}

// The store's own data fills the device. It must refuse writes in time for
// everything that it still has to write, merges included.
func TestFillDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("writes tens of megabytes")
	}
	dir := mountSmall(t, "192m") // the reserve must outlast two seconds of merges
	s, _ := mustOpenStore(t, filepath.Join(dir, "data"), timing{bytes: 1 << 20, rows: 1 << 40, after: 50 * time.Millisecond, settle: time.Hour, refresh: 50 * time.Millisecond},
		func(o *Options) { o.DiskReserve = 96 << 20; o.QueueBytes = 2 << 20 })
	accepted, refused := 0, 0
	stop := time.Now().Add(time.Minute)
	for i := 0; refused < 20 && time.Now().Before(stop); i++ {
		if err := s.WriteTraces(t.Context(), store.Tenant{}, randomSpans(i, 500)); err == nil {
			accepted += 500
		} else if errors.Is(err, store.ErrUnavailable) {
			refused++
			time.Sleep(20 * time.Millisecond)
		} else {
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Error("never refused")
	}
	if got := len(ids(t, s, s.traces, store.Tenant{})); got != accepted {
		t.Errorf("%d rows, accepted %d", got, accepted)
	}
	free, reserve, _ := s.guard.look()
	held := s.guard.held
	t.Logf("%d spans accepted; %d KiB left of a reserve of %d KiB, ballast %d KiB", accepted, free>>10, reserve>>10, held>>10)
	mustClose(t, s)
}

// randomSpans makes spans that do not compress.
func randomSpans(batch, n int) ptrace.Traces {
	td := spansOf(strconv.Itoa(batch), n, noon)
	var noise [150]byte
	for _, span := range td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		for i := range noise {
			noise[i] = 'a' + byte(rand.IntN(26))
		}
		span.SetName(span.Name() + string(noise[:]))
	}
	return td
}

// The ballast is part of the reserve: it comes and goes without changing what
// is left.
func TestBallast(t *testing.T) {
	const mib = 1 << 20
	dir := t.TempDir()
	g := newDiskGuard(dir, 8*mib)
	others := uint64(0) // bytes that others use of a device of 100 MiB
	g.statfs = func(string) (uint64, uint64, error) {
		own := uint64(0)
		if info, err := os.Stat(filepath.Join(dir, ballastFile)); err == nil {
			own = uint64(info.Size())
		}
		return 100*mib - others - own, 100 * mib, nil
	}
	for _, c := range []struct{ others, held uint64 }{
		{0, 4}, {80, 4}, {92, 4}, {93, 0}, {99, 0}, {92, 0}, {89, 0}, {88, 4}, {90, 4},
	} {
		others = c.others * mib
		g.tend()
		left, _, _ := g.look()
		if g.held != c.held*mib || left != (100-c.others)*mib {
			t.Errorf("others use %d MiB: ballast %d MiB, left %d MiB; want %d, %d", c.others, g.held/mib, left/mib, c.held, 100-c.others)
		}
		if exists(filepath.Join(dir, ballastFile)) != (c.held > 0) {
			t.Errorf("others use %d MiB: the file does not agree", c.others)
		}
	}
}
