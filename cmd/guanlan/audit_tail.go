package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/collector/kernelreceiver"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

func newAuditTail() *cobra.Command {
	a := &asking{}
	var f auditFilter
	var local bool
	var rules []string
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print what processes do as they do it, until Ctrl-C",
		Long: `Print what processes do as they do it, until Ctrl-C: from a running Guanlan, which
gets it from its own receiver kernel or from agents, or with --local straight from
this machine's kernel, with nothing else running.`,
		Example: `  guanlan audit tail --severity warning
  guanlan audit tail --container 4f2a --output json
  sudo guanlan audit tail --local --rule shell_in_container`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if local {
				return tailLocal(cmd, rules, &f, a.output)
			}
			if len(rules) > 0 {
				return usageError{errors.New("--rules goes with --local: a running Guanlan judges by its own rules")}
			}
			a.end = "now"
			return a.follow(cmd, []string{`event_name =~ "kernel[.]audit[.].*"`}, func(l query.Log) error {
				if line := lineOf(l); line != nil && f.holds(line) {
					return line.print(cmd.OutOrStdout(), a.output)
				}
				return nil
			})
		},
	}
	a.whom(cmd)
	outputFlag(cmd, &a.output)
	fl := cmd.Flags()
	fl.StringVar(&f.severity, "severity", "", "only findings of at least this severity: "+strings.Join(severities, ", "))
	fl.StringVar(&f.rule, "rule", "", "only findings of this rule")
	fl.StringVar(&f.container, "container", "", "only of this container: its name or the beginning of its id")
	completes(cmd, "severity", func() []string { return severities })
	completes(cmd, "rule", func() []string {
		var ids []string
		for _, r := range audit.DefaultRules().All() {
			ids = append(ids, r.ID+"\t"+r.Title)
		}
		return ids
	})
	fl.BoolVar(&local, "local", false, "ask this machine's kernel, not a running Guanlan")
	fl.StringArrayVar(&rules, "rules", nil, "with --local: file of rules over the built-in ones; repeat for more")
	return cmd
}

func tailLocal(cmd *cobra.Command, rules []string, f *auditFilter, output string) error {
	if f.rule != "" {
		known, err := rulesWith(rules)
		if err != nil {
			return usageError{fmt.Errorf("--rules: %w", err)}
		}
		if !slices.ContainsFunc(known.All(), func(r *audit.Rule) bool { return r.ID == f.rule }) {
			return usageError{fmt.Errorf("--rule %q: there is no such rule\n  → see their names in: guanlan audit rules", f.rule)}
		}
	}
	return kernelreceiver.TailAudit(cmd.Context(), rules, func(logs plog.Logs) {
		for _, rl := range logs.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					resource := rl.Resource().Attributes().AsRaw()
					line := newAuditLine(r.EventName(), clock(r.Timestamp().AsTime()), r.Body().AsString(), r.Attributes().AsRaw(), resource)
					if f.holds(line) {
						_ = line.print(cmd.OutOrStdout(), output) // who listens no more ends us by a signal
					}
				}
			}
		}
	})
}

// lineOf is nil for records that are no acts.
func lineOf(l query.Log) *auditLine {
	if !strings.HasPrefix(l.EventName, semconv.EventKernelAuditPrefix) {
		return nil
	}
	raw := func(list []query.Attribute) map[string]any {
		m := map[string]any{}
		for _, a := range list {
			m[a.Key] = a.Value
		}
		return m
	}
	return newAuditLine(l.EventName, clock(l.Time), l.Body, raw(l.Attributes), raw(l.Resource))
}

func newAuditLine(event, at, body string, attributes, resource map[string]any) *auditLine {
	text := func(m map[string]any, key string) string {
		s, _ := m[key].(string)
		return s
	}
	return &auditLine{Time: at, Event: event, Body: body, Attributes: attributes,
		Severity: text(attributes, semconv.KernelAuditSeverity), Rule: text(attributes, semconv.KernelAuditRule),
		Technique: text(attributes, semconv.KernelAuditTechnique),
		Service:   text(resource, semconv.ServiceName), Container: text(resource, semconv.ContainerID)}
}
