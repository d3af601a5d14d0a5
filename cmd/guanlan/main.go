// Command guanlan takes in, keeps, links and shows traces, logs and metrics.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/quiet"
)

// version is set at release builds with -ldflags "-X main.version=…".
var version = "0.1.0-dev"

// Exit codes that scripts may rely on.
const (
	exitFailure = 1 // the work could not be done
	exitUsage   = 2 // flags, arguments or configuration are wrong
)

// usageError marks an error that the user mends by calling differently.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	quiet.End()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once: NotifyContext gives the
	// default handling back after the first.
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if code := exitCode(0); errors.As(err, &code) {
		return int(code)
	}
	fmt.Fprintln(os.Stderr, "guanlan:", err)
	if errors.As(err, &usageError{}) {
		return exitUsage
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "guanlan",
		Short: "Observability in one binary: traces, logs and metrics, kept, linked and shown",
		Long: `Guanlan (观澜) takes in OpenTelemetry traces, logs and metrics, keeps them on this
machine, links them and shows them in a browser, a terminal and Grafana.

Start with:  guanlan up`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(newUp(), newAgent(), newAudit(), newQuery(), newSampling(), newWeave(), newConfig(), newVersion())
	root.AddCommand(newBuilds()...)
	root.AddCommand(newAttach()...)
	strict(root)
	return root
}

// strict makes wrong arguments errors of usage in cmd and all below it. Left
// alone, cobra answers a misspelt subcommand with the help and success.
func strict(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		strict(c)
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		cmd.Args = unknownCommand
		cmd.SuggestionsMinimumDistance = 2 // letters; cobra's own default comes too late
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
			}
			return nil
		}
	}
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	meant := ""
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		meant = fmt.Sprintf(", did you mean %s?", strings.Join(like, " or "))
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), meant)
}
