//go:build linux

package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	// bootDeadline is for an emulated machine on a loaded one; a quiet one takes five seconds.
	bootDeadline = 10 * time.Minute
	// bootDeadlineKVM is for one that has a CPU of its own; it takes two seconds.
	bootDeadlineKVM = 15 * time.Second
	// grace is what the guest has, after a task's own deadline, to end it and say so.
	grace = time.Minute
	// lastLines of a guest that hangs or dies are shown.
	lastLines = 60
	// maxLine bounds a line of the console.
	maxLine = 1 << 20
)

// Machine is a guest to boot.
type Machine struct {
	Kernel  Kernel
	Command string // more words for the kernel's command line
	Memory  int    // MiB
	Plan    Plan
	Files   map[string]string // in the guest: of this machine; folders whole
	Texts   map[string]string // in the guest: content
	Init    string            // the binary of package guest
	Live    io.Writer         // gets the console as it comes; may be nil
	KVM     bool              // see Virtualizes
}

// Result is how a task ended.
type Result struct {
	Name   string
	Code   int
	Output string
	Took   time.Duration
}

// ErrGuest is a guest that hung or died before its plan was through.
var ErrGuest = errors.New("the guest did not finish")

// tcg is QEMU's emulation. With a thread for each CPU, one may still run an int3
// that another has already patched away, which Linux takes for a fault of its own.
const tcg = "tcg,thread=single"

type qemu struct {
	binary, command string // command is of the kernel
	args            []string
}

var emulators = map[string]qemu{
	// At boot Linux looks whether the timer ticks, for a time in which a loaded host may give
	// QEMU no CPU at all, and then panics.
	"amd64": {"qemu-system-x86_64", "console=ttyS0 no_timer_check", []string{"-cpu", "max"}},
	// Without pauth-impdef, emulating pointer authentication takes half of the time.
	"arm64": {"qemu-system-aarch64", "console=ttyAMA0", []string{"-M", "virt", "-cpu", "max,pauth-impdef=on"}},
}

// Boot runs the plan. Results are those of the tasks that ended, also with an error.
func (m *Machine) Boot(ctx context.Context) ([]Result, error) {
	dir, err := os.MkdirTemp("", "guanlan-vm")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := m.pack(initrd); err != nil {
		return nil, fmt.Errorf("pack initramfs: %w", err)
	}
	q := emulators[m.Kernel.Arch]
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	accel := tcg
	if m.KVM {
		accel = "kvm"
	}
	args := append([]string{
		"-accel", accel, "-m", strconv.Itoa(m.Memory), "-smp", "1", "-no-reboot", "-nodefaults", "-display", "none", "-serial", "stdio",
		"-kernel", m.Kernel.Image, "-initrd", initrd,
		"-append", strings.TrimSpace(q.command + " panic=-1 quiet mitigations=off random.trust_cpu=on nowatchdog rcupdate.rcu_cpu_stall_suppress=1 " + m.Command),
	}, q.args...)
	cmd := exec.CommandContext(ctx, q.binary, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	console, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", q.binary, err)
	}
	results, last, err := m.listen(console, cancel)
	if err != nil {
		cancel(err)
	}
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = werr
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("%w: %w\n%s%s", ErrGuest, err, strings.Join(last, "\n"), stderr.String())
	}
	return results, err
}

// listen reads the console until the guest has finished. It calls cancel when a
// deadline passes, and returns the last lines.
func (m *Machine) listen(console io.Reader, cancel context.CancelCauseFunc) (results []Result, last []string, err error) {
	deadlines := map[string]time.Duration{}
	for _, t := range m.Plan.Tasks {
		deadlines[t.Name] = t.Deadline + grace
	}
	waitFor := "to boot"
	patience := bootDeadline
	if m.KVM {
		patience = bootDeadlineKVM
	}
	timer := time.AfterFunc(patience, func() { cancel(errors.New("the guest took too long to boot")) })
	defer func() { timer.Stop() }()
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, maxLine)
	var task string
	var began time.Time
	var output strings.Builder
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if m.Live != nil {
			fmt.Fprintln(m.Live, line)
		}
		if last = append(last, line); len(last) > lastLines {
			last = last[1:]
		}
		verb, rest, ok := hear(line)
		if !ok {
			if task != "" {
				output.WriteString(line + "\n")
			}
			continue
		}
		switch verb {
		case VerbReady:
		case VerbBegin:
			timer.Stop()
			task, began, waitFor = rest, time.Now(), rest
			timer = time.AfterFunc(deadlines[task], func() { cancel(fmt.Errorf("%s hangs, and the guest with it", rest)) })
			output.Reset()
		case VerbExit:
			name, code, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(code)
			if err != nil || name != task {
				return results, last, fmt.Errorf("exit of %q while %q runs", rest, task)
			}
			results = append(results, Result{Name: name, Code: n, Output: output.String(), Took: time.Since(began)})
			task = ""
		case VerbFail:
			return results, last, errors.New(rest)
		case VerbFinish:
			return results, last, nil
		}
	}
	if err := lines.Err(); err != nil {
		return results, last, err
	}
	return results, last, fmt.Errorf("the machine stopped while it was %s", waitFor)
}

// Virtualizes says whether KVM runs this machine. That its device can be opened says
// little: within some virtual machines the guest of a guest never begins.
func (m *Machine) Virtualizes(ctx context.Context) bool {
	if m.Kernel.Arch != runtime.GOARCH {
		return false
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	empty := *m
	empty.KVM, empty.Plan, empty.Files = true, Plan{}, nil
	_, err = empty.Boot(ctx)
	return err == nil
}

func (m *Machine) pack(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	plan, err := json.Marshal(m.Plan)
	if err != nil {
		return err
	}
	a := newArchive(f)
	a.file("/init", m.Init)
	a.text(PlanFile, string(plan))
	a.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	a.text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	a.text("/root/.keep", "")
	for at, text := range m.Texts {
		a.text(at, text)
	}
	for at, from := range m.Files {
		if fi, err := os.Stat(from); err != nil {
			return err
		} else if fi.IsDir() {
			a.tree(at, from)
		} else {
			a.file(at, from)
		}
	}
	if err := a.close(); err != nil {
		return err
	}
	return f.Close()
}
