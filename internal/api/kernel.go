package api

import (
	"context"

	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/query"
)

type auditInput struct {
	Window
	Severity string `query:"severity" enum:"none,info,notice,warning,critical" default:"none" doc:"Only findings of at least this severity; none: also events that meet no rule."`
	Paging
}

type oomInput struct {
	Window
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"20" doc:"Stories of the page."`
	Cursor string `query:"cursor" maxLength:"16384" doc:"The next member of the page before; empty starts at the newest."`
}

type factsInput struct {
	Tenant
	TraceID string `query:"traceId" doc:"Facts of the sockets behind this trace's client spans." example:"4bf92f3577b34da6a3ce929d0e0e4736"`
	Near    string `query:"near" doc:"A time close to the trace, in the forms of start; makes the search faster." example:"now-10m"`
	Service string `query:"service" doc:"Without a trace: facts of this service in the window." example:"order"`
	Start   string `query:"start" doc:"In the forms of start elsewhere. Default: one hour before end." example:"now-1h"`
	End     string `query:"end" doc:"Exclusive. Default: now." example:"now"`
}

// AuditRules is the rules that come with the program.
type AuditRules struct {
	Rules []AuditRule `json:"rules" nullable:"false"`
}

// AuditRule is one rule of the audit.
type AuditRule struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Why       string   `json:"why" doc:"Why it matters, or what its noise is; may be empty."`
	Severity  string   `json:"severity" enum:"info,notice,warning,critical"`
	Technique string   `json:"technique" doc:"MITRE ATT&CK id."`
	On        []string `json:"on" nullable:"false" doc:"Kinds of event that it looks at."`
	In        string   `json:"in" doc:"container, host, or empty for both."`
}

func (d *door) kernelRoutes() {
	get(d, op{"getNetwork", "/kernel/network", "kernel", "Show who talks to whom, with health",
		"Flows between services and addresses as the kernels of the hosts saw them, and the sockets of network namespaces. The filter is about flows: `source`, `target`, `service.name`, `address`, `port`, `host.name`, `role`, `health`, `signal`, `error.type`, `bytes`, `retransmits`, `retransmit_ratio`, `rtt_p50`, `rtt_p99`, `connect_p99`, `failures`, `resets`, `connections`."},
		func(ctx context.Context, in *struct{ Window }) (*query.NetworkHealth, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.NetworkHealth(ctx, w)
		})
	get(d, op{"listAuditEvents", "/kernel/audit", "kernel", "List audit events",
		"What processes did that an auditor wants to know, newest first. The filter is that of logs."},
		func(ctx context.Context, in *auditInput) (*query.AuditList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Audit(ctx, w, in.Severity, in.page())
		})
	get(d, op{"listAuditRules", "/kernel/audit/rules", "kernel", "List the rules of the audit",
		"The rules that come with this version. Receivers may add, replace and disable rules by files of their own."},
		func(context.Context, *struct{ Tenant }) (*AuditRules, error) { return builtinRules(), nil })
	get(d, op{"listOOM", "/kernel/oom", "kernel", "List kills for want of memory",
		"Each with the limit that was hit, who held the memory and how it grew, newest first. The filter is that of logs."},
		func(ctx context.Context, in *oomInput) (*query.OOMList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.OOM(ctx, w, query.Page{Limit: in.Limit, Cursor: in.Cursor})
		})
	get(d, op{"getKernelFacts", "/kernel/facts", "kernel", "Show what the kernel saw behind a trace or a service",
		"Of a trace: the sockets of its client spans. Of a service: its flows, kills for want of memory and audit findings."},
		func(ctx context.Context, in *factsInput) (*query.KernelFacts, error) {
			now := d.now()
			from, to, err := between(in.Start, in.End, now)
			if err != nil {
				return nil, err
			}
			near, err := moment("near", in.Near, now)
			if err != nil {
				return nil, err
			}
			return d.engine.KernelFacts(ctx, query.KernelAnchor{TraceID: in.TraceID, Near: near, Service: in.Service, Start: from, End: to})
		})
}

func builtinRules() *AuditRules {
	out := &AuditRules{Rules: []AuditRule{}}
	for _, r := range audit.DefaultRules().All() {
		out.Rules = append(out.Rules, AuditRule{
			ID: r.ID, Title: r.Title, Why: r.Why, Severity: r.Severity, Technique: r.Attack, On: append([]string{}, r.On...), In: r.In,
		})
	}
	return out
}
