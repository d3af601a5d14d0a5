package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/api"
	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/sampling"
)

// policies is what the commands about sampling share.
type policies struct {
	asking
	environment string
}

const policiesPath = api.Prefix + "/sampling/policies"

func newSampling() *cobra.Command {
	p := &policies{}
	cmd := &cobra.Command{
		Use:   "sampling",
		Short: "Show or change which share of their traces services keep",
		Long: `Show or change which share of their traces services keep, while they run.

A policy holds for a service, or by the name "default" for all services without one
of their own; with --environment only for those whose deployment.environment.name is
that. The most specific one holds, as a whole. Services with Guanlan's SDK ask for it
every 10 s where GUANLAN_ENDPOINT names this server; those with a Jaeger remote
sampler get its base share and operations.`,
	}
	p.whom(cmd)
	cmd.PersistentFlags().StringVar(&p.environment, "environment", "", "deployment.environment.name; empty: every one")
	cmd.AddCommand(newSamplingShow(p), newSamplingSet(p))
	return cmd
}

func newSamplingShow(p *policies) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [SERVICE]",
		Short: "List policies, or show the one that holds for a service",
		Example: `  guanlan sampling show
  guanlan sampling show order --environment production
  guanlan sampling show order --output json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			var list api.PolicyList
			if err := p.get(cmd.Context(), policiesPath, nil, &list); err != nil {
				return err
			}
			if len(args) == 0 {
				return p.printList(cmd, list)
			}
			rule, found := sampling.Set(list.Policies).Match(args[0], p.environment)
			if !found {
				rule.Service = sampling.Default
			}
			if p.output == "json" {
				return printJSON(cmd.OutOrStdout(), rule)
			}
			return printRule(cmd, rule, found)
		},
	}
	outputFlag(cmd, &p.output)
	return cmd
}

func (p *policies) printList(cmd *cobra.Command, list api.PolicyList) error {
	if p.environment != "" {
		list.Policies = slices.DeleteFunc(list.Policies, func(r sampling.Rule) bool { return r.Environment != p.environment })
	}
	if p.output == "json" {
		return printJSON(cmd.OutOrStdout(), list)
	}
	w := table(cmd.OutOrStdout(), "SERVICE", "ENVIRONMENT", "BASE", "CRITICAL", "OPERATIONS", "WEIGHTS", "SET")
	for _, r := range list.Policies {
		weights := 0
		for _, values := range r.Policy.Weights {
			weights += len(values)
		}
		filled := r.Policy.Filled()
		row(w, r.Service, orDash(r.Environment), percent(*filled.Base), len(r.Policy.Critical), len(r.Policy.Operations), weights, clock(r.Updated))
	}
	return w.Flush()
}

// printRule prints every field of a policy, and whether it was set.
func printRule(cmd *cobra.Command, r sampling.Rule, found bool) error {
	out := cmd.OutOrStdout()
	switch {
	case !found:
		fmt.Fprintln(out, "no policy was set; services keep to the defaults")
	case r.Environment != "":
		fmt.Fprintf(out, "policy of %s in %s, set %s\n", printable(r.Service), printable(r.Environment), clock(r.Updated))
	default:
		fmt.Fprintf(out, "policy of %s, set %s\n", printable(r.Service), clock(r.Updated))
	}
	fmt.Fprintln(out)
	w := table(out, "FIELD", "VALUE", "FROM")
	for _, k := range knobFlags() {
		value, origin := k.Default, "default"
		if v := *k.In(&r.Policy); v != nil {
			value, origin = *v, "policy"
		}
		row(w, k.flag, k.show(value), origin)
	}
	for _, name := range r.Policy.Critical {
		row(w, "critical-operation", name, "policy")
	}
	for _, name := range sortedKeys(r.Policy.Operations) {
		row(w, "operation", name+"="+number(r.Policy.Operations[name]), "policy")
	}
	for _, key := range sortedKeys(r.Policy.Weights) {
		for _, value := range sortedKeys(r.Policy.Weights[key]) {
			row(w, "weight", key+"="+value+":"+number(r.Policy.Weights[key][value]), "policy")
		}
	}
	return w.Flush()
}

// completeService offers default, services with a policy, and those that sent
// telemetry.
func (p *policies) completeService(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	const patience = 2 * time.Second // somebody waits at a prompt
	ctx, done := context.WithTimeout(cmd.Context(), patience)
	defer done()
	names := map[string]bool{sampling.Default: true}
	var list api.PolicyList
	if p.get(ctx, policiesPath, nil, &list) == nil {
		for _, r := range list.Policies {
			names[r.Service] = true
		}
	}
	var services query.Services
	if p.get(ctx, api.Prefix+"/services", url.Values{"steps": {"0"}}, &services) == nil {
		for _, s := range services.Services {
			names[s.Name] = true
		}
	}
	return sortedKeys(names), cobra.ShellCompDirectiveNoFileComp
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func percent(share float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(100*share, 'g', 4, 64), ".") + "%"
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
