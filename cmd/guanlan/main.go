// Command guanlan takes in, keeps, links and shows traces, logs and metrics.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
		Args:          cobra.NoArgs,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(newUp(), newQuery(), newConfig(), newVersion())
	return root
}
