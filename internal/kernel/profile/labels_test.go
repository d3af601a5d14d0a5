//go:build linux

package profile

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
	"github.com/guanlan-io/guanlan/internal/testkit/gobuild"
)

// Samples carry the labels of the goroutine that ran, whatever Go built the
// program and however it was linked.
func TestLabels(t *testing.T) {
	type variant struct {
		env, flags []string
	}
	variants := map[string]variant{
		"stripped":     {nil, []string{"-ldflags=-s -w"}},
		"pie stripped": {nil, []string{"-buildmode=pie", "-ldflags=-s -w"}},
	}
	if _, err := exec.LookPath("gcc"); err == nil {
		variants["external"] = variant{[]string{"CGO_ENABLED=1"}, []string{"-ldflags=-linkmode=external"}}
		variants["external static stripped"] = variant{[]string{"CGO_ENABLED=1"}, []string{"-ldflags=-s -w -linkmode=external -extldflags=-static"}}
		variants["external pie stripped"] = variant{[]string{"CGO_ENABLED=1"}, []string{"-buildmode=pie", "-ldflags=-s -w -linkmode=external"}}
	}
	own := gobuild.Minor(gobuild.Own(t))
	for version, root := range gobuild.Minors(t) {
		for name, v := range variants {
			if name != "stripped" && version != own {
				continue
			}
			t.Run(version+" "+name, func(t *testing.T) {
				checkLabels(t, gobuild.Build(t, root, "label", v.env, v.flags...))
			})
		}
	}
}

func checkLabels(t *testing.T, bin string) {
	t.Helper()
	_, got := start(t, Options{Hz: 97, Interval: 300 * time.Millisecond})
	pid, _, kill := launch(t, bin)
	// A process is known some time after its first sample.
	known := func() []*profile.Profile {
		all := got.of(pid, CPU)
		for i, p := range all {
			if slices.ContainsFunc(p.Sample, func(s *profile.Sample) bool { return s.Label["route"] != nil }) {
				return all[i+1:]
			}
		}
		return nil
	}
	kerneltest.Until(t, "100 samples with labels", func() bool { return samples(known()) >= 100 })
	kill()
	p := merged(t, known())
	want := map[string]map[string][]string{
		"/cart": {"process": {"label"}, "service": {"burner"}, "route": {"/cart"}, "trace_id": {"4bf92f3577b34da6a3ce929d0e0e4736"}, "long": {strings.Repeat("x", 64)}},
		"/pay":  {"process": {"label"}, "service": {"burner"}, "route": {"/pay"}},
	}
	sum := map[string]int64{}
	for _, s := range p.Sample {
		route := ""
		if r := s.Label["route"]; len(r) > 0 {
			route = r[0]
		}
		if !slices.Contains(stackOf(s), "main.burn") {
			continue // the runtime's own work
		}
		sum[route] += s.Value[0]
		if w, ok := want[route]; ok {
			if diff := cmp.Diff(w, s.Label); diff != "" {
				t.Fatalf("labels (-want +got):\n%s", diff)
			}
		}
	}
	t.Logf("samples: %v", sum)
	if all := sum[""] + sum["/cart"] + sum["/pay"]; sum[""]*20 > all || sum["/cart"]*5 < all || sum["/pay"]*5 < all {
		t.Errorf("samples by route: %v", sum)
	}
}
