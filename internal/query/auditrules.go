package query

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

const (
	// rulesSlack is how far before a window the rules in force in it may have been
	// told: the audit tells them every hour.
	rulesSlack = 70 * time.Minute
	// maxRuleRecords bounds what is read: 20 KB each, some hundred hosts.
	maxRuleRecords = 500
)

// AuditRules is the rules by which the audit judges.
type AuditRules struct {
	Rules []AuditRule `json:"rules" nullable:"false" doc:"Those that come with the program first, then by file, disabled ones last."`
	Hosts []string    `json:"hosts" nullable:"false" doc:"Whose audit told its rules around the window. Empty: no audit did, and these are the rules that come with this version."`
}

// AuditRule is one rule of the audit. One that is not the same on all hosts is
// there once for each form.
type AuditRule struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Why       string   `json:"why" doc:"Why it matters, or what its noise is; may be empty."`
	Severity  string   `json:"severity" enum:"info,notice,warning,critical"`
	Technique string   `json:"technique" doc:"MITRE ATT&CK id."`
	On        []string `json:"on" nullable:"false" doc:"Kinds of event that it looks at."`
	In        string   `json:"in" doc:"container, host, or empty for both."`
	LooksFor  string   `json:"looksFor" doc:"What an event is asked for, in English."`
	Unless    []string `json:"unless" nullable:"false" doc:"What excuses an event, allowances of later files among it."`
	Source    string   `json:"source" doc:"File that the rule is from, as the receiver's configuration names it; empty: it comes with the program."`
	Enabled   bool     `json:"enabled" doc:"False where a file disables it."`
	Hosts     []string `json:"hosts" nullable:"false" doc:"Where it is so; empty where no audit told its rules."`
}

// toldRule is a rule as the audit tells it.
type toldRule struct {
	AuditRule
	Disabled bool `json:"disabled"`
}

// AuditRules reads which rules were in force last in the window. What no host told
// is left to who knows the rules of the program.
func (e *engine) AuditRules(ctx context.Context, w Window) (*AuditRules, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Logs)
	if err != nil {
		return nil, err
	}
	sel.Range.Start = sel.Range.Start.Add(-rulesSlack)
	rows, _, err := e.logs.Logs(ctx, and(sel, eq("event_name", semconv.EventKernelAuditRules)), maxRuleRecords, "")
	if err != nil {
		return nil, fmt.Errorf("read rules of the audit: %w", err)
	}
	byText := map[string][]string{} // hosts that told the same
	var texts []string
	seen := map[string]bool{}
	for _, row := range rows { // newest first
		r := recordOf(row)
		host, text := r.of(semconv.HostName), r.text(semconv.KernelAuditRules)
		if seen[host] {
			continue
		}
		seen[host] = true
		if byText[text] == nil {
			texts = append(texts, text)
		}
		byText[text] = append(byText[text], host)
	}
	out := &AuditRules{Rules: []AuditRule{}, Hosts: []string{}}
	at := map[string]int{} // by all that a rule says
	for _, text := range texts {
		told := decodeList[toldRule](text)
		if len(told) == 0 {
			continue // of a version that writes them in another way
		}
		hosts := byText[text]
		out.Hosts = append(out.Hosts, hosts...)
		for _, r := range told {
			id, err := json.Marshal(r)
			if err != nil {
				return nil, fmt.Errorf("rule %q: %w", r.ID, err)
			}
			i, ok := at[string(id)]
			if !ok {
				i = len(out.Rules)
				at[string(id)] = i
				r.Enabled, r.On, r.Unless = !r.Disabled, append([]string{}, r.On...), append([]string{}, r.Unless...)
				if severityOf(r.Severity) < 0 {
					r.Severity = auditSeverities[0]
				}
				r.Hosts = nil
				out.Rules = append(out.Rules, r.AuditRule)
			}
			out.Rules[i].Hosts = append(out.Rules[i].Hosts, hosts...)
		}
	}
	for i := range out.Rules {
		slices.Sort(out.Rules[i].Hosts)
	}
	slices.Sort(out.Hosts)
	slices.SortStableFunc(out.Rules, func(a, b AuditRule) int {
		switch {
		case a.Enabled == b.Enabled:
			return strings.Compare(a.Source, b.Source)
		case a.Enabled:
			return -1
		}
		return 1
	})
	return out, nil
}
