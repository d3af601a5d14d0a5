package goroot

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// real returns the GOROOT of the Go that runs the test.
func real(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env GOROOT: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// unwoven runs the go command with a GOROOT that Make has made, in which none of
// the standard library's packages could be woven: each has what its aspect adds
// then, for without that our packages do not compile. The runtime has nothing
// added, or all of it were compiled again: programs bring what it lacks.
type unwoven struct{ goroot, overlay string }

func newUnwoven(t *testing.T) unwoven {
	t.Helper()
	u := unwoven{makeOne(t, Options{Goroot: real(t), Cache: t.TempDir()}), filepath.Join(t.TempDir(), "overlay.json")}
	replace := map[string]string{}
	aspects, err := filepath.Glob(filepath.Join("..", "aspects", "*", "aspect.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range aspects {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var a struct {
			Packages []struct{ Path, Without string }
		}
		if err := yaml.Unmarshal(text, &a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range a.Packages {
			if _, err := os.Stat(filepath.Join(u.goroot, "src", p.Path)); err != nil || p.Without == "" || p.Path == "runtime" {
				continue
			}
			with, err := filepath.Abs(filepath.Join(filepath.Dir(name), p.Without))
			if err != nil {
				t.Fatal(err)
			}
			replace[filepath.Join(u.goroot, "src", p.Path, "zz_guanlan_"+p.Without)] = with
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	write(t, u.overlay, string(text))
	return u
}

func (u unwoven) command(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), filepath.Join(u.goroot, "bin", "go"), args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOROOT="+u.goroot, "GOTOOLCHAIN=local", "GOFLAGS=-tags=guanlan_woven -overlay="+u.overlay,
		"GOWORK=off", "CGO_ENABLED=0"), env...)
	return cmd
}

// program has in it what package guanlan/hook finds in a woven runtime.
const program = `package main

import (
	"context"
	"fmt"
	"unsafe"

	"guanlan/sdk"
	_ "guanlan/sdk/auto"
	_ "guanlan/sdk/start"
)

func main() {
	_, span := sdk.Default().TracerProvider().Tracer("test").Start(context.Background(), "work")
	fmt.Println(span.SpanContext().IsValid())
	span.End()
	sdk.Shutdown(context.Background())
}

//go:linkname local runtime.guanlanLocal
func local() unsafe.Pointer { return nil }

//go:linkname save runtime.guanlanSave
func save() (p unsafe.Pointer, number uint64, how uint8) { return nil, 0, 0 }

//go:linkname restore runtime.guanlanRestore
func restore(p unsafe.Pointer, number uint64, how uint8) {}
`

// The packages build as packages of the standard library, and run.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles some 240 packages five times: not with -short")
	}
	u := newUnwoven(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module program\n\ngo 1.24\n")
	write(t, filepath.Join(dir, "main.go"), program)
	run := func(t *testing.T, env []string, args ...string) string {
		t.Helper()
		out, err := u.command(t, dir, env, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if got, want := strings.Fields(run(t, nil, "list", "guanlan/...")), archive().imports; len(got) != len(want) {
		t.Errorf("guanlan/... is %q, want %q", got, want)
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		runs bool
	}{
		{"plain", nil, nil, true},
		{"trimpath", nil, []string{"-trimpath"}, true},
		{"race", []string{"CGO_ENABLED=1"}, []string{"-race"}, true},
		{"darwin/arm64", []string{"GOOS=darwin", "GOARCH=arm64"}, nil, false},
		{"windows/arm64", []string{"GOOS=windows", "GOARCH=arm64"}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath("gcc"); err != nil && c.name == "race" {
				t.Skip("the race detector needs gcc")
			}
			run(t, c.env, append(append([]string{"build"}, c.args...), "guanlan/...")...)
			exe := filepath.Join(t.TempDir(), "program.exe")
			run(t, c.env, append(append([]string{"build", "-o", exe}, c.args...), ".")...)
			if !c.runs || runtime.GOOS == "windows" {
				return
			}
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none")
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "true" {
				t.Errorf("the program prints %q, error %v; want true", out, err)
			}
		})
	}
}

// The newest Go, which runs the tests, has more than the oldest one. As a module
// the packages can be asked what they use that is newer than its Go. What the two
// packages beside them use must be found, or the test proves nothing.
func TestOldestGoIsEnough(t *testing.T) {
	dir := t.TempDir()
	// No module may be called as folders of the standard library, nor import its
	// internal packages.
	moved := strings.NewReplacer(`"guanlan/`, `"guanlan.test/`, `"internal/runtime/exithook"`, `"guanlan.test/exithook"`)
	for _, f := range archive().runtime {
		write(t, filepath.Join(dir, strings.TrimPrefix(f.name, "src/guanlan/")), moved.Replace(string(f.text)))
	}
	write(t, filepath.Join(dir, "exithook", "a.go"), "package exithook\n\ntype Hook struct {\n\tF func()\n\tRunOnFailure bool\n}\n\nfunc Add(Hook) {}\n")
	write(t, filepath.Join(dir, "go.mod"), "module guanlan.test\n\ngo "+strings.TrimPrefix(Oldest, "go")+"\n")
	write(t, filepath.Join(dir, "newer", "library", "a.go"), "package library\n\nimport \"sync\"\n\nvar _ = (*sync.WaitGroup).Go\n")
	write(t, filepath.Join(dir, "newer", "language", "a.go"), "package language\n\nvar _ = new(1)\n")
	out, err := newUnwoven(t).command(t, dir, nil, "vet", "-stdversion", "./...").CombinedOutput()
	found := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(line, "vet:")), "./")
		name, _, isFinding := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "#"):
		case isFinding && strings.HasPrefix(name, "newer/"):
			found[name] = true
		default:
			t.Errorf("%s cannot compile our packages: %s", Oldest, line)
		}
	}
	if err == nil || !found["newer/library/a.go"] || !found["newer/language/a.go"] {
		t.Errorf("vet finds what is newer in %v, error %v, want it in both:\n%s", found, err, out)
	}
}
