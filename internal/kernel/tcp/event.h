/* What goes up at once, within a limit. */
#pragma once

#include "conn.h"

static __noinline int send(struct sock *sk, struct conn *c, u32 kind, u32 detail, u64 dur)
{
	if (!sk || !c)
		return 0;
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		lose(LOSS_RING);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = bpf_ktime_get_ns();
	e->kind = kind;
	e->detail = detail;
	e->dur_ns = dur;
	e->sock = (u64)sk;
	e->cgroup = c->cgroup;
	e->tgid = c->tgid;
	e->start_cs = c->start_cs;
	e->role = c->role;
	e->retrans = c->retrans;
	e->retrans_recent = c->retrans - c->told;
	e->rtt_max_us = kind == EV_CONNECTION ? c->rtt_recent : c->rtt_max;
	e->netns = netns_of(sk);
	e->lport = lport_of(sk);
	e->rport = bpf_ntohs(sk->__sk_common.skc_dport);
	__builtin_memcpy(e->comm, c->comm, sizeof(e->comm));
	u8 l[16], r[16];
	ends(sk, l, r);
	__builtin_memcpy(e->laddr, l, 16);
	__builtin_memcpy(e->raddr, r, 16);
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (tp) {
		e->srtt_us = tp->srtt_us >> 3;
		e->bytes_sent = tp->bytes_acked;
		e->bytes_received = tp->bytes_received;
	}
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

static __noinline int emit(struct sock *sk, struct conn *c, u32 kind, u32 detail, u64 dur)
{
	if (!sk || !c)
		return 0;
	u32 i = 0;
	u64 now = bpf_ktime_get_ns();
	struct quota *q = bpf_map_lookup_elem(&quotas, &i);
	if (!q)
		return 0;
	u64 second = now >> 30;
	if (q->second != second) {
		q->second = second;
		q->used = 0;
	}
	if (q->used >= events_per_second) {
		q->suppressed++;
		return 0;
	}
	q->used++;
	return send(sk, c, kind, detail, dur);
}
