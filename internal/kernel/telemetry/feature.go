// Package telemetry says in OpenTelemetry's terms what the features of
// internal/kernel find: metrics of TCP connections, log records of events,
// profiles, and how the features themselves fare. Names are those of
// internal/semconv.
//
// Network and Records turn what features hand over into metrics and log records.
// Watch is the whole: features, conversion, and bounded queues between the
// kernel's rings and who takes the telemetry.
package telemetry

import "fmt"

// Feature says how one feature fares, for people.
type Feature struct {
	Name string `json:"feature"`
	// State is works, partly (see Parts), missing or failed.
	State   string `json:"state"`
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
)

// Capability is one that features use, and whether this process has it.
type Capability struct {
	Name string `json:"name"`
	Have bool   `json:"have"`
	For  string `json:"for"`
}
