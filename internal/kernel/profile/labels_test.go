//go:build linux

package profile

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"
)

// goRoots are the releases of Go at hand, one of each minor version.
func goRoots(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOVERSION", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Fields(string(out))
	minor := func(v string) string { return strings.Join(strings.SplitN(v, ".", 3)[:2], ".") }
	roots := map[string]string{minor(env[0]): env[1]}
	if testing.Short() {
		return roots // each other one builds its standard library first
	}
	const prefix = "toolchain@v0.0.1-"
	more, _ := filepath.Glob(filepath.Join(env[2], "golang.org", prefix+"*"))
	for _, root := range more {
		if v := minor(strings.TrimPrefix(filepath.Base(root), prefix)); roots[v] == "" {
			roots[v] = root
		}
	}
	return roots
}

// buildWith builds a program of testdata with a release of Go, by a link to it: some
// take a folder of the module cache for a module.
func buildWith(t *testing.T, root, src string, env []string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", src, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"main.go": text, "go.mod": []byte("module program\n\ngo 1.18\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "goroot")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, src)
	cmd := exec.Command(filepath.Join(link, "bin", "go"), append(append([]string{"build", "-o", bin}, flags...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOTOOLCHAIN=local", "GOROOT="+link, "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s with %s: %v\n%s", src, root, err, out)
	}
	return bin
}

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
	newest, _, _ := strings.Cut(strings.TrimPrefix(goVersion(t), "go1."), ".")
	for version, root := range goRoots(t) {
		for name, v := range variants {
			if name != "stripped" && version != "go1."+newest {
				continue
			}
			t.Run(version+" "+name, func(t *testing.T) {
				checkLabels(t, buildWith(t, root, "label", v.env, v.flags...))
			})
		}
	}
}

func goVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
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
	poll(t, "100 samples with labels", func() bool { return samples(known()) >= 100 })
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
