//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// grace is how long a process may take to end when asked.
const grace = 15 * time.Second

// processes are the children, in order of start. Each leads a process group of
// its own: Ctrl-C in the terminal reaches only the demo, which then stops them
// in order.
type processes struct {
	logs  string // folder; a file a process
	all   []*process
	ended chan *process // each once
}

type process struct {
	name, log string
	cmd       *exec.Cmd
	err       error         // once done
	done      chan struct{} // closed when it has ended
}

func newProcesses(logs string) *processes {
	return &processes{logs: logs, ended: make(chan *process, 16)}
}

// start starts a program whose output goes to a file. Call it from the main
// goroutine only, see main.
func (ps *processes) start(name string, env []string, path string, args ...string) error {
	p := &process{name: name, log: filepath.Join(ps.logs, name+".log"), cmd: exec.Command(path, args...), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer out.Close() // the child has its own
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, out, out
	p.cmd.SysProcAttr = attached()
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	ps.all = append(ps.all, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
		ps.ended <- p
	}()
	return nil
}

// listening waits until something accepts connections at every address.
func (ps *processes) listening(ctx context.Context, all []endpoint, stops <-chan os.Signal) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, e := range all {
		for {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.addr)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-tick.C:
			case p := <-ps.ended:
				return p.obituary()
			case <-stops:
				return errStopped
			case <-ctx.Done():
				return fmt.Errorf("nothing listens on %s (%s) in time; see %s", e.addr, e.name, ps.logs)
			}
		}
	}
	return nil
}

// stop ends all processes, the last started first, and waits for them. A
// signal on hurry kills what is left.
func (ps *processes) stop(hurry <-chan os.Signal) {
	for _, p := range slices.Backward(ps.all) {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(grace):
			fmt.Fprintf(os.Stderr, "demo: %s did not end within %s, killing it\n", p.name, grace)
		case <-hurry:
			hurry = nil
			for _, p := range ps.all {
				p.signal(syscall.SIGKILL)
			}
		}
		p.signal(syscall.SIGKILL) // and what it may have left behind
		<-p.done
	}
}

// signal reaches the whole group; that nothing is left of it is no error.
func (p *process) signal(s syscall.Signal) { syscall.Kill(-p.cmd.Process.Pid, s) }

// obituary says how a process ended that should not have, with its last lines.
func (p *process) obituary() error {
	const lines = 10
	how := "ended by itself"
	if p.err != nil {
		how = p.err.Error()
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %s", p.name, how), err)
	}
	last := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	last = last[max(0, len(last)-lines):]
	return fmt.Errorf("%s: %s; it wrote last (all in %s):\n%s", p.name, how, p.log, bytes.Join(last, []byte("\n")))
}
