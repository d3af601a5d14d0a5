package auto

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
)

const (
	// lastWord bounds the flush at a signal: a receiver that does not answer
	// must not keep a process from ending.
	lastWord = 2 * time.Second
	// hurry is how often is flushed while the program itself ends after a
	// signal, as nothing tells when it will be gone.
	hurry = 200 * time.Millisecond
)

// flushAtSignals flushes when the process is told to end. Then, if the program
// does not listen for the signal itself, the process ends by it as it would have
// without us; if it does, that is its business, and we flush until it is gone.
// A second signal does not wait.
func flushAtSignals(s *sdk.SDK) {
	signals := make(chan os.Signal, 2)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if !signal.Ignored(sig) { // under nohup, say: it must stay so
			signal.Notify(signals, sig)
		}
	}
	go func() {
		sig := (<-signals).(syscall.Signal)
		ctx, cancel := context.WithTimeout(context.Background(), lastWord)
		flushed := make(chan struct{})
		go func() {
			defer close(flushed)
			_ = s.Flush(ctx) // what failed is counted, and nobody can do anything about it now
		}()
		select {
		case <-flushed:
		case <-signals:
		}
		cancel()
		signal.Stop(signals)
		if !listened(sig) {
			_ = syscall.Kill(os.Getpid(), sig)
		}
		for range time.Tick(hurry) {
			ctx, cancel := context.WithTimeout(context.Background(), lastWord)
			_ = s.Flush(ctx)
			cancel()
		}
	}()
}

// listened reports whether the program has asked for sig by os/signal, which
// Go does not tell. So a copy of the process tries it out: it sends itself the
// signal and dies of it, or lives and exits. False when there can be no copy.
func listened(sig syscall.Signal) bool {
	pid := tryOut(uintptr(sig))
	if pid == 0 {
		return false
	}
	var status syscall.WaitStatus
	for {
		// The copy gives no SIGCHLD to the program; __WALL waits for such.
		_, err := syscall.Wait4(int(pid), &status, syscall.WALL, nil)
		if err == syscall.EINTR {
			continue
		}
		return err == nil && status.Exited()
	}
}

// tryOut forks. The copy has this thread only and runs nothing but the system
// calls below and the runtime's signal handler, which takes no locks. It returns
// the process id of the copy, 0 when there is none.
//
//go:nosplit
//go:norace
func tryOut(sig uintptr) uintptr {
	// No flags: own memory, and no signal to the parent when it ends.
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0
	}
	if pid != 0 {
		return pid
	}
	self, _, _ := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	syscall.RawSyscall(syscall.SYS_KILL, self, sig, 0)
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}
