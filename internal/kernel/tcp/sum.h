/* From the notes in a socket to the sum of its process and peer. */
#pragma once

#include "conn.h"

static __noinline struct sum *sum_of(struct sock *sk, struct conn *c)
{
	struct key k = {};
	if (!c || !sk)
		return 0;
	k.cgroup = c->cgroup;
	k.tgid = c->tgid;
	k.start_cs = c->start_cs;
	k.netns = netns_of(sk);
	k.role = c->role;
	if (c->role == ROLE_CLIENT)
		k.rport = bpf_ntohs(sk->__sk_common.skc_dport);
	else
		k.lport = lport_of(sk);
	ends(sk, k.laddr, k.raddr);
	struct sum *s = bpf_map_lookup_elem(&sums, &k);
	if (s)
		return s;
	u32 i = 0;
	struct sum *z = bpf_map_lookup_elem(&zero, &i);
	if (!z)
		return 0;
	if (map_update(&sums, &k, z, BPF_NOEXIST) != -E2BIG) {
		s = bpf_map_lookup_elem(&sums, &k);
	} else {
		/* No room for one more peer: the process's others, together. */
		__builtin_memset(k.raddr, 0, 16);
		__builtin_memset(k.laddr, 0, 16);
		k.rport = 0;
		s = bpf_map_lookup_elem(&others, &k);
		if (s)
			return s;
		bpf_map_update_elem(&others, &k, z, BPF_NOEXIST);
		s = bpf_map_lookup_elem(&others, &k);
	}
	if (s)
		__builtin_memcpy(s->comm, c->comm, sizeof(s->comm));
	else
		lose(LOSS_MAP);
	return s;
}

/* Slot 0 is below 64 us; then two slots an octave. Not static: the verifier
 * checks it once, by itself, and not for each path that leads to it. */
__noinline u32 slot_of(u32 us)
{
	u32 v = us, e = 0;
	if (us < 64)
		return 0;
	if (v >= 1 << 16) { v >>= 16; e += 16; }
	if (v >= 1 << 8) { v >>= 8; e += 8; }
	if (v >= 1 << 4) { v >>= 4; e += 4; }
	if (v >= 1 << 2) { v >>= 2; e += 2; }
	if (v >= 1 << 1) { e += 1; }
	u32 slot = 1 + (e - 6) * 2 + ((us >> (e - 1)) & 1);
	return slot < RTT_SLOTS ? slot : RTT_SLOTS - 1;
}

static __noinline int fold_rtt(struct conn *c, struct sum *s)
{
	u32 n, total = 0, over = 0;
	if (!c || !s)
		return 0;
	n = c->pendings;
	if (n > PENDING)
		n = PENDING;
	for (u32 i = 0; i < PENDING; i++) {
		if (i >= n)
			break;
		u32 us = c->pending[i];
		total += us;
		over += us > rtt_over_us;
		u32 slot = slot_of(us);
		if (slot < RTT_SLOTS)
			add(&s->rtt_hist[slot], 1);
	}
	if (n) {
		add(&s->rtt_us, total);
		add(&s->rtts, n);
		if (over)
			add(&s->rtt_over, over);
	}
	c->pendings = 0;
	return 0;
}

/* The socket's own counter is that of ss and, summed, of nstat. The hook alone
 * would not do: Linux 6.17 calls it for retransmits that failed, too. */
static __always_inline void see_retrans(struct tcp_sock *tp, struct conn *c, struct sum *s)
{
	u32 n = tp->total_retrans - c->total_retrans;
	if (!n)
		return;
	c->total_retrans += n;
	c->retrans += n;
	add(&s->retrans, n);
}

/* fold takes what happened in the socket since the last time into the sum. The
 * kernel counts an acknowledged FIN and a received one as a byte each. */
static __always_inline void fold(struct tcp_sock *tp, struct conn *c, struct sum *s, bool fin_acked)
{
	struct sock *sk = (struct sock *)tp;
	bool fin_received = sk->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
	u64 acked = tp->bytes_acked - fin_acked, received = tp->bytes_received - fin_received;
	u32 segs = tp->data_segs_out, ooo = tp->rcv_ooopack;
	/* Less than before: the FIN was part of what was there at first (baseline), or
	 * nobody acknowledged it. */
	if ((s64)(acked - c->bytes_acked) > 0) {
		add(&s->bytes_sent, acked - c->bytes_acked);
		c->bytes_acked = acked;
	}
	if ((s64)(received - c->bytes_received) > 0) {
		add(&s->bytes_received, received - c->bytes_received);
		c->bytes_received = received;
	}
	if (segs != c->data_segs)
		add(&s->data_segs, segs - c->data_segs);
	if (ooo != c->ooo)
		add(&s->ooo, ooo - c->ooo);
	c->data_segs = segs;
	c->ooo = ooo;
	see_retrans(tp, c, s);
	if (c->pendings)
		fold_rtt(c, s);
}

static __always_inline void sample_rtt(struct sock *sk, struct conn *c, u32 us)
{
	if (us > c->rtt_max)
		c->rtt_max = us;
	if (us > c->rtt_recent)
		c->rtt_recent = us;
	u32 n = c->pendings;
	if (n < PENDING)
		c->pending[n & (PENDING - 1)] = us;
	c->pendings = n + 1;
	if (n + 1 >= PENDING) {
		struct sum *s = sum_of(sk, c);
		if (s)
			fold_rtt(c, s);
		else
			c->pendings = 0;
	}
}

/* The ACK that closes the peer's window acknowledges data, as a rule, and so comes by here. */
static __always_inline void see_window(struct sock *sk, struct conn *c, struct tcp_sock *tp)
{
	u8 closed = tp->snd_wnd == 0;
	if (closed && !c->zero_peer) {
		struct sum *s = sum_of(sk, c);
		if (s)
			add(&s->zero_peer, 1);
	}
	c->zero_peer = closed;
}

/* Seen when a process reads, and by each poll: one that hangs does not read. */
static __always_inline void see_own_window(struct sock *sk, struct conn *c, struct tcp_sock *tp)
{
	u8 closed = tp->rcv_wnd == 0;
	if (closed && !c->zero_local) {
		struct sum *s = sum_of(sk, c);
		if (s)
			add(&s->zero_local, 1);
	}
	c->zero_local = closed;
}
