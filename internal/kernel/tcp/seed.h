/* Sockets that are older than the agent, once when it starts. */
#pragma once

#include "conn.h"

/* Asks for RTT samples of sockets that are older than the agent (Linux 6.12). */
SEC("iter/tcp")
int enable_rtt(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	if (!skc || skc->skc_state == TCP_LISTEN || skc->skc_state == TCP_CLOSE)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	int flags = tp->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG;
	bpf_setsockopt(tp, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags));
	return 0;
}

static __always_inline struct sock *sock_of(struct bpf_iter__task_file *ctx)
{
	struct file *f = ctx->file;
	if (!f)
		return 0;
	struct socket *so = bpf_sock_from_file(f);
	if (!so)
		return 0;
	return so->sk;
}

static __always_inline void note_subflow(struct sock *sk, struct task_struct *t)
{
	struct mptcp_sock *m = (struct mptcp_sock *)sk;
	if (!bpf_core_field_exists(m->first))
		return;
	u64 first = (u64)BPF_CORE_READ(m, first);
	struct conn c = {};
	struct owned o = {};
	if (!first)
		return;
	owner(&c, t);
	o.tgid = c.tgid;
	o.start_cs = c.start_cs;
	__builtin_memcpy(o.comm, c.comm, sizeof(o.comm));
	bpf_map_update_elem(&subflows, &first, &o, BPF_NOEXIST);
}

/* Sockets older than the agent, in two runs: listeners, then what belongs to them. */
SEC("iter/task_file")
int seed_listeners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct sock *sk = sock_of(ctx);
	if (!t || !sk || sk->__sk_common.skc_state != TCP_LISTEN)
		return 0;
	u16 protocol = sk->sk_protocol;
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP)
		return 0;
	struct port p = { .netns = netns_of(sk), .port = lport_of(sk) };
	u8 one = 1;
	bpf_map_update_elem(&ports, &p, &one, BPF_ANY);
	if (protocol == IPPROTO_MPTCP) {
		note_subflow(sk, t);
		return 0;
	}
	struct conn *c = storage(sk, true);
	if (!c || c->tgid)
		return 0;
	c->role = ROLE_LISTENER;
	c->cgroup = cgroup_of(sk);
	owner(c, t);
	return 0;
}

SEC("iter/task_file")
int seed_conns(struct bpf_iter__task_file *ctx)
{
	struct task_struct *t = ctx->task;
	struct sock *sk = sock_of(ctx);
	if (!t || !sk)
		return 0;
	u16 protocol = sk->sk_protocol;
	if (protocol == IPPROTO_MPTCP)
		note_subflow(sk, t);
	if (protocol != IPPROTO_TCP)
		return 0;
	u8 state = sk->__sk_common.skc_state;
	if (state == TCP_LISTEN || state == TCP_CLOSE)
		return 0;
	struct conn *c = storage(sk, false);
	if (!c) {
		/* sk is what a file points at, not what a hook vouches for. */
		c = storage(sk, true);
		if (!c)
			return 0;
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
		if (tp)
			baseline(c, tp);
		c->cgroup = cgroup_of(sk);
		struct port p = { .netns = netns_of(sk), .port = lport_of(sk) };
		c->role = bpf_map_lookup_elem(&ports, &p) ? ROLE_SERVER : ROLE_CLIENT;
		c->touched = 1;
	}
	if (!c->tgid)
		owner(c, t);
	return 0;
}

#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* The same before Linux 5.11, where nobody vouches for the socket of a file. */
static __always_inline int old_seed(struct bpf_iter__task_file *ctx, bool listeners)
{
	struct task_struct *t = ctx->task;
	struct file *f = ctx->file;
	struct conn c = {};
	struct port p = {};
	struct tcp_sock *tp;
	struct socket *so;
	struct sock *sk;
	u8 one = 1;

	if (!t || !f || (BPF_CORE_READ(f, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	so = BPF_CORE_READ(f, private_data);
	sk = BPF_CORE_READ(so, sk);
	tp = (struct tcp_sock *)sk;
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (state == TCP_CLOSE || (state == TCP_LISTEN) != listeners)
		return 0;
	p.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	p.port = lport_of(sk);
	owner(&c, t);
	c.cgroup = BPF_CORE_READ(t, cgroups, dfl_cgrp, kn, id);
	if (listeners) {
		c.role = ROLE_LISTENER;
		bpf_map_update_elem(&ports, &p, &one, BPF_ANY);
		bpf_map_update_elem(&old_listeners, &p, &c, BPF_NOEXIST);
	} else {
		c.role = bpf_map_lookup_elem(&ports, &p) ? ROLE_SERVER : ROLE_CLIENT;
		c.touched = 1;
		c.bytes_acked = BPF_CORE_READ(tp, bytes_acked);
		c.bytes_received = BPF_CORE_READ(tp, bytes_received);
		c.data_segs = BPF_CORE_READ(tp, data_segs_out);
		c.ooo = BPF_CORE_READ(tp, rcv_ooopack);
		c.total_retrans = BPF_CORE_READ(tp, total_retrans);
	}
	struct conn *known = old_storage((u64)sk, &c);
	if (known && !known->tgid)
		owner(known, t);
	return 0;
}

SEC("iter/task_file")
int old_seed_listeners(struct bpf_iter__task_file *ctx) { return old_seed(ctx, true); }

SEC("iter/task_file")
int old_seed_conns(struct bpf_iter__task_file *ctx) { return old_seed(ctx, false); }
