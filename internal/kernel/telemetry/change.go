//go:build linux

package telemetry

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
)

// What Change did to a feature (Feature.Change).
const (
	Unchanged = "unchanged" // it went on
	NewRules  = "new rules" // audit went on, by other rules
	Restarted = "restarted" // with another configuration
	Started   = "started"
	Stopped   = "stopped"
)

// Hold waits for hand-overs in flight and lets what comes up wait in the queues,
// within their bounds and for a minute, until Change says where it goes.
func (w *Watch) Hold() {
	w.out.Lock()
	defer w.out.Unlock()
	w.to = outlets{}
}

// CanChange reports whether Change will do, and Close and Start need not.
func (w *Watch) CanChange(o Options) bool {
	w.changing.Lock()
	defer w.changing.Unlock()
	return w.o.Origin == o.Origin && w.o.Host == o.Host && w.o.Pin == o.Pin && w.o.Statistics == o.Statistics &&
		o.HealthEvery == w.o.HealthEvery && reflect.DeepEqual(w.o.Kubernetes, o.Kubernetes)
}

// Change makes the watch do what o says, for which CanChange holds. Features with
// the configuration that they have go on without a gap, audit also where its rules alone
// are others.
func (w *Watch) Change(o Options) error {
	err := w.change(o)
	w.tell()
	w.tellRules(time.Now())
	return err
}

func (w *Watch) change(o Options) error {
	w.changing.Lock()
	defer w.changing.Unlock()
	running := map[string]kernel.Feature{}
	for _, s := range w.running.Status() {
		w.changes[s.Name] = Stopped
		if s.Err == nil { // what was refused is tried again
			running[s.Name] = s.Feature
		}
	}
	var errs []error
	var next []kernel.Feature
	for _, f := range w.wanted(&o) {
		name := f.Name()
		was, runs := running[name]
		switch {
		case !runs:
			w.changes[name] = Started
		case w.same(name, &o):
			w.changes[name], f = Unchanged, was
		case name == "audit" && sameAudit(w.o.Audit, o.Audit):
			if err := was.(*audit.Feature).SetRules(rulesOf(o.Audit)); err != nil {
				errs = append(errs, err)
				w.changes[name] = Restarted
			} else {
				w.changes[name], f = NewRules, was
			}
		default:
			w.changes[name] = Restarted
		}
		next = append(next, f)
	}
	w.direct(&o)
	w.keepPins(&o)
	w.nameBy(next)
	errs = append(errs, w.running.Change(context.Background(), w.host, next...))
	w.o, w.rulesTold = o, time.Time{}
	return errors.Join(errs...)
}

// same reports whether a feature's options are those that it runs with; Options have no callbacks.
func (w *Watch) same(name string, o *Options) bool {
	var a, b any
	switch name {
	case "tcp":
		a, b = w.o.TCP, o.TCP
	case "dns":
		a, b = w.o.DNS, o.DNS
	case "oom":
		a, b = w.o.OOM, o.OOM
	case "audit":
		return sameAudit(w.o.Audit, o.Audit) && reflect.DeepEqual(rulesOf(w.o.Audit).All(), rulesOf(o.Audit).All())
	case "profile":
		a, b = w.o.Profile, o.Profile
	case "attach":
		a, b = w.o.Attach, o.Attach
	}
	return reflect.DeepEqual(a, b)
}

// sameAudit compares all but rules.
func sameAudit(a, b *audit.Options) bool {
	x, y := *a, *b
	x.Rules, y.Rules = nil, nil
	return reflect.DeepEqual(x, y)
}

func rulesOf(o *audit.Options) *audit.Rules {
	if o.Rules == nil {
		return audit.DefaultRules()
	}
	return o.Rules
}
