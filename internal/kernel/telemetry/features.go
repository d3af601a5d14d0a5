//go:build linux

package telemetry

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// Features says how the features fare, in the order in which they were started.
func (w *Watch) Features() []Feature {
	var out []Feature
	for i, s := range w.running.Status() {
		f := Feature{Name: s.Name, State: Works, Capabilities: leastCapabilities}
		if s.Err != nil {
			p := partOf(s.Name, s.Err)
			f.State, f.Missing, f.Next, f.Error = Missing, p.Missing, p.Next, p.Error
			if p.Missing == "" {
				f.State = Failed
			}
		} else {
			for _, err := range refused(w.features[i]) {
				f.State = Partly
				f.Parts = append(f.Parts, partOf(s.Name, err))
			}
		}
		out = append(out, f)
	}
	return out
}

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

var leastCapabilities = []string{"CAP_BPF", "CAP_PERFMON"}

// Capabilities lists what features use. A process with CAP_SYS_ADMIN has CAP_BPF
// and CAP_PERFMON as well.
func Capabilities() []Capability {
	var effective uint64
	text, _ := os.ReadFile("/proc/self/status")
	for line := range bytes.Lines(text) {
		if v, ok := strings.CutPrefix(string(line), "CapEff:"); ok {
			effective, _ = strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	has := func(c int) bool { return effective&(1<<c) != 0 }
	admin := has(unix.CAP_SYS_ADMIN)
	return []Capability{
		{"CAP_BPF", has(unix.CAP_BPF) || admin, "all features: loads programs"},
		{"CAP_PERFMON", has(unix.CAP_PERFMON) || admin, "all features: attaches them"},
		{"CAP_NET_ADMIN", has(unix.CAP_NET_ADMIN), "tcp: each round-trip time, not means"},
		{"CAP_SYS_ADMIN", admin, "tcp: sockets of other network namespaces"},
		{"CAP_SYS_PTRACE", has(unix.CAP_SYS_PTRACE), "service names and programs of other users' processes; their symbols in profiles"},
		{"CAP_DAC_READ_SEARCH", has(unix.CAP_DAC_READ_SEARCH), "containers by cgroup at once, and binaries that only their owner may read"},
		{"CAP_SYSLOG", has(unix.CAP_SYSLOG), "profile: functions of the kernel"},
	}
}
