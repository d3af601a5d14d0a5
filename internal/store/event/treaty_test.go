package event

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/storetest"
)

// TestTreaty runs the conformance suite against the store as it is used, with
// checkpoints being made all the time.
func TestTreaty(t *testing.T) {
	timing := often
	if raceDetector {
		// The engine counts the rows of a part that it has written for a
		// snapshot after it let go of it, when a read may hold the last
		// reference and recycle it. Only its own statistics suffer, but the
		// detector would report it.
		timing = seldom
	}
	storetest.Run(t, func(t *testing.T) storetest.Store {
		s, err := openTimed(Options{Dir: t.TempDir(), DiskReserve: 1}, timing)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		var freezing sync.WaitGroup
		if raceDetector { // our part of a checkpoint, then, without the engine's
			freezing.Go(func() { freezeOften(t, s, ended) })
		}
		t.Cleanup(func() {
			close(ended)
			freezing.Wait()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

// freezeOften takes the states of the helpers as a checkpoint does, until
// ended is closed.
func freezeOften(t *testing.T, s *Store, ended <-chan struct{}) {
	for ticker := time.NewTicker(often.after); ; {
		select {
		case <-ended:
			ticker.Stop()
			return
		case <-ticker.C:
		}
		s.convert.Lock()
		_, err := s.freezeHelpers()
		s.convert.Unlock()
		if err != nil {
			t.Error(err)
		}
	}
}

// What reads answer must be the same before and after a kill: rows, counts of
// the rollup, traces found by their ids.
func TestReadsAfterKill(t *testing.T) {
	dir := t.TempDir()
	s, err := openTimed(Options{Dir: dir, DiskReserve: 1}, seldom)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	end := time.Now().Truncate(time.Minute).Add(-10 * time.Minute)
	src := newSpanSource(6_000, end, 30*time.Minute)
	var traceIDs []pcommon.TraceID
	for i := 0; ; i++ {
		td, ok := src.batch(500)
		if !ok {
			break
		}
		traceIDs = append(traceIDs, td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).TraceID())
		if err := s.WriteTraces(t.Context(), store.Tenant{}, td); err != nil {
			t.Fatal(err)
		}
		if i == 5 {
			if err := checkpointAll(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	answers := func(s *Store) (a struct {
		Services, Operations []store.Group
		Heat                 store.HeatMap
		Spans                []int
	}) {
		t.Helper()
		err := s.Flush(t.Context())
		sel := store.Select{Range: store.Range{Start: end.Add(-time.Hour), End: end.Add(time.Hour)}}
		var errs [3]error
		a.Services, errs[0] = s.Services(t.Context(), sel, 10)
		a.Operations, errs[1] = s.Operations(t.Context(), sel, 0, 1000)
		a.Heat, errs[2] = s.Heat(t.Context(), sel, 20)
		if err := errors.Join(err, errors.Join(errs[:]...)); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(a.Heat.Cells, func(x, y store.HeatCell) int { return cmp.Or(x.X-y.X, x.Band-y.Band) })
		for _, id := range traceIDs {
			td, _, err := s.Trace(t.Context(), store.Tenant{}, id, store.Range{})
			if err != nil {
				t.Fatal(err)
			}
			a.Spans = append(a.Spans, td.SpanCount())
		}
		return a
	}
	want := answers(s)
	if len(want.Services) == 0 || len(want.Heat.Cells) == 0 {
		t.Fatal("nothing stored")
	}
	for range 2 {
		dir = crash(t, dir)
		killed, err := openTimed(Options{Dir: dir, DiskReserve: 1}, seldom)
		if err != nil {
			t.Fatal(err)
		}
		defer killed.Close()
		if r := killed.Stats().Recovery; r.ReplayedBatches != 6 || r.Restored == 0 {
			t.Errorf("recovery: %+v", r)
		}
		sortOperations := cmpopts.SortSlices(func(a, b store.Group) bool { return a.Service+"\x00"+a.Name < b.Service+"\x00"+b.Name })
		if diff := gocmp.Diff(want, answers(killed), sortOperations, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	}
}
