//go:build linux

package telemetry

import (
	"fmt"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// rulesEvery is how often the audit tells its rules: who asks for the rules of a
// time looks back so far and a little further (internal/query).
const rulesEvery = time.Hour

// maxUnless bounds what is told of a rule's exceptions; who wants all reads the file.
const maxUnless = 8

// rule is a row of kernel.audit.rules.
type rule struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Why       string   `json:"why,omitempty"`
	Severity  string   `json:"severity"`
	Technique string   `json:"technique"`
	On        []string `json:"on"`
	In        string   `json:"in,omitempty"`
	LooksFor  string   `json:"looksFor"`
	Unless    []string `json:"unless,omitempty"`
	Source    string   `json:"source,omitempty"`
	Disabled  bool     `json:"disabled,omitempty"`
}

// Rules adds which rules the audit judges by. sources name the files that they
// are from, "" for those that come with the program.
func (r *Records) Rules(at time.Time, rules *audit.Rules, sources []string) {
	all := []rule{}
	add := func(from []*audit.Rule, disabled bool) {
		for _, x := range from {
			o := rule{ID: x.ID, Title: x.Title, Why: x.Why, Severity: x.Severity, Technique: x.Attack, On: x.On, In: x.In, LooksFor: x.Match.String(), Disabled: disabled}
			for i := range x.Unless[:min(len(x.Unless), maxUnless)] {
				o.Unless = append(o.Unless, x.Unless[i].String())
			}
			if more := len(x.Unless) - maxUnless; more > 0 {
				o.Unless = append(o.Unless, fmt.Sprintf("%d more", more))
			}
			if x.File < len(sources) {
				o.Source = sources[x.File]
			}
			all = append(all, o)
		}
	}
	add(rules.All(), false)
	add(rules.Disabled(), true)
	severity, text := severityOf(audit.Info)
	body := fmt.Sprintf("The audit judges by %d rules; %d more are disabled.", len(rules.All()), len(rules.Disabled()))
	putJSON(r.add(scopeAudit, nil, semconv.EventKernelAuditRules, at, severity, text, body), semconv.KernelAuditRules, all)
}

// ruling is that rules are in force.
type ruling struct {
	at      time.Time
	rules   *audit.Rules
	sources []string
}

// tellRules says now and then, and after a change, what the audit judges by.
func (w *Watch) tellRules(now time.Time) {
	w.changing.Lock()
	defer w.changing.Unlock()
	if w.o.Audit == nil || now.Sub(w.rulesTold) < rulesEvery {
		return
	}
	for _, s := range w.running.Status() {
		if s.Name == "audit" && s.Err == nil {
			w.rulesTold = now
			w.event("audit", ruling{now, rulesOf(w.o.Audit), w.o.RuleSources})
		}
	}
}
