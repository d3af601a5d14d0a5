package state

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/sampling"
)

// On a full disk a change is refused, what held before holds on, also for the
// next process, and nothing is left lying about.
func TestPoliciesOnAFullDisk(t *testing.T) {
	give := t.Skipf
	if os.Getenv("CI") == "true" {
		give = t.Fatalf
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		give("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	p := OpenPolicies(dir, quiet)
	put(t, p, "0", rule("order", 0.5))
	other := filepath.Join(dir, "other")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	if err := p.Put("0", rule("order", 0.9)); !errors.Is(err, ErrNotSaved) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put: %v", err)
	}
	for _, p := range []*Policies{p, OpenPolicies(dir, quiet)} {
		if diff := cmp.Diff(sampling.Set{rule("order", 0.5)}, p.List("0")); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, policiesFile+".tmp")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a file is left: %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	put(t, p, "0", rule("order", 0.9))
}
