/* Goroutines that are made. */
#pragma once

#include "http.h"

/* runtime.newproc1, where the new goroutine is complete: what it does, it does
 * for what its maker worked for. Also whoever had the same g before is forgotten.
 *
 * With a request that has no body net/http starts a goroutine that waits for the
 * client's end, right before it calls the handler: the request begins here, for each probe
 * that a request passes costs more than all that is done in it. */
SEC("uprobe.multi/")
int goroutine_made(struct pt_regs *ctx)
{
	struct gkey k = {}, child = { .g = ARG0(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	child.slot = k.slot;
	/* net/http starts one a request, which waits for the client to go away, and works for
	 * nobody. Code is compared with code, wherever the program was loaded. */
	if (o->reader_size && word(child.g, o->g_gopc) - IP(ctx) - (__s64)o->reader < o->reader_size) {
		if (o->g_ctxt == NONE)
			return 0;
		k.g = word(word(G(ctx), o->g_m), o->m_curg);
		return http_awaited(&k, o, child.g, o->g_ctxt, true);
	}
	k.g = word(word(G(ctx), o->g_m), o->m_curg);
	struct context *p = k.g ? bpf_map_lookup_elem(&goroutines, &k) : 0;
	struct context *c = bpf_map_lookup_elem(&goroutines, &child);
	if (!p || !p->span) {
		if (c) {
			if (c->start)
				lose(LOSS_ABANDONED);
			served(c);
			c->conn = 0;
		}
		return 0;
	}
	find_parent(p);
	p->flags &= ~ALONE;
	struct context made = {};
	__builtin_memcpy(made.trace, p->trace, 16);
	made.span = p->span;
	made.root = p->root;
	made.born = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&goroutines, &child, &made, BPF_ANY))
		lose(LOSS_MAP);
	return 0;
}
