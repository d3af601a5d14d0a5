//go:build ignore

/* Answers of name servers, with who asked. A program that sends to port 53 is
 * noted by its socket (askers) as it sends; what comes to such a socket from port
 * 53 goes up if it may hold addresses. on_packet runs for every packet that any
 * socket of the machine gets, so what is not UDP from port 53 must leave it within
 * a few instructions. */
#include "../bpf/task.h"

char LICENSE[] SEC("license") = "GPL";

enum { IPPROTO_UDP = 17, DNS_PORT = 53, PASS = 1 };
enum { LOSS_QUOTA = 3, LOSS_SIZE = 4 };

/* include/uapi: fixed layout */
struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end;
};
struct bpf_sock_addr {
	u32 user_family, user_ip4, user_ip6[4], user_port;
};

KERNEL_STRUCTS
struct net { struct ns_common ns; };
KERNEL_STRUCTS_END

/* The kernel gives a cookie to one socket only. The least recently used go when
 * there is no room: sockets that ask are short-lived, and none tells of its end. */
struct asker { u32 tgid, start_cs, netns; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, u64); __type(value, struct asker); } askers SEC(".maps");

/* One record is as large as its class, whatever it holds: a size that is not
 * constant may not be reserved. 512 bytes are what DNS has without EDNS, 4096 what
 * servers send at most with it. */
enum { SMALL = 512, LARGE = 4096 };
struct head { struct asker asker; u32 len; };
struct small { struct head head; u8 message[SMALL]; };
struct large { struct head head; u8 message[LARGE]; };
const struct head *unused_head __attribute__((unused));
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 256 << 10); } answers SEC(".maps");

struct quota { u64 second; u64 used; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct quota); } quotas SEC(".maps");
DECLARE_LOSSES

volatile const u32 answers_per_second = 1000; /* of one CPU */

static __always_inline bool within_quota(void)
{
	u32 i = 0;
	struct quota *q = bpf_map_lookup_elem(&quotas, &i);
	if (!q)
		return false;
	u64 second = bpf_ktime_get_ns() / 1000000000;
	if (q->second != second) {
		q->second = second;
		q->used = 0;
	}
	return q->used++ < answers_per_second;
}

static __always_inline int asks(struct bpf_sock_addr *ctx)
{
	if (ctx->user_port != bpf_htons(DNS_PORT))
		return PASS;
	struct task_struct *t = (struct task_struct *)bpf_get_current_task();
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct asker a = {
		.tgid = BPF_CORE_READ(t, tgid), .start_cs = process_start(t) / 10000000, .netns = BPF_CORE_READ(t, nsproxy, net_ns, ns.inum),
	};
	if (bpf_map_update_elem(&askers, &cookie, &a, BPF_ANY))
		lose(LOSS_MAP);
	return PASS;
}

SEC("cgroup/connect4") int on_connect4(struct bpf_sock_addr *ctx) { return asks(ctx); }
SEC("cgroup/connect6") int on_connect6(struct bpf_sock_addr *ctx) { return asks(ctx); }
SEC("cgroup/sendmsg4") int on_sendmsg4(struct bpf_sock_addr *ctx) { return asks(ctx); }
SEC("cgroup/sendmsg6") int on_sendmsg6(struct bpf_sock_addr *ctx) { return asks(ctx); }

/* What is at the beginning of each DNS message. */
struct dns { __be16 id; u8 flags, code; __be16 questions, answers, authorities, additionals; };
enum { QR = 0x80, OPCODE = 0x78, TC = 0x02, RCODE = 0x0f };

/* of is the offset of the UDP header. */
static __always_inline void answer(struct __sk_buff *skb, u32 of)
{
	u64 cookie = bpf_get_socket_cookie(skb);
	struct asker *a = bpf_map_lookup_elem(&askers, &cookie);
	if (!a)
		return; /* nobody asked */
	struct dns d;
	of += 8;
	if (bpf_skb_load_bytes(skb, of, &d, sizeof(d)))
		return;
	if ((d.flags & (QR | OPCODE | TC)) != QR || (d.code & RCODE) || d.questions != bpf_htons(1) || !d.answers)
		return;
	if (!within_quota()) {
		lose(LOSS_QUOTA);
		return;
	}
	u32 len = skb->len - of;
#define SEND(class, most)                                                              \
	{                                                                              \
		struct class *r = bpf_ringbuf_reserve(&answers, sizeof(*r), 0);        \
		if (!r) {                                                              \
			lose(LOSS_RING);                                               \
			return;                                                        \
		}                                                                      \
		r->head.asker = *a;                                                    \
		r->head.len = len;                                                     \
		if (bpf_skb_load_bytes(skb, of, r->message, len))                      \
			bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);                      \
		else                                                                   \
			bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);                       \
		return;                                                                \
	}
	asm volatile("" : "+r"(len)); /* or the compiler compares another copy of it */
	if (len < sizeof(d))
		return;
	if (len <= SMALL)
		SEND(small, SMALL)
	if (len <= LARGE)
		SEND(large, LARGE)
	lose(LOSS_SIZE);
}

SEC("cgroup_skb/ingress")
int on_packet(struct __sk_buff *skb)
{
	u8 *ip = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	u32 of;
	if (ip + 28 > end)
		return PASS;
	if (ip[0] >> 4 == 4) {
		if (ip[9] != IPPROTO_UDP)
			return PASS;
		of = (ip[0] & 15) * 4;
	} else {
		if (ip[6] != IPPROTO_UDP)
			return PASS;
		of = 40;
	}
	__be16 *port = (void *)(ip + of);
	if ((u8 *)(port + 1) > end || *port != bpf_htons(DNS_PORT))
		return PASS;
	answer(skb, of);
	return PASS;
}
