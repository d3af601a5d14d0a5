//go:build linux

// Package kernel asks the kernel, by eBPF, what a process cannot know about
// itself.
//
// Each thing asked for is a Feature in a sub-package: a compiled object, its
// loader and its decoder. Features stand alone: one that this kernel or this
// process cannot carry out answers *Unsupported and the others run. This package
// has what they share: loading and attaching (Object), reading rings (Drain), who
// a process and a cgroup are and what time a kernel's timestamp is (Host).
//
// Nothing is pinned unless somebody asks for it (Pins): when the process ends, by
// Close or by SIGKILL, the kernel takes all probes away with its file descriptors.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Feature is something that the kernel is asked for. Start attaches and returns;
// what comes up goes to the callbacks that the feature was made with, until
// Close, which detaches, drains and waits for the last callback. Each is called
// once; Close may follow a Start that was refused. Stats may be called at any time between.
type Feature interface {
	Name() string
	Start(ctx context.Context, h *Host) error
	Close() error
	Stats() Stats
}

// Stats counts what a feature did since Start.
type Stats struct {
	// Programs are those loaded. Runs and Time stay 0 unless the kernel keeps
	// statistics (Host.KeepStatistics).
	Programs []ProgramStats
	Events   uint64 // handed to callbacks
	Dropped  uint64 // lost for want of room, in the kernel or here, or with a missed run
}

// ProgramStats counts what one program cost.
type ProgramStats struct {
	Name string
	Runs uint64
	Time time.Duration // CPU time of all runs
	// Missed runs did not take place because the program ran already on that CPU,
	// interrupted. Kernels before 5.12 do not count them, and those before 6.1 not all.
	Missed uint64
}

// Unsupported says what this kernel or this process lacks for a feature, or for
// a part of one. Tests skip on it alone.
type Unsupported struct {
	Feature string // "tcp", or the part: "tcp: on_rtt"
	Missing string // "CAP_BPF", "type information (BTF)", …
	Next    string // what the operator can do
	Err     error
}

func (u *Unsupported) Error() string {
	s := fmt.Sprintf("%s is not supported here: missing %s", u.Feature, u.Missing)
	if u.Next != "" {
		s += "; " + u.Next
	}
	if u.Err != nil {
		s += " (" + u.Err.Error() + ")"
	}
	return s
}

func (u *Unsupported) Unwrap() error { return u.Err }

// Running is a set of features that was started. Safe for concurrent use.
type Running struct {
	mu       sync.Mutex
	features []Feature
	refused  []error // by index of features
}

// Status is how one feature fares.
type Status struct {
	Name    string
	Err     error // nil while it runs; *Unsupported if it cannot
	Stats   Stats
	Feature Feature
}

// Start starts the features one by one. A feature that is refused is closed, kept for
// Status, and does not hinder the others.
func Start(ctx context.Context, h *Host, features ...Feature) *Running {
	r := &Running{}
	r.start(ctx, h, features)
	return r
}

func (r *Running) start(ctx context.Context, h *Host, features []Feature) {
	for _, f := range features {
		err := f.Start(ctx, h)
		if err != nil {
			err = errors.Join(err, f.Close())
		}
		r.features, r.refused = append(r.features, f), append(r.refused, err)
	}
	h.ForgetTypes()
}

// Change closes the features that are not among next, the last first, and starts
// those that are new. The others go on as if nothing was.
func (r *Running) Change(ctx context.Context, h *Host, next ...Feature) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.close(func(f Feature) bool { return !slices.Contains(next, f) })
	was := r.features
	r.start(ctx, h, slices.DeleteFunc(slices.Clone(next), func(f Feature) bool { return slices.Contains(was, f) }))
	return err
}

// Status lists all features in the order of Start.
func (r *Running) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Status, len(r.features))
	for i, f := range r.features {
		out[i] = Status{Name: f.Name(), Err: r.refused[i], Feature: f}
		if r.refused[i] == nil {
			out[i].Stats = f.Stats()
		}
	}
	return out
}

// Close closes what runs, the last first.
func (r *Running) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.close(func(Feature) bool { return true })
}

func (r *Running) close(which func(Feature) bool) error {
	var errs []error
	for i, f := range slices.Backward(r.features) {
		if !which(f) {
			continue
		}
		if r.refused[i] == nil {
			errs = append(errs, f.Close())
		}
		r.features, r.refused = slices.Delete(r.features, i, i+1), slices.Delete(r.refused, i, i+1)
	}
	return errors.Join(errs...)
}

// Every calls f, from this goroutine, each time that d has passed, until ctx ends.
func Every(ctx context.Context, d time.Duration, f func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}
