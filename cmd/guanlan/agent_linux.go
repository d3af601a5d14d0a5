package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
)

const defaultPins = kernel.DefaultPins

func newAgentStatus() *cobra.Command {
	var output string
	var measure time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Ask the agents of this machine how they fare",
		Long: `Ask all processes of this machine that watch its kernel, agents and guanlan up
--kernel, how they fare: what runs, events told and lost, and what each BPF program
costs. They answer their own user and root. With --measure the kernel counts runs and
time of all BPF programs for that long, and rates are of that time.`,
		Example: `  sudo guanlan agent status
  sudo guanlan agent status --measure 5s
  sudo guanlan agent status --output json | jq '.[].features[] | select(.dropped > 0)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := askAgents(cmd.Context(), measure)
			if err == nil && len(all) == 0 {
				err = errors.New("ask agents: none runs on this machine, or none in this network namespace\n  → start one: guanlan agent")
			}
			if output == "json" && len(all) > 0 {
				return errors.Join(printJSON(cmd.OutOrStdout(), all), err)
			}
			for _, r := range all {
				err = errors.Join(err, printRunning(cmd.OutOrStdout(), r, time.Now()))
			}
			return err
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().DurationVar(&measure, "measure", 0, "count runs and time of programs for so long, for example 5s")
	return cmd
}

// askAgents asks once, or before and after a measurement for the difference of programs.
func askAgents(ctx context.Context, measure time.Duration) ([]telemetry.Running, error) {
	if measure <= 0 {
		return telemetry.Ask(ctx)
	}
	counting, err := kernel.NewHost(kernel.Options{}).KeepStatistics()
	if err != nil {
		return nil, err
	}
	defer counting.Close()
	before, err := telemetry.Ask(ctx)
	if err != nil {
		return before, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(measure):
	}
	after, err := telemetry.Ask(ctx)
	type key struct {
		pid              int
		feature, program string
	}
	was := map[key]telemetry.RunningProgram{}
	each := func(all []telemetry.Running, f func(key, *telemetry.RunningProgram)) {
		for _, r := range all {
			for _, x := range r.Features {
				for i := range x.Programs {
					f(key{r.PID, x.Name, x.Programs[i].Name}, &x.Programs[i])
				}
			}
		}
	}
	each(before, func(k key, p *telemetry.RunningProgram) { was[k] = *p })
	each(after, func(k key, p *telemetry.RunningProgram) {
		if b := was[k]; b.Runs <= p.Runs { // else it was loaded anew
			p.Runs -= b.Runs
			p.Time -= b.Time
		}
	})
	return after, err
}

// printRunning prints what a process says of itself. Any process may listen where
// agents do, so that it is not trusted with the terminal.
func printRunning(w io.Writer, r telemetry.Running, now time.Time) error {
	fmt.Fprintf(w, "%s %s (process %d) watches %s since %s", printable(r.Service), printable(r.Version), r.PID, printable(r.Host), now.Sub(r.Since).Round(time.Second))
	if r.Pins != "" {
		fmt.Fprintf(w, ", pins in %s", printable(r.Pins))
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FEATURE\tSTATE\tEVENTS\tDROPPED\tRUNS\tTIME\tA RUN\tNOTE")
	cost := func(runs uint64, spent time.Duration) string {
		if runs == 0 {
			return "-\t-\t-"
		}
		return fmt.Sprintf("%d\t%s\t%s", runs, spent.Round(time.Microsecond), spent/time.Duration(runs))
	}
	for _, f := range r.Features {
		var runs uint64
		var spent time.Duration
		for _, p := range f.Programs {
			runs += p.Runs
			spent += p.Time
		}
		notes := []string{cmp.Or(f.Missing, f.Error)}
		for _, p := range f.Parts {
			notes = append(notes, p.Name+": "+cmp.Or(p.Missing, p.Error))
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\n", printable(f.Name), printable(f.State), f.Events, f.Dropped, cost(runs, spent), printable(strings.TrimPrefix(strings.Join(notes, "; "), "; ")))
		for _, p := range f.Programs {
			if p.Runs > 0 {
				fmt.Fprintf(t, "  %s\t\t\t\t%s\t\n", printable(p.Name), cost(p.Runs, p.Time))
			}
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}

func newAgentUnpin() *cobra.Command {
	return &cobra.Command{
		Use:   "unpin [DIR]",
		Short: "Remove what an agent left with --pin: programs, maps and their folder",
		Long: `Remove what an agent left with --pin (default ` + defaultPins + `), so that
nothing of it is in the kernel. It is refused while an agent runs that has it.`,
		Example: "  sudo guanlan agent unpin",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := defaultPins
			if len(args) == 1 {
				dir = args[0]
			}
			n, err := kernel.Unpin(dir)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d pins removed from %s\n", n, dir)
			return nil
		},
	}
}
