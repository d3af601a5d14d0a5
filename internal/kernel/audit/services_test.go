//go:build linux

package audit

import (
	"fmt"
	"testing"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// TestServiceOfAContainer names ended processes only where that is certain.
func TestServiceOfAContainer(t *testing.T) {
	p := func(service string) kernel.Process { return kernel.Process{Service: service, Args: []string{"x"}} }
	f := func(what, want string, noted []string, running ...kernel.Process) {
		t.Helper()
		s := services{map[string]named{}}
		for _, name := range noted {
			s.note("c", name)
		}
		s.note("d", "another")
		if got := s.of("c", func() []kernel.Process { return running }); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	f("nobody is known", "", nil)
	f("one runs", "order", nil, p("order"))
	f("two agree", "order", nil, p("order"), p("order"))
	f("two differ", "", nil, p("order"), p("stock"))
	f("one has no name", "", nil, p("order"), p(""))
	f("one is in an exec", "order", nil, p("order"), kernel.Process{})
	f("seen before, all ended", "order", []string{"order"})
	f("seen before with two names", "", []string{"order", "stock", "order"}, p("order"))
	f("one without a name was seen", "order", []string{"", "order"})
	s := services{map[string]named{}}
	for i := range 3 * maxNamed {
		s.note(fmt.Sprint(i), "x")
	}
	if n := len(s.byContainer); n > maxNamed {
		t.Errorf("%d containers are kept", n)
	}
	if got := s.of("", func() []kernel.Process { return []kernel.Process{p("order")} }); got != "" {
		t.Errorf("outside of containers: %q", got)
	}
}
