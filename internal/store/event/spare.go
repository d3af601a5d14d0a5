package event

import (
	"slices"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"
)

// sparesKept is for how long memory that nobody takes is kept at least, and at
// most twice as long: what a burst needed is gone soon after it.
const sparesKept = 10 * time.Second

// spares lends memory that is dear to grow, last returned first. A sync.Pool
// loses it to the garbage collector between two groups.
type spares[T any] struct {
	mu       sync.Mutex
	free     []T
	idle     int // the first of free, which nobody took since the last look
	watching bool
}

// take returns the zero T when there is none.
func (s *spares[T]) take() (x T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		x = s.free[n-1]
		clear(s.free[n-1:])
		s.free = s.free[:n-1]
		s.idle = min(s.idle, n-1)
	}
	return x
}

func (s *spares[T]) put(x T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, x)
	if !s.watching {
		s.watching = true
		time.AfterFunc(sparesKept, s.look)
	}
}

// look forgets what nobody took since the last look.
func (s *spares[T]) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = slices.Delete(s.free, 0, s.idle)
	s.idle = len(s.free)
	if s.watching = s.idle > 0; s.watching {
		time.AfterFunc(sparesKept, s.look)
	}
}

// rowMemory lends what groups are turned into.
type rowMemory struct{ spares[*logstorage.LogRows] }

func (m *rowMemory) take() *logstorage.LogRows {
	if lr := m.spares.take(); lr != nil {
		return lr
	}
	return logstorage.GetLogRows(nil, nil, nil, nil, "")
}

func (m *rowMemory) put(lr *logstorage.LogRows) {
	lr.ResetKeepSettings() // leaves nothing for the garbage collector to follow
	m.spares.put(lr)
}

// enginePool is where the engine has the memory that it copies rows to on
// their way into a part. It is the process's, so engineRows is too.
//
//go:linkname enginePool github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage.lrPool
var enginePool sync.Pool

// engineRows has the engine's pool give back what it had, too: growing it anew
// for each group was a fifth of all that the process allocated under load.
// TestEngineMemoryIsKept tells when a new version has its pool elsewhere.
var engineRows = func() *spares[any] {
	s := new(spares[any])
	enginePool.New = s.take
	return s
}()

// keepEngineRows is called after rows were given to the engine.
func keepEngineRows() {
	if x := enginePool.Get(); x != nil {
		engineRows.put(x)
	}
}
