package weavetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/testkit/otlpsink"
	"github.com/guanlan-io/guanlan/internal/weave"
)

// longestRun is what a sample may take until it has ended by itself: ten times
// what it should, for a machine that is busy.
const longestRun = 30 * time.Second

// Builder builds the program of the module in dir and writes it to the file
// out. args are flags of go build. Errors have what the go command wrote.
type Builder func(dir, out string, args ...string) error

// Plain builds with the go command alone.
func Plain(dir, out string, args ...string) error {
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", out}, args, []string{"."})...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, text)
	}
	return nil
}

// Woven builds as `guanlan build` does. What cannot be woven in full is an error.
func Woven(dir, out string, args ...string) error {
	return WovenPackage(dir, out, ".", args...)
}

// WovenPackage is Woven for a package that is named, of the module in dir or of
// one that it requires.
func WovenPackage(dir, out, pkg string, args ...string) error {
	var told bytes.Buffer
	w := weave.Weaver{
		Dir: dir, Strict: true, Stdout: &told, Stderr: &told,
		Warn: func(message string) { fmt.Fprintln(&told, message) },
	}
	code, err := w.Run(context.Background(), "build", slices.Concat([]string{"-o", out}, args, []string{pkg}))
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return fmt.Errorf("guanlan build in %s: %w\n%s", dir, err, told.String())
	}
	return nil
}

// Outcomes runs the tests of packages, by the go command alone or woven, and
// returns how each ended: "pass", "fail" or "skip", by package and name, and what
// was said of those that failed. A package counts as one of its tests, with an
// empty name: one that does not build fails.
func Outcomes(ctx context.Context, dir string, woven bool, args ...string) (outcomes map[string]string, said string, err error) {
	var told, failed bytes.Buffer
	args = slices.Concat([]string{"-json"}, args)
	if woven {
		w := weave.Weaver{
			Dir: dir, Strict: true, Stdout: &told, Stderr: &failed,
			Warn: func(message string) { fmt.Fprintln(&failed, message) },
		}
		if _, err := w.Run(ctx, "test", args); err != nil {
			return nil, failed.String(), err
		}
	} else {
		cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"test"}, args)...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &told, &failed
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			return nil, failed.String(), fmt.Errorf("go test in %s: %w", dir, err)
		}
	}
	outcomes = map[string]string{}
	output := map[string]*strings.Builder{}
	for dec := json.NewDecoder(&told); ; {
		var e struct{ Action, Package, Test, Output string }
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, failed.String(), fmt.Errorf("read go test -json: %w", err)
		}
		key := strings.TrimSpace(e.Package + " " + e.Test)
		switch e.Action {
		case "build-output":
			failed.WriteString(e.Output)
		case "pass", "fail", "skip":
			outcomes[key] = e.Action
			if e.Action == "fail" && output[key] != nil {
				fmt.Fprintf(&failed, "--- %s\n%s", key, output[key])
			}
			delete(output, key)
		case "output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
		}
	}
	return outcomes, failed.String(), nil
}

// Build builds a sample into a folder of the test and returns the program's
// path. It fails the test if that changes anything in the sample's folder.
func (s Sample) Build(t testing.TB, build Builder) string {
	t.Helper()
	before := hash(t, s.Dir)
	program := filepath.Join(t.TempDir(), s.Aspect)
	args := []string{}
	if s.ModFile != newest {
		args = append(args, "-modfile="+s.ModFile)
	}
	if err := build(s.Dir, program, args...); err != nil {
		t.Fatal(err)
	}
	if hash(t, s.Dir) != before {
		t.Fatalf("the build has changed %s", s.Dir)
	}
	return program
}

// Run runs a program until it ends by itself, which it must do without an error,
// and returns what it has sent. env is added to the environment, in which
// nothing else about telemetry is set.
func Run(t testing.TB, program string, env ...string) otlpsink.Received {
	t.Helper()
	sink := otlpsink.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), longestRun)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir = t.TempDir()
	cmd.Env = slices.Concat(environment(), sink.Env(), env)
	cmd.WaitDelay = time.Second
	var written bytes.Buffer
	cmd.Stdout, cmd.Stderr = &written, &written
	if err := cmd.Run(); err != nil {
		t.Fatalf("run %s: %v\n%s", filepath.Base(program), err, written.String())
	}
	got := sink.Quiet(0)
	t.Logf("%s wrote:\n%s", filepath.Base(program), written.String())
	return got
}

// environment is that of the test without what telemetry reads.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "OTEL_") || strings.HasPrefix(e, "GUANLAN_")
	})
}

// hash tells apart what a folder holds: names, modes, times of change and
// contents, so that also a file counts that was there for a moment.
func hash(t testing.TB, dir string) [sha256.Size]byte {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %v %d %d\n", path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		if !info.Mode().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		h.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
