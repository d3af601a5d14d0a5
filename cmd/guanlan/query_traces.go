package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/query"
)

func newQueryTraces(a *asking) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "traces [FILTER...]",
		Short: "List traces, newest first",
		Example: `  guanlan query traces 'service.name = order and duration > 200ms'
  guanlan query traces status = error --since 15m --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			params := a.window(args)
			params.Set("limit", strconv.Itoa(a.limit))
			var list query.TraceList
			if err := a.get(cmd.Context(), "/guanlan/v1/traces", params, &list); err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			w := table(cmd.OutOrStdout(), "START", "DURATION", "SERVICE", "NAME", "SPANS", "ERRORS", "TRACE ID")
			for _, t := range list.Traces {
				row(w, clock(t.Start), duration(t.DurationNs), t.Service, t.Name, t.Spans, t.Errors, t.TraceID)
			}
			return w.Flush()
		},
	}
	a.list(cmd)
	return cmd
}

func newQueryTrace(a *asking) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "trace ID",
		Short:   "Print one trace as a tree",
		Example: "  guanlan query trace 4bf92f3577b34da6a3ce929d0e0e4736",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var t query.Trace
			if err := a.get(cmd.Context(), "/guanlan/v1/traces/"+args[0], nil, &t); err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(cmd.OutOrStdout(), t)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s  %s %s  %s  %d spans, %d errors, %d log records\n\n",
				t.TraceID, t.Service, t.Name, duration(t.DurationNs), t.Spans, t.Errors, t.Logs)
			w := table(out, "OFFSET", "DURATION", "SELF", "STATUS", "SPAN")
			for _, s := range t.SpanList {
				row(w, duration(s.OffsetNs), duration(s.DurationNs), duration(s.SelfNs), s.Status,
					strings.Repeat("  ", s.Depth)+s.Service+"  "+s.Name)
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &a.output)
	return cmd
}

func newQueryServices(a *asking) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "services [FILTER...]",
		Short:   "List services with rate, errors and latency",
		Example: "  guanlan query services --since 15m",
		RunE: func(cmd *cobra.Command, args []string) error {
			var list query.Services
			if err := a.get(cmd.Context(), "/guanlan/v1/services", a.window(args), &list); err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(cmd.OutOrStdout(), list)
			}
			w := table(cmd.OutOrStdout(), "SERVICE", "REQ/S", "ERRORS", "P50", "P95", "P99")
			for _, s := range list.Services {
				row(w, s.Name, fmt.Sprintf("%.2f", s.Rate), fmt.Sprintf("%.2f%%", 100*s.ErrorRate),
					duration(int64(s.P50)), duration(int64(s.P95)), duration(int64(s.P99)))
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &a.output)
	return cmd
}

// table starts aligned columns under a heading.
func table(w io.Writer, heading ...string) *tabwriter.Writer {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(heading, "\t"))
	return t
}

// row writes one line of cells. Control characters in telemetry must not
// reach the terminal.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			io.WriteString(w, "\t")
		}
		io.WriteString(w, printable(fmt.Sprint(c)))
	}
	io.WriteString(w, "\n")
}

// printable replaces control characters, so that a log line cannot move the
// cursor or colour the screen.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '·'
		}
		if r == '\t' {
			return ' '
		}
		return r
	}, s)
}

func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }

// duration prints nanoseconds with three digits that matter; "-" for none.
func duration(ns int64) string {
	d := time.Duration(ns)
	switch {
	case ns < 0:
		return "-"
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.String()
}
