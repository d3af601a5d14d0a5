package hook_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guanlan-io/guanlan/internal/weave"
)

// longest is what tests in a woven Go may take: a hundred times what they do, for
// a machine that is busy.
const longest = "-timeout=5m"

func weaver(t *testing.T, out *bytes.Buffer) weave.Weaver {
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
	return weave.Weaver{Dir: "testdata/local", Strict: true, Stdout: out, Stderr: out, Warn: func(m string) { t.Log(m) }}
}

// inWoven runs the tests of testdata/local, built woven.
func inWoven(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	w := weaver(t, &out)
	code, err := w.Run(t.Context(), "test", append([]string{"-count=1", longest}, args...))
	t.Logf("%s", out.String())
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestWoven(t *testing.T) {
	inWoven(t, "-cpu=1,2", "-v", ".")
}

func TestRace(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil || testing.Short() {
		t.Skip("compiles the standard library for the race detector, with gcc")
	}
	t.Setenv("CGO_ENABLED", "1")
	inWoven(t, "-race", "-short", "-v", ".")
}

// Timers that send into a buffer, as before Go 1.23, are timers still.
func TestAsyncTimers(t *testing.T) {
	t.Setenv("GODEBUG", "asynctimerchan=1")
	inWoven(t, "-short", "-run=Timers|Soak", ".")
}

// TestRuntime runs Go's own tests of what is woven.
func TestRuntime(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the runtime and what imports it once more")
	}
	var out bytes.Buffer
	w := weaver(t, &out)
	plan, err := w.Plan(t.Context(), "test", []string{"runtime"})
	if err != nil {
		t.Fatal(err)
	}
	// Without the SDK, which the runtime's tests need not compile.
	text, err := os.ReadFile(plan.Overlay)
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &overlay); err != nil {
		t.Fatal(err)
	}
	started := len(overlay.Replace)
	maps.DeleteFunc(overlay.Replace, func(name, _ string) bool { return strings.Contains(name, "/testdeps/") })
	if len(overlay.Replace) == started {
		t.Fatal("the SDK is not started where this test expects it")
	}
	if text, err = json.Marshal(overlay); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(plan.GOROOT, "bin", "go"), "test", "-overlay="+file,
		"-count=1", "-short", longest, "-v", "-run=Chan|Select|Coro|NotifyList|Label", "runtime")
	c.Env = append(os.Environ(), "GOROOT="+plan.GOROOT, "GOTOOLCHAIN=local")
	got, err := c.CombinedOutput()
	t.Logf("%s", got)
	if err != nil || !bytes.Contains(got, []byte("--- PASS: TestSelectStress")) {
		t.Errorf("%v", err)
	}
}
