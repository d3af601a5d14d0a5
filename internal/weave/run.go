package weave

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// runProgram builds a program and runs it, as go run does, but with the exit
// code of the program.
func (w *Weaver) runProgram(ctx context.Context, inv *invocation) (code int, err error) {
	temp, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "guanlan-run-*")
	if err != nil {
		return 1, fmt.Errorf("run the program: %w", err)
	}
	defer os.RemoveAll(temp)
	build := inv.without("exec")
	build.verb, build.rest = "build", nil
	// Within a folder, it has the name of its package. As by go run, it does not
	// say which revision it is of.
	build.flags = slices.Concat([]string{"-o=" + temp + string(filepath.Separator), "-buildvcs=false"}, build.flags)
	if code, err := w.build(ctx, build); code != 0 || err != nil {
		return code, err
	}
	if _, only := inv.flag("n"); only {
		return 0, nil
	}
	built, err := os.ReadDir(temp)
	if err != nil || len(built) != 1 {
		return 2, fmt.Errorf("%w: run takes one program, and this is %d: name one, as ./cmd/server", ErrUsage, len(built))
	}
	words := append([]string{filepath.Join(temp, built[0].Name())}, inv.rest...)
	if by, ok := inv.flag("exec"); ok {
		before, err := splitWords(by)
		if err != nil {
			return 2, fmt.Errorf("%w: flag -exec: %w", ErrUsage, err)
		}
		words = slices.Concat(before, words)
	}
	if ctx.Err() != nil {
		return 1, ctx.Err()
	}
	if w.Signals != nil {
		ctx = context.WithoutCancel(ctx)
	}
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	if c.Dir, err = w.folder(inv); err != nil {
		return 1, err
	}
	c.Stdin, c.Stdout, c.Stderr = w.Stdin, w.Stdout, w.Stderr
	// It ends by itself, and has its time for that.
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	if err := c.Start(); err != nil {
		return 1, fmt.Errorf("run the program: %w", err)
	}
	ended := make(chan struct{})
	go w.passOn(c.Process, ended)
	code, err = exitCode(c.Wait())
	close(ended)
	if code > 128 && err != nil {
		w.warn("the program was ended: " + err.Error())
		return code, nil
	}
	return code, err
}

// passOn gives the signals that we get to the program. Those that are typed at a
// terminal it gets itself, and a second one means more to many.
func (w *Weaver) passOn(program *os.Process, ended <-chan struct{}) {
	typed := isTerminal(w.Stdin)
	for {
		select {
		case s := <-w.Signals:
			if !typed || s == syscall.SIGTERM {
				_ = program.Signal(s)
			}
		case <-ended:
			return
		}
	}
}

func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// exitCode tells a command that has ended from one that could not run. One that a
// signal has ended has the code that a shell gives it, and an error.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if err == nil {
		return 0, nil
	}
	if !errors.As(err, &exit) {
		return 1, err
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal()), err
	}
	return exit.ExitCode(), nil
}
