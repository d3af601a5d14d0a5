//go:build linux

package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// socketPrefix begins the names of the abstract sockets that answer who asks: no
// file is left behind, and those of containers in the host's network are seen from the host.
const socketPrefix = "@guanlan-kernel/"

const (
	// answerWithin bounds a question: the answer takes some ms.
	answerWithin = 5 * time.Second
	// maxAnswer bounds an answer, some 10 KB.
	maxAnswer = 1 << 20
)

// Running says how the watch fares.
func (w *Watch) Running() Running {
	out := Running{PID: os.Getpid(), Service: w.origin.Service, Version: w.origin.Version, Host: w.origin.Host, Since: w.began}
	if w.pins != nil {
		out.Pins = w.pins.Dir()
	}
	for _, s := range w.running.Status() {
		h := w.healthOf(s)
		f := RunningFeature{Feature: w.feature(s), Events: h.Stats.Events, Dropped: h.Stats.Dropped + h.Lost}
		for _, p := range h.Stats.Programs {
			f.Programs = append(f.Programs, RunningProgram(p))
		}
		out.Features = append(out.Features, f)
	}
	return out
}

// answering answers each connection with one JSON text.
type answering struct {
	l    net.Listener
	done sync.WaitGroup
}

// answer lets the user of this process and root ask how the watch fares.
func (w *Watch) answer() (*answering, error) {
	var err error
	for n := range 8 { // receivers of one process
		var l net.Listener
		if l, err = net.Listen("unix", fmt.Sprintf("%s%d.%d", socketPrefix, os.Getpid(), n)); err == nil {
			a := &answering{l: l}
			a.done.Go(func() { a.serve(w) })
			return a, nil
		}
	}
	return nil, fmt.Errorf("listen for questions: %w", err)
}

func (a *answering) serve(w *Watch) {
	for {
		c, err := a.l.Accept()
		if err != nil {
			return // closed
		}
		if allowed(c) {
			_ = c.SetDeadline(time.Now().Add(answerWithin))
			_ = json.NewEncoder(c).Encode(w.Running()) // who asked may have gone
		}
		_ = c.Close()
	}
}

func (a *answering) Close() error {
	err := a.l.Close()
	a.done.Wait()
	return err
}

// allowed reports whether the other end is of our user or root.
func allowed(c net.Conn) bool {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return false
	}
	return cred.Uid == 0 || cred.Uid == uint32(os.Geteuid())
}

// Ask asks all processes of this machine that watch the kernel how they fare, in the
// order of their ids. Those that do not answer are in the error.
func Ask(ctx context.Context) ([]Running, error) {
	text, err := os.ReadFile("/proc/thread-self/net/unix") // the process's first thread may be in another namespace
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if name := f[len(f)-1]; strings.HasPrefix(name, socketPrefix) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var all []Running
	var errs []error
	for _, name := range names {
		r, err := ask(ctx, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("ask process %q: %w", strings.TrimPrefix(name, socketPrefix), err))
			continue
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Running) int { return a.PID - b.PID })
	return all, errors.Join(errs...)
}

func ask(ctx context.Context, name string) (r Running, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	if err != nil {
		return r, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(answerWithin))
	if err = json.NewDecoder(io.LimitReader(c, maxAnswer)).Decode(&r); err != nil {
		err = fmt.Errorf("no answer; it is given to its own user and to root: %w", err)
	}
	return r, err
}
