//go:build linux

package kernel

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Alone starts f on a thread that ends with it, so that nothing else ever runs in
// a namespace that f enters, and does not wait for f. The thread is not the first:
// that one never ends, and is what /proc/self shows of the process.
func Alone(f func()) {
	begun := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			Alone(f) // returns when f has another thread
			runtime.UnlockOSThread()
			close(begun)
			return
		}
		close(begun)
		f()
	}()
	<-begun
}
