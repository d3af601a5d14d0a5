//go:build linux

package audit

import "github.com/guanlan-io/guanlan/internal/kernel"

const (
	// maxNamed bounds the containers whose service is kept; above it all are
	// forgotten and found again.
	maxNamed = 4096
	// maxAsked bounds the processes of a container that are read to learn it.
	maxAsked = 64
)

// services says what the processes of containers call themselves, for those that
// ended before their environment was read. Processes of one container usually
// have the environment of its first; where two have different names, or one has
// none, nothing is certain and nothing is said.
type services struct {
	byContainer map[string]named
}

type named struct {
	service string
	mixed   bool
}

// note takes what a process of a container calls itself. One without a name says
// nothing: who sets a container up runs in it before its environment is there.
func (s *services) note(container, service string) {
	if container == "" || service == "" {
		return
	}
	n, ok := s.byContainer[container]
	switch {
	case !ok && len(s.byContainer) >= maxNamed:
		clear(s.byContainer)
		fallthrough
	case !ok:
		s.byContainer[container] = named{service: service}
	case n.service != service && !n.mixed:
		s.byContainer[container] = named{mixed: true}
	}
}

// of is the service of all processes of a container, "" if that is not certain.
// members are those that run, asked for only if none was ever seen.
func (s *services) of(container string, members func() []kernel.Process) string {
	if container == "" {
		return ""
	}
	if _, ok := s.byContainer[container]; !ok {
		all := members()
		for _, p := range all {
			if p.Service == "" && len(p.Args) > 0 { // without arguments it is in the middle of an exec
				return ""
			}
		}
		for _, p := range all {
			s.note(container, p.Service)
		}
	}
	return s.byContainer[container].service
}
