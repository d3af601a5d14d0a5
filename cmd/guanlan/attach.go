//go:build linux && (amd64 || arm64)

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach"
)

// attaching is guanlan attach.
type attaching struct {
	exes, containers []string
	endpoint, output string
	list             bool

	out, err io.Writer
	mu       sync.Mutex // of what follows and of writing
	at       map[int]bool
	ended    chan struct{} // closed when all processes that were named by id ended
	failure  error
}

func newAttach() []*cobra.Command {
	a := &attaching{at: map[int]bool{}, ended: make(chan struct{})}
	cmd := &cobra.Command{
		Use:   "attach [PID...]",
		Short: "Make traces of running Go programs, without a change to them",
		Long: `Make traces of running Go programs, without a change to them and without a restart:
spans of requests that net/http and gRPC serve and send, of database/sql and of
go-redis, with parents by goroutine, by the traceparent header and, between two
programs that are both attached, by connection. Requests go out unchanged.

Attaching takes Linux 5.15 (6.6 for the cheapest probes), and CAP_BPF, CAP_PERFMON and
CAP_SYS_PTRACE, or root. Ctrl-C detaches; so does any end of this command.`,
		Example: `  guanlan attach --list
  guanlan attach 4711
  guanlan attach --exe /usr/local/bin/order --endpoint http://collector:4318`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.out, a.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if a.list {
				if len(args)+len(a.exes)+len(a.containers) > 0 {
					return usageError{errors.New("--list takes no programs: it lists all")}
				}
				return a.printList()
			}
			targets, err := a.targets(args)
			if err != nil {
				return usageError{err}
			}
			return a.run(cmd.Context(), targets)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&a.list, "list", false, "list the Go programs that run here, and what can be had of each")
	f.StringSliceVar(&a.exes, "exe", nil, "attach to all programs with this executable, now and later: a path, or its last element")
	f.StringSliceVar(&a.containers, "container", nil, "attach to all Go programs in the container with this id, or its first 12 digits")
	f.StringVar(&a.endpoint, "endpoint", "http://127.0.0.1:4318", "where spans go, by OTLP/HTTP")
	outputFlag(cmd, &a.output)
	return []*cobra.Command{cmd}
}

func (a *attaching) targets(args []string) ([]attach.Target, error) {
	var out []attach.Target
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil || pid <= 0 {
			return nil, fmt.Errorf("process %q: want its number, or --exe %s", arg, arg)
		}
		out = append(out, attach.Target{PID: pid})
	}
	for _, exe := range a.exes {
		out = append(out, attach.Target{Exe: exe})
	}
	for _, id := range a.containers {
		if len(id) < 12 {
			return nil, fmt.Errorf("--container %q: want at least the first 12 digits of its id", id)
		}
		out = append(out, attach.Target{Container: id})
	}
	if len(out) == 0 {
		return nil, errors.New("name programs by process id, --exe or --container; --list shows them")
	}
	return out, nil
}

func (a *attaching) run(ctx context.Context, targets []attach.Target) error {
	host := kernel.NewHost(kernel.Options{})
	waits := false // for programs that may come
	for _, t := range targets {
		if t.PID == 0 {
			waits = true
		} else if t.PID == os.Getpid() {
			return fmt.Errorf("attach to process %d: it is this one", t.PID)
		} else if p, ok := host.Process(t.PID); !ok || p.Ended {
			return fmt.Errorf("attach to process %d: there is none", t.PID)
		}
	}
	name, _ := os.Hostname()
	send := newSpanSender(a.endpoint, attach.Origin{Host: name, Version: version})
	f := attach.New(attach.Options{Targets: targets, OnSpan: send.add, OnProcess: func(p attach.Process) { a.tell(p, waits) }})
	if err := f.Start(ctx, host); err != nil {
		return errors.Join(err, f.Close())
	}
	host.ForgetTypes()
	a.mu.Lock()
	none := len(a.at) == 0 && !waits
	err := a.failure
	a.mu.Unlock()
	if none {
		return errors.Join(cmp.Or(err, errors.New("attach: the programs ended")), f.Close())
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); send.run(sending) }()
	select {
	case <-ctx.Done():
	case <-a.ended:
	}
	err = f.Close()
	stats := f.Stats()
	stop()
	<-done
	sent, lost, why := send.result()
	fmt.Fprintf(a.err, "%d spans sent, %d lost here, %d lost in the kernel\n", sent, lost, stats.Dropped)
	if lost > 0 && why != nil {
		err = errors.Join(err, why)
	}
	return err
}

// tell prints what became of a process.
func (a *attaching) tell(p attach.Process, waits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case p.Err != nil:
		a.failure = errors.Join(a.failure, fmt.Errorf("attach to process %d: %w", p.PID, p.Err))
	case p.Attached:
		a.at[p.PID] = true
	default:
		delete(a.at, p.PID)
		if len(a.at) == 0 && !waits {
			close(a.ended)
		}
	}
	if a.output == "json" {
		l := listed(p.Process, "", p.Libraries, p.Err)
		_ = json.NewEncoder(a.out).Encode(struct {
			Event string `json:"event"`
			listedProgram
		}{map[bool]string{true: "attached", false: "ended"}[p.Attached || p.Err != nil], l})
		return
	}
	switch {
	case p.Err != nil:
		fmt.Fprintf(a.out, "%d %s: %s\n", p.PID, printable(p.Exe), printable(p.Err.Error()))
	case p.Attached:
		fmt.Fprintf(a.out, "%d %s: attached in %v: %s\n", p.PID, printable(p.Exe), p.Took.Round(time.Millisecond), strings.Join(ready(p.Libraries), ", "))
	default:
		fmt.Fprintf(a.out, "%d %s: ended\n", p.PID, printable(p.Exe))
	}
}

// listedProgram is a program in JSON.
type listedProgram struct {
	PID       int             `json:"pid"`
	Exe       string          `json:"exe"`
	Service   string          `json:"service,omitempty"`
	Container string          `json:"container,omitempty"`
	Go        string          `json:"go,omitempty"`
	Libraries []listedLibrary `json:"libraries,omitempty"`
	Error     string          `json:"error,omitempty"`
}

type listedLibrary struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Ready   bool     `json:"ready"`
	Missing []string `json:"missing,omitempty"` // why it is not
	Without []string `json:"without,omitempty"` // what its spans lack
}

func listed(p kernel.Process, goVersion string, libraries []attach.Library, err error) listedProgram {
	l := listedProgram{PID: p.PID, Exe: p.Exe, Service: p.Service, Container: p.Container, Go: goVersion}
	for _, lib := range libraries {
		l.Libraries = append(l.Libraries, listedLibrary{lib.Name, lib.Version, len(lib.Missing) == 0, lib.Missing, lib.Without})
	}
	if err != nil {
		l.Error = err.Error()
	}
	return l
}

func (a *attaching) printList() error {
	programs := attach.List(kernel.NewHost(kernel.Options{}))
	if a.output == "json" {
		all := []listedProgram{}
		for _, p := range programs {
			all = append(all, listed(p.Process, p.GoVersion, p.Libraries, p.Err))
		}
		return printJSON(a.out, all)
	}
	w := table(a.out, "PID", "GO", "EXECUTABLE", "READY", "MISSING")
	for _, p := range programs {
		var missing []string
		if p.Err != nil {
			missing = append(missing, p.Err.Error())
		}
		for _, l := range p.Libraries {
			if len(l.Missing) > 0 {
				missing = append(missing, l.Name+": "+strings.Join(l.Missing, ", "))
			}
		}
		row(w, p.PID, cmp.Or(strings.TrimPrefix(p.GoVersion, "go"), "-"), p.Exe, cmp.Or(strings.Join(ready(p.Libraries), ", "), "-"), cmp.Or(strings.Join(missing, "; "), "-"))
	}
	return w.Flush()
}

// ready names what there are spans of; goroutines only connect them.
func ready(libraries []attach.Library) []string {
	var names []string
	for _, l := range libraries {
		if len(l.Missing) == 0 && l.Name != attach.Goroutines {
			names = append(names, l.Name)
		}
	}
	return names
}
