package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/collector"
	"github.com/guanlan-io/guanlan/collector/kernelreceiver"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
)

// agentFeatures are those of the receiver kernel that --features chooses from.
var agentFeatures = []string{"tcp", "dns", "oom", "audit", "profile"}

// agentFlags choose what the agent watches and where it sends.
type agentFlags struct {
	sources
	endpoint   string
	kubeconfig string
	features   []string
	pin        string
}

func newAgent() *cobra.Command {
	a := &agentFlags{}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Watch the kernel of this machine and send on what it tells",
		Long: `Watch the kernel of this machine, by eBPF, and send on what it tells by OTLP:
connections (tcp) and the names of their peers (dns), kills for want of memory (oom), what processes do (audit) and
where their time goes (profile). It keeps nothing and has no port. What this
kernel or user cannot do is said, and the rest runs: see guanlan agent check.
Where nothing can run it says so to the server, too, and ends with exit code 1.

SIGHUP makes it read its configuration and rules again. What is the same goes on
without a gap, and a configuration that is wrong is told and not taken.`,
		Example: `  sudo guanlan agent --endpoint http://guanlan.example:4318
  sudo guanlan agent --features tcp,oom
  sudo guanlan agent --pin
  sudo guanlan agent --set receivers::kernel::profile::off_cpu=true
  guanlan agent check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("features") && len(a.features) == 0 {
				return usageError{fmt.Errorf("--features: want some of %s", strings.Join(agentFeatures, ","))}
			}
			uris, err := a.uris()
			if err != nil {
				return err
			}
			return agent(cmd.Context(), cmd.OutOrStdout(), uris)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&a.files, "config", "c", nil, "configuration file in place of "+collector.Agent+"; repeat to merge, the last wins")
	f.StringArrayVar(&a.set, "set", nil, "set one value, for example --set receivers::kernel::tcp::interval=30s")
	f.StringVar(&a.endpoint, "endpoint", "", "OTLP/HTTP base URL to send to (default http://127.0.0.1:4318)")
	f.StringVar(&a.kubeconfig, "kubeconfig", "", "file with the Kubernetes cluster to take names from (default: the cluster that the agent runs in)")
	f.StringSliceVar(&a.features, "features", nil, "what to watch, of "+strings.Join(agentFeatures, ",")+" (default all)")
	f.StringVar(&a.pin, "pin", "", "let tcp, oom and audit go on in this folder of a BPF file system when the agent ends, for the next one to take over")
	f.Lookup("pin").NoOptDefVal = defaultPins
	completes(cmd, "features", func() []string { return agentFeatures })
	cmd.AddCommand(newAgentCheck(), newAgentStatus(), newAgentUnpin())
	return cmd
}

// uris turns the flags into locations for confmap.
func (a *agentFlags) uris() ([]string, error) {
	if len(a.files) == 0 {
		a.files = []string{collector.Agent}
	}
	if a.endpoint != "" {
		if u, err := url.Parse(a.endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, usageError{fmt.Errorf("--endpoint %q: want a URL like http://127.0.0.1:4318", a.endpoint)}
		}
		a.set = append([]string{fmt.Sprintf("exporters::otlp_http::endpoint=%q", a.endpoint)}, a.set...)
	}
	if a.kubeconfig != "" {
		a.set = append([]string{fmt.Sprintf("receivers::kernel::kubernetes::kubeconfig=%q", a.kubeconfig)}, a.set...)
	}
	if a.pin != "" {
		a.set = append(a.set, fmt.Sprintf("receivers::kernel::pin=%q", a.pin))
	}
	for _, name := range a.features {
		if !slices.Contains(agentFeatures, name) {
			return nil, usageError{fmt.Errorf("--features %q: want some of %s", name, strings.Join(agentFeatures, ","))}
		}
	}
	if len(a.features) > 0 {
		for _, name := range agentFeatures {
			a.set = append(a.set, fmt.Sprintf("receivers::kernel::%s::enabled=%t", name, slices.Contains(a.features, name)))
		}
	}
	return a.sources.uris()
}

const (
	// agentMemory is where the garbage collector begins to work harder: what the
	// memory_limiter of agent.yaml lets through, and what it does not see.
	agentMemory = 100 << 20
	// agentGC lets the heap grow by a tenth between two collections. It is some 20
	// MB, which take 5 ms to mark; against 25 per cent it saves 4 MB and costs half
	// a per cent of a core.
	agentGC = 10
)

const (
	// agentUnmap is how often the agent gives back pages of the binary, which is
	// made for more than the agent does: what runs once in ten seconds, for a report,
	// need not stay in between. It costs some hundred page faults without a read,
	// less than 1 ms.
	agentUnmap = 2 * time.Second
	// agentFree is how often it gives back heap that is free: a collection.
	agentFree = 2 * time.Minute
)

// stayAgentSized gives back memory until ctx ends.
func stayAgentSized(ctx context.Context) {
	unmap, free := time.NewTicker(agentUnmap), time.NewTicker(agentFree)
	defer unmap.Stop()
	defer free.Stop()
	debug.FreeOSMemory() // what reading the configuration and the kernel's types took
	unmapBinary()
	for {
		select {
		case <-ctx.Done():
			return
		case <-unmap.C:
			unmapBinary()
		case <-free.C:
			debug.FreeOSMemory()
		}
	}
}

// agent runs the collector until ctx ends.
func agent(ctx context.Context, screen io.Writer, uris []string) error {
	began := time.Now()
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(agentMemory)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(agentGC)
	}
	sized, stopSizing := context.WithCancel(ctx)
	defer stopSizing()
	var once sync.Once
	again := false
	// Of the receivers that started since running was called.
	sees, blind := false, error(nil)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	o := collector.Options{
		Version: version,
		URIs:    uris,
		Watching: func(all []collector.KernelFeature) {
			switch {
			case again:
				fmt.Fprintln(screen)
			case telemetry.Blind(all):
				fmt.Fprintf(screen, "\n  Guanlan agent %s can watch nothing of this machine as it is\n\n", version)
			default:
				fmt.Fprintf(screen, "\n  Guanlan agent %s watches this machine (%.1f s)\n\n", version, time.Since(began).Seconds())
			}
			for _, f := range all {
				fmt.Fprintf(screen, "  %s\n", inOneLine(f))
			}
			if err := blindness(all); err != nil {
				blind = err
				return
			}
			sees = true
			if !again {
				fmt.Fprintf(screen, "\n  Ctrl-C stops it, SIGHUP makes it read its configuration again.\n\n")
			}
			again = true
			once.Do(func() { go stayAgentSized(sized) })
		},
	}
	running := func() {
		if !sees && blind != nil {
			end(blind)
		}
		sees, blind = false, nil
	}
	err := serve(ctx, o, screen, running, func() { fmt.Fprintln(screen, "\nStopping: sending what is left…") })
	if why := context.Cause(ctx); err == nil && !errors.Is(why, context.Canceled) {
		return why
	}
	return err
}

// blindness is an error when nothing is watched: whoever started the agent, a
// service manager or a cluster, is to see that it failed.
func blindness(all []collector.KernelFeature) error {
	if !telemetry.Blind(all) {
		return nil
	}
	for _, f := range all {
		if err := f.Err(); err != nil {
			return fmt.Errorf("nothing is watched, no feature runs: %w\n  → guanlan agent check says what is missing for each", err)
		}
	}
	return usageError{errors.New("nothing is watched, all features are off\n  → turn on one of " + strings.Join(agentFeatures, ", ") + ", or attach")}
}

// checked is what `guanlan agent check` prints.
type checked struct {
	System       string                    `json:"system"`
	Features     []collector.KernelFeature `json:"features"`
	Capabilities []telemetry.Capability    `json:"capabilities"`
}

func newAgentCheck() *cobra.Command {
	var output, kubeconfig string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what of this machine's kernel can be watched, and what is missing for the rest",
		Long: `Start each feature, say whether it works here, what is missing if it does not and
what to do next, and stop it again. Exit code 1 if one that runs by default cannot;
attach runs only where programs are named.`,
		Example: `  guanlan agent check
  sudo guanlan agent check --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, capabilities, err := kernelreceiver.Check(cmd.Context(), kubeconfig)
			if err != nil {
				return err
			}
			c := checked{System: runtime.GOOS + " " + kernelRelease() + " " + runtime.GOARCH, Features: all, Capabilities: capabilities}
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), c)
			} else {
				err = c.print(cmd.OutOrStdout())
			}
			if err == nil && slices.ContainsFunc(all, func(f collector.KernelFeature) bool { return f.Err() != nil && slices.Contains(agentFeatures, f.Name) }) {
				err = exitCode(exitFailure)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file with the Kubernetes cluster to ask (default: the cluster that this process runs in)")
	outputFlag(cmd, &output)
	return cmd
}

// kernelRelease is what uname -r prints, "" where there is no procfs.
func kernelRelease() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

func (c checked) print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", c.System)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FEATURE\tSTATE\tMISSING\tNEXT STEP")
	for _, f := range c.Features {
		missing := f.Missing
		if missing == "" {
			missing = f.Error
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, f.State, missing, f.Next)
		for _, p := range f.Parts {
			missing := p.Missing
			if missing == "" {
				missing = p.Error
			}
			fmt.Fprintf(t, "  %s\twithout\t%s\t%s\n", p.Name, missing, p.Next)
		}
	}
	fmt.Fprintln(t, "\nCAPABILITY\tHELD\tFOR")
	for _, k := range c.Capabilities {
		held := "no"
		if k.Have {
			held = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", k.Name, held, k.For)
	}
	return t.Flush()
}
