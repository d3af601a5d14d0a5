package event

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

func TestDiskGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free, total uint64 = 20 << 30, 100 << 30
		calls := 0
		var fail error
		g := newDiskGuard("/no/such/data", 0)
		g.statfs = func(string) (uint64, uint64, error) { calls++; return free, total, fail }
		if err := g.check(0); err != nil {
			t.Error(err)
		}
		if _, reserve, _ := g.look(); reserve != maxDiskReserve {
			t.Errorf("reserve %d", reserve)
		}
		free = 100 << 20
		if err := g.check(0); err != nil || calls != 1 {
			t.Errorf("asked %d times within %v: %v", calls, diskPoll, err)
		}
		time.Sleep(diskPoll)
		err := g.check(0)
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), `"/no/such/data" has 100 MiB free, 512 MiB are needed`) {
			t.Errorf("full: %v", err)
		}
		free = 600 << 20
		time.Sleep(diskPoll)
		if err := g.check(0); err != nil {
			t.Errorf("space is back: %v", err)
		}
		if err := g.check(100 << 20); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("100 MiB pending: %v", err)
		}
		fail = syscall.EIO
		time.Sleep(diskPoll)
		if err := g.check(0); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, syscall.EIO) {
			t.Errorf("device gone: %v", err)
		}
	})
	small := newDiskGuard(t.TempDir(), 0)
	small.statfs = func(string) (uint64, uint64, error) { return 5, 1 << 30, nil }
	if _, reserve, _ := small.look(); reserve != (1<<30)/10 {
		t.Errorf("reserve of a small device: %d", reserve)
	}
	own := newDiskGuard(t.TempDir(), 77)
	own.statfs = small.statfs
	if _, reserve, _ := own.look(); reserve != 77 {
		t.Errorf("own reserve: %d", reserve)
	}
}
