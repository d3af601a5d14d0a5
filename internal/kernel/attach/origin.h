/* Where a request comes from: its traceparent header, or the connection. */
#pragma once

#include "span.h"

/* One group of a map[string][]string: eight bytes that say which slots are full,
 * then keys and values; they alternate since Go 1.24. One read fetches several keys: a read
 * costs more than 200 bytes of it. */
#define SWISS_STRIDE 40
#define SWISS_GROUP (8 + 8 * SWISS_STRIDE)
#define BUCKET (8 + 8 * 16 + 8 * 24 + 8)

static __always_inline bool is_traceparent(__u64 at, __u64 len)
{
	__u64 name[2] = {};
	if (len != 11 || bpf_probe_read_user(name, 11, (void *)at))
		return false;
	/* as net/http writes names */
	return name[0] == 0x7261706563617254ULL && name[1] == 0x746e65ULL;
}

/* Functions of numbers alone are global: the verifier reads each once, not once a call.
 * The first four slots come with what says which are full: few requests have more headers, and maps
 * that have not fill them in order. */
__noinline __u64 swiss_find(__u64 group)
{
	__u64 w[18] = {}, full;
	if (bpf_probe_read_user(w, sizeof(w), (void *)group))
		return 0;
	full = ~w[0] & 0x8080808080808080ULL; /* a set bit says that a slot is empty */
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (full >> (8 * i + 7) & 1 && is_traceparent(w[1 + 5 * i], w[2 + 5 * i]))
			return group + 8 + SWISS_STRIDE * i + 16;
	if (!(full >> 32) || bpf_probe_read_user(w, sizeof(w), (void *)(group + 4 * SWISS_STRIDE)))
		return 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (full >> (8 * i + 39) & 1 && is_traceparent(w[1 + 5 * i], w[2 + 5 * i]))
			return group + 8 + SWISS_STRIDE * (i + 4) + 16;
	return 0;
}

__noinline __u64 bucket_find(__u64 bucket)
{
	__u8 top[8] = {};
	if (bpf_probe_read_user(top, sizeof(top), (void *)bucket))
		return 0;
#pragma unroll
	for (int i = 0; i < 8; i += 2) {
		struct str keys[2] = {};
		if ((top[i] < 5 && top[i + 1] < 5) || bpf_probe_read_user(keys, sizeof(keys), (void *)(bucket + 8 + 16 * i)))
			continue;
		if (top[i] >= 5 && is_traceparent(keys[0].at, keys[0].len))
			return bucket + 8 + 128 + 24 * i;
		if (top[i + 1] >= 5 && is_traceparent(keys[1].at, keys[1].len))
			return bucket + 8 + 128 + 24 * (i + 1);
	}
	return 0;
}

#define MAX_GROUPS 16 /* 112 headers */
#define MAX_BUCKETS 24 /* 104 headers, with some buckets behind others */

/* The address of the first value of header Traceparent: struct str; 0: none. */
__noinline __u64 header_find(__u64 map, __u32 swiss)
{
	__u64 found = 0;
	if (!map)
		return 0;
	if (swiss) {
		struct { __u64 used, seed, dir; __s64 len; } m = {};
		if (bpf_probe_read_user(&m, sizeof(m), (void *)map) || !m.used)
			return 0;
		if (!m.len) {
			found = swiss_find(m.dir);
		} else {
			for (int t = 0; t < 2 && t < m.len && !found; t++) {
				__u64 table = word(m.dir, 8 * t);
				struct { __u64 data, mask; } g = {};
				if (!table || bpf_probe_read_user(&g, sizeof(g), (void *)(table + 16)))
					break;
				for (int i = 0; i < MAX_GROUPS && i <= g.mask && !found; i++)
					found = swiss_find(g.data + SWISS_GROUP * i);
			}
		}
	} else {
		struct { __u64 count; __u8 flags, b; __u16 overflow; __u32 hash; __u64 buckets; } m = {};
		if (bpf_probe_read_user(&m, sizeof(m), (void *)map) || !m.count || m.b > 4)
			return 0;
		/* Counting buckets would be one more number that the verifier tells states apart by. */
		__u64 bucket = m.buckets, end = bucket + ((__u64)BUCKET << (m.b & 7)), at = bucket, next = 0;
		for (int i = 0; i < MAX_BUCKETS && at && !found; i++) {
			found = bucket_find(at);
			bpf_probe_read_user(&next, sizeof(next), (void *)(at + BUCKET - 8));
			at = next;
			if (!at) {
				bucket += BUCKET;
				at = bucket < end ? bucket : 0;
			}
		}
	}
	if (!found)
		return 0;
	return word(found, 0);
}

static __always_inline int hex(__u8 c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Reads 00-<trace>-<span>-<flags>. */
static __noinline int parse_parent(__u64 at, struct origin *o)
{
	char s[56] = {};
	int bad = 0;
	__u8 seen = 0, seen_span = 0, span[8] = {};
	if (!o || bpf_probe_read_user(s, 55, (void *)at))
		return 0;
	if (s[2] != '-' || s[35] != '-' || s[52] != '-' || (s[0] == 'f' && s[1] == 'f'))
		return 0;
	for (int i = 0; i < 16; i++) {
		int h = hex(s[3 + 2 * i]), l = hex(s[4 + 2 * i]);
		bad |= h | l;
		o->trace[i] = h << 4 | l;
		seen |= o->trace[i];
	}
	for (int i = 0; i < 8; i++) {
		int h = hex(s[36 + 2 * i]), l = hex(s[37 + 2 * i]);
		bad |= h | l;
		span[i] = h << 4 | l;
		seen_span |= span[i];
	}
	if (bad < 0 || !seen || !seen_span)
		return 0;
	__builtin_memcpy(&o->span, span, 8);
	return 1;
}

/* Reads the *net.TCPAddr at the end of a TCP connection that a net.Conn's data is, if it is
 * one. Garbage in, nothing out. */
static __always_inline int tcp_end(__u64 conn, struct offsets *o, __u32 kind, struct str *ip, __u64 *port)
{
	__u64 fd = word(conn, o->tcp_fd);
	__u64 addr = fd ? word(fd + 8, kind == HTTP_CLIENT ? o->fd_laddr : o->fd_raddr) : 0;
	if (!addr)
		return 0;
	*port = word(addr, o->addr_port);
	return *port && *port <= 65535 && bpf_probe_read_user(ip, sizeof(*ip), (void *)(addr + o->addr_ip)) == 0 && (ip->len == 4 || ip->len == 16);
}

#define MAX_WRAPPED 3 /* gRPC's conn, TLS' conn, and one of who listens */

/* The TCP connection within what is none: h2c's, TLS' and many a listener's connections
 * begin with the net.Conn that they wrap, {table, data}. */
__noinline __u64 wrapped(__u64 conn, __u32 slot, __u32 kind)
{
	struct offsets *o = bpf_map_lookup_elem(&slots, &slot);
	if (!o)
		return 0;
	for (int i = 0; i < MAX_WRAPPED; i++) {
		struct str ip = {};
		__u64 port = 0;
		conn = word(conn, 8);
		if (!conn)
			return 0;
		if (tcp_end(conn, o, kind, &ip, &port))
			return conn;
	}
	return 0;
}

/* The end of a TCP connection that a net.Conn's data is, or wraps. Most wrap none, and are
 * read once. */
static __noinline int read_flow(__u64 conn, __u32 slot, __u32 kind, struct flow *f)
{
	struct offsets *o = bpf_map_lookup_elem(&slots, &slot);
	struct str ip = {};
	__u64 port = 0;
	if (!f || !o || !conn)
		return 0;
	if (!tcp_end(conn, o, kind, &ip, &port)) {
		conn = wrapped(conn, slot, kind);
		if (!conn || !tcp_end(conn, o, kind, &ip, &port))
			return 0;
	}
	__builtin_memset(f, 0, sizeof(*f));
	if (ip.len == 4) {
		f->ip[10] = f->ip[11] = 0xff;
		if (bpf_probe_read_user(f->ip + 12, 4, (void *)ip.at))
			return 0;
	} else if (ip.len != 16 || bpf_probe_read_user(f->ip, 16, (void *)ip.at)) {
		return 0;
	}
	f->port = port;
	/* 127/8 and ::1 */
	__u64 hi = *(__u64 *)f->ip;
	if (hi == 0 && (f->ip[10] ? f->ip[12] == 127 : f->ip[15] == 1 && !f->ip[12]))
		f->netns = o->netns;
	return 1;
}

/* The net.Conn below TLS. Interfaces are {table, data}: + 8. */
static __always_inline __u64 tcp_of(struct offsets *o, __u64 conn, bool tls)
{
	return tls && conn ? word(conn + 8, o->tls_conn) : conn;
}

/* The connection of an HTTP/2 request by its responseWriter; a client's end has the stream. */
static __noinline int read_stream(__u64 writer, __u32 slot, bool x, struct flow *f)
{
	struct offsets *o = bpf_map_lookup_elem(&slots, &slot);
	if (!f || !o)
		return 0;
	__u64 rws = word(writer, x ? o->xh2_rws : o->h2_rws);
	__u64 stream = word(rws, x ? o->xh2_stream : o->h2_stream);
	__u64 sc = word(stream, x ? o->xh2_sc : o->h2_sc);
	if (!sc || !read_flow(tcp_of(o, word(sc + 8, x ? o->xh2_conn : o->h2_conn), word(sc, x ? o->xh2_tls : o->h2_tls)), slot, HTTP_SERVER, f))
		return 0;
	f->stream = word(stream, x ? o->xh2_id : o->h2_id);
	return 1;
}
