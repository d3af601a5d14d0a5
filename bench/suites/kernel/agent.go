//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/bench/proc"
)

// agent is a running guanlan agent that the suite's sink receives from.
type agent struct {
	*proc.Process
	pid     int
	log     string
	started time.Duration // until it watches
	without string        // features that it says it cannot do
}

// watch starts an agent with some features, "" for all, and returns when it watches.
func (s *run) watch(ctx context.Context, features string, set ...string) (*agent, error) {
	f, err := os.CreateTemp(s.Dir, "agent-*.log")
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	args := []string{"agent", "--endpoint", "http://" + s.sink.address}
	if features != "" {
		args = append(args, "--features", features)
	}
	for _, kv := range set {
		args = append(args, "--set", kv)
	}
	a := &agent{log: f.Name()}
	began := time.Now()
	if a.Process, err = proc.Start(proc.Command{Path: s.Guanlan, Args: args, Log: a.log}); err != nil {
		return nil, err
	}
	for {
		text, _ := os.ReadFile(a.log)
		if strings.Contains(string(text), "Ctrl-C") {
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, "missing") || strings.Contains(line, "cannot") {
					a.without += strings.Join(strings.Fields(line), " ") + "; "
				}
			}
			break
		}
		if !a.Running() || time.Since(began) > time.Minute || ctx.Err() != nil {
			a.Kill()
			return nil, fmt.Errorf("start guanlan agent: it does not watch\n%s", a.Tail())
		}
		time.Sleep(2 * time.Millisecond)
	}
	a.started = time.Since(began)
	a.pid, err = pidOf(s.Guanlan)
	return a, err
}

// pidOf finds this process's child that runs a program.
func pidOf(program string) (int, error) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		exe, _ := os.Readlink(dir + "/exe")
		text, _ := os.ReadFile(dir + "/stat")
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); exe == program && len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("find the process of %s", program)
}

// programs is what the agent's BPF programs have cost so far, all together. The
// kernel tells it of each program that the agent holds.
func (a *agent) programs() (took time.Duration, runs uint64) {
	seen := map[string]bool{}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", a.pid))
	for _, name := range files {
		text, _ := os.ReadFile(name)
		field := map[string]string{}
		for line := range strings.Lines(string(text)) {
			k, v, _ := strings.Cut(line, ":")
			field[k] = strings.TrimSpace(v)
		}
		id := field["prog_id"]
		if _, program := field["run_time_ns"]; !program || seen[id] {
			continue
		}
		seen[id] = true
		ns, _ := strconv.ParseInt(field["run_time_ns"], 10, 64)
		n, _ := strconv.ParseUint(field["run_cnt"], 10, 64)
		took, runs = took+time.Duration(ns), runs+n
	}
	return took, runs
}

// statistics makes the kernel measure programs: two readings of the clock a run,
// so that nothing else is measured with it.
const statistics = "receivers::kernel::statistics=true"

// sleep waits, or until the run is stopped.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
