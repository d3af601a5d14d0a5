/* What a goroutine works for and waits for. */
#pragma once

#include "abi.h"
#include "origin.h"

static __always_inline bool within_budget(__u64 root)
{
	__u32 *n = bpf_map_lookup_elem(&budgets, &root);
	if (!n) {
		__u32 one = 1;
		bpf_map_update_elem(&budgets, &root, &one, BPF_ANY);
		return true;
	}
	return __sync_fetch_and_add(n, 1) < spans_per_trace;
}

/* What a client said of a request after it was on its way may come after the
 * server began with it. Until something hangs on the server's span, its parent can
 * still change. */
static __always_inline void find_parent(struct context *c)
{
	if (!(c->flags & ALONE))
		return;
	struct origin *o = bpf_map_lookup_elem(&flows, &c->peer);
	if (!o)
		return;
	__builtin_memcpy(c->trace, o->trace, 16);
	c->parent = o->span;
	c->flags = (c->flags & ~ALONE) | CORRELATED;
}

static const struct context idle; /* not on the stack, which has no room for one more */

static __always_inline struct context *context_for(struct gkey *k)
{
	struct context *c = bpf_map_lookup_elem(&goroutines, k);
	if (c)
		return c;
	bpf_map_update_elem(&goroutines, k, &idle, BPF_ANY);
	c = bpf_map_lookup_elem(&goroutines, k);
	if (!c)
		lose(LOSS_MAP);
	return c;
}

/* Opens the span of a request that c's goroutine serves from now on. */
static __always_inline void serve(struct context *c, struct origin *parent, __u32 kind, __u32 flags)
{
	if (c->start)
		lose(LOSS_ABANDONED);
	c->id = random64(&c->random);
	c->parent = 0;
	if (parent) {
		__builtin_memcpy(c->trace, parent->trace, 16);
		c->parent = parent->span;
	} else {
		__u64 t[2] = { random64(&c->random), random64(&c->random) };
		__builtin_memcpy(c->trace, t, 16);
	}
	c->span = c->root = c->id;
	c->born = 0;
	c->kind = kind;
	c->flags = flags;
	c->depth = c->over = 0;
	c->start = bpf_ktime_get_ns();
}

static __always_inline void served(struct context *c)
{
	c->start = c->span = c->root = 0;
	c->depth = c->over = 0;
}

/* What a server's span and a brief one have in common. */
#define BEGIN(s, c, slot_)                                                                     \
	do {                                                                                   \
		(s)->start = (c)->start;                                                       \
		(s)->end = bpf_ktime_get_ns();                                                 \
		__builtin_memcpy((s)->trace, (c)->trace, 16);                                  \
		(s)->id = (c)->id;                                                             \
		(s)->parent = (c)->parent;                                                     \
		(s)->goroutine = (c)->goroutine;                                               \
		(s)->slot = (slot_);                                                           \
		(s)->kind = (c)->kind;                                                         \
		(s)->flags = (c)->flags & ~ALONE;                                              \
		(s)->peer_port = (c)->peer.port;                                               \
		__builtin_memcpy((s)->peer_ip, (c)->peer.ip, 16);                              \
	} while (0)

static __always_inline void begin(struct span *s, struct context *c, __u32 slot)
{
	BEGIN(s, c, slot);
	s->error = s->extra = s->extra2 = 0;
	s->status = 0;
	s->method_len = s->host_len = s->route_len = s->text_len = 0;
}

/* A call's span lies in calls, under the goroutine that waits and how deep. */

static __always_inline struct span *innermost(struct gkey *k, struct context **cp)
{
	struct gkey gk = { .g = k->g, .slot = k->slot };
	struct context *c = bpf_map_lookup_elem(&goroutines, &gk);
	*cp = c;
	if (!c || !c->depth)
		return 0;
	k->kind = c->depth;
	return bpf_map_lookup_elem(&calls, k);
}

/* A call that nothing is told of, though its end has a probe: it must not end another. */
static __always_inline void call_pass(struct gkey *k)
{
	struct gkey gk = { .g = k->g, .slot = k->slot };
	struct context *c = context_for(&gk);
	if (c)
		c->over++;
}

/* k.kind is that of the span. */
static __always_inline struct span *call_start(struct gkey *k, struct offsets *o, __u64 object)
{
	__u32 zero = 0, kind = k->kind;
	__u64 now = bpf_ktime_get_ns();
	struct span *s, *none = bpf_map_lookup_elem(&blank, &zero);
	struct gkey gk = { .g = k->g, .slot = k->slot };
	struct context *c = context_for(&gk);
	if (!none || !c)
		return 0;
	if (c->depth) {
		k->kind = c->depth;
		s = bpf_map_lookup_elem(&calls, k);
		if (s && s->object == object && s->kind == kind)
			return 0; /* the stack grew, and the function began again */
	}
	if (c->depth >= MAX_DEPTH) {
		c->over++;
		return 0;
	}
	if (c->born && now - c->born > inherit_ns && !c->depth)
		served(c);
	find_parent(c);
	c->flags &= ~ALONE;
	k->kind = c->depth + 1;
	if (bpf_map_update_elem(&calls, k, none, BPF_ANY) || !(s = bpf_map_lookup_elem(&calls, k))) {
		lose(LOSS_MAP);
		return 0;
	}
	c->depth++;
	s->kind = kind;
	s->object = object;
	s->saved = c->span;
	if (c->span && !within_budget(c->root)) {
		lose(LOSS_BOUND);
		return 0; /* it has no number and is not told at its end */
	}
	s->id = random64(&c->random);
	if (c->span) {
		s->parent = c->span;
	} else {
		__u64 t[2] = { random64(&c->random), random64(&c->random) };
		__builtin_memcpy(c->trace, t, 16);
		c->root = s->id;
	}
	c->span = s->id;
	__builtin_memcpy(s->trace, c->trace, 16);
	s->start = now;
	s->goroutine = word(k->g, o->g_goid);
	s->slot = k->slot;
	return s;
}

static __always_inline void call_submit(struct gkey *k, struct span *s)
{
	/* A stream may end here while its server is still to be told; its number does not come again. */
	if (s->flow.port && k->kind != STREAM) {
		struct flow f = s->flow;
		bpf_map_delete_elem(&flows, &f);
	}
	s->end = bpf_ktime_get_ns();
	if (s->id && bpf_ringbuf_output(&events, s, sizeof(*s), BPF_RB_NO_WAKEUP))
		lose(LOSS_RING);
	bpf_map_delete_elem(&calls, k);
}

/* Takes the innermost call of a kind off its goroutine; 0 if there is none. Calls
 * within it that never returned, because they panicked, go with it. */
static __always_inline struct span *call_leave(struct gkey *k, __u32 kind)
{
	struct context *c;
	for (int i = 0; i < MAX_DEPTH; i++) {
		struct span *s = innermost(k, &c);
		if (!c)
			break;
		if (!i && c->over) {
			c->over--;
			return 0;
		}
		if (!c->depth)
			break;
		c->depth--;
		if (!s)
			continue; /* evicted */
		c->span = s->saved;
		if (!c->span)
			c->root = 0;
		if (s->kind == kind)
			return s;
		lose(LOSS_ABANDONED);
		bpf_map_delete_elem(&calls, k);
	}
	lose(LOSS_NO_START);
	return 0;
}

static __always_inline int call_end(struct pt_regs *ctx, __u32 kind, __u64 error, __s32 status)
{
	struct gkey k = { .g = G(ctx), .slot = (__u32)bpf_get_attach_cookie(ctx) };
	struct span *s = call_leave(&k, kind);
	if (!s)
		return 0;
	s->error = error;
	s->status = status;
	call_submit(&k, s);
	return 0;
}

/* The innermost call on the goroutine, if it is of a kind. */
static __always_inline struct span *call_now(struct gkey *k, __u32 kind)
{
	struct context *c;
	struct span *s = innermost(k, &c);
	return s && s->kind == kind && s->id ? s : 0;
}
