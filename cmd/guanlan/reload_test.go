package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHangupWhileItStarts sends SIGHUP, and a configuration that is wrong, as soon as
// the process says anything: it waits, is told, and does not end what starts.
func TestHangupWhileItStarts(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "more.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("service: {telemetry: {logs: {level: info}}}")
	p, err := launch(t.TempDir(), "--config", "guanlan:default", "--config", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	says := func(words string) {
		t.Helper()
		eventually(t, words, func() error {
			if !p.alive() || !strings.Contains(p.output.String(), words) {
				return errors.New(p.output.String())
			}
			return nil
		})
	}
	hangup := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	says("\n") // the configuration has been read
	write("service: {telemetry: {logs: {level: loud}}}")
	hangup()
	says("not taken; the one before goes on:\n    ")
	if !strings.Contains(p.output.String(), "is ready") {
		t.Errorf("it answers a signal before it runs:\n%s", p.output)
	}
	write("service: {telemetry: {logs: {level: info}}}")
	hangup()
	says("The configuration was read again (")
}
