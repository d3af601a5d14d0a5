package event

import (
	"runtime"
	"testing"
)

// TestEngineMemoryIsKept gives the engine rows and looks whether the memory
// that it copied them to outlives collections of garbage.
func TestEngineMemoryIsKept(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool drops what it is given at random")
	}
	s, _ := mustOpenStore(t, t.TempDir(), seldom)
	engineRows.forget()
	mustWrite(t, s, "a", 3, noon)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	for range 3 {
		runtime.GC()
	}
	engineRows.mu.Lock()
	kept := len(engineRows.free)
	engineRows.mu.Unlock()
	if kept == 0 {
		t.Error("nothing is kept: the engine has another pool")
	}
	engineRows.forget()
	if x := engineRows.take(); x != nil {
		t.Errorf("forgotten memory is lent: %T", x)
	}
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
