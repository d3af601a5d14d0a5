package event

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestEngineMemoryIsKept gives the engine rows and looks whether the memory
// that it copied them to outlives collections of garbage.
func TestEngineMemoryIsKept(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool drops what it is given at random")
	}
	// What another P of the runtime holds at the moment may be lost: one try proves little.
	kept := 0
	for try := 0; try < 20 && kept == 0; try++ {
		s, _ := mustOpenStore(t, t.TempDir(), seldom)
		forget(engineRows)
		mustWrite(t, s, "a", 3, noon)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		for range 3 {
			runtime.GC()
		}
		engineRows.mu.Lock()
		kept = len(engineRows.free)
		engineRows.mu.Unlock()
	}
	if kept == 0 {
		t.Fatal("nothing is kept: the engine has another pool")
	}
	forget(engineRows)
	if x := engineRows.take(); x != nil {
		t.Errorf("forgotten memory is lent: %T", x)
	}
}

// forget lets time pass without anybody taking something.
func forget[T any](s *spares[T]) {
	s.look()
	s.look()
}

func TestSpares(t *testing.T) {
	var s spares[*int]
	if x := s.take(); x != nil {
		t.Errorf("took %v of nothing", *x)
	}
	a, b := new(int), new(int)
	s.put(a)
	s.put(b)
	if first, second, third := s.take(), s.take(), s.take(); first != b || second != a || third != nil {
		t.Errorf("took %p %p %p, want %p %p and nothing", first, second, third, b, a)
	}
}

// What is taken again and again stays, what nobody takes goes.
func TestSparesForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s spares[*int]
		used, unused := new(int), new(int)
		s.put(unused)
		s.put(used)
		for range 5 {
			time.Sleep(sparesKept)
			synctest.Wait()
			if x := s.take(); x != used {
				t.Fatalf("took %p, want %p", x, used)
			}
			s.put(used)
		}
		if first, second := s.take(), s.take(); first != used || second != nil {
			t.Errorf("%p and %p are kept, want only the one in use", first, second)
		}
		s.put(used)
		time.Sleep(3 * sparesKept)
		synctest.Wait()
		if x := s.take(); x != nil {
			t.Errorf("%p is kept, want nothing", x)
		}
	})
}
