//go:build linux

package kernel_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// foreignObject ends the names of objects that are for the other architecture
// only; most are for both.
var foreignObject = map[string]string{"amd64": "_arm64_bpfel.o", "arm64": "_x86_bpfel.o"}[runtime.GOARCH]

// Committed objects are byte by byte what clang makes of the sources: what runs in
// the kernel is what can be read.
func TestObjectsAreWhatTheSourcesGive(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			u := &kernel.Unsupported{Feature: "making objects anew", Missing: tool, Next: "install clang-14 and llvm-14", Err: err}
			if os.Getenv("CI") == "true" {
				t.Fatal(u)
			}
			t.Skip(u)
		}
	}
	if _, err := os.Stat("/usr/include/bpf/bpf_helpers.h"); err != nil {
		u := &kernel.Unsupported{Feature: "making objects anew", Missing: "headers of libbpf", Next: "install libbpf-dev", Err: err}
		if os.Getenv("CI") == "true" {
			t.Fatal(u)
		}
		t.Skip(u)
	}
	features, err := filepath.Glob("*/gen.go")
	if err != nil || len(features) == 0 {
		t.Fatalf("no features: %v", err)
	}
	for _, gen := range features {
		t.Run(filepath.Dir(gen), func(t *testing.T) {
			text, err := os.ReadFile(gen)
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			for line := range strings.Lines(string(text)) {
				line, ok := strings.CutPrefix(strings.TrimSpace(line), "//go:generate ")
				if !ok || !strings.Contains(line, "bpf2go") {
					continue
				}
				args := strings.Fields(line)
				i := 0
				for i < len(args) && !strings.HasSuffix(args[i], "bpf2go") {
					i++
				}
				args = append(args[:i+1:i+1], append([]string{"-output-dir", out}, args[i+1:]...)...)
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir = filepath.Dir(gen)
				cmd.Env = append(os.Environ(), "GOPACKAGE="+filepath.Base(cmd.Dir), "GOFILE=gen.go")
				if text, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", line, err, text)
				}
			}
			made, err := os.ReadDir(out)
			if err != nil || len(made) == 0 {
				t.Fatalf("nothing was made: %v", err)
			}
			for _, f := range made {
				want, err1 := os.ReadFile(filepath.Join(out, f.Name()))
				got, err2 := os.ReadFile(filepath.Join(filepath.Dir(gen), f.Name()))
				if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what the source gives: run make gen (%v)", f.Name(), err)
				}
			}
		})
	}
}
