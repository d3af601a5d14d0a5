//go:build linux

// Package kerneltest is what the tests of several features need: to run one or
// to skip where this machine cannot, to wait, and networks of their own.
package kerneltest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Patience is how long Until waits: long enough for a machine that does thirty
// other things, and is emulated.
const Patience = 5 * time.Minute

// Need ends the test when there is an error; it skips when that says that this
// machine cannot.
func Need(t testing.TB, err error) {
	t.Helper()
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Start starts a feature that ends with the test, on a host of its own when h is
// nil. It skips where this machine cannot.
func Start(t testing.TB, h *kernel.Host, f kernel.Feature) {
	t.Helper()
	if h == nil {
		h = kernel.NewHost(kernel.Options{})
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close %s: %v", f.Name(), err)
		}
	})
	Need(t, f.Start(context.Background(), h))
}

// Until waits for a state.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for %s", Patience, what)
		}
	}
}
