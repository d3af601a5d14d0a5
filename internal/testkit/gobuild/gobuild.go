// Package gobuild builds programs of tests with the releases of Go at hand, for what
// depends on how Go lays programs out. Tests only.
package gobuild

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Releases are the releases of Go at hand, their roots by version as "go1.26.8": the one that runs
// the test and, unless tests are to be short, those in the module cache and those whose
// roots GUANLAN_GOROOTS lists. Each builds its standard library first.
func Releases(t testing.TB) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOVERSION", "GOROOT", "GOMODCACHE", "GOHOSTARCH").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	env := strings.Fields(string(out))
	roots := map[string]string{env[0]: env[1]}
	if testing.Short() {
		return roots
	}
	more, _ := filepath.Glob(filepath.Join(env[2], "golang.org", "toolchain@v0.0.1-*.linux-"+env[3]))
	for _, root := range append(filepath.SplitList(os.Getenv("GUANLAN_GOROOTS")), more...) {
		text, err := os.ReadFile(filepath.Join(root, "VERSION"))
		if err != nil {
			continue // half a download
		}
		if v := strings.Fields(string(text))[0]; roots[v] == "" {
			roots[v] = root
		}
	}
	return roots
}

// Minors are Releases, one of each minor version, by that, as "go1.26".
func Minors(t testing.TB) map[string]string {
	t.Helper()
	own := Own(t)
	roots := map[string]string{}
	for v, root := range Releases(t) {
		if m := Minor(v); roots[m] == "" || v == own {
			roots[m] = root
		}
	}
	return roots
}

// Own is the release that runs the test.
func Own(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// Minor is the minor version of a release: "go1.26" of "go1.26.8".
func Minor(version string) string { return strings.Join(strings.SplitN(version, ".", 3)[:2], ".") }

// Build builds testdata/src/main.go, which needs nothing but the standard library, without C
// unless env says so, and returns the program. It is called src.
func Build(t testing.TB, root, src string, env []string, flags ...string) string {
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
	// Some releases take a folder of the module cache for a module when it is their GOROOT.
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
