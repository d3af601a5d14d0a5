package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// asking is what all queries share: whom to ask, about when, how to print.
type asking struct {
	server string
	tenant string
	since  time.Duration
	start  string
	end    string
	output string
	limit  int
}

// Rows printed when no --limit is given, and the most the API hands out.
const (
	defaultRows = 20
	mostRows    = 1000
)

func newQuery() *cobra.Command {
	a := &asking{}
	cmd := &cobra.Command{
		Use:   "query",
		Short: "Ask a running Guanlan for traces, logs, metrics or profiles",
		Long: `Ask a running Guanlan for traces, logs, metrics or profiles: the same reads as the
browser, for a terminal, a script or CI.

Filters are conditions joined by "and":  service.name = order and duration > 200ms
Operators are = != =~ !~ < <= > >= and exists; a bare word or "a phrase" searches text.`,
	}
	a.whom(cmd)
	f := cmd.PersistentFlags()
	f.DurationVar(&a.since, "since", time.Hour, "how far to look back from the end")
	f.StringVar(&a.start, "start", "", "start of the range, RFC 3339 or now-15m; instead of --since")
	f.StringVar(&a.end, "end", "now", "end of the range, RFC 3339 or now-5m")
	cmd.AddCommand(newQueryTraces(a), newQueryTrace(a), newQueryLogs(a), newQueryMetrics(a), newQueryProfiles(a), newQueryServices(a))
	return cmd
}

// whom adds the flags that say whom to ask.
func (a *asking) whom(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&a.server, "server", "http://127.0.0.1:4390", "where Guanlan listens")
	f.StringVar(&a.tenant, "tenant", "", "tenant, as ACCOUNT or ACCOUNT:PROJECT (default 0)")
}

// list adds the flags of commands that print rows.
func (a *asking) list(cmd *cobra.Command) {
	outputFlag(cmd, &a.output)
	cmd.Flags().IntVarP(&a.limit, "limit", "n", defaultRows, fmt.Sprintf("rows to print, at most %d", mostRows))
	check := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		if a.limit < 1 || a.limit > mostRows {
			return usageError{fmt.Errorf("--limit %d: want 1 to %d", a.limit, mostRows)}
		}
		return check(c, args)
	}
}

// window renders the range and filter as parameters of the API.
func (a *asking) window(filter []string) url.Values {
	v := url.Values{"end": {a.end}}
	switch {
	case a.start != "":
		v.Set("start", a.start)
	case a.end == "now":
		v.Set("start", fmt.Sprintf("now-%ds", int(a.since.Seconds())))
	default:
		if end, err := time.Parse(time.RFC3339, a.end); err == nil {
			v.Set("start", end.Add(-a.since).Format(time.RFC3339))
		} else if back, ok := strings.CutPrefix(a.end, "now-"); ok {
			if d, err := time.ParseDuration(back); err == nil {
				v.Set("start", fmt.Sprintf("now-%ds", int((d+a.since).Seconds())))
			}
		}
	}
	if f := strings.Join(filter, " "); f != "" {
		v.Set("filter", f)
	}
	return v
}
