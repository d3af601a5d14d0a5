//go:build ignore

/* TCP as the kernel sees it. What a connection does is noted in the socket
 * (conns) and folded into a sum by process and peer (sums), which user space
 * reads every interval; only what is out of the ordinary goes up as an event.
 * All hooks but seed_* run with the socket's lock held, so what is noted in the
 * socket needs no atomics; sums are shared and do. */
#include "../bpf/core.h"

char LICENSE[] SEC("license") = "GPL";

enum { AF_INET = 2, AF_INET6 = 10, IPPROTO_TCP = 6, IPPROTO_MPTCP = 262 };
enum {
	TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT,
	TCP_CLOSE, TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_LISTEN, TCP_CLOSING, TCP_NEW_SYN_RECV,
};
enum { ECONNREFUSED = 111, ETIMEDOUT = 110, EHOSTUNREACH = 113, ENETUNREACH = 101, E2BIG = 7 };
enum { SOL_TCP = 6, TCP_BPF_SOCK_OPS_CB_FLAGS = 1008 };
enum {
	BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB = 4, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5,
	BPF_SOCK_OPS_RTT_CB = 12, BPF_SOCK_OPS_RTT_CB_FLAG = 8,
};

KERNEL_STRUCTS
typedef struct { int counter; } atomic_t;
struct ns_common { u32 inum; };
struct net { struct ns_common ns; };
typedef struct { struct net *net; } possible_net_t;
struct kernfs_node { u64 id; };
struct cgroup { struct kernfs_node *kn; };
struct sock_cgroup_data { struct cgroup *cgroup; };
struct in6_addr { u8 a[16]; };
struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	unsigned long skc_flags;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
enum sock_flags { SOCK_DEAD, SOCK_DONE };
struct sock {
	struct sock_common __sk_common;
	int sk_err;
	u16 sk_protocol;
	u32 sk_ack_backlog, sk_max_ack_backlog;
	atomic_t sk_drops;
	struct sock_cgroup_data sk_cgrp_data;
};
struct inet_sock { __be16 inet_sport; };
struct tcp_sock {
	u32 snd_wnd, rcv_wnd, srtt_us, data_segs_out, rcv_ooopack, total_retrans;
	u64 bytes_acked, bytes_received, tcp_mstamp;
	u8 bpf_sock_ops_cb_flags;
};
struct mptcp_sock { struct sock *first; };
struct inet_timewait_sock { volatile unsigned char tw_substate; };
struct tcp_timewait_sock { struct inet_timewait_sock tw_sk; };
struct sk_buff;
struct task_struct { struct task_struct *group_leader; int tgid; u64 start_boottime; char comm[16]; };
struct socket { struct sock *sk; };
struct file;
struct request_sock;
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; };
struct bpf_iter__tcp { struct bpf_iter_meta *meta; struct sock_common *sk_common; };
struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; struct file *file; };
KERNEL_STRUCTS_END

/* include/uapi: fixed layout */
struct bpf_sock_ops {
	u32 op;
	u32 args[4];
	u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port;
	u32 is_fullsock, snd_cwnd, srtt_us, bpf_sock_ops_cb_flags, state, rtt_min, snd_ssthresh;
	u32 rcv_nxt, snd_nxt, snd_una, mss_cache, ecn_flags, rate_delivered, rate_interval_us;
	u32 packets_out, retrans_out, total_retrans, segs_in, data_segs_in, segs_out, data_segs_out;
	u32 lost_out, sacked_out, sk_txhash;
	u64 bytes_received, bytes_acked;
	union { struct bpf_sock *sk; u64 : 64; };
};

enum { ROLE_UNKNOWN, ROLE_CLIENT, ROLE_SERVER, ROLE_LISTENER };
enum { FAIL_REFUSED, FAIL_TIMEOUT, FAIL_UNREACHABLE, FAIL_CANCELED, FAIL_NO_PORT, FAIL_OTHER, FAILS };
enum { EV_CONNECT_SLOW = 1, EV_CONNECT_FAILED, EV_RESET_SENT, EV_RESET_RECEIVED, EV_CLOSED_BAD, EV_CONNECTION };

#define RTT_SLOTS 40  /* half octaves from 64 us */
#define CONN_SLOTS 20 /* octaves from 64 us */
#define PENDING 8     /* RTT samples kept in the socket before they are folded into the sum */

/* Who talks to whom. The ephemeral side's port is 0. Addresses are IPv6; IPv4 is mapped. */
struct key {
	u64 cgroup;
	u32 tgid;
	u32 start_cs; /* of the process, in 10 ms since boot: tells apart processes that had one id */
	u32 netns;
	u16 lport, rport;
	u8 laddr[16], raddr[16];
	u32 role;
	u32 pad;
};

/* Counters since the sum was made; user space takes differences. */
struct sum {
	u64 bytes_sent, bytes_received;
	u64 rtt_us, connect_us, handshake_us, wait_us; /* totals of durations */
	u32 data_segs, retrans, syn_retrans, synack_retrans;
	u32 connects, connect_over, accepts, handshake_over;
	u32 waits, wait_over;
	u32 failed[FAILS];
	u32 closed, time_waits, resets_sent, resets_received;
	u32 zero_peer, zero_local, ooo;
	u32 rtts, rtt_over;
	u32 open, open_epoch;
	u32 pad;
	u32 rtt_hist[RTT_SLOTS];
	u32 connect_hist[CONN_SLOTS];
	u8 comm[16];
};

struct conn {
	u64 cgroup;
	u64 start_ns, est_ns;
	u64 bytes_acked, bytes_received;   /* as folded */
	u32 data_segs, ooo, total_retrans; /* as folded */
	u32 tgid, start_cs;
	u32 retrans, rtt_max;
	u32 told, rtt_recent; /* of these, what was told; the worst since the last poll */
	u32 last_srtt;
	u32 pending[PENDING];
	u8 pendings, role, zero_peer, zero_local, touched;
	u8 comm[16];
};

struct event {
	u64 time_ns, cgroup, dur_ns, sock;
	u64 bytes_sent, bytes_received;
	u32 kind, detail; /* of EV_CONNECT_FAILED: FAIL_… */
	u32 tgid, start_cs, netns;
	u32 srtt_us, rtt_max_us, retrans, retrans_recent;
	u16 lport, rport;
	u8 laddr[16], raddr[16];
	u32 role;
	u8 comm[16];
	u32 pad;
};

struct listener { u64 cgroup; u32 tgid, start_cs, netns, backlog, max_backlog, drops; u16 port, pad; u8 addr[16]; u8 comm[16]; u32 pad2; };
struct listener *unused_listener __attribute__((unused));
struct event *unused_event __attribute__((unused));

struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE); __type(key, int); __type(value, struct conn); } conns SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8192); __type(key, struct key); __type(value, struct sum); } sums SEC(".maps");
/* Of peers without room in sums, by process. */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, struct key); __type(value, struct sum); } others SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct sum); } zero SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } events SEC(".maps");
/* Listening ports, for the roles of sockets older than the agent. */
struct port { u32 netns; u32 port; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, struct port); __type(value, u8); } ports SEC(".maps");
/* Owners of TCP sockets that an older MPTCP socket stands before, as with all
 * listeners of Go since 1.24: the file is of the one, hooks see the other. */
struct owned { u32 tgid, start_cs; u8 comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, struct owned); } subflows SEC(".maps");
/* Sockets by state in the namespace that snap runs in, the number of the poll, and
 * how many live connections it may still tell of, and had to leave out. */
struct poll { u32 epoch, room, suppressed; u32 states[13]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct poll); } polls SEC(".maps");
/* The limit on events of one CPU, by second. */
struct quota { u64 second; u32 used; u32 pad; u64 suppressed; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct quota); } quotas SEC(".maps");
DECLARE_LOSSES

volatile const u32 connect_over_us = 100000;
volatile const u32 rtt_over_us = 200000;
volatile const u32 wait_over_us = 100000;
volatile const u32 events_per_second = 200; /* of one CPU */

#define add(p, n) __sync_fetch_and_add(p, n)

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

static __always_inline void owner(struct conn *c, struct task_struct *t)
{
	t = t->group_leader;
	c->tgid = t->tgid;
	c->start_cs = t->start_boottime / 10000000;
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
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (c)
		return c;
	c = bpf_sk_storage_get(&conns, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
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
	if (bpf_map_update_elem(&sums, &k, z, BPF_NOEXIST) != -E2BIG) {
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
		if (!s)
			lose(LOSS_MAP);
	}
	if (s)
		__builtin_memcpy(s->comm, c->comm, sizeof(s->comm));
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
	if (acked != c->bytes_acked)
		add(&s->bytes_sent, acked - c->bytes_acked);
	if (received != c->bytes_received)
		add(&s->bytes_received, received - c->bytes_received);
	if (segs != c->data_segs)
		add(&s->data_segs, segs - c->data_segs);
	if (ooo != c->ooo)
		add(&s->ooo, ooo - c->ooo);
	c->bytes_acked = acked;
	c->bytes_received = received;
	c->data_segs = segs;
	c->ooo = ooo;
	see_retrans(tp, c, s);
	if (c->pendings)
		fold_rtt(c, s);
}

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

static __always_inline void on_established(struct sock *sk, int from)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
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
		on_established(sk, from);
		return 0;
	}
	if (to == TCP_CLOSE) {
		if (from != TCP_LISTEN && from != TCP_CLOSE && from != TCP_NEW_SYN_RECV && from != TCP_SYN_RECV)
			on_closed(sk, from);
		return 0;
	}
	if (to != TCP_SYN_SENT && to != TCP_LISTEN)
		return 0;
	/* In the context of the process that called connect or listen. */
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!c) {
		lose(LOSS_STORAGE);
		return 0;
	}
	owner(c, (struct task_struct *)bpf_get_current_task_btf());
	c->cgroup = bpf_get_current_cgroup_id();
	if (to == TCP_LISTEN) {
		c->role = ROLE_LISTENER;
		return 0;
	}
	/* A socket may connect again after it failed. */
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
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
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
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	u8 closed = tp->rcv_wnd == 0;
	if (closed != c->zero_local) {
		c->zero_local = closed;
		if (closed) {
			struct sum *s = sum_of(sk, c);
			if (s)
				add(&s->zero_local, 1);
		}
	}
	if (c->touched)
		return 0;
	c->touched = 1;
	owner(c, (struct task_struct *)bpf_get_current_task_btf());
	struct sum *s = sum_of(sk, c);
	if (!s)
		return 0;
	u64 now = bpf_ktime_get_ns(), since = tp->tcp_mstamp * 1000;
	if (since < c->est_ns)
		since = c->est_ns;
	u32 us = now > since ? (now - since) / 1000 : 0;
	add(&s->waits, 1);
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
		struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
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
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
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

static __always_inline struct conn *adopt(struct sock *sk, struct conn *c, u8 role)
{
	u64 at = (u64)sk;
	struct owned *o = bpf_map_lookup_elem(&subflows, &at);
	if (!o)
		return c;
	if (!c)
		c = bpf_sk_storage_get(&conns, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
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
		struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
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
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
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
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c) {
		/* sk is what a file points at, not what a hook vouches for. */
		c = bpf_sk_storage_get(&conns, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
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
