package exit

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// hurry is how often is flushed while the program itself ends after a
	// signal, as nothing tells when it will be gone.
	hurry = 200 * time.Millisecond
)

// looks is when is looked, after the start, whether the program listens: it asks
// for signals when it begins, and a look costs the copying of page tables, which
// are few then.
var looks = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}

// AtSignals has flush called when the process is told to end. Then, if the program
// does not listen for the signal itself, the process ends by it as it would have
// without us; if it does, that is its business, and we flush until it is gone.
// flush must bound itself. Of several calls the last one counts: there is one that
// listens, or each would take the other for the program.
//
// Programs stop listening as soon as they have heard, so it must be known before
// whether they did; the look at the signal itself is for those that began to
// listen later than the last of looks. Where it cannot be found out, nothing is
// done at signals.
func AtSignals(flush func()) {
	flushing.Store(&flush)
	listening.Do(listen)
}

var (
	flushing  atomic.Pointer[func()]
	listening sync.Once
)

func flush() { (*flushing.Load())() }

func listen() {
	var all []os.Signal
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if signal.Ignored(sig) { // under nohup, say: it must stay so
			continue
		}
		if _, err := listened(sig); err != nil {
			return
		}
		all = append(all, sig)
	}
	if len(all) == 0 {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, all...)
	go func() {
		sig, heard := wait(signals, all)
		signal.Stop(signals) // from here on a second signal is the program's, or ends it
		if !heard {
			heard, _ = listened(sig)
		}
		flush()
		if !heard {
			_ = syscall.Kill(os.Getpid(), sig)
		}
		for range time.Tick(hurry) {
			flush()
		}
	}()
}

// wait waits for a signal, and finds out until then whether the program listens
// for any of them.
func wait(signals chan os.Signal, all []os.Signal) (sig syscall.Signal, heard bool) {
	began := time.Now()
	for _, at := range looks {
		timer := time.NewTimer(time.Until(began.Add(at)))
		select {
		case got := <-signals:
			timer.Stop()
			return got.(syscall.Signal), heard
		case <-timer.C:
		}
		if heard {
			continue
		}
		// What comes in this millisecond does what it would without us.
		signal.Stop(signals)
		for _, sig := range all {
			yes, err := listened(sig.(syscall.Signal))
			heard = heard || yes || err != nil
		}
		signal.Notify(signals, all...)
		Looked.Add(1)
	}
	return (<-signals).(syscall.Signal), heard
}

// Looked counts looks, for tests to wait for.
var Looked atomic.Int32

var errNoCopy = errors.New("no copy of the process could be made")

// listened reports whether the program has asked for sig by os/signal, which
// Go does not tell. So a copy of the process tries it out: it sends itself the
// signal and dies of it, or lives and exits. We must not listen meanwhile.
func listened(sig syscall.Signal) (bool, error) {
	pid := tryOut(uintptr(sig))
	if pid == 0 {
		return false, errNoCopy
	}
	var status syscall.WaitStatus
	for {
		// The copy gives no SIGCHLD to the program; __WALL waits for such.
		_, err := syscall.Wait4(int(pid), &status, syscall.WALL, nil)
		if err == syscall.EINTR {
			continue
		}
		return status.Exited(), err
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
