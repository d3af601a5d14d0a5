//go:build linux && (amd64 || arm64)

package attach

import (
	"errors"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/layout"
)

// Program is a running Go program, and what can be had of it.
type Program struct {
	kernel.Process
	GoVersion string
	Libraries []Library
	Err       error // why it cannot be read
}

// List finds the Go programs that run on the host, but for this one, in the order of their ids. It
// changes nothing and needs to be able to read their executables.
func List(h *kernel.Host) []Program {
	var out []Program
	var bs binaries
	self := h.Self()
	for _, pid := range allProcesses(h.Proc()) {
		p, ok := h.Process(pid)
		if !ok || p.Ended || p.Exe == "" || pid == self {
			continue
		}
		o, err := bs.open(h.Proc(), p)
		if errors.Is(err, layout.ErrNotGo) {
			continue
		}
		g := Program{Process: p, Err: err}
		if err == nil {
			g.GoVersion, g.Libraries = o.plan.goVersion, o.plan.libraries
		}
		out = append(out, g)
	}
	return out
}
