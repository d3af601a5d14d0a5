/* How a connection begins and ends: the changes of its state. */
#pragma once

#include "event.h"
#include "sum.h"

static __always_inline void on_established(struct sock *sk, int from)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct conn *c = storage(sk, true);
	if (!c) {
		lose(LOSS_STORAGE);
		return;
	}
	if (!tp)
		return;
	c->est_ns = bpf_ktime_get_ns();
	c->cgroup = cgroup_of(sk) ?: c->cgroup;
	baseline(c, tp); /* the SYN counts as a byte */
	if (from == TCP_SYN_SENT) {
		c->role = ROLE_CLIENT;
		struct sum *s = sum_of(sk, c);
		u64 took = c->start_ns ? c->est_ns - c->start_ns : 0;
		u32 us = took / 1000;
		if (!s)
			return;
		add(&s->connects, 1);
		add(&s->connect_us, us);
		u32 slot = (slot_of(us) + 1) >> 1;
		if (slot >= CONN_SLOTS)
			slot = CONN_SLOTS - 1;
		add(&s->connect_hist[slot], 1);
		if (us > connect_over_us) {
			add(&s->connect_over, 1);
			emit(sk, c, EV_CONNECT_SLOW, 0, took);
		}
		return;
	}
	c->role = ROLE_SERVER;
	c->start_ns = c->est_ns;
	c->touched = 0;
	c->retrans = 0;
	c->told = 0;
	struct sum *s = sum_of(sk, c);
	if (!s)
		return;
	/* The kernel's first estimate is the time between its SYN-ACK and the ACK. */
	u32 us = tp->srtt_us >> 3;
	add(&s->accepts, 1);
	add(&s->handshake_us, us);
	if (us > connect_over_us)
		add(&s->handshake_over, 1);
}

static __always_inline u32 why_failed(struct sock *sk)
{
	switch (sk->sk_err) {
	case ECONNREFUSED: return FAIL_REFUSED;
	case ETIMEDOUT: return FAIL_TIMEOUT;
	case EHOSTUNREACH:
	case ENETUNREACH: return FAIL_UNREACHABLE;
	case 0: return lport_of(sk) ? FAIL_CANCELED : FAIL_NO_PORT;
	}
	return FAIL_OTHER;
}

static __always_inline void on_closed(struct sock *sk, int from)
{
	struct conn *c = conn_of(sk);
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!c || !tp)
		return;
	u64 now = bpf_ktime_get_ns();
	struct sum *s = sum_of(sk, c);
	if (!s)
		return;
	if (from == TCP_SYN_SENT) {
		u32 why = why_failed(sk);
		if (why < FAILS)
			add(&s->failed[why], 1);
		emit(sk, c, EV_CONNECT_FAILED, why, c->start_ns ? now - c->start_ns : 0);
		return;
	}
	bool orderly = !sk->sk_err && (from == TCP_LAST_ACK || from == TCP_CLOSING);
	fold(tp, c, s, from == TCP_FIN_WAIT2 || orderly);
	add(&s->closed, 1);
	if ((from == TCP_FIN_WAIT2 || from == TCP_CLOSING) && !sk->sk_err)
		add(&s->time_waits, 1);
	if (c->retrans || c->rtt_max > rtt_over_us)
		emit(sk, c, EV_CLOSED_BAD, 0, c->est_ns ? now - c->est_ns : 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int from, int to)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (to == TCP_ESTABLISHED) {
		if (old_tasks && from == TCP_SYN_RECV)
			old_inherit(sk);
		on_established(sk, from);
		return 0;
	}
	if (to == TCP_CLOSE) {
		if (from != TCP_LISTEN && from != TCP_CLOSE && from != TCP_NEW_SYN_RECV && from != TCP_SYN_RECV)
			on_closed(sk, from);
		if (old_tasks) {
			struct port p = { .netns = netns_of(sk), .port = lport_of(sk) };
			if (from == TCP_LISTEN)
				bpf_map_delete_elem(&old_listeners, &p);
		}
		return 0;
	}
	if (to != TCP_SYN_SENT && to != TCP_LISTEN)
		return 0;
	/* In the context of the process that called connect or listen. */
	if (old_tasks)
		old_begin(sk);
	struct conn *c = storage(sk, true);
	if (!c) {
		lose(LOSS_STORAGE);
		return 0;
	}
	owner(c, current_task());
	c->cgroup = bpf_get_current_cgroup_id();
	if (to == TCP_LISTEN) {
		c->role = ROLE_LISTENER;
		if (old_tasks)
			old_listen(sk, c);
		return 0;
	}
	/* A socket may connect again after it failed; its counters begin anew. */
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		baseline(c, tp);
	c->start_ns = bpf_ktime_get_ns();
	c->role = ROLE_CLIENT;
	c->est_ns = 0;
	c->touched = 1;
	c->retrans = 0;
	c->told = 0;
	c->rtt_max = 0;
	c->rtt_recent = 0;
	return 0;
}
