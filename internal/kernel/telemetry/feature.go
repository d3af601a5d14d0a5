// Package telemetry says in OpenTelemetry's terms what the features of
// internal/kernel find: metrics of TCP connections, log records of events,
// profiles, and how the features themselves fare. Names are those of
// internal/semconv.
//
// Network and Records turn what features hand over into metrics and log records.
// Watch is the whole: features, conversion, and bounded queues between the
// kernel's rings and who takes the telemetry.
package telemetry

import (
	"fmt"
	"slices"
	"time"
)

// Feature says how one feature fares, for people.
type Feature struct {
	Name string `json:"feature"`
	// State is works, partly (see Parts), missing, failed or, where the last Change stopped it, off.
	State string `json:"state"`
	// Change is what the last Change did to it, "" if there was none.
	Change  string `json:"change,omitempty"`
	Missing string `json:"missing,omitempty"`
	Next    string `json:"next,omitempty"`
	Error   string `json:"error,omitempty"`
	Parts   []Part `json:"parts,omitempty"`
	// Capabilities are the least that it needs. With others it tells more: see Capabilities.
	Capabilities []string `json:"capabilities"`
}

// Err is nil if the feature runs, in whole or in part.
func (f *Feature) Err() error {
	switch f.State {
	case Missing:
		return fmt.Errorf("start %s: missing %s\n  → %s", f.Name, f.Missing, f.Next)
	case Failed:
		return fmt.Errorf("start %s: %s", f.Name, f.Error)
	}
	return nil
}

// Blind reports whether none of the features runs that tell something themselves: dns
// and kubernetes have names for what others tell.
func Blind(all []Feature) bool {
	return !slices.ContainsFunc(all, func(f Feature) bool {
		return (f.State == Works || f.State == Partly) && f.Name != "dns" && f.Name != "kubernetes"
	})
}

// Part is a part of a feature that does not run.
type Part struct {
	Name    string `json:"part"`
	Missing string `json:"missing,omitempty"`
	Next    string `json:"next,omitempty"`
	Error   string `json:"error,omitempty"`
}

// States of a Feature.
const (
	Works   = "works"
	Partly  = "partly"
	Missing = "missing"
	Failed  = "failed"
	Off     = "off"
)

// Capability is one that features use, and whether this process has it.
type Capability struct {
	Name string `json:"name"`
	Have bool   `json:"have"`
	For  string `json:"for"`
}

// Running is how a process fares that watches the kernel, as it answers who asks (Ask).
type Running struct {
	PID      int              `json:"pid"`
	Service  string           `json:"service"`
	Version  string           `json:"version"`
	Host     string           `json:"host"`
	Since    time.Time        `json:"since"`
	Pins     string           `json:"pins,omitempty"` // folder
	Features []RunningFeature `json:"features"`
}

// RunningFeature is a feature with what it did since the process began.
type RunningFeature struct {
	Feature
	Events   uint64           `json:"events"`
	Dropped  uint64           `json:"dropped"` // in the kernel and on the way
	Programs []RunningProgram `json:"programs,omitempty"`
}

// RunningProgram is one BPF program. Runs and Time are 0 unless the kernel keeps statistics.
type RunningProgram struct {
	Name   string        `json:"program"`
	Runs   uint64        `json:"runs"`
	Time   time.Duration `json:"ns"` // CPU time of all runs
	Missed uint64        `json:"missed,omitempty"`
}
