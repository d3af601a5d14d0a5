package query

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/guanlan-io/guanlan/internal/store"
)

// together runs independent parts of an answer at once and returns when all
// have ended. The first error ends the others and is returned; a panic goes on
// in the caller, whose caller may recover from it.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var panicked atomic.Pointer[string]
	for _, part := range parts {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					text := fmt.Sprintf("%v\n%s", p, debug.Stack())
					panicked.CompareAndSwap(nil, &text)
				}
			}()
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if p := panicked.Load(); p != nil {
		panic(*p)
	}
	return context.Cause(ctx)
}

// ignoreMissing drops the error that says that something is not there.
func ignoreMissing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// tallies are counts as they go over the wire; named leaves the empty value out.
func tallies(counts []store.Count, named bool) []Tally {
	out := make([]Tally, 0, len(counts))
	for _, c := range counts {
		if c.Value != "" || !named {
			out = append(out, Tally{Value: c.Value, Count: c.Count})
		}
	}
	return out
}
