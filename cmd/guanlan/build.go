package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/weave"
)

// exitCode is what a command that we have run has ended with, and has said all
// about.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// newBuilds makes the commands that stand for those of the go command.
func newBuilds() []*cobra.Command {
	var all []*cobra.Command
	for _, v := range []struct{ verb, args, short, example string }{
		{"build", "[PACKAGES]", "Build a Go program with instrumentation woven in", `  guanlan build -o server ./cmd/server
  guanlan build -race -trimpath ./...
  guanlan build --without redis,sql ./cmd/server`},
		{"install", "[PACKAGES]", "Build and install a Go program with instrumentation woven in", `  guanlan install ./cmd/server
  guanlan install example.com/tool@latest`},
		{"run", "PACKAGE [ARGUMENTS]", "Build a Go program with instrumentation woven in, and run it", `  guanlan run . --port 8080
  OTEL_SERVICE_NAME=order guanlan run ./cmd/order`},
		{"test", "[PACKAGES]", "Test Go packages with instrumentation woven in", `  guanlan test ./...
  guanlan test -race -run TestOrder ./internal/order`},
	} {
		all = append(all, &cobra.Command{
			Use:   v.verb + " [FLAGS] " + v.args,
			Short: v.short,
			Long: v.short + `, and leave the sources as they are.

Takes the flags of go ` + v.verb + `, and before the packages:

      --only NAMES       weave these aspects only, comma-separated
      --without NAMES    weave all but these
      --aspects PATH     weave aspects of your own, too: a folder of them or an aspect.yaml
      --strict           fail where something cannot be woven; default: say so and go on

The program is configured by OpenTelemetry's environment variables, OTEL_SERVICE_NAME
and OTEL_EXPORTER_OTLP_ENDPOINT before all. See guanlan weave aspects for what is woven.`,
			Example:            v.example,
			DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				w := newWeaver(cmd)
				args, help, err := w.take(v.verb, args)
				if err != nil {
					return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
				}
				if help {
					return cmd.Help()
				}
				if v.verb == "run" {
					signals := make(chan os.Signal, 4)
					signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
					defer signal.Stop(signals)
					w.Signals = signals
				}
				code, err := w.Run(cmd.Context(), v.verb, args)
				if err == nil && code != 0 {
					err = exitCode(code)
				}
				return w.explain(cmd, err)
			},
		})
	}
	return all
}

// weaver is the Weaver of one command.
type weaver struct {
	weave.Weaver
	extra []string // --aspects
}

func newWeaver(cmd *cobra.Command) *weaver {
	w := &weaver{}
	w.Stdin, w.Stdout, w.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	w.Warn = func(message string) { warn(cmd.ErrOrStderr(), message) }
	return w
}

func warn(to io.Writer, message string) { fmt.Fprintln(to, "guanlan:", message) }

// take takes our flags out of what stands before the packages; the rest is for
// the go command.
func (w *weaver) take(verb string, args []string) (rest []string, help bool, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") || a == "--" || a == "-args" || a == "--args" {
			return append(rest, args[i:]...), help, w.readExtra()
		}
		name, value, given := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch name {
		case "h", "help":
			help = true
			continue
		case "strict":
			w.Strict = value != "false"
			continue
		case "only", "without", "aspects":
			if !given {
				if i++; i == len(args) {
					return nil, false, fmt.Errorf("flag --%s needs a value", name)
				}
				value = args[i]
			}
			names := strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
			switch name {
			case "only":
				w.Only = append(w.Only, names...)
			case "without":
				w.Without = append(w.Without, names...)
			default:
				w.extra = append(w.extra, value)
			}
			continue
		}
		rest = append(rest, a)
		if weave.FlagTakesValue(verb, name) && !given && i+1 < len(args) {
			i++
			rest = append(rest, args[i])
		}
	}
	return rest, help, w.readExtra()
}

// readExtra reads the aspects of the user.
func (w *weaver) readExtra() error {
	for _, name := range w.extra {
		more, err := weave.ReadAspects(name)
		if err != nil {
			return fmt.Errorf("--aspects: %w", err)
		}
		w.Extra = append(w.Extra, more...)
	}
	return nil
}

// explain makes errors of usage what they are.
func (w *weaver) explain(cmd *cobra.Command, err error) error {
	if errors.Is(err, weave.ErrUsage) {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	}
	return err
}
