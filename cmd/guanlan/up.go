package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/otelcol"

	"github.com/guanlan-io/guanlan/collector"
)

func newUp() *cobra.Command {
	var from sources
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start Guanlan: take telemetry in, keep it, show it",
		Long: `Start Guanlan on this machine: OTLP on 4317 (gRPC) and 4318 (HTTP), the UI and all
APIs on 4390, data in ./guanlan-data. Everything listens on loopback unless the
configuration says otherwise. Ctrl-C stops it after what was accepted is on disk.`,
		Example: `  guanlan up
  guanlan up --data /var/lib/guanlan
  guanlan up --config guanlan.yaml
  sudo guanlan up --kernel
  guanlan up --set extensions::query::endpoint=127.0.0.1:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			uris, err := from.uris()
			if err != nil {
				return err
			}
			return up(cmd.Context(), cmd.OutOrStdout(), uris)
		},
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&from.kernel, "kernel", false, "watch the kernel of this machine as well: connections, OOM kills, audit, profiles (see guanlan agent check)")
	return cmd
}

// up runs the collector until ctx ends and prints the first screen once all
// receivers accept data.
func up(ctx context.Context, screen io.Writer, uris []string) error {
	began := time.Now()
	addProcs()
	go paceGC(ctx)
	atRest, stopRest := context.WithCancel(ctx)
	defer stopRest()
	var once sync.Once // pipelines start again when the configuration is reloaded
	var watching []collector.KernelFeature
	o := collector.Options{
		Version:  version,
		URIs:     uris,
		Watching: func(all []collector.KernelFeature) { watching = all }, // before Ready
		Ready: func(s collector.Summary) {
			welcome(screen, s, watching, time.Since(began))
			unmapBinary()
			once.Do(func() { go giveBackAtRest(atRest) })
		},
	}
	return serve(ctx, o, screen, func() {}, func() { fmt.Fprintln(screen, "\nStopping: writing out what was accepted…") })
}

// serve runs a collector until ctx ends, and calls ending then. SIGHUP makes it read
// its configuration again; what became of it goes to screen. Each time that all runs,
// running is called.
func serve(ctx context.Context, o collector.Options, screen io.Writer, running, ending func()) error {
	o.Reloader = &collector.Reloader{}
	set := collector.Settings(o)
	// Signals end ctx; otelcol must not also catch them.
	set.DisableGracefulShutdown = true
	col, err := otelcol.NewCollector(set)
	if err != nil {
		return usageError{err}
	}
	stop := context.AfterFunc(ctx, func() {
		ending()
		col.Shutdown()
	})
	defer stop()
	hangups := newHangups(context.WithoutCancel(ctx), col)
	defer hangups.stop()
	reloads, stopReloads := context.WithCancel(ctx)
	defer stopReloads()
	go hangups.reload(reloads, o, screen, running)
	err = col.Run(hangups)
	switch {
	case err == nil:
		return nil
	case misconfigured(err):
		return usageError{explain(inShort(err))}
	}
	return explain(err)
}

// misconfigured tells errors of the configuration, which are found before
// anything is opened, from those of running. The collector's frame marks them
// by words only.
func misconfigured(err error) bool {
	for _, words := range []string{"failed to get config: ", "invalid configuration: ", "failed to build pipelines: "} {
		if strings.HasPrefix(err.Error(), words) {
			return true
		}
	}
	return false
}

// inShort leaves out what the layers above the faulty field have to say.
func inShort(err error) error {
	return errors.New(strings.NewReplacer(
		"failed to get config: ", "", "invalid configuration: ", "", "failed to build pipelines: ", "",
		"cannot unmarshal the configuration: ", "", "cannot resolve the configuration: ", "",
		"decoding failed due to the following error(s):\n\n", "", "error reading configuration for ", "",
		"retrieved value does not have unique keys: ", "",
	).Replace(err.Error()))
}

// welcome prints what listens where, where data lies and what to do next.
func welcome(w io.Writer, s collector.Summary, kernel []collector.KernelFeature, took time.Duration) {
	fmt.Fprintf(w, "\n  Guanlan 观澜 %s is ready (%.1f s)\n\n", version, took.Seconds())
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-12s %s\n", name, value)
		}
	}
	row("UI, APIs", s.URL)
	row("OTLP gRPC", s.OTLPGRPC)
	row("OTLP HTTP", s.OTLPHTTP)
	row("Data", s.Data)
	row("Last crash", s.LastCrash)
	for i, f := range kernel {
		name := "Kernel"
		if i > 0 {
			name = ""
		}
		row(name, inOneLine(f))
	}
	if s.OTLPHTTP != "" {
		fmt.Fprintf(w, "\n  Point a service at it:\n    export OTEL_EXPORTER_OTLP_ENDPOINT=http://%s\n", s.OTLPHTTP)
	}
	fmt.Fprintf(w, "\n  Ctrl-C stops it.\n\n")
}

// inOneLine says how a feature of the kernel fares and what would change it.
func inOneLine(f collector.KernelFeature) string {
	line := fmt.Sprintf("%-10s %s", f.Name, f.State)
	say := func(missing, next, err string) {
		switch {
		case missing == "":
			line += ": " + err
		case next == "":
			line += ": " + missing
		default:
			line += ": " + missing + " (" + next + ")"
		}
	}
	if f.Change != "" {
		line += " (" + f.Change + ")"
	}
	if f.Err() != nil {
		say(f.Missing, f.Next, f.Error)
	}
	for _, p := range f.Parts {
		say(p.Missing, p.Next, p.Error)
	}
	return line
}

// explain adds the next step to errors that a user can mend.
func explain(err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "address already in use"):
		hint = "another program listens there (find it with: ss -ltnp); stop it, or choose another address with GUANLAN_ENDPOINT, GUANLAN_OTLP_GRPC or GUANLAN_OTLP_HTTP"
	case errors.Is(err, syscall.EACCES):
		hint = "the user that runs guanlan may not do this; choose another folder with --data, or a port above 1023"
	case strings.Contains(err.Error(), "has invalid keys") || strings.Contains(err.Error(), "unknown type"):
		hint = "see the names in: guanlan config print"
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w\n  → %s", err, hint)
}
