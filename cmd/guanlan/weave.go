package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/weave"
)

func newWeave() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "weave",
		Short: "Show what is woven into Go programs, and help other build tools to do it",
		Long: `Show what guanlan build weaves into Go programs, and help other build tools to do
the same.`,
	}
	cmd.AddCommand(newWeaveAspects(), newWeaveList(), newWeaveEnv(), newWeaveCheck())
	return cmd
}

// flags adds those that guanlan build takes, too.
func (w *weaver) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&w.Only, "only", nil, "weave these aspects only")
	f.StringSliceVar(&w.Without, "without", nil, "weave all but these")
	f.StringSliceVar(&w.extra, "aspects", nil, "aspects of your own: a folder of them or an aspect.yaml")
	names := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if all, err := w.Aspects(); err == nil {
			for _, a := range all {
				names = append(names, a.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	for _, flag := range []string{"only", "without"} {
		if err := cmd.RegisterFlagCompletionFunc(flag, names); err != nil {
			panic("BUG: complete --" + flag + ": " + err.Error())
		}
	}
}

func newWeaveAspects() *cobra.Command {
	w, output := &weaver{}, ""
	cmd := &cobra.Command{
		Use:   "aspects",
		Short: "List the libraries that can be woven, and what is captured of each",
		Example: `  guanlan weave aspects
  guanlan weave aspects --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := w.readExtra(); err != nil {
				return usageError{err}
			}
			all, err := w.Aspects()
			if err != nil {
				return err
			}
			type listed struct {
				Name     string   `json:"name"`
				Packages []string `json:"packages"`
				Versions string   `json:"versions,omitempty"`
				About    string   `json:"about"`
			}
			var rows []listed
			for _, a := range all {
				l := listed{Name: a.Name, About: a.About}
				for _, p := range a.Packages {
					l.Packages = append(l.Packages, p.Path)
					l.Versions = cmp.Or(l.Versions, p.Versions)
				}
				rows = append(rows, l)
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]any{"aspects": rows})
			}
			t := table(cmd.OutOrStdout(), "ASPECT", "PACKAGE", "VERSIONS", "CAPTURED")
			for _, l := range rows {
				row(t, l.Name, l.Packages[0], orDash(l.Versions), firstSentence(l.About))
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringSliceVar(&w.extra, "aspects", nil, "aspects of your own: a folder of them or an aspect.yaml")
	outputFlag(cmd, &output)
	return cmd
}

func newWeaveList() *cobra.Command {
	w, output, explain, tags := &weaver{}, "", "", ""
	cmd := &cobra.Command{
		Use:   "list [PACKAGES]",
		Short: "Show what would be woven into a program, where and why",
		Example: `  guanlan weave list ./cmd/server
  guanlan weave list --explain server.go:3312 ./cmd/server
  guanlan weave list --output json ./cmd/server`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.readExtra(); err != nil {
				return usageError{err}
			}
			if tags != "" {
				args = append([]string{"-tags=" + tags}, args...)
			}
			w.Warn = func(m string) { warn(cmd.ErrOrStderr(), m) }
			plan, err := w.Plan(cmd.Context(), "build", args)
			if err != nil {
				return w.explain(cmd, err)
			}
			switch {
			case explain != "":
				return printPlaces(cmd, plan, explain)
			case output == "json":
				return printJSON(cmd.OutOrStdout(), map[string]any{"woven": plan.Woven, "left_out": plan.LeftOut})
			}
			return printPlan(cmd, plan)
		},
	}
	w.flags(cmd)
	cmd.Flags().StringVar(&explain, "explain", "", "show what is woven at a place, as FILE or FILE:LINE, and why")
	cmd.Flags().StringVar(&tags, "tags", "", "build tags")
	outputFlag(cmd, &output)
	return cmd
}

func printPlan(cmd *cobra.Command, plan *weave.Plan) error {
	t := table(cmd.OutOrStdout(), "ASPECT", "PACKAGE", "VERSION", "PLACES", "STATE")
	for _, w := range plan.Woven {
		state := "woven"
		if w.Untested != "" {
			state = "woven; tested: " + w.Untested
		}
		row(t, w.Aspect, w.Package, orDash(w.Version), len(w.Places), state)
	}
	for _, l := range plan.LeftOut {
		row(t, l.Aspect, "-", "-", 0, "left out: "+l.Reason)
	}
	return t.Flush()
}

// printPlaces shows what is woven at a place.
func printPlaces(cmd *cobra.Command, plan *weave.Plan, at string) error {
	file, line := at, 0
	if name, n, ok := strings.Cut(at, ":"); ok {
		var err error
		if line, err = strconv.Atoi(n); err != nil {
			return usageError{fmt.Errorf("--explain %q: want FILE or FILE:LINE", at)}
		}
		file = name
	}
	found := false
	for _, w := range plan.Woven {
		for _, p := range w.Places {
			if !strings.HasSuffix(p.File, string(filepath.Separator)+file) && p.File != file || line != 0 && p.Line != line {
				continue
			}
			found = true
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s:%d: %s, by aspect %s: %s\n", p.File, p.Line, p.Name, w.Aspect, firstSentence(w.About))
			fmt.Fprintf(out, "  was    %s\n  woven  %s\n", p.Was, p.Is)
		}
	}
	if !found {
		return fmt.Errorf("nothing is woven at %s; guanlan weave list --output json has all places", at)
	}
	return nil
}

func newWeaveEnv() *cobra.Command {
	w, output := &weaver{}, ""
	cmd := &cobra.Command{
		Use:   "env [PACKAGES]",
		Short: "Print the environment that has the go command build woven, for build tools of your own",
		Long: `Print the environment that has the go command build woven, for build tools of your
own: Make, ko, GoReleaser, Bazel. It holds until the program, its modules or the
version of Go change; then print it again.`,
		Example: `  eval "$(guanlan weave env ./cmd/server)" && go build ./cmd/server
  guanlan weave env --output json ./cmd/server`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.readExtra(); err != nil {
				return usageError{err}
			}
			w.Warn = func(m string) { warn(cmd.ErrOrStderr(), m) }
			plan, err := w.Plan(cmd.Context(), "build", args)
			if err != nil {
				return w.explain(cmd, err)
			}
			env, err := plan.Environment()
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), env)
			}
			for _, k := range slices.Sorted(maps.Keys(env)) {
				fmt.Fprintf(cmd.OutOrStdout(), "export %s='%s'\n", k, strings.ReplaceAll(env[k], "'", `'\''`))
			}
			return nil
		},
	}
	w.flags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

func newWeaveCheck() *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "check BINARY",
		Short: "Tell what is woven into a binary; fails where nothing is",
		Example: `  guanlan weave check ./server
  guanlan weave check --output json ./server`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := weave.Check(args[0])
			if errors.Is(err, weave.ErrNotWoven) {
				return fmt.Errorf("%w: build it by guanlan build", err)
			}
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), m)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "woven, with %s\n\n", m.Go)
			return printPlan(cmd, &weave.Plan{Woven: m.Woven, LeftOut: m.LeftOut})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// firstSentence is what fits into a table.
func firstSentence(text string) string {
	if first, _, more := strings.Cut(text, ". "); more {
		return first + "."
	}
	return strings.TrimSpace(text)
}
