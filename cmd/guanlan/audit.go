package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/kernel/audit"
)

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Follow what processes do, and see the rules that judge it",
	}
	cmd.AddCommand(newAuditTail(), newAuditRules())
	return cmd
}

// ruleRow is one rule, as --output json prints it.
type ruleRow struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Why       string   `json:"why,omitempty"`
	Severity  string   `json:"severity"`
	Technique string   `json:"technique"`
	On        []string `json:"on"`
	LooksFor  string   `json:"looksFor"`
	Unless    []string `json:"unless,omitempty"`
}

func rowsOf(rules *audit.Rules) []ruleRow {
	var out []ruleRow
	for _, r := range rules.All() {
		row := ruleRow{ID: r.ID, Title: r.Title, Why: r.Why, Severity: r.Severity, Technique: r.Attack, On: r.On, LooksFor: r.Match.String()}
		for i := range r.Unless {
			row.Unless = append(row.Unless, r.Unless[i].String())
		}
		out = append(out, row)
	}
	return out
}

func newAuditRules() *cobra.Command {
	var output string
	var check []string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "List the rules of the audit, or check files of your own",
		Long: `List the rules that come with Guanlan: what they look for, how severe a finding is
and which technique of MITRE ATT&CK it belongs to. With --check, files of your own
are put over them as receivers::kernel::audit::rules does, and the first mistake is
told with its place.`,
		Example: `  guanlan audit rules
  guanlan audit rules --output json | jq '.[] | select(.severity == "critical") | .id'
  guanlan audit rules --check my-rules.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rules, err := rulesWith(check)
			if err != nil {
				return usageError{err}
			}
			rows := rowsOf(rules)
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), rows)
			}
			if len(check) > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%d rules, all valid\n", len(rows))
				return nil
			}
			return printRules(cmd.OutOrStdout(), rows)
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringArrayVar(&check, "check", nil, "file of rules to check over the built-in ones; repeat for more")
	return cmd
}

// rulesWith puts files over the built-in rules.
func rulesWith(files []string) (*audit.Rules, error) {
	texts := [][]byte{audit.Builtin()}
	rules := audit.DefaultRules()
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
		if rules, err = audit.ParseRules(texts...); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return rules, nil
}

func printRules(w io.Writer, rows []ruleRow) error {
	t := table(w, "RULE", "SEVERITY", "TECHNIQUE", "LOOKS FOR")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s: %s\n", r.ID, r.Severity, r.Technique, strings.Join(r.On, ", "), r.Title)
	}
	return t.Flush()
}

// auditLine is one act, as --output json prints it: one object a line.
type auditLine struct {
	Time       string         `json:"time"`
	Event      string         `json:"event"` // kernel.audit.exec …
	Severity   string         `json:"severity,omitempty"`
	Rule       string         `json:"rule,omitempty"`
	Technique  string         `json:"technique,omitempty"`
	Service    string         `json:"service"`
	Container  string         `json:"container,omitempty"`
	Body       string         `json:"body"`
	Attributes map[string]any `json:"attributes"`
}

// severities in the order of the audit.
var severities = []string{"info", "notice", "warning", "critical"}

// auditFilter chooses among acts.
type auditFilter struct {
	severity, rule, container string
}

func (f *auditFilter) check() error {
	if f.severity != "" && !slices.Contains(severities, f.severity) {
		return usageError{fmt.Errorf("--severity %q: want one of %s", f.severity, strings.Join(severities, ", "))}
	}
	return nil
}

// holds reports whether an act is asked for. A container is named by the
// beginning of its id or by its name.
func (f *auditFilter) holds(l *auditLine) bool {
	name, _ := l.Attributes["container.name"].(string)
	switch {
	case f.severity != "" && slices.Index(severities, l.Severity) < slices.Index(severities, f.severity),
		f.rule != "" && !meets(l, f.rule),
		f.container != "" && !strings.HasPrefix(l.Container, f.container) && name != f.container:
		return false
	}
	return true
}

// meets looks at all findings, not only at the worst.
func meets(l *auditLine, rule string) bool {
	if l.Rule == rule {
		return true
	}
	text, _ := l.Attributes["kernel.audit.findings"].(string)
	var all []struct{ Rule string }
	_ = json.Unmarshal([]byte(text), &all) // none if it is no JSON
	for _, f := range all {
		if f.Rule == rule {
			return true
		}
	}
	return false
}

func (l *auditLine) print(w io.Writer, output string) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(l)
	}
	ancestors, _ := l.Attributes["kernel.audit.ancestors"].(string)
	line := fmt.Sprintf("%s %-8s %s", l.Time, strings.ToUpper(cmp.Or(l.Severity, "-")), l.Body)
	if l.Rule != "" {
		line += fmt.Sprintf("  rule=%s %s", l.Rule, l.Technique)
	}
	if ancestors != "" {
		line += "  " + ancestors
	}
	_, err := fmt.Fprintln(w, printable(line))
	return err
}
