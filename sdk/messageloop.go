//go:build guanlan_woven

package sdk

import (
	"context"
	"slices"
	"sync"
	"time"
	"unsafe"

	"guanlan/hook"
)

// MessageLoop is a consumer whose program asks for one message after the other,
// and tells nobody when it is done with one: its work on a message lasts until the
// same goroutine asks for the next. Meanwhile the goroutine works for the message,
// see EnterLocal. The zero MessageLoop is ready.
//
// A goroutine that works for something already, as a handler that waits for an
// answer, is no such loop: it goes on with what it does.
type MessageLoop struct{ open []*loopWork }

// loopWork is the work on one message or batch.
type loopWork struct {
	scope LocalScope
	timer *time.Timer
	begin func() *MessageOperation

	once sync.Once
	op   *MessageOperation // nil: it has not begun, as nobody has asked for it
}

const (
	// maxLoopWork is how long a program may work on a message for that to be
	// seen: beyond, it has most likely ended without asking for another one.
	maxLoopWork = 5 * time.Minute
	// maxLoopOpen bounds the goroutines that take messages from one consumer; what
	// is more was left behind by goroutines that have ended.
	maxLoopOpen = 256
)

// messageLoops has the loops of which somebody works on a message.
var messageLoops struct {
	mu     sync.Mutex // also of the fields of loops
	all    map[*MessageLoop]struct{}
	exited sync.Once // its registration
}

// Begin says that this goroutine has been given a message, and works on it from
// now on. It returns the context to do so in; nil if the goroutine works for
// something else.
func (l *MessageLoop) Begin(m Messaging, ctx context.Context, d MessageDetails) context.Context {
	w := l.enter(func() *MessageOperation { return m.Process(ctx, d) })
	if w == nil {
		return nil
	}
	return w.operation().Ctx()
}

// BeginWhenAsked says that this goroutine has been given messages. begin is called
// when the goroutine does something that has to belong to a span: perhaps never.
func (l *MessageLoop) BeginWhenAsked(begin func() *MessageOperation) { l.enter(begin) }

func (l *MessageLoop) enter(begin func() *MessageOperation) *loopWork {
	l.Next()
	if localOf() != nil || messageProcesses.of() == nil {
		return nil
	}
	w := &loopWork{begin: begin}
	w.scope = EnterLocal(askedContext{context.Background(), w})
	messageLoops.exited.Do(func() { hook.AtExit(endMessageLoops) })
	w.timer = time.AfterFunc(maxLoopWork, func() {
		if l.take(func(of *loopWork) bool { return of == w }) != nil {
			w.end()
		}
	})
	messageLoops.mu.Lock()
	if messageLoops.all == nil {
		messageLoops.all = map[*MessageLoop]struct{}{}
	}
	messageLoops.all[l] = struct{}{}
	l.open = append(l.open, w)
	var oldest *loopWork
	if len(l.open) > maxLoopOpen {
		oldest = l.open[0]
		l.open = slices.Delete(l.open, 0, 1)
	}
	messageLoops.mu.Unlock()
	if oldest != nil {
		oldest.end()
	}
	return w
}

// Next says that this goroutine asks for another message: it is done with the one
// it had.
func (l *MessageLoop) Next() {
	p := hook.Local()
	if p == nil {
		return
	}
	if w := l.take(func(w *loopWork) bool { return unsafe.Pointer(w.scope.of.entry) == p }); w != nil {
		w.end()
	}
}

// Close ends all work.
func (l *MessageLoop) Close() {
	for {
		w := l.take(func(*loopWork) bool { return true })
		if w == nil {
			return
		}
		w.end()
	}
}

// take takes one that is meant out of the open ones.
func (l *MessageLoop) take(meant func(*loopWork) bool) *loopWork {
	messageLoops.mu.Lock()
	defer messageLoops.mu.Unlock()
	i := slices.IndexFunc(l.open, meant)
	if i < 0 {
		return nil
	}
	w := l.open[i]
	if l.open = slices.Delete(l.open, i, i+1); len(l.open) == 0 {
		delete(messageLoops.all, l)
	}
	return w
}

// endMessageLoops ends all work when the process does.
func endMessageLoops() {
	messageLoops.mu.Lock()
	var loops []*MessageLoop
	for l := range messageLoops.all {
		loops = append(loops, l)
	}
	messageLoops.mu.Unlock()
	for _, l := range loops {
		l.Close()
	}
}

func (w *loopWork) operation() *MessageOperation {
	w.once.Do(func() {
		// It must not ask itself for what it is within.
		was := hook.Save()
		defer was.Restore()
		hook.SetLocal(nil)
		w.op = w.begin()
	})
	return w.op
}

func (w *loopWork) end() {
	w.timer.Stop()
	w.scope.Leave()
	w.once.Do(func() {}) // too late to begin
	if w.op != nil {
		w.op.End(nil)
	}
}

// askedContext begins what it is about when somebody asks for it.
type askedContext struct {
	context.Context
	work *loopWork
}

// Value implements context.Context.
func (c askedContext) Value(key any) any {
	if key == (requestOf{}) { // messages are none, and nobody needs a span for that
		return nil
	}
	op := c.work.operation()
	if op == nil {
		return nil
	}
	return op.Ctx().Value(key)
}
