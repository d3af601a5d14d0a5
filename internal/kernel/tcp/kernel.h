/* What is read of the kernel: sockets, the files they stand behind, the processes
 * that hold these. */
#pragma once

#include "../bpf/old.h"

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
typedef struct { int owned; } socket_lock_t;
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
	socket_lock_t sk_lock;
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
struct css_set { struct cgroup *dfl_cgrp; };
struct task_struct { struct task_struct *group_leader; int tgid; u64 start_boottime; char comm[16]; struct css_set *cgroups; };
struct socket { struct sock *sk; };
struct inode { unsigned short i_mode; };
struct file { struct inode *f_inode; void *private_data; };
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
