package profile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// TestFullDisk fills a real file system to the last byte: senders are told to
// come again, what was acknowledged stays, and all goes on once there is space.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount tmpfs: %v", err)
		}
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}()
	o, _ := testOptions(t, filepath.Join(dir, "data"))
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	put := func(name string) error {
		line := fmt.Sprintf("main;%s 1", name)
		_, err := s.Write(context.Background(), store.Tenant{}, []New{of("shop", cpu(noon, line))})
		if err == nil {
			want = append(want, line)
		}
		return err
	}
	for i := range 20 {
		if err := put(fmt.Sprintf("before%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for _, err = f.Write(make([]byte, 1<<10)); err == nil; _, err = f.Write(make([]byte, 1<<10)) {
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	refused := false
	for i := range 100 { // what is left of the last page takes some
		if err := put(fmt.Sprintf("full%03d", i)); err != nil {
			if refused = errors.Is(err, store.ErrUnavailable); !refused {
				t.Fatal(err)
			}
			break
		}
	}
	if !refused {
		t.Fatal("a full disk takes profiles")
	}
	if st := s.Stats(); st.RefusedDisk != 1 {
		t.Errorf("stats %+v", st)
	}
	if err := s.flush(); err == nil {
		t.Fatal("a full disk takes a segment")
	}
	same(t, "while full", merged(t, s, hour()), want...)
	s.abandon()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	same(t, "after a kill", merged(t, s, hour()), want...)
	for deadline := time.Now().Add(time.Minute); put("zafter") != nil; {
		if time.Now().After(deadline) {
			t.Fatal("writes do not go on")
		}
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	same(t, "with space again", merged(t, s, hour()), want...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
