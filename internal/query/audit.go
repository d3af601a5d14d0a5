package query

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Names of the records of the kernel receiver.
const (
	auditEvents = `^kernel\.audit\.`
	auditPrefix = "kernel.audit."
	oomEvent    = "kernel.oom"
	oomPage     = 20 // stories are long
)

// auditSeverities are the severities of findings, the worst last.
var auditSeverities = []string{"info", "notice", "warning", "critical"}

// Audit lists audit events of the kernel receiver, newest first; atLeast
// "none" or "" lists also those that meet no rule.
func (e *engine) Audit(ctx context.Context, w Window, atLeast string, page Page) (*AuditList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Logs)
	if err != nil {
		return nil, err
	}
	all := findings(sel, "")
	sel = findings(sel, atLeast)
	if atLeast != "" && atLeast != "none" && severityOf(atLeast) < 0 {
		return nil, &FieldError{Field: "severity", Value: atLeast, Msg: "no such severity", Next: "one of none, " + strings.Join(auditSeverities, ", ")}
	}
	out := &AuditList{Events: []AuditEvent{}, Filter: Filter(sel.Where).Text(Logs)}
	var rows []store.LogRow
	var next store.Cursor
	values := func(sel store.Select, field string, to *[]Tally) func(context.Context) error {
		return func(ctx context.Context) error {
			counts, err := e.logs.LogValues(ctx, sel, field, maxValues)
			*to = tallies(counts, true)
			return err
		}
	}
	err = together(ctx,
		func(ctx context.Context) (err error) {
			rows, next, err = e.logs.Logs(ctx, sel, clamp(page.Limit, defaultPage, maxPage), store.Cursor(page.Cursor))
			return err
		},
		values(all, "log.kernel.audit.severity", &out.Severities),
		func(ctx context.Context) error {
			counts, err := e.logs.LogValues(ctx, sel, "log.kernel.audit.findings", maxValues)
			out.Rules = byRule(counts)
			return err
		},
	)
	if err != nil {
		return nil, fmt.Errorf("read audit events: %w", err)
	}
	out.Next = string(next)
	for _, row := range rows {
		out.Events = append(out.Events, auditEvent(row))
	}
	return out, nil
}

// byRule counts events by each rule that they meet, from counts of their findings:
// events that meet the same rules have the same text.
func byRule(counts []store.Count) []Tally {
	n := map[string]uint64{}
	for _, c := range counts {
		seen := map[string]bool{}
		for _, f := range decodeList[AuditFinding](c.Value) {
			if f.Rule != "" && !seen[f.Rule] {
				seen[f.Rule] = true
				n[f.Rule] += c.Count
			}
		}
	}
	out := make([]Tally, 0, len(n))
	for rule, count := range n {
		out = append(out, Tally{Value: rule, Count: count})
	}
	slices.SortFunc(out, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value)) })
	return out
}

// findings narrows sel to audit events or, with a severity, to findings at least
// so severe.
func findings(sel store.Select, atLeast string) store.Select {
	sel = and(sel, store.Cond{Field: "event_name", Op: store.OpRe, Value: auditEvents})
	if i := severityOf(atLeast); i >= 0 {
		sel = and(sel, store.Cond{Field: "log.kernel.audit.severity", Op: store.OpRe, Value: "^(" + strings.Join(auditSeverities[i:], "|") + ")$"})
	}
	return sel
}

func auditEvent(row store.LogRow) AuditEvent {
	r := recordOf(row)
	a := AuditEvent{
		ID: string(row.ID), Time: row.Time.UTC(), Kind: strings.TrimPrefix(row.Record.EventName(), auditPrefix),
		Severity: "none", Findings: []AuditFinding{}, Text: text(row.Record.Body()),
		Service: r.service, Host: r.of("host.name"), PID: r.whole("process.pid"), ParentPID: r.whole("process.parent_pid"),
		Executable: r.of("process.executable.path"), CommandLine: r.of("process.command_line"), User: r.of("user.id"),
		Container: r.of("container.id"), ContainerName: r.of("container.name"), Image: r.of("container.image.name"),
		Pod:  r.of("k8s.pod.name"),
		Path: r.text("file.path"), Call: r.text("kernel.audit.call"), Result: r.text("kernel.audit.result"),
		Denied: r.text("kernel.audit.denied") == "true", Detail: r.text("kernel.audit.detail"),
		Ancestors: ancestors(r.text("kernel.audit.ancestors")), Lost: r.number("kernel.audit.lost"),
	}
	if a.Pod == "" {
		a.Pod = r.of("k8s.pod.uid")
	}
	// Findings that cannot be read leave the worst, which stands by itself.
	if err := json.Unmarshal([]byte(r.text("kernel.audit.findings")), &a.Findings); err != nil || len(a.Findings) == 0 {
		a.Findings = []AuditFinding{}
		if rule := r.text("kernel.audit.rule"); rule != "" {
			a.Findings = append(a.Findings, AuditFinding{Rule: rule, Title: rule, Severity: r.text("kernel.audit.severity"), Technique: r.text("kernel.audit.technique")})
		}
	}
	for i := range a.Findings {
		if f := &a.Findings[i]; severityOf(f.Severity) < 0 {
			f.Severity = auditSeverities[0]
		}
	}
	slices.SortStableFunc(a.Findings, func(x, y AuditFinding) int { return severityOf(y.Severity) - severityOf(x.Severity) })
	if len(a.Findings) > 0 {
		a.Severity = a.Findings[0].Severity
	}
	return a
}

func severityOf(s string) int { return slices.Index(auditSeverities, s) }

var ancestor = regexp.MustCompile(`^(.*)\((\d+)\)$`)

// ancestors reads "bash(12) < sshd(3)".
func ancestors(s string) []Ancestor {
	out := []Ancestor{}
	for part := range strings.SplitSeq(s, " < ") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		a := Ancestor{Name: part}
		if m := ancestor.FindStringSubmatch(part); m != nil {
			a.Name = m[1]
			a.PID, _ = strconv.ParseInt(m[2], 10, 64) // digits; too many of them are no pid
		}
		out = append(out, a)
	}
	return out
}

// OOM lists kills for want of memory, newest first.
func (e *engine) OOM(ctx context.Context, w Window, page Page) (*OOMList, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Logs)
	if err != nil {
		return nil, err
	}
	out := &OOMList{}
	err = together(ctx,
		func(ctx context.Context) (err error) {
			out.Stories, out.Next, err = e.stories(ctx, sel, clamp(page.Limit, oomPage, maxPage), page.Cursor)
			return err
		},
		func(ctx context.Context) (err error) {
			out.Features, err = e.features(ctx, w)
			return err
		},
	)
	return out, err
}

func (e *engine) stories(ctx context.Context, sel store.Select, limit int, cursor string) ([]OOMStory, string, error) {
	rows, next, err := e.logs.Logs(ctx, and(sel, eq("event_name", oomEvent)), limit, store.Cursor(cursor))
	if err != nil {
		return nil, "", fmt.Errorf("read kills for want of memory: %w", err)
	}
	out := make([]OOMStory, 0, len(rows))
	for _, row := range rows {
		out = append(out, oomStory(row))
	}
	return out, string(next), nil
}

func oomStory(row store.LogRow) OOMStory {
	r := recordOf(row)
	s := OOMStory{
		ID: string(row.ID), Time: row.Time.UTC(), Text: text(row.Record.Body()),
		Service: r.service, Host: r.of("host.name"), PID: r.whole("process.pid"),
		Executable: r.of("process.executable.path"), CommandLine: r.of("process.command_line"),
		Container: r.of("container.id"), ContainerName: r.of("container.name"), Image: r.of("container.image.name"), Pod: r.of("k8s.pod.name"),
		RSS: r.number("kernel.oom.rss"), Anonymous: r.number("kernel.oom.anonymous"), File: r.number("kernel.oom.file"), Swap: r.number("kernel.oom.swap"),
		OfHost: r.text("kernel.oom.host") == "true", LimitCgroup: r.text("kernel.oom.limit_cgroup"),
		Limit: r.number("kernel.oom.limit"), Usage: r.number("kernel.oom.usage"), PageCache: r.number("kernel.oom.page_cache"),
		By: r.text("kernel.oom.by"), ScoreAdj: r.number("kernel.oom.score_adj"), LagNs: r.number("kernel.oom.lag") * 1e9,
		Top: []MemoryUser{}, History: []MemorySample{},
	}
	if s.Executable == "" {
		s.Executable = r.of("process.executable.name")
	}
	if s.Pod == "" {
		s.Pod = r.of("k8s.pod.uid")
	}
	for _, u := range decodeList[wireUser](r.text("kernel.oom.top")) {
		s.Top = append(s.Top, MemoryUser{
			PID: u.PID, Name: cmp.Or(u.Name, u.Comm), Executable: cmp.Or(u.Executable, u.Exe),
			Resident: max(u.Resident, u.RSS), Shared: u.Shared,
		})
	}
	s.History = append(s.History, decodeList[MemorySample](r.text("kernel.oom.history"))...)
	return s
}

// wireUser is a process as senders write it; letter case does not matter.
type wireUser struct {
	PID                   int64
	Name, Comm            string
	Executable, Exe       string
	Resident, RSS, Shared float64
}

// decodeList reads JSON written elsewhere; what cannot be read is empty.
func decodeList[T any](s string) []T {
	var out []T
	if json.Unmarshal([]byte(s), &out) != nil {
		return nil
	}
	return out
}

// record reads attributes of a log record, of its own or of its resource.
type record struct {
	own, resource pcommon.Map
	service       string
}

func recordOf(row store.LogRow) record {
	return record{row.Record.Attributes(), row.Resource.Attributes(), serviceOf(row.Resource.Attributes())}
}

// text is an attribute of the record; empty when it has none.
func (r record) text(key string) string {
	if v, ok := r.own.Get(key); ok {
		return v.AsString()
	}
	return ""
}

// of is an attribute of the record or of its resource.
func (r record) of(key string) string {
	if s := r.text(key); s != "" {
		return s
	}
	if v, ok := r.resource.Get(key); ok {
		return v.AsString()
	}
	return ""
}

// number is 0 for what is none.
func (r record) number(key string) float64 {
	v, ok := r.own.Get(key)
	if !ok {
		return 0
	}
	switch v.Type() {
	case pcommon.ValueTypeDouble:
		return v.Double()
	case pcommon.ValueTypeInt:
		return float64(v.Int())
	}
	f, err := strconv.ParseFloat(v.AsString(), 64)
	if err != nil {
		return 0
	}
	return f
}

func (r record) whole(key string) int64 { return int64(r.number(key)) }

// list is a slice of strings, or one string.
func (r record) list(key string) []string {
	out := []string{}
	v, ok := r.own.Get(key)
	if !ok {
		return out
	}
	if v.Type() != pcommon.ValueTypeSlice {
		return append(out, v.AsString())
	}
	for _, item := range v.Slice().All() {
		out = append(out, item.AsString())
	}
	return out
}
