/* What user space asks for every interval: all sockets of a network namespace. */
#pragma once

#include "event.h"
#include "sum.h"

static __always_inline struct conn *adopt(struct sock *sk, struct conn *c, u8 role)
{
	u64 at = (u64)sk;
	struct owned *o = bpf_map_lookup_elem(&subflows, &at);
	if (!o)
		return c;
	if (!c)
		c = storage(sk, true);
	if (!c)
		return 0;
	c->role = role;
	c->cgroup = cgroup_of(sk);
	c->tgid = o->tgid;
	c->start_cs = o->start_cs;
	__builtin_memcpy(c->comm, o->comm, sizeof(c->comm));
	return c;
}

/* A live connection out of the ordinary, once a poll. */
static __always_inline void tell(struct sock *sk, struct conn *c, struct poll *p)
{
	if (p->room) {
		p->room--;
		send(sk, c, EV_CONNECTION, 0, c->est_ns ? bpf_ktime_get_ns() - c->est_ns : 0);
	} else {
		p->suppressed++;
	}
	c->told = c->retrans;
	c->rtt_recent = 0;
}

/* One poll of one network namespace: folds all its connections, counts states,
 * writes one record a listener. */
SEC("iter/tcp")
int snap(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	u32 i = 0;
	struct poll *p = bpf_map_lookup_elem(&polls, &i);
	if (!skc || !p)
		return 0;
	u32 state = skc->skc_state;
	if (state == TCP_TIME_WAIT) {
		/* The small socket of one that waits for the peer's FIN without its process, too. */
		struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(skc);
		if (tw)
			state = tw->tw_sk.tw_substate;
	}
	if (state < 13)
		p->states[state]++;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	struct sock *sk = (struct sock *)tp;
	if (state == TCP_LISTEN) {
		struct listener l = {};
		struct conn *c = storage(sk, false);
		if (!c || !c->tgid)
			c = adopt(sk, c, ROLE_LISTENER);
		if (c) {
			l.tgid = c->tgid;
			l.start_cs = c->start_cs;
			__builtin_memcpy(l.comm, c->comm, sizeof(l.comm));
		}
		l.cgroup = cgroup_of(sk);
		l.netns = netns_of(sk);
		l.port = lport_of(sk);
		l.backlog = sk->sk_ack_backlog;
		l.max_backlog = sk->sk_max_ack_backlog;
		l.drops = BPF_CORE_READ(sk, sk_drops.counter);
		u8 r[16];
		ends(sk, l.addr, r);
		bpf_seq_write(ctx->meta->seq, &l, sizeof(l));
		return 0;
	}
	if (state == TCP_CLOSE || state == TCP_SYN_SENT)
		return 0;
	struct conn *c = conn_of(sk);
	if (!c)
		return 0;
	if (c->role == ROLE_LISTENER) /* accepted while the agent started */
		c->role = ROLE_SERVER;
	if (!c->tgid)
		adopt(sk, c, c->role);
	struct sum *s = sum_of(sk, c);
	if (!s)
		return 0;
	see_window(sk, c, tp);
	if (state == TCP_ESTABLISHED)
		see_own_window(sk, c, tp);
	fold(tp, c, s, state == TCP_FIN_WAIT2);
	if (c->retrans != c->told || c->rtt_recent > rtt_over_us)
		tell(sk, c, p);
	if (s->open_epoch != p->epoch) {
		s->open_epoch = p->epoch;
		s->open = 0;
	}
	s->open++;
	return 0;
}
