/* One connection: its ends, its process, and the notes in its socket. */
#pragma once

#include "state.h"

static __always_inline u32 netns_of(struct sock *sk) { return sk->__sk_common.skc_net.net->ns.inum; }

static __always_inline u64 cgroup_of(struct sock *sk)
{
	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup)) /* before 5.15 */
		return 0;
	return sk->sk_cgrp_data.cgroup->kn->id;
}

static __always_inline void map4(u8 *to, __be32 from)
{
	u32 *w = (u32 *)to;
	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = from;
}

static __always_inline void ends(struct sock *sk, u8 *laddr, u8 *raddr)
{
	if (sk->__sk_common.skc_family == AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		BPF_CORE_READ_INTO((struct in6_addr *)laddr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)raddr, sk, __sk_common.skc_v6_daddr);
		return;
	}
	map4(laddr, sk->__sk_common.skc_rcv_saddr);
	map4(raddr, sk->__sk_common.skc_daddr);
}

/* The number of the port survives CLOSE here, but not in skc_num. */
static __always_inline u16 lport_of(struct sock *sk) { return bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport)); }

static __noinline struct conn *old_storage(u64 at, struct conn *begin)
{
	struct conn *c = bpf_map_lookup_elem(&old_conns, &at);
	if (c || !begin)
		return c;
	bpf_map_update_elem(&old_conns, &at, begin, BPF_NOEXIST);
	return bpf_map_lookup_elem(&old_conns, &at);
}

/* What is noted in a socket. sk comes from a hook, or the verifier knows it otherwise. */
static __always_inline struct conn *storage(void *sk, bool make)
{
	if (!old_tasks)
		return bpf_sk_storage_get(&conns, sk, 0, make ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
	u32 i = 0;
	return old_storage((u64)sk, make ? bpf_map_lookup_elem(&no_conn, &i) : 0);
}

/* A socket that begins has nothing of the one that had its address before. What that one
 * noted stays until then: its reset is sent after its CLOSE. */
static __always_inline void old_begin(struct sock *sk)
{
	u64 at = (u64)sk;
	bpf_map_delete_elem(&old_conns, &at);
}

/* A socket that a listener accepted begins with what is noted in that one. */
static __always_inline void old_inherit(struct sock *sk)
{
	struct port p = { .netns = netns_of(sk), .port = lport_of(sk) };
	struct conn *l = bpf_map_lookup_elem(&old_listeners, &p);
	old_begin(sk);
	if (l)
		old_storage((u64)sk, l);
}

static __always_inline void old_listen(struct sock *sk, struct conn *c)
{
	struct port p = { .netns = netns_of(sk), .port = lport_of(sk) };
	bpf_map_update_elem(&old_listeners, &p, c, BPF_ANY);
}

static __always_inline void owner(struct conn *c, struct task_struct *t)
{
	t = TASK_READ(t->group_leader, t, group_leader);
	c->tgid = TASK_READ(t->tgid, t, tgid);
	c->start_cs = TASK_READ(t->start_boottime, t, start_boottime) / 10000000;
	bpf_probe_read_kernel(c->comm, sizeof(c->comm), t->comm);
}

/* The first socket that a hook sees after the agent came is counted from then on. */
static __always_inline void baseline(struct conn *c, struct tcp_sock *tp)
{
	c->bytes_acked = tp->bytes_acked;
	c->bytes_received = tp->bytes_received;
	c->data_segs = tp->data_segs_out;
	c->ooo = tp->rcv_ooopack;
	c->total_retrans = tp->total_retrans;
}

static __always_inline struct conn *conn_of(struct sock *sk)
{
	struct conn *c = storage(sk, false);
	if (c)
		return c;
	c = storage(sk, true);
	if (!c) {
		lose(LOSS_STORAGE);
		return 0;
	}
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		baseline(c, tp);
	c->cgroup = cgroup_of(sk);
	c->touched = 1;
	struct port p = { .netns = netns_of(sk), .port = lport_of(sk) };
	c->role = bpf_map_lookup_elem(&ports, &p) ? ROLE_SERVER : ROLE_CLIENT;
	return c;
}
