//go:build linux

package telemetry

import (
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Features says how the features fare, in the order in which they were started,
// and which the last Change stopped. The cluster is one; it is waited for a little.
func (w *Watch) Features() []Feature {
	return append(w.features(), w.clusterFeature()...)
}

func (w *Watch) features() []Feature {
	w.changing.Lock()
	changes := maps.Clone(w.changes)
	w.changing.Unlock()
	var out []Feature
	for _, s := range w.running.Status() {
		f := w.feature(s)
		f.Change = changes[s.Name]
		delete(changes, s.Name)
		out = append(out, f)
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if changes[name] == Stopped {
			out = append(out, Feature{Name: name, State: Off, Change: Stopped, Capabilities: leastCapabilities(name)})
		}
	}
	return out
}

func (w *Watch) feature(s kernel.Status) Feature {
	f := Feature{Name: s.Name, State: Works, Capabilities: leastCapabilities(s.Name)}
	if s.Err != nil {
		p := partOf(s.Name, s.Err)
		f.State, f.Missing, f.Next, f.Error = Missing, p.Missing, p.Next, p.Error
		if p.Missing == "" {
			f.State = Failed
		}
		return f
	}
	for _, err := range refused(s.Feature) {
		f.State = Partly
		f.Parts = append(f.Parts, partOf(s.Name, err))
	}
	if w.noPins != nil && slices.Contains(pinnable, s.Name) {
		f.State = Partly
		f.Parts = append(f.Parts, partOf(s.Name+": pins", w.noPins))
	}
	return f
}

// pinnable are the features that can outlive the process.
var pinnable = []string{"tcp", "oom", "audit"}

func refused(f kernel.Feature) []error {
	switch f := f.(type) {
	case interface{ Refused() []error }:
		return f.Refused()
	case interface{ Refused() error }:
		if err := f.Refused(); err != nil {
			return []error{err}
		}
	}
	return nil
}

func partOf(name string, err error) Part {
	p := Part{Name: name, Error: err.Error()}
	if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
		p.Name, p.Missing, p.Next = u.Feature, u.Missing, u.Next
		if u.Err != nil {
			p.Error = u.Err.Error()
		}
	}
	return p
}

func leastCapabilities(feature string) []string {
	least := []string{"CAP_BPF", "CAP_PERFMON"}
	if feature == "dns" {
		least = append(least, "CAP_NET_ADMIN")
	}
	return least
}

// Capabilities lists what features use. A process with CAP_SYS_ADMIN has CAP_BPF
// and CAP_PERFMON as well.
func Capabilities() []Capability {
	effective, _ := kernel.Capabilities() // none is known where there is no procfs
	has := effective.Has
	admin := has(unix.CAP_SYS_ADMIN)
	return []Capability{
		{"CAP_BPF", has(unix.CAP_BPF) || admin, "all features: loads programs"},
		{"CAP_PERFMON", has(unix.CAP_PERFMON) || admin, "all features: attaches them"},
		{"CAP_NET_ADMIN", has(unix.CAP_NET_ADMIN), "dns; tcp: each round-trip time, not means"},
		{"CAP_SYS_ADMIN", admin, "tcp: sockets of other network namespaces; attach: traceparent in requests"},
		{"CAP_SYS_PTRACE", has(unix.CAP_SYS_PTRACE), "service names and programs of other users' processes; their symbols in profiles"},
		{"CAP_DAC_READ_SEARCH", has(unix.CAP_DAC_READ_SEARCH), "containers by cgroup at once, and binaries that only their owner may read"},
		{"CAP_SYSLOG", has(unix.CAP_SYSLOG), "profile: functions of the kernel"},
	}
}
