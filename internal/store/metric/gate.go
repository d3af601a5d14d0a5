package metric

import (
	"context"
	"sync"
)

// gate counts the users of something that may be taken away: it lets them in
// until it is shut, and tells when the last has left. The zero value is open.
type gate struct {
	mu    sync.Mutex
	users int
	shut  bool
	empty chan struct{} // closed when shut and without users
}

// enter reports whether the caller may use the thing; if so it must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.users++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users--
	if g.users < 0 {
		panic("BUG: gate left more often than entered")
	}
	if g.shut && g.users == 0 {
		close(g.empty)
	}
}

// close lets nobody in any more and waits for the users to leave, or for ctx.
// It may be called again after ctx ended.
func (g *gate) close(ctx context.Context) error {
	g.mu.Lock()
	if !g.shut {
		g.shut = true
		g.empty = make(chan struct{})
		if g.users == 0 {
			close(g.empty)
		}
	}
	g.mu.Unlock()
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
