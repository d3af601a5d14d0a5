// Package proc runs servers under test and reads what they cost: processor
// time and memory from /proc, disk from the file system. It needs Linux.
package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a running server. Its methods are safe for concurrent use.
type Process struct {
	cmd     *exec.Cmd
	log     string
	started time.Time
	exited  chan struct{}
	err     error // of Wait; read after exited
}

// Command says what to run.
type Command struct {
	Path string
	Args []string
	Env  []string // added to the environment of this process
	Dir  string
	Log  string // file that takes stdout and stderr, appended to
}

// Start starts a server. It dies with this process, whatever ends that.
func Start(c Command) (*Process, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", c.Path, err)
	}
	defer log.Close()
	p := &Process{cmd: exec.Command(c.Path, c.Args...), log: c.Log, exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Dir = c.Dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Its own group, so that Ctrl-C in the terminal reaches only us and the
	// order of stopping stays ours.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig fires when the thread ends that started the child.
		runtime.LockOSThread()
		p.started = time.Now()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return p, nil
}

// pollEvery is how often Ready asks; it bounds the error of its answer.
const pollEvery = 2 * time.Millisecond

// Ready waits until url answers 200 and returns how long after its start the
// process got there.
func (p *Process) Ready(ctx context.Context, url string) (time.Duration, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if response, err := client.Get(url); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(p.started), nil
			}
		}
		select {
		case <-p.exited:
			return 0, fmt.Errorf("%s ended before it was ready: %v\n%s", p.cmd.Path, p.err, p.Tail())
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for %s: %w\n%s", url, context.Cause(ctx), p.Tail())
		case <-tick.C:
		}
	}
}

// Running tells whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Tail returns the end of the log.
func (p *Process) Tail() string {
	text, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// patience is how long Stop waits for an orderly end before it kills.
const patience = 90 * time.Second

// Stop ends the process in order and returns how long that took.
func (p *Process) Stop() (time.Duration, error) {
	began := time.Now()
	if !p.Running() {
		return 0, fmt.Errorf("%s had ended: %v\n%s", p.cmd.Path, p.err, p.Tail())
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return time.Since(began), nil
	case <-time.After(patience):
		p.Kill()
		return time.Since(began), fmt.Errorf("%s did not stop within %v", p.cmd.Path, patience)
	}
}

// Kill ends the process at once, as a crash would. Killing one that has ended
// does nothing.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// CPU is the processor time used so far by all threads, user and system.
func (p *Process) CPU() time.Duration { return CPU(p.cmd.Process.Pid) }

// CPU is the processor time that a process has used so far: all of its threads, those too
// that ended, user and system, to the nanosecond. It is 0 of what does not run.
func CPU(pid int) time.Duration {
	// The kernel's clock of a process, as clock_getcpuclockid(3) names it.
	const process = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|process), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Memory is a process's resident memory in MiB.
type Memory struct {
	RSS  float64 // all
	Anon float64 // of it not backed by files
	Peak float64
}

// Memory reads what is resident now.
func (p *Process) Memory() Memory {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	read := func(key string) float64 {
		_, rest, ok := strings.Cut(string(text), "\n"+key+":")
		f := strings.Fields(rest)
		if !ok || len(f) == 0 {
			return 0
		}
		kib, _ := strconv.ParseFloat(f[0], 64)
		return kib / 1024
	}
	return Memory{RSS: read("VmRSS"), Anon: read("RssAnon"), Peak: read("VmHWM")}
}

// Settle waits until the process has had nothing to do for quiet: it used
// under 3 % of one processor and the size of dir did not change by more than
// 1 MiB. It gives up without complaint after longest, and returns the time it
// waited.
func (p *Process) Settle(ctx context.Context, dir string, quiet, longest time.Duration) time.Duration {
	const (
		busy  = 0.03
		moved = 1 << 20
	)
	began := time.Now()
	since, cpu, size := began, p.CPU(), Allocated(dir)
	poll := time.NewTicker(quiet / 20)
	defer poll.Stop()
	for p.Running() && time.Since(began) < longest {
		select {
		case <-ctx.Done():
			return time.Since(began)
		case <-poll.C:
		}
		used, now := p.CPU()-cpu, Allocated(dir)
		switch {
		case used > time.Duration(busy*float64(quiet)), max(now-size, size-now) > moved:
			since, cpu, size = time.Now(), p.CPU(), now
		case time.Since(since) >= quiet:
			return time.Since(began)
		}
	}
	return time.Since(began)
}

// Allocated is the disk space that the files below dir take, in bytes.
// Files with holes count with what is really there, files with several names
// once.
func Allocated(dir string) int64 {
	var total int64
	type inode struct{ device, number uint64 }
	seen := map[inode]bool{}
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go while a store merges
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				if id := (inode{st.Dev, st.Ino}); st.Nlink == 1 || !seen[id] {
					seen[id] = true
					total += st.Blocks * 512
				}
			}
		}
		return nil
	})
	return total
}

// FreePorts returns n loopback addresses that nobody listens on.
func FreePorts(n int) ([]string, error) {
	var addresses []string
	var open []io.Closer
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		open = append(open, l)
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// ErrNoProgram is wrapped by errors about a server that cannot be had here.
var ErrNoProgram = errors.New("program not to be had")

// Self is the processor time used so far by this process.
func Self() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
