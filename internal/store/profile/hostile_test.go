package profile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// TestKeysOfLabelsPileUp: each write has as many keys as it may, together they
// are more than a summary holds.
func TestKeysOfLabelsPileUp(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	for n := range 3 {
		p := cpu(noon.Add(time.Duration(n)*time.Second), "main;a 1")
		p.Sample[0].Label = map[string][]string{}
		for i := range 600 {
			p.Sample[0].Label[fmt.Sprintf("%d-%d-%s", n, i, strings.Repeat("k", 1000))] = []string{"v"}
		}
		write(t, s, store.Tenant{}, of("shop", p))
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	m, err := sumOf(s, hour(), "cpu", false)
	if err != nil || m.Profiles != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
	same(t, "after a flush", folded(m.Profile), "main;a 3")
	got, err := s.Series(context.Background(), hour())
	if err != nil || len(got) != 1 || got[0].Profiles != 3 || got[0].Total != 30 {
		t.Errorf("series: %+v, %v", got, err)
	}
}

// TestCloseWaitsForNoReader: a read that began before Close ends with all that
// it was to read.
func TestCloseWaitsForNoReader(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	write(t, s, store.Tenant{}, of("shop", cpu(noon, "main;a 1")))
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	sel := hour()
	chosen, m, release, err := s.choose(sel, "")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, rows := s.rows(chosen[0], m, sel.Range); len(rows) != 1 {
		t.Errorf("%d profiles", len(rows))
	}
}

// TestLongProfile: what a sender says of the length does not put a profile into
// all that comes after it.
func TestLongProfile(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	for range 2 {
		p := cpu(noon, "main;a 1")
		p.DurationNanos = math.MaxInt64
		write(t, s, store.Tenant{}, of("shop", p))
	}
	m, err := sumOf(s, hour(), "cpu", false)
	if err != nil || m.Profile.DurationNanos != int64(2*longest) {
		t.Errorf("added up: %v, %v", m, err)
	}
	later := hour()
	later.Range = store.Range{Start: noon.Add(2 * longest), End: noon.Add(3 * longest)}
	same(t, "two days later", merged(t, s, later))
}

// TestWriteIsBounded: stacks that have nothing in common are refused before they
// fill the memory.
func TestWriteIsBounded(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	half := strings.Repeat("x", maxWrite/2)
	p := cpu(noon, "main;a 1")
	p.Function[0].Name = half
	// Together they are too much, whatever resource they are of.
	other := cpu(noon, "main;a 1")
	other.Comments = []string{half}
	if _, err := s.Write(context.Background(), store.Tenant{}, []New{of("shop", p), of("pay", other)}); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), "more than 128 MiB of different names and stacks") {
		t.Errorf("got %v", err)
	}
	if got := s.Stats(); got.Refused != 1 || got.HeadBytes != 0 || got.Added != 0 {
		t.Errorf("%+v", got)
	}
	// A deep stack is not walked to its end.
	b := newBuilder()
	b.size = maxWrite - 10*nodeSize
	deep := cpu(noon, "main 1")
	deep.Sample[0].Location = slices.Repeat(deep.Sample[0].Location, 1000)
	if b.add(deep, 1); len(b.nodes) > 20 {
		t.Errorf("%d nodes", len(b.nodes))
	}
}

// TestUnreadableSegmentStays until its file is as old as what it held may be.
func TestUnreadableSegmentStays(t *testing.T) {
	o, c := testOptions(t, t.TempDir())
	c.t = time.Now()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, store.Tenant{}, of("shop", cpu(c.now(), "main;a 1")))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(o.Dir, "segments", "*.profiles"))
	if len(names) != 1 {
		t.Fatal(names)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[5] ^= 1 // in the one header
	if err := os.WriteFile(names[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	if got := s.Stats(); got.Damaged != 1 || got.Segments != 1 || got.Profiles != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(names[0]); err != nil {
		t.Errorf("what could be looked into is deleted: %v", err)
	}
	c.move(o.Retention + DefaultRetention + time.Hour)
	s.expire()
	if _, err := os.Stat(names[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the retention: %v", err)
	}
}
