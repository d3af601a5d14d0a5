/* What happens in between: retransmits, resets, reads, samples of the round trip. */
#pragma once

#include "event.h"
#include "sum.h"

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk, struct sk_buff *skb)
{
	struct conn *c = conn_of(sk);
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!c || !tp)
		return 0;
	struct sum *s = sum_of(sk, c);
	if (!s)
		return 0;
	if (sk->__sk_common.skc_state == TCP_SYN_SENT) {
		add(&s->syn_retrans, tp->total_retrans - c->total_retrans);
		c->total_retrans = tp->total_retrans;
		return 0;
	}
	see_retrans(tp, c, s);
	return 0;
}

/* sk is the listener. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_retransmit_synack, struct sock *sk, struct request_sock *req)
{
	if (sk->__sk_common.skc_state != TCP_LISTEN)
		return 0;
	struct conn *c = storage(sk, false);
	struct sum *s = sum_of(sk, c);
	if (s)
		add(&s->synack_retrans, 1);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(on_send_reset, struct sock *sk)
{
	if (!sk)
		return 0;
	/* Requests and sockets in TIME_WAIT are no whole sockets: they have no storage. */
	u8 state = sk->__sk_common.skc_state;
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV || state == TCP_LISTEN)
		return 0;
	struct conn *c = conn_of(sk);
	struct sum *s = sum_of(sk, c);
	if (!s)
		return 0;
	add(&s->resets_sent, 1);
	emit(sk, c, EV_RESET_SENT, state, 0);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_receive_reset, struct sock *sk)
{
	u8 state = sk->__sk_common.skc_state;
	if (state == TCP_SYN_SENT || state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return 0; /* a refusal, counted as that */
	struct conn *c = conn_of(sk);
	struct sum *s = sum_of(sk, c);
	if (!s)
		return 0;
	add(&s->resets_received, 1);
	emit(sk, c, EV_RESET_RECEIVED, state, 0);
	return 0;
}

/* A process reads. The first read of an accepted connection tells who serves it,
 * of all that share the listener, and how long it waited. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(on_read, struct sock *sk)
{
	struct conn *c = storage(sk, false);
	if (!c)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	see_own_window(sk, c, tp);
	/* What the kernel itself reads (TLS, NVMe) it reads while some process runs, which
	 * has nothing to do with it; a process that reads owns the lock. */
	if (c->touched || (bpf_core_field_exists(sk->sk_lock) && !sk->sk_lock.owned))
		return 0;
	c->touched = 1;
	owner(c, current_task());
	struct sum *s = sum_of(sk, c);
	if (!s)
		return 0;
	u64 now = bpf_ktime_get_ns(), since = tp->tcp_mstamp * 1000;
	if (since < c->est_ns)
		since = c->est_ns;
	u32 us = now > since ? (now - since) / 1000 : 0;
	add(&s->waits, 1);
	if (us) /* of 0 the compiler makes an atomic or, which Linux has from 5.12 on */
		add(&s->wait_us, us);
	if (us > wait_over_us)
		add(&s->wait_over, 1);
	return 0;
}

SEC("sockops")
int on_sockops(struct bpf_sock_ops *o)
{
	if (o->op == BPF_SOCK_OPS_RTT_CB) {
		struct bpf_sock *bs = o->sk;
		if (!bs)
			return 1;
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(bs);
		if (!tp)
			return 1;
		struct sock *sk = (struct sock *)tp;
		struct conn *c = storage(sk, false);
		if (!c)
			return 1;
		u32 us = o->args[0]; /* the sample; before 6.11 only the mean is there */
		sample_rtt(sk, c, us ?: o->srtt_us >> 3);
		see_window(sk, c, tp);
		return 1;
	}
	if (o->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || o->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		bpf_sock_ops_cb_flags_set(o, o->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
	return 1;
}

/* In place of sockops where CAP_NET_ADMIN is missing: fires with each segment
 * that comes in, and knows the mean only. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(on_probe, struct sock *sk, struct sk_buff *skb)
{
	struct conn *c = storage(sk, false);
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!c || !tp)
		return 0;
	u32 srtt = tp->srtt_us >> 3;
	if (srtt != c->last_srtt) {
		c->last_srtt = srtt;
		sample_rtt(sk, c, srtt);
	}
	see_window(sk, c, tp);
	return 0;
}
