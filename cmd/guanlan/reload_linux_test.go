package main

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A signal that the process has got is not lost while it is taken from the others who asked for it.
func TestHangupIsNotLostWhenTaken(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer signal.Reset(syscall.SIGHUP)
	for n := range 200 {
		h := newHangups(t.Context(), nil)
		// To a thread of its own, and so before the call returns.
		if err := unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		h.take()
		select {
		case <-h.came:
		case <-time.After(time.Minute):
			t.Fatalf("signal %d is lost", n)
		}
		h.stop()
	}
}
