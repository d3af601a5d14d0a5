/* What is kept between two calls and what user space reads of it: the maps, their
 * keys and values, the settings. */
#pragma once

#include "kernel.h"

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

/* The notes in a socket. */
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

/* One thing out of the ordinary. */
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

/* One listening socket, as each poll finds it. */
struct listener {
	u64 cgroup;
	u32 tgid, start_cs, netns, backlog, max_backlog, drops;
	u16 port, pad;
	u8 addr[16];
	u8 comm[16];
	u32 pad2;
};

/* No map has these as its value: bpf2go finds them by a use. */
struct listener *unused_listener __attribute__((unused));
struct event *unused_event __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct key);
	__type(value, struct sum);
} sums SEC(".maps");

struct port { u32 netns; u32 port; };

/* In place of conns before Linux 5.11, where tracepoints have no storage of sockets:
 * by address, from what makes a socket known until another has it. Listeners are by port too,
 * for what they accept. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct conn);
} old_conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct port);
	__type(value, struct conn);
} old_listeners SEC(".maps");

/* What a new entry of these begins with, and of sums: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct conn);
} no_conn SEC(".maps");

/* Of peers without room in sums, by process. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, struct sum);
} others SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct sum);
} zero SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

/* Listening ports, for the roles of sockets older than the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct port);
	__type(value, u8);
} ports SEC(".maps");

/* Owners of TCP sockets that an older MPTCP socket stands before, as with all
 * listeners of Go since 1.24: the file is of the one, hooks see the other. */
struct owned { u32 tgid, start_cs; u8 comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct owned);
} subflows SEC(".maps");

/* Sockets by state in the namespace that snap runs in, the number of the poll, and
 * how many live connections it may still tell of, and had to leave out. */
struct poll { u32 epoch, room, suppressed; u32 states[13]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct poll);
} polls SEC(".maps");

/* The limit on events of one CPU, by second. */
struct quota { u64 second; u32 used; u32 pad; u64 suppressed; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct quota);
} quotas SEC(".maps");

DECLARE_LOSSES

volatile const u32 connect_over_us = 100000;
volatile const u32 rtt_over_us = 200000;
volatile const u32 wait_over_us = 100000;
volatile const u32 events_per_second = 200; /* of one CPU */

#define add(p, n) __sync_fetch_and_add(p, n)
