package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
)

// runAgent starts the agent and returns it with what it prints once that has all of want.
func runAgent(t *testing.T, want string, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := &output{}
	agent := exec.Command(exe)
	agent.Args = append([]string{"guanlan", "agent"}, args...)
	agent.Stdout, agent.Stderr = out, out
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	says(t, out, want)
	return agent, out
}

func squeeze(text string) string { return spaces.ReplaceAllString(text, " ") }

var spaces = regexp.MustCompile(" +")

func says(t *testing.T, out *output, want string) {
	t.Helper()
	eventually(t, want, func() error {
		if !strings.Contains(squeeze(out.String()), squeeze(want)) { // columns are as wide as they need
			return fmt.Errorf("the agent says:\n%s", out)
		}
		return nil
	})
}

// guanlan runs one command and returns what it prints.
func guanlan(t *testing.T, args ...string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe)
	c.Args = append([]string{"guanlan"}, args...)
	text, err := c.CombinedOutput()
	return string(text), err
}

// TestAgentGoesOn reloads an agent with good and bad rules while programs start,
// kills it, and starts another: each program is told of once, by the rules of its time.
func TestAgentGoesOn(t *testing.T) {
	_, need := checking(t)
	need(t, "audit")
	need(t, "tcp")
	pins := fmt.Sprintf("/sys/fs/bpf/guanlan-test-agent-%d", os.Getpid())
	if p, err := kernel.OpenPins(pins); err != nil {
		t.Skip(err)
	} else if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = kernel.Unpin(pins) })
	p := start(t, t.TempDir())
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	ruleFor := func(word string) {
		text := fmt.Sprintf("version: 1\nrules:\n  - {id: word-%s, title: a word, severity: warning, attack: T1059, on: exec, args: %s}\n", word, word)
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	act := func(name string) {
		if err := exec.Command("/bin/true", name).Run(); err != nil {
			t.Fatal(err)
		}
	}
	flags := []string{"--endpoint", p.http, "--features", "tcp,audit", "--pin=" + pins, "--set", "receivers::kernel::audit::rules=[" + rules + "]"}
	told := func(prefix string, want int) (all []string) {
		t.Helper()
		eventually(t, prefix, func() error {
			records, err := p.records(`event_name = kernel.audit.exec and process.command_line =~ "` + prefix + `"`)
			if err != nil {
				return err
			}
			all = nil
			for _, r := range records {
				all = append(all, attribute(r.Attributes, "process.command_line")+" "+attribute(r.Attributes, "kernel.audit.rule"))
			}
			if slices.Sort(all); len(all) < want {
				return fmt.Errorf("%d of %d: %v", len(all), want, all)
			}
			return nil
		})
		return all
	}

	ruleFor("one")
	agent, out := runAgent(t, "SIGHUP makes it", flags...)
	act("first-one")
	if got := told("first-", 1); got[0] != "/bin/true first-one word-one" {
		t.Errorf("got %v", got)
	}

	ruleFor("two")
	if err := agent.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	during := 0
	for ; during < 2000 && !strings.Contains(out.String(), "was read again"); during++ {
		act(fmt.Sprintf("during-%04d", during))
	}
	says(t, out, "audit works (new rules)")
	says(t, out, "tcp works (unchanged)")
	act("second-two")
	if got := told("second-", 1); got[0] != "/bin/true second-two word-two" {
		t.Errorf("got %v", got)
	}
	n, err := p.counts("", "logs", "event_name", `event_name = kernel.audit.exec and process.command_line =~ "during-"`)
	if err != nil || n["kernel.audit.exec"] != uint64(during) {
		t.Errorf("of %d programs during the reload: %v, %v", during, n, err)
	}

	if err := os.WriteFile(rules, []byte("version: 7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := agent.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	says(t, out, "not taken; the one before goes on:\n    receivers::kernel: audit::rules::0 "+rules)
	act("third-two")
	if got := told("third-", 1); got[0] != "/bin/true third-two word-two" {
		t.Errorf("after a bad configuration: got %v", got)
	}

	text, err := guanlan(t, "agent", "status", "--output", "json")
	var all []telemetry.Running
	if err != nil || json.Unmarshal([]byte(text), &all) != nil {
		t.Fatalf("status: %v %s", err, text)
	}
	i := slices.IndexFunc(all, func(r telemetry.Running) bool { return r.PID == agent.Process.Pid })
	if i < 0 || all[i].Pins != pins || len(all[i].Features) != 2 || all[i].Features[1].Name != "audit" || all[i].Features[1].Events < 4 {
		t.Errorf("status: %s", text)
	}
	if text, err := guanlan(t, "agent", "unpin", pins); err == nil || !strings.Contains(text, "another agent has them") {
		t.Errorf("unpin beside the agent: %v %s", err, text)
	}

	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	var want []string
	ruleFor("three")
	for i := range 20 {
		act(fmt.Sprintf("away-three-%02d", i))
		want = append(want, fmt.Sprintf("/bin/true away-three-%02d word-three", i))
	}
	runAgent(t, "SIGHUP makes it", flags...)
	if got := told("away-", len(want)); !slices.Equal(got, want) {
		t.Errorf("while no agent was there: got %v, want %v", got, want)
	}
}

func TestAgentStatusWithoutAgents(t *testing.T) {
	all, err := telemetry.Ask(t.Context())
	if err != nil || len(all) > 0 {
		t.Skipf("agents run here: %v %v", all, err)
	}
	text, err := guanlan(t, "agent", "status")
	if err == nil || !strings.Contains(text, "guanlan agent\n") || !strings.Contains(text, "none runs") {
		t.Errorf("got %v %s", err, text)
	}
}

// Who listens where agents do has no hold on the terminal.
func TestStatusIsPrintable(t *testing.T) {
	const escape = "\x1b[2J"
	r := telemetry.Running{Service: escape, Version: escape, Host: escape, Pins: escape, Features: []telemetry.RunningFeature{{
		Feature: telemetry.Feature{Name: escape, State: escape, Missing: escape}, Programs: []telemetry.RunningProgram{{Name: escape, Runs: 1}},
	}}}
	var b strings.Builder
	if err := printRunning(&b, r, time.Now()); err != nil || strings.Contains(b.String(), "\x1b") || strings.Count(b.String(), "·[2J") != 8 {
		t.Errorf("%v %q", err, b.String())
	}
}

// Who sends to nobody, or beside another, is told while it matters, and not by stacks.
func TestAgentSaysWhatIsWrong(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := fmt.Sprintf("http://127.0.0.1:%d", port)
	_, _ = runAgent(t, "Ctrl-C stops it", "--endpoint", nobody, "--features", "tcp")
	agent, out := runAgent(t, "another process watches the kernel of this machine as well", "--endpoint", nobody, "--features", "tcp")
	says(t, out, "what is sent is not taken; it waits and is sent again")
	if err := agent.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	says(t, out, "telemetry was dropped, as nobody took it")
	if strings.Contains(out.String(), "exporterhelper@") {
		t.Errorf("stacks:\n%s", out)
	}
}
