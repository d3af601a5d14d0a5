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
	"path/filepath"
	"slices"
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
	list, inject     bool
	hosts, except    []string // of inject

	out, err io.Writer
	mu       sync.Mutex // of what follows and of writing
	at       map[int]bool
	refused  map[int]bool
	ended    chan struct{} // gets one when none is attached to of those that were named by id
	failure  error
}

func newAttach() []*cobra.Command {
	a := &attaching{at: map[int]bool{}, refused: map[int]bool{}, ended: make(chan struct{}, 1)}
	cmd := &cobra.Command{
		Use:   "attach [PID...]",
		Short: "Make traces of running Go programs, without a change to them",
		Long: `Make traces of running Go programs, without a change to them and without a restart:
spans of requests that net/http and gRPC serve and send, of database/sql and of
go-redis, with parents by goroutine, by the traceparent header and, between two
programs that are both attached, by connection. Requests go out unchanged.

With --inject, requests that net/http and gRPC send get the traceparent header of
their span, unless they have one, so that traces go on across hosts. This writes into
buffers of the running program; where something is not as expected, a request is
left alone and counted. All hosts get it unless --inject-hosts or --inject-except name
some, by the host of the request's URL: a name, the end of names (*.internal), an
address or a network (10.0.0.0/8). It also takes CAP_SYS_ADMIN and a kernel that is not in
lockdown; elsewhere the command says so and goes on without.

Attaching takes Linux 5.15 (6.6 for the cheapest probes), and CAP_BPF, CAP_PERFMON and
CAP_SYS_PTRACE, or root. Ctrl-C detaches; so does any end of this command.`,
		Example: `  guanlan attach --list
  guanlan attach 4711
  guanlan attach --exe /usr/local/bin/order --endpoint http://collector:4318
  guanlan attach --inject --exe order
  guanlan attach --inject --inject-except '*.partner.com,api.bank.example' --exe order
  guanlan attach --inject --inject-hosts '*.internal,10.0.0.0/8' --inject-except legacy.internal --exe order`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.out, a.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if a.list {
				if len(args)+len(a.exes)+len(a.containers) > 0 {
					return usageError{errors.New("--list takes no programs: it lists all")}
				}
				return a.printList()
			}
			targets, err := a.targets(args)
			if err == nil {
				_, err = spansURL(a.endpoint)
			}
			if err == nil && !a.inject && len(a.hosts)+len(a.except) > 0 {
				err = errors.New("--inject-hosts and --inject-except say where --inject writes: give it, too")
			}
			if err == nil {
				err = attach.CheckHosts(a.hosts, a.except)
			}
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
	f.BoolVar(&a.inject, "inject", false, "write the traceparent header into requests that the programs send: this changes their memory")
	f.StringSliceVar(&a.hosts, "inject-hosts", nil, "with --inject: write it for these hosts only: names, *.ends of names, addresses, networks of IPv4")
	f.StringSliceVar(&a.except, "inject-except", nil, "with --inject: hosts to spare; where patterns of both fit a host, the longest counts")
	f.StringVar(&a.endpoint, "endpoint", "http://127.0.0.1:4318", "where spans go, by OTLP/HTTP")
	for _, flag := range []string{"inject-hosts", "inject-except"} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions); err != nil {
			panic("BUG: complete --" + flag + ": " + err.Error())
		}
	}
	outputFlag(cmd, &a.output)
	completes(cmd, "exe", running(func(p attach.Program) string { return filepath.Base(p.Exe) }))
	completes(cmd, "container", running(func(p attach.Program) string { return shortID(p.Container) }))
	cmd.ValidArgsFunction = func(_ *cobra.Command, named []string, _ string) ([]string, cobra.ShellCompDirective) {
		pids := running(func(p attach.Program) string { return fmt.Sprintf("%d\t%s", p.PID, p.Exe) })()
		return slices.DeleteFunc(pids, func(s string) bool {
			pid, _, _ := strings.Cut(s, "\t")
			return slices.Contains(named, pid)
		}), cobra.ShellCompDirectiveNoFileComp
	}
	return []*cobra.Command{cmd}
}

// running offers something of each program that can be attached to, for completion.
func running(of func(attach.Program) string) func() []string {
	return func() []string {
		var out []string
		for _, p := range attach.List(kernel.NewHost(kernel.Options{})) {
			if s := of(p); s != "" && p.Err == nil && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		return out
	}
}

// shortID is as much of a container's id as runtimes show and --container takes.
func shortID(id string) string { return id[:min(len(id), 12)] }

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
		} else if t.PID == host.Self() {
			return fmt.Errorf("attach to process %d: it is this one", t.PID)
		} else if p, ok := host.Process(t.PID); !ok || p.Ended {
			return fmt.Errorf("attach to process %d: there is none", t.PID)
		} else if p.Exe == "" {
			return fmt.Errorf("attach to process %d: its executable cannot be read\n  → a thread of the kernel has none; of other users' processes only root, or CAP_SYS_PTRACE, may see it", t.PID)
		}
	}
	name, _ := os.Hostname()
	send := newSpanSender(a.endpoint, attach.Origin{Host: name, Version: version})
	f := attach.New(attach.Options{Targets: targets, Inject: a.inject, InjectHosts: a.hosts, InjectExcept: a.except, OnSpan: send.add, OnProcess: func(p attach.Process) { a.tell(p, waits) }})
	if err := f.Start(ctx, host); err != nil {
		return errors.Join(err, f.Close())
	}
	host.ForgetTypes()
	if err := f.Refused(); err != nil {
		fmt.Fprintf(a.err, "requests go out unchanged: %v\n", err)
	}
	a.mu.Lock()
	none := len(a.at) == 0 && !waits
	err := a.failure
	a.mu.Unlock()
	if none {
		return errors.Join(cmp.Or(err, errors.New("attach: the programs ended")), f.Close())
	}
	if a.nothingYet() {
		fmt.Fprintf(a.err, "no Go program of those that are named runs; waiting for one to start\n")
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); send.run(sending) }()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true
		case <-a.ended:
			over = a.over(host, targets)
		}
	}
	err = f.Close()
	stats := f.Stats()
	stop()
	<-done
	sent, lost, why := send.result()
	fmt.Fprintf(a.err, "%d spans sent, %d lost here, %d lost in the kernel\n", sent, lost, stats.Dropped)
	if f.Injects() {
		fmt.Fprintln(a.err, f.Injected())
	}
	if lost > 0 && why != nil {
		err = errors.Join(err, why)
	}
	return err
}

// nothingYet reports whether no program was found.
func (a *attaching) nothingYet() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at) == 0 && len(a.refused) == 0
}

// over reports whether nothing comes any more of processes named by id. One that
// executes another program ends for attach, and begins with the next search.
func (a *attaching) over(host *kernel.Host, targets []attach.Target) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range targets {
		host.Forget(t.PID) // it is looked at once more, not remembered
		if p, ok := host.Process(t.PID); a.at[t.PID] || ok && !p.Ended && !a.refused[t.PID] {
			return false
		}
	}
	return true
}

// tell prints what became of a process.
func (a *attaching) tell(p attach.Process, waits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case p.Err != nil:
		a.failure = errors.Join(a.failure, fmt.Errorf("attach to process %d: %w", p.PID, p.Err))
		a.refused[p.PID] = true
	case p.Attached:
		a.at[p.PID] = true
		delete(a.refused, p.PID)
		if p.Also != 0 {
			fmt.Fprintf(a.err, "%d %s: %s is attached to it already: each span is sent twice\n  → stop one of the two\n", p.PID, printable(p.Exe), attach.Holder(p.Also))
		}
	default:
		delete(a.at, p.PID)
	}
	if len(a.at) == 0 && !waits {
		select {
		case a.ended <- struct{}{}:
		default: // it is told already
		}
	}
	if a.output == "json" {
		l := listed(p.Process, "", p.Libraries, p.Err)
		l.Injects, l.Also = libraries(p.Injects), p.Also
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
		if len(p.Injects) > 0 {
			fmt.Fprintf(a.out, "%d %s: %s\n", p.PID, printable(p.Exe), printable(injects(p.Injects)))
		}
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
	Injects   []listedLibrary `json:"injects,omitempty"`
	Also      int             `json:"also_attached,omitempty"` // a process that is attached to it already; -1: one in another PID namespace
	Error     string          `json:"error,omitempty"`
}

type listedLibrary struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Ready   bool     `json:"ready"`
	Missing []string `json:"missing,omitempty"` // why it is not
	Without []string `json:"without,omitempty"` // what its spans lack
}

func listed(p kernel.Process, goVersion string, found []attach.Library, err error) listedProgram {
	l := listedProgram{PID: p.PID, Exe: p.Exe, Service: p.Service, Container: p.Container, Go: goVersion, Libraries: libraries(found)}
	if err != nil {
		l.Error = err.Error()
	}
	return l
}

func libraries(found []attach.Library) (out []listedLibrary) {
	for _, lib := range found {
		out = append(out, listedLibrary{lib.Name, lib.Version, len(lib.Missing) == 0, lib.Missing, lib.Without})
	}
	return out
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
	if os.Geteuid() != 0 {
		fmt.Fprintln(a.err, "only programs that this user may read are listed; root sees all")
	}
	contained := slices.ContainsFunc(programs, func(p attach.Program) bool { return p.Container != "" })
	heads := []string{"PID", "GO", "EXECUTABLE", "READY", "MISSING"}
	if contained {
		heads = slices.Insert(heads, 2, "CONTAINER")
	}
	w := table(a.out, heads...)
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
		cells := []any{p.PID, cmp.Or(strings.TrimPrefix(p.GoVersion, "go"), "-"), p.Exe, cmp.Or(strings.Join(ready(p.Libraries), ", "), "-"), cmp.Or(strings.Join(missing, "; "), "-")}
		if contained {
			cells = slices.Insert(cells, 2, any(cmp.Or(shortID(p.Container), "-")))
		}
		row(w, cells...)
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

// injects says which requests get a header, and why others do not.
func injects(kinds []attach.Library) string {
	written := cmp.Or(strings.Join(ready(kinds), ", "), "no requests")
	for _, k := range kinds {
		if len(k.Missing) > 0 {
			written += "; not of " + k.Name + ": " + strings.Join(k.Missing, ", ")
		}
	}
	return "traceparent goes into: " + written
}
