package api

import (
	"context"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/query"
)

// KernelPath is where the kernel's sight is asked for.
const KernelPath = "/api/v1/kernel"

// KernelWindow is the time range and filter of a question about the kernel.
type KernelWindow struct {
	Span
	Filter string `query:"filter" maxLength:"16384" doc:"Conditions in the filter grammar; empty matches all." example:"service.name = order"`
}

func (w KernelWindow) window(now time.Time) (query.Window, error) {
	return w.Span.window(w.Filter, now)
}

type auditInput struct {
	KernelWindow
	Severity string `query:"severity" enum:"none,info,notice,warning,critical" default:"none" doc:"Only findings of at least this severity; none: also events that meet no rule."`
	Paging
}

type oomInput struct {
	KernelWindow
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"20" doc:"Stories of the page."`
	Cursor string `query:"cursor" maxLength:"16384" doc:"The next member of the page before; empty starts at the newest."`
}

type factsInput struct {
	Span
	TraceID string `query:"trace_id" doc:"Facts of the sockets behind this trace's client spans." example:"4bf92f3577b34da6a3ce929d0e0e4736"`
	Near    string `query:"near" doc:"A time close to the trace, in the forms of from; makes the search faster." example:"now-10m"`
	Service string `query:"service" doc:"Without a trace: facts of this service in the window." example:"order"`
}

func (d *door) kernelRoutes() {
	getAt(d, op{"getNetwork", KernelPath + "/network", "kernel", "Show who talks to whom, with health",
		"Flows between services and addresses as the kernels of the hosts saw them, and the sockets of network namespaces. The filter is about flows: `source`, `target`, `service.name`, `address`, `port`, `host.name`, `role`, `health`, `signal`, `error.type`, `bytes`, `retransmits`, `retransmit_ratio`, `rtt_p50`, `rtt_p99`, `connect_p99`, `failures`, `resets`, `connections`."},
		func(ctx context.Context, in *struct{ KernelWindow }) (*query.NetworkHealth, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.NetworkHealth(ctx, w)
		})
	getAt(d, op{"listAuditEvents", KernelPath + "/audit", "kernel", "List audit events",
		"What processes did that an auditor wants to know, newest first. The filter is that of logs."},
		func(ctx context.Context, in *auditInput) (*query.AuditList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.Audit(ctx, w, in.Severity, in.page())
		})
	getAt(d, op{"listAuditRules", KernelPath + "/audit/rules", "kernel", "List the rules of the audit",
		"The rules in force on the hosts whose audit told them around the window, and those that their files disable. Where none did, the rules that come with this version."},
		func(ctx context.Context, in *struct{ Span }) (*query.AuditRules, error) {
			w, err := in.window("", d.now())
			if err != nil {
				return nil, err
			}
			rules, err := d.engine.AuditRules(ctx, w)
			if err == nil && len(rules.Hosts) == 0 {
				rules = builtinRules()
			}
			return rules, err
		})
	getAt(d, op{"listOOM", KernelPath + "/oom", "kernel", "List kills for want of memory",
		"Each with the limit that was hit, who held the memory and how it grew, newest first. The filter is that of logs."},
		func(ctx context.Context, in *oomInput) (*query.OOMList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			return d.engine.OOM(ctx, w, query.Page{Limit: in.Limit, Cursor: in.Cursor})
		})
	getAt(d, op{"getKernelFacts", KernelPath + "/facts", "kernel", "Show what the kernel saw behind a trace or a service",
		"Of a trace: the sockets of its client spans. Of a service: its flows, kills for want of memory and audit findings. Of both: the profiles that were taken, with the filter that shows them."},
		func(ctx context.Context, in *factsInput) (*query.KernelFacts, error) {
			now := d.now()
			w, err := in.window("", now)
			if err != nil {
				return nil, err
			}
			near, err := moment("near", in.Near, now)
			if err != nil {
				return nil, err
			}
			return d.engine.KernelFacts(ctx, query.KernelAnchor{TraceID: in.TraceID, Near: near, Service: in.Service, Start: w.Start, End: w.End})
		})
}

func builtinRules() *query.AuditRules {
	out := &query.AuditRules{Rules: []query.AuditRule{}, Hosts: []string{}}
	for _, r := range audit.DefaultRules().All() {
		o := query.AuditRule{
			ID: r.ID, Title: r.Title, Why: r.Why, Severity: r.Severity, Technique: r.Attack, On: append([]string{}, r.On...), In: r.In,
			LooksFor: r.Match.String(), Unless: []string{}, Enabled: true, Hosts: []string{},
		}
		for i := range r.Unless {
			o.Unless = append(o.Unless, r.Unless[i].String())
		}
		out.Rules = append(out.Rules, o)
	}
	return out
}
