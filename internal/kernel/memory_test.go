//go:build linux

package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

func TestCgroupsOfTheMemoryController(t *testing.T) {
	h := NewHost(Options{})
	mount, path := h.MemoryMount(), h.MemoryCgroup
	if mount == "" {
		mount, path = h.Cgroup2(), h.Cgroup
	}
	if mount == "" {
		t.Skip(&Unsupported{Feature: "test", Missing: "a mounted cgroup file system"})
	}
	want := "/guanlan-memory-" + strconv.Itoa(os.Getpid())
	dir := filepath.Join(mount, want)
	if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		t.Skip(&Unsupported{Feature: "test", Missing: "the right to make cgroups", Err: err})
	} else if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	var id uint64
	h.EachCgroup(func(i uint64, p string) bool {
		if p == want {
			id = i
		}
		return id == 0
	})
	if id == 0 {
		t.Fatalf("EachCgroup does not list %s", want)
	}
	if got, ok := path(id); !ok || got != want {
		t.Errorf("path of %d = %q, %v, want %q", id, got, ok, want)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if got, ok := path(id); !ok || got != want {
		t.Errorf("path of %d after its end = %q, %v, want %q", id, got, ok, want)
	}
	if got, ok := path(1 << 60); ok {
		t.Errorf("path of an id that never was: %q", got)
	}
}
