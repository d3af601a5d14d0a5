package profile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/guanlan-io/guanlan/internal/store"
)

// faults is a disk that fails when it is told to.
type faults struct {
	osDisk
	mu sync.Mutex
	at string // create, write, sync, rename, syncDir
}

var errDevice = errors.New("no space left on device")

func (d *faults) fail(at string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at == at {
		return errDevice
	}
	return nil
}

func (d *faults) set(at string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
}

func (d *faults) create(path string) (file, error) {
	if err := d.fail("create"); err != nil {
		return nil, err
	}
	f, err := d.osDisk.create(path)
	return &faultFile{f, d}, err
}

func (d *faults) rename(from, to string) error {
	if err := d.fail("rename"); err != nil {
		return err
	}
	return d.osDisk.rename(from, to)
}

func (d *faults) syncDir(path string) error {
	if err := d.fail("syncDir"); err != nil {
		return err
	}
	return d.osDisk.syncDir(path)
}

type faultFile struct {
	file
	d *faults
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.d.fail("write"); err != nil {
		n, _ := f.file.Write(p[:len(p)/2])
		return n, err
	}
	return f.file.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.d.fail("sync"); err != nil {
		return err
	}
	return f.file.Sync()
}

// TestFaults fails each step of a flush: what was acknowledged can be read all
// the time, once, also when the process ends before the next try.
func TestFaults(t *testing.T) {
	for _, at := range []string{"create", "write", "sync", "rename", "syncDir"} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,crash=%v", at, crash), func(t *testing.T) {
				o, _ := testOptions(t, t.TempDir())
				d := &faults{}
				s, err := open(o, d)
				if err != nil {
					t.Fatal(err)
				}
				write(t, s, store.Tenant{}, of("shop", cpu(noon, "main;a 1")))
				d.set(at)
				if err := s.flush(); !errors.Is(err, errDevice) {
					t.Fatalf("flush: %v", err)
				}
				same(t, "after a failure", merged(t, s, hour()), "main;a 1")
				write(t, s, store.Tenant{}, of("shop", cpu(noon, "main;b 2")))
				same(t, "and more", merged(t, s, hour()), "main;a 1", "main;b 2")
				if crash {
					s.abandon()
					if s, err = Open(o); err != nil {
						t.Fatal(err)
					}
				} else {
					d.set("")
					if err := s.flush(); err != nil {
						t.Fatal(err)
					}
				}
				same(t, "afterwards", merged(t, s, hour()), "main;a 1", "main;b 2")
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, o)
				same(t, "in the end", merged(t, s, hour()), "main;a 1", "main;b 2")
				if left, _ := filepath.Glob(filepath.Join(s.segmentsDir(), "*.tmp")); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

// TestFullHead: while segments cannot be written, memory stays bounded and
// senders are told to come again.
func TestFullHead(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	o.Head = 4 << 10
	d := &faults{}
	d.set("write")
	s, err := open(o, d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer d.set("")
	for i := range 1000 {
		_ = s.flush()
		_, err = s.Write(context.Background(), store.Tenant{}, []New{of("shop", cpu(noon, fmt.Sprintf("main;f%d 1", i)))})
		if err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("writes go on: %v", err)
	}
	if st := s.Stats(); st.RefusedQueue != 1 || st.FlushErrors == 0 {
		t.Errorf("stats %+v", st)
	}
	d.set("")
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	write(t, s, store.Tenant{}, of("shop", cpu(noon, "main;again 1")))
}

func TestDiskReserve(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	o.DiskReserve = 1 << 62
	s := mustOpen(t, o)
	_, err := s.Write(context.Background(), store.Tenant{}, []New{of("shop", cpu(noon, "a 1"))})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "disk nearly full") {
		t.Errorf("a full disk: %v", err)
	}
	if st := s.Stats(); st.RefusedDisk != 1 || st.Added != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestDamage flips each byte of a segment, one after the other: what is in
// other blocks stays, and nothing is read wrong.
func TestDamage(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	for _, service := range []string{"a", "b", "c"} {
		write(t, s, store.Tenant{}, of(service, cpu(noon, "main;"+service+" 1")))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(s.segmentsDir(), "*.profiles"))
	if len(files) != 1 {
		t.Fatalf("segments %v", files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	o.Logger = slog.New(slog.DiscardHandler)
	all := []string{"main;a 1", "main;b 1", "main;c 1"}
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(files[0], data, 0o640); err != nil {
			t.Fatal(err)
		}
		s, err := Open(o)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer s.abandon()
		got := merged(t, s, hour())
		if len(got) < 2 || slices.ContainsFunc(got, func(l string) bool { return !slices.Contains(all, l) }) {
			t.Fatalf("%s: %v", what, got)
		}
		if st := s.Stats(); len(got) == 2 && st.Damaged == 0 {
			t.Fatalf("%s: a loss is not counted", what)
		}
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << rand.IntN(8)
		check(fmt.Sprint("byte ", i), bad)
	}
	check("cut", whole[:len(whole)-1])
}

func TestFormatOfANewerVersion(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(o.Dir, "FORMAT"), []byte("guanlan profiles 2\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("opened: %v", err)
	}
}
