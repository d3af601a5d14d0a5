package proc

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// until polls for something that happens in another process.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestCostsOfAProcess(t *testing.T) {
	p := shell(t, "while :; do :; done")
	until(t, "processor time", func() bool { return p.CPU() >= 50*time.Millisecond })
	m := p.Memory()
	if m.RSS <= 0 || m.RSS > 100 || m.Anon > m.RSS || m.Peak < m.RSS {
		t.Errorf("memory of a shell: %+v MiB", m)
	}
	if !p.Running() {
		t.Error("the process ended by itself")
	}
	p.Kill()
	if p.Running() {
		t.Error("the process runs on after Kill")
	}
}

func TestStopEndsInOrder(t *testing.T) {
	p := shell(t, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
	until(t, "trap", func() bool { return p.Tail() == "up" })
	if _, err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(p.Tail(), "bye") {
		t.Errorf("log %q, want it to end with what the trap says", p.Tail())
	}
	if _, err := p.Stop(); err == nil {
		t.Error("stopping what ended before is no error")
	}
}

func TestReadyTellsWhyAProcessEnded(t *testing.T) {
	p := shell(t, "echo no such disk; exit 3")
	at, err := FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Ready(t.Context(), "http://"+at[0])
	if err == nil || !strings.Contains(err.Error(), "no such disk") {
		t.Errorf("error %v, want one with the end of the log", err)
	}
}

func TestSettleWaitsForTheBusy(t *testing.T) {
	p := shell(t, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; sleep 60")
	dir := t.TempDir()
	p.Settle(t.Context(), dir, 300*time.Millisecond, 20*time.Second)
	busy := p.CPU()
	if busy == 0 {
		t.Fatal("settled before anything was done")
	}
	if waited := p.Settle(t.Context(), dir, 300*time.Millisecond, 20*time.Second); waited > 5*time.Second {
		t.Errorf("a process at rest settled after %v", waited)
	}
	if p.CPU() > busy+50*time.Millisecond {
		t.Error("settled while it was busy")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Settle(ctx, dir, time.Hour, time.Hour) // must come back
}

func TestAllocatedCountsBlocks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "holes"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "holes"), 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "full"), filepath.Join(dir, "second name")); err != nil {
		t.Fatal(err)
	}
	if got := Allocated(dir); got < 1<<20 || got > 1<<20+64<<10 {
		t.Errorf("%d bytes, want about 1 MiB: neither holes nor second names", got)
	}
}
