package profile

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Values near the ends of an int64 stay there, in samples of one stack, sums of
// profiles and lists, from memory and from the disk.
func TestSumsStayAtTheEnds(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	sel := store.Select{Range: store.Range{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)}}
	big := func(at time.Duration, v int64) *profile.Profile {
		p := cpu(noon.Add(at), "main;a 1", "main;a 1", "main;a 1 k=v", "main;a 1 k=v")
		for _, one := range p.Sample {
			one.Value = []int64{v, v}
		}
		return p
	}
	resource := map[string]string{"service.name": "order"}
	check := func() {
		t.Helper()
		for _, labels := range []bool{false, true} {
			m, err := sumOf(s, sel, "cpu", labels)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range m.Profile.Sample {
				if one.Value[0] != math.MaxInt64 || one.Value[1] != math.MaxInt64 {
					t.Errorf("labels %v: values %d", labels, one.Value)
				}
			}
		}
		list, err := s.Series(t.Context(), sel)
		if err != nil || len(list) != 1 || list[0].Total != math.MaxInt64 {
			t.Errorf("list: %+v, %v", list, err)
		}
	}
	write(t, s, store.Tenant{}, New{resource, "cpu", big(0, math.MaxInt64-1)}, New{resource, "cpu", big(time.Second, math.MaxInt64)})
	check()
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	check()
}

// Sums share a budget: who finds it taken is to try again, who wants more than there
// is never gets it, and all is given back.
func TestSumsShareMemory(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	write(t, s, store.Tenant{}, of("order", cpu(noon, "main;a 1", "main;b 2")))
	room := func(most int64) { s.memory = newBudget(most) }
	// How much it takes is not told: as much as is missing when it fails.
	need := int64(0)
	for err := store.ErrLimit; errors.Is(err, store.ErrLimit); need += 64 {
		room(need)
		_, err = sumOf(s, hour(), "cpu", true)
	}
	need -= 64          // enough, and 64 less is not
	room(2*need - 2*64) // enough for one, not for two
	err := s.Merge(t.Context(), hour(), "cpu", true, func(*Merged) error {
		for range 2 {
			if _, err := sumOf(s, hour(), "cpu", true); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrLimit) {
				t.Errorf("beside another: %v", err)
			}
		}
		if _, err := sumOf(s, hour(), "heap", true); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("of what is not there: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	if err := s.Merge(t.Context(), hour(), "cpu", true, func(*Merged) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("what use returns: %v", err)
	}
	if !s.memory.free.TryAcquire(s.memory.most) {
		t.Error("some of the memory was not given back")
	}
}
