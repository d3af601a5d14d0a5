//go:build ignore

/* Spans of Go programs, seen from outside. A probe stands at the instruction
 * behind a function's prologue, where all arguments are in registers still, or at
 * a call within it: the kernel emulates both, in a tenth of the time of a
 * single step. Where structures have their fields comes from user space, a slot
 * a process; the probe's cookie is the slot.
 *
 * What a goroutine works for is in goroutines; what it waits for is in calls. */
#include "../bpf/core.h"

char LICENSE[] SEC("license") = "GPL";

/* What the Go compiler passes in registers since 1.17, and the goroutine. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define ARG0(c) ((c)->ax)
#define ARG1(c) ((c)->bx)
#define ARG2(c) ((c)->cx)
#define ARG3(c) ((c)->di)
#define ARG4(c) ((c)->si)
#define ARG5(c) ((c)->r8)
#define ARG6(c) ((c)->r9)
#define ARG7(c) ((c)->r10)
#define ARG8(c) ((c)->r11)
#define G(c) ((c)->r14)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs { __u64 regs[31], sp, pc, pstate; };
#define ARG0(c) ((c)->regs[0])
#define ARG1(c) ((c)->regs[1])
#define ARG2(c) ((c)->regs[2])
#define ARG3(c) ((c)->regs[3])
#define ARG4(c) ((c)->regs[4])
#define ARG5(c) ((c)->regs[5])
#define ARG6(c) ((c)->regs[6])
#define ARG7(c) ((c)->regs[7])
#define ARG8(c) ((c)->regs[8])
#define G(c) ((c)->regs[28])
#endif

enum {
	HTTP_SERVER = 1, HTTP_CLIENT, GRPC_SERVER, GRPC_CLIENT, SQL, REDIS,
};
/* In calls: how deep the call is nested on its goroutine, from 1; or this, with a
 * client stream's address in place of the goroutine's. */
#define MAX_DEPTH 8
#define STREAM 0x100
enum { /* flags of a span */
	TRUNCATED = 1,  /* some text did not fit */
	ABORTED = 2,    /* the handler panicked */
	HIJACKED = 4,   /* the handler took the connection; the span ends there */
	REMOTE = 8,     /* the parent came with a traceparent header */
	CORRELATED = 16, /* the parent was found by the connection */
	HTTP2 = 32,
	TLS = 64,
	ALONE = 1 << 16, /* has no parent, and none of what hangs on it is told */
};
enum { LOSS_BOUND = 3, LOSS_NO_START = 4, LOSS_ABANDONED = 5 };

#define MAX_SLOTS 256
#define NONE 0xffff

volatile const __u32 spans_per_trace = 1000;
/* Some attached process sends requests. */
__u32 correlating;
volatile const __u64 inherit_ns = 300000000000ULL;

/* Where fields are, by process. NONE: this program does not have it. */
struct offsets {
	__u16 g_goid, g_m, m_curg;
	__u16 request_method, request_url, request_header, request_host, request_proto, request_pattern, request_pat, pattern_str;
	__u16 url_scheme, url_host, url_path;
	__u16 http_response_status;           /* of the client's Response */
	__u16 response_status, response_conn; /* of the server's response */
	__u16 conn_rwc, conn_tls;
	__u16 pconn_conn, pconn_tls;
	__u16 tls_conn, tcp_fd, fd_laddr, fd_raddr, addr_ip, addr_port;
	__u16 h2_rws, h2_status;   /* net/http's own HTTP/2 */
	__u16 xh2_rws, xh2_status; /* golang.org/x/net/http2 */
	__u16 db_connector, stmt_query, stmt_db;
	__u16 redis_args, redis_opt, redis_addr;
	__u16 gs_method, gs_id, frame_fields, frame_stream;
	__u16 gs_conn, gc_conn, gc_stream;
	__u16 gs_stream, frame_headers, error_s, status_s, status_code, cc_target;
	__u8 swiss; /* maps: 1 since Go 1.24, 0 before, 2 unknown */
	__u8 pad[3];
	__u32 netns;
};

struct gkey { __u64 g; __u32 slot; __u32 kind; };

/* What was sent on a connection: the client's end of it and, of gRPC, the number
 * of the stream. Loopback addresses count within their network namespace. */
struct flow { __u8 ip[16]; __u32 netns; __u32 port; __u32 stream, pad; };
struct origin { __u8 trace[16]; __u64 span; };

/* What a goroutine works for. */
struct context {
	__u8 trace[16];
	__u64 span; /* of the work at hand, parent of what comes; 0: none */
	__u64 root; /* the first span of this trace here; bounds its size */
	__u64 born; /* when it was handed down from another goroutine, or 0 */
	/* the request that is served on this goroutine */
	__u64 start, id, parent, request, writer;
	__u32 kind, flags, secure;
	__u16 depth, over; /* open calls: those in calls, and those beyond MAX_DEPTH */
	__u64 conn; /* for which peer was found out; 0: not yet */
	__u64 goroutine; /* its number, as of then */
	__u64 random;
	struct flow peer;
};

#define METHOD 16
#define HOST 64
#define ROUTE 96
#define TEXT 256

struct span {
	__u64 start, end;
	__u8 trace[16];
	__u64 id, parent;
	__u64 goroutine;
	__u64 error; /* address of the interface table of the error's type, 0: no error */
	__u64 extra; /* SQL: the same of the connector; Redis: how many commands */
	__u64 extra2; /* SQL: the same of the driver, if the connector is database/sql's own */
	__u64 root;
	__u64 saved; /* what the goroutine's span was before */
	__u64 object; /* what the call is about: tells a call from one within it */
	__u32 slot, kind, flags;
	__s32 status;
	__u32 peer_port;
	__u16 method_len, host_len, route_len, text_len;
	__u8 peer_ip[16];
	struct flow flow;
	__u32 pad;
	__u8 method[METHOD];
	__u8 host[HOST];
	__u8 route[ROUTE];
	__u8 text[TEXT];
};
struct span *unused_span __attribute__((unused));
struct offsets *unused_offsets __attribute__((unused));

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, MAX_SLOTS); __type(key, __u32); __type(value, struct offsets); } slots SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 32768); __type(key, struct gkey); __type(value, struct context); } goroutines SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct gkey); __type(value, struct span); } calls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, __u64); __type(value, __u32); } budgets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct flow); __type(value, struct origin); } flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct gkey); __type(value, struct origin); } streams SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, struct gkey); __type(value, struct flow); } transports SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct span); } blank SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 23); } events SEC(".maps");
DECLARE_LOSSES

static __always_inline struct offsets *offsets_of(void *ctx, __u32 *slot)
{
	*slot = (__u32)bpf_get_attach_cookie(ctx);
	return bpf_map_lookup_elem(&slots, slot);
}

static __always_inline __u64 word(__u64 at, __u16 off)
{
	__u64 v = 0;
	if (at && off != NONE)
		bpf_probe_read_user(&v, sizeof(v), (void *)(at + off));
	return v;
}

/* xorshift64*, sown once a goroutine: the kernel's own takes ten times as long. Never 0. */
static __always_inline __u64 random64(__u64 *state)
{
	__u64 x = *state;
	if (!x)
		x = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545F4914F6CDD1DULL;
}

struct str { __u64 at, len; };

/* A field of a structure whose first REQUEST bytes were copied to buf. */
#define REQUEST 256
#define FIELD(buf, off, type) (*(type *)((buf) + ((off) & (REQUEST - 8))))

/* READ_STRING reads a Go string into a field of a span. */
#define READ_STRING(sp, field, cap, place, off)                                                \
	do {                                                                                   \
		struct str s_ = {};                                                            \
		(sp)->field##_len = 0;                                                         \
		if ((off) != NONE && (place))                                                  \
			bpf_probe_read_user(&s_, sizeof(s_), (void *)((place) + (off)));       \
		READ_TEXT(sp, field, cap, s_.at, s_.len);                                      \
	} while (0)
#define READ_TEXT(sp, field, cap, where, length)                                               \
	do {                                                                                   \
		__u64 n_ = (length), at_ = (where);                                            \
		(sp)->field##_len = 0;                                                         \
		if (at_ && n_ && n_ < 1 << 24) {                                               \
			if (n_ > (cap)) {                                                      \
				n_ = (cap);                                                    \
				(sp)->flags |= TRUNCATED;                                      \
			}                                                                      \
			if (bpf_probe_read_user((sp)->field, n_, (void *)at_) == 0)            \
				(sp)->field##_len = n_;                                        \
		}                                                                              \
	} while (0)

/* One group of a map[string][]string: eight bytes that say which slots are full,
 * then keys and values; they alternate since Go 1.24. One read fetches half of the
 * keys: reads cost more than bytes. */
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

static __noinline __u64 swiss_find(__u64 group)
{
	__u64 w[18] = {}, full;
	if (bpf_probe_read_user(w, sizeof(w), (void *)group))
		return 0;
	full = ~w[0] & 0x8080808080808080ULL; /* a set bit says that a slot is empty */
	for (int i = 0; i < 4; i++)
		if (full >> (8 * i + 7) & 1 && is_traceparent(w[1 + 5 * i], w[2 + 5 * i]))
			return group + 8 + SWISS_STRIDE * i + 16;
	if (!(full >> 32) || bpf_probe_read_user(w, sizeof(w), (void *)(group + 4 * SWISS_STRIDE)))
		return 0;
	for (int i = 0; i < 4; i++)
		if (full >> (8 * i + 39) & 1 && is_traceparent(w[1 + 5 * i], w[2 + 5 * i]))
			return group + 8 + SWISS_STRIDE * (4 + i) + 16;
	return 0;
}

static __noinline __u64 bucket_find(__u64 bucket)
{
	__u8 top[8] = {};
	struct str keys[8] = {};
	if (bpf_probe_read_user(top, sizeof(top), (void *)bucket) || bpf_probe_read_user(keys, sizeof(keys), (void *)(bucket + 8)))
		return 0;
	for (int i = 0; i < 8; i++)
		if (top[i] >= 5 && is_traceparent(keys[i].at, keys[i].len))
			return bucket + 8 + 128 + 24 * i;
	return 0;
}

#define MAX_GROUPS 16 /* 112 headers */

/* The address of the first value of header Traceparent: struct str; 0: none. */
static __noinline __u64 header_find(__u64 map, __u32 swiss)
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
		if (bpf_probe_read_user(&m, sizeof(m), (void *)map) || !m.count || m.b > 3)
			return 0;
		__u64 at = m.buckets, next = 0;
		__u32 bucket = 0;
		for (int i = 0; i < MAX_GROUPS && at && !found; i++) {
			found = bucket_find(at);
			bpf_probe_read_user(&next, sizeof(next), (void *)(at + BUCKET - 8));
			at = next;
			if (!at && ++bucket < (1u << (m.b & 3)))
				at = m.buckets + BUCKET * bucket;
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

/* The end of a TCP connection that a net.Conn's data is. Garbage in, nothing out. */
static __noinline int read_flow(__u64 conn, __u32 slot, __u32 kind, struct flow *f)
{
	struct offsets *o = bpf_map_lookup_elem(&slots, &slot);
	if (!f || !o || !conn)
		return 0;
	__u64 fd = word(conn, o->tcp_fd);
	__u64 addr = fd ? word(fd + 8, kind == HTTP_CLIENT ? o->fd_laddr : o->fd_raddr) : 0;
	if (!addr)
		return 0;
	struct str ip = {};
	__u64 port = word(addr, o->addr_port);
	if (bpf_probe_read_user(&ip, sizeof(ip), (void *)(addr + o->addr_ip)) || port == 0 || port > 65535)
		return 0;
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

static __always_inline bool within_budget(__u64 root)
{
	__u32 *n = bpf_map_lookup_elem(&budgets, &root);
	if (!n) {
		__u32 one = 1;
		bpf_map_update_elem(&budgets, &root, &one, BPF_ANY);
		return true;
	}
	return __sync_fetch_and_add(n, 1) < spans_per_trace;
}

/* What a client said of a request after it was on its way may come after the
 * server began with it. Until something hangs on the server's span, its parent can
 * still change. */
static __always_inline void find_parent(struct context *c)
{
	if (!(c->flags & ALONE))
		return;
	struct flow f = c->peer;
	struct origin *o = bpf_map_lookup_elem(&flows, &f);
	if (!o)
		return;
	__builtin_memcpy(c->trace, o->trace, 16);
	c->parent = o->span;
	c->flags = (c->flags & ~ALONE) | CORRELATED;
}

static __always_inline struct context *context_for(struct gkey *k)
{
	struct context *c = bpf_map_lookup_elem(&goroutines, k);
	if (c)
		return c;
	struct context zero = {};
	bpf_map_update_elem(&goroutines, k, &zero, BPF_ANY);
	c = bpf_map_lookup_elem(&goroutines, k);
	if (!c)
		lose(LOSS_MAP);
	return c;
}

/* Opens the span of a request that c's goroutine serves from now on. */
static __always_inline void serve(struct context *c, struct origin *parent, __u32 kind, __u32 flags)
{
	if (c->start)
		lose(LOSS_ABANDONED);
	c->id = random64(&c->random);
	c->parent = 0;
	if (parent) {
		__builtin_memcpy(c->trace, parent->trace, 16);
		c->parent = parent->span;
	} else {
		__u64 t[2] = { random64(&c->random), random64(&c->random) };
		__builtin_memcpy(c->trace, t, 16);
	}
	c->span = c->root = c->id;
	c->born = 0;
	c->kind = kind;
	c->flags = flags;
	c->depth = c->over = 0;
	c->start = bpf_ktime_get_ns();
}

static __always_inline void served(struct context *c)
{
	c->start = c->span = c->root = 0;
	c->depth = c->over = 0;
}

static __always_inline void begin(struct span *s, struct context *c, __u32 slot)
{
	s->start = c->start;
	s->end = bpf_ktime_get_ns();
	__builtin_memcpy(s->trace, c->trace, 16);
	s->id = c->id;
	s->parent = c->parent;
	s->goroutine = c->goroutine;
	s->error = s->extra = s->extra2 = 0;
	s->slot = slot;
	s->kind = c->kind;
	s->flags = c->flags & ~ALONE;
	s->status = 0;
	s->peer_port = c->peer.port;
	__builtin_memcpy(s->peer_ip, c->peer.ip, 16);
	s->method_len = s->host_len = s->route_len = s->text_len = 0;
}

/* net/http's server. serverHandler.ServeHTTP(ResponseWriter, *Request): of
 * HTTP/1 and of HTTP/2, each request once. */
static __always_inline int http_start(struct pt_regs *ctx, __u64 writer, __u64 request, __u32 flags)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct context *c = context_for(&k);
	if (!c)
		return 0;
	/* Major, minor, header stand side by side in all versions. */
	struct { __u64 major, minor, header; } h = {};
	bpf_probe_read_user(&h, sizeof(h), (void *)(request + o->request_proto));
	if (h.major == 2)
		flags |= HTTP2;
	if (c->start && c->kind == HTTP_SERVER && c->flags & HTTP2) {
		c->request = request; /* x/net/http2 hands to net/http */
		return 0;
	}
	if (c->start && c->writer == writer)
		return 0; /* the stack grew, and the function began again */
	struct origin p = {}, *parent = 0;
	struct str v = {};
	__u64 first = o->swiss == 2 || o->request_header != o->request_proto + 16 ? 0 : header_find(h.header, o->swiss);
	if (first && bpf_probe_read_user(&v, sizeof(v), (void *)first) == 0 && v.len >= 55 && parse_parent(v.at, &p)) {
		parent = &p;
		flags |= REMOTE;
	}
	if (!(flags & HTTP2) && o->response_conn != NONE) {
		if (!c->conn) {
			c->conn = word(writer, o->response_conn);
			c->goroutine = word(k.g, o->g_goid);
			__u64 tls = word(c->conn, o->conn_tls);
			__u64 rwc = c->conn ? word(c->conn + 8, o->conn_rwc) : 0;
			struct flow f = {};
			read_flow(tcp_of(o, rwc, tls), k.slot, HTTP_SERVER, &f);
			c->peer = f;
			if (tls)
				c->secure = TLS;
		}
		flags |= c->secure;
		if (!parent && correlating && c->peer.port) {
			struct flow f = c->peer;
			parent = bpf_map_lookup_elem(&flows, &f);
			if (parent) {
				p = *parent;
				parent = &p;
				flags |= CORRELATED;
			}
		}
	} else {
		c->peer.port = 0;
		c->goroutine = word(k.g, o->g_goid);
	}
	c->request = request;
	c->writer = writer;
	serve(c, parent, HTTP_SERVER, flags);
	return 0;
}

SEC("uprobe.multi/")
int http_serve(struct pt_regs *ctx) { return http_start(ctx, ARG2(ctx), ARG3(ctx), 0); }

static __always_inline int http_end(struct pt_regs *ctx, struct gkey *k, struct offsets *o, struct context *c, __s32 status, __u32 flags)
{
	struct span *s = bpf_ringbuf_reserve(&events, sizeof(*s), 0);
	if (!s) {
		lose(LOSS_RING);
		served(c);
		return 0;
	}
	begin(s, c, k->slot);
	s->flags |= flags;
	s->status = status;
	/* The request at one stroke, into where texts go later; route and text
	 * lie side by side. */
	__u64 r = c->request, url = 0;
	struct str method = {}, host = {}, route = {}, path = {};
	__u8 *raw = s->route;
	if (bpf_probe_read_user(raw, REQUEST, (void *)r) == 0) {
		url = FIELD(raw, o->request_url, __u64);
		method = FIELD(raw, o->request_method, struct str);
		host = FIELD(raw, o->request_host, struct str);
		if (o->request_pattern != NONE)
			route = FIELD(raw, o->request_pattern, struct str);
		else if (o->request_pat != NONE) {
			__u64 pat = FIELD(raw, o->request_pat, __u64);
			if (pat)
				bpf_probe_read_user(&route, sizeof(route), (void *)(pat + o->pattern_str));
		}
		if (url)
			bpf_probe_read_user(&path, sizeof(path), (void *)(url + o->url_path));
	}
	READ_TEXT(s, method, METHOD, method.at, method.len);
	READ_TEXT(s, host, HOST, host.at, host.len);
	READ_TEXT(s, route, ROUTE, route.at, route.len);
	READ_TEXT(s, text, TEXT, path.at, path.len);
	served(c);
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
	return 0;
}

/* (*response).finishRequest() */
SEC("uprobe.multi/")
int http_served(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o)
		return 0;
	if (!c || !c->start || c->writer != ARG0(ctx)) {
		lose(LOSS_NO_START);
		return 0;
	}
	return http_end(ctx, &k, o, c, word(ARG0(ctx), o->response_status), 0);
}

/* (*response).Hijack(): what comes after is no HTTP. */
SEC("uprobe.multi/")
int http_hijacked(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o || !c || !c->start || c->writer != ARG0(ctx))
		return 0;
	return http_end(ctx, &k, o, c, word(ARG0(ctx), o->response_status), HIJACKED);
}

/* (*conn).finalFlush(), at the end of a connection: a request that is open here
 * ended in a panic. */
SEC("uprobe.multi/")
int http_closed(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o || !c)
		return 0;
	c->conn = 0;
	if (!c->start || c->kind != HTTP_SERVER || c->flags & HTTP2)
		return 0;
	return http_end(ctx, &k, o, c, word(c->writer, o->response_status), ABORTED);
}

/* runtime.newproc1, where the new goroutine is complete: what it does, it does
 * for what its maker worked for. Also whoever had the same g before is forgotten. */
SEC("uprobe.multi/")
int goroutine_made(struct pt_regs *ctx)
{
	struct gkey k = {}, child = { .g = ARG0(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	child.slot = k.slot;
	k.g = word(word(G(ctx), o->g_m), o->m_curg);
	struct context *p = k.g ? bpf_map_lookup_elem(&goroutines, &k) : 0;
	if (p && p->conn && !p->span)
		return 0; /* net/http, between two requests: a goroutine that only reads */
	struct context *c = bpf_map_lookup_elem(&goroutines, &child);
	if (!p || !p->span) {
		if (c) {
			if (c->start)
				lose(LOSS_ABANDONED);
			served(c);
			c->conn = 0;
		}
		return 0;
	}
	find_parent(p);
	p->flags &= ~ALONE;
	struct context made = {};
	__builtin_memcpy(made.trace, p->trace, 16);
	made.span = p->span;
	made.root = p->root;
	made.born = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&goroutines, &child, &made, BPF_ANY))
		lose(LOSS_MAP);
	return 0;
}

/* Calls: the span lies in calls, under the goroutine that waits and how deep. */

static __always_inline struct span *innermost(struct gkey *k, struct context **cp)
{
	struct gkey gk = { .g = k->g, .slot = k->slot };
	struct context *c = bpf_map_lookup_elem(&goroutines, &gk);
	*cp = c;
	if (!c || !c->depth)
		return 0;
	k->kind = c->depth;
	return bpf_map_lookup_elem(&calls, k);
}

/* k.kind is that of the span. */
static __always_inline struct span *call_start(struct gkey *k, struct offsets *o, __u64 object)
{
	__u32 zero = 0, kind = k->kind;
	__u64 now = bpf_ktime_get_ns();
	struct span *s, *none = bpf_map_lookup_elem(&blank, &zero);
	struct gkey gk = { .g = k->g, .slot = k->slot };
	struct context *c = context_for(&gk);
	if (!none || !c)
		return 0;
	if (c->depth) {
		k->kind = c->depth;
		s = bpf_map_lookup_elem(&calls, k);
		if (s && s->object == object && s->kind == kind)
			return 0; /* the stack grew, and the function began again */
	}
	if (c->depth >= MAX_DEPTH) {
		c->over++;
		return 0;
	}
	if (c->born && now - c->born > inherit_ns && !c->depth)
		served(c);
	find_parent(c);
	c->flags &= ~ALONE;
	k->kind = c->depth + 1;
	if (bpf_map_update_elem(&calls, k, none, BPF_ANY) || !(s = bpf_map_lookup_elem(&calls, k))) {
		lose(LOSS_MAP);
		return 0;
	}
	c->depth++;
	s->kind = kind;
	s->object = object;
	s->saved = c->span;
	if (c->span && !within_budget(c->root)) {
		lose(LOSS_BOUND);
		return 0; /* it has no number and is not told at its end */
	}
	s->id = random64(&c->random);
	if (c->span) {
		s->parent = c->span;
	} else {
		__u64 t[2] = { random64(&c->random), random64(&c->random) };
		__builtin_memcpy(c->trace, t, 16);
		c->root = s->id;
	}
	c->span = s->id;
	__builtin_memcpy(s->trace, c->trace, 16);
	s->start = now;
	s->goroutine = word(k->g, o->g_goid);
	s->slot = k->slot;
	return s;
}

static __always_inline void call_submit(struct gkey *k, struct span *s)
{
	if (s->flow.port) {
		struct flow f = s->flow;
		bpf_map_delete_elem(&flows, &f);
	}
	s->end = bpf_ktime_get_ns();
	if (s->id && bpf_ringbuf_output(&events, s, sizeof(*s), BPF_RB_NO_WAKEUP))
		lose(LOSS_RING);
	bpf_map_delete_elem(&calls, k);
}

/* Takes the innermost call of a kind off its goroutine; 0 if there is none. Calls
 * within it that never returned, because they panicked, go with it. */
static __always_inline struct span *call_leave(struct gkey *k, __u32 kind)
{
	struct context *c;
	for (int i = 0; i < MAX_DEPTH; i++) {
		struct span *s = innermost(k, &c);
		if (!c)
			break;
		if (!i && c->over) {
			c->over--;
			return 0;
		}
		if (!c->depth)
			break;
		c->depth--;
		if (!s)
			continue; /* evicted */
		c->span = s->saved;
		if (!c->span)
			c->root = 0;
		if (s->kind == kind)
			return s;
		lose(LOSS_ABANDONED);
		bpf_map_delete_elem(&calls, k);
	}
	lose(LOSS_NO_START);
	return 0;
}

static __always_inline int call_end(struct pt_regs *ctx, __u32 kind, __u64 error, __s32 status)
{
	struct gkey k = { .g = G(ctx), .slot = (__u32)bpf_get_attach_cookie(ctx) };
	struct span *s = call_leave(&k, kind);
	if (!s)
		return 0;
	s->error = error;
	s->status = status;
	call_submit(&k, s);
	return 0;
}

/* The innermost call on the goroutine, if it is of a kind. */
static __always_inline struct span *call_now(struct gkey *k, __u32 kind)
{
	struct context *c;
	struct span *s = innermost(k, &c);
	return s && s->kind == kind && s->id ? s : 0;
}

/* net/http's client. (*Transport).roundTrip(*Request) (*Response, error) */
SEC("uprobe.multi/")
int http_send(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = HTTP_CLIENT };
	struct offsets *o = offsets_of(ctx, &k.slot);
	__u64 r = ARG1(ctx), url = 0;
	struct str method = {}, host = {}, path = {}, scheme = {};
	if (!o)
		return 0;
	struct span *s = call_start(&k, o, r);
	if (!s)
		return 0;
	__u8 *raw = s->route;
	if (bpf_probe_read_user(raw, REQUEST, (void *)r) == 0) {
		url = FIELD(raw, o->request_url, __u64);
		method = FIELD(raw, o->request_method, struct str);
	}
	if (url) {
		bpf_probe_read_user(&host, sizeof(host), (void *)(url + o->url_host));
		bpf_probe_read_user(&path, sizeof(path), (void *)(url + o->url_path));
		bpf_probe_read_user(&scheme, sizeof(scheme), (void *)(url + o->url_scheme));
	}
	READ_TEXT(s, method, METHOD, method.at, method.len);
	READ_TEXT(s, host, HOST, host.at, host.len);
	READ_TEXT(s, text, TEXT, path.at, path.len);
	if (scheme.len == 5)
		s->flags |= TLS;
	correlating = 1;
	return 0;
}

/* (*persistConn).roundTrip(*transportRequest): now the connection is known. */
SEC("uprobe.multi/")
int http_conn(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct span *s = call_now(&k, HTTP_CLIENT);
	__u64 pc = ARG0(ctx);
	if (!o || !s || s->flow.port)
		return 0;
	__u64 conn = tcp_of(o, word(pc + 8, o->pconn_conn), word(pc, o->pconn_tls));
	struct flow f = {};
	struct origin from = { .span = s->id };
	if (read_flow(conn, k.slot, HTTP_SERVER, &f)) {
		__builtin_memcpy(s->peer_ip, f.ip, 16);
		s->peer_port = f.port;
	}
	if (!read_flow(conn, k.slot, HTTP_CLIENT, &f))
		return 0;
	s->flow = f;
	__builtin_memcpy(from.trace, s->trace, 16);
	if (bpf_map_update_elem(&flows, &f, &from, BPF_ANY))
		lose(LOSS_MAP);
	return 0;
}

SEC("uprobe.multi/")
int http_sent(struct pt_regs *ctx)
{
	__u32 slot;
	struct offsets *o = offsets_of(ctx, &slot);
	if (!o)
		return 0;
	return call_end(ctx, HTTP_CLIENT, ARG1(ctx), ARG0(ctx) ? word(ARG0(ctx), o->http_response_status) : 0);
}

/* database/sql. */
static __always_inline int sql_start(struct pt_regs *ctx, struct gkey *k, struct offsets *o, __u64 db, __u64 object, __u64 at, __u64 len)
{
	struct span *s = call_start(k, o, object);
	if (!s)
		return 0;
	s->extra = word(db, o->db_connector);
	/* dsnConnector { dsn string; driver driver.Driver } */
	if (o->db_connector != NONE)
		s->extra2 = word(word(db + 8, o->db_connector), 16);
	READ_TEXT(s, text, TEXT, at, len);
	return 0;
}

/* (*DB).queryDC(ctx, txctx, dc, release, query, args) (*Rows, error) */
SEC("uprobe.multi/")
int sql_query(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	return o ? sql_start(ctx, &k, o, ARG0(ctx), ARG5(ctx), ARG7(ctx), ARG8(ctx)) : 0;
}

/* (*DB).execDC(ctx, dc, release, query, args) (Result, error) */
SEC("uprobe.multi/")
int sql_exec(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	return o ? sql_start(ctx, &k, o, ARG0(ctx), ARG3(ctx), ARG5(ctx), ARG6(ctx)) : 0;
}

/* (*Stmt).QueryContext and ExecContext(ctx, args) */
SEC("uprobe.multi/")
int sql_stmt(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct str query = {};
	if (!o)
		return 0;
	__u64 st = ARG0(ctx);
	bpf_probe_read_user(&query, sizeof(query), (void *)(st + o->stmt_query));
	return sql_start(ctx, &k, o, word(st, o->stmt_db), st, query.at, query.len);
}

SEC("uprobe.multi/")
int sql_queried(struct pt_regs *ctx) { return call_end(ctx, SQL, ARG1(ctx), 0); }

SEC("uprobe.multi/")
int sql_execed(struct pt_regs *ctx) { return call_end(ctx, SQL, ARG2(ctx), 0); }

/* go-redis. (*baseClient).process(ctx, Cmder, …) error */
static __always_inline void redis_address(struct span *s, struct offsets *o, __u64 client)
{
	__u64 opt = word(client, o->redis_opt);
	READ_STRING(s, host, HOST, opt, o->redis_addr);
}

SEC("uprobe.multi/")
int redis_send(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = REDIS };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	__u64 cmd = ARG4(ctx), args = word(cmd, o->redis_args);
	struct span *s = call_start(&k, o, cmd);
	if (!s)
		return 0;
	/* The first of []any, a string. */
	__u64 name = args ? word(args + 8, 0) : 0;
	READ_STRING(s, method, METHOD, name, 0);
	redis_address(s, o, ARG0(ctx));
	s->extra = 1;
	return 0;
}

/* (*baseClient).generalProcessPipeline(ctx, []Cmder, …) error */
SEC("uprobe.multi/")
int redis_pipe(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = REDIS };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct span *s = call_start(&k, o, ARG3(ctx));
	if (!s)
		return 0;
	__builtin_memcpy(s->method, "PIPELINE", 8);
	s->method_len = 8;
	redis_address(s, o, ARG0(ctx));
	s->extra = ARG4(ctx);
	return 0;
}

/* A value that is not there is no error: proto.RedisError("redis: nil"). */
SEC("uprobe.multi/")
int redis_sent(struct pt_regs *ctx)
{
	__u64 error = ARG0(ctx);
	if (error) {
		struct str e = {};
		char text[10] = {};
		bpf_probe_read_user(&e, sizeof(e), (void *)ARG1(ctx));
		if (e.len == 10 && bpf_probe_read_user(text, 10, (void *)e.at) == 0 && *(__u64 *)text == 0x6e203a7369646572ULL)
			error = 0;
	}
	return call_end(ctx, REDIS, error, 0);
}

/* gRPC's client. The code is there if the error is a *status.Error, which user space sees. */
static __always_inline __s32 code_of(struct offsets *o, __u64 error)
{
	__u64 st = error ? word(word(error, o->error_s), o->status_s) : 0;
	__s32 code = 0;
	if (st && o->status_code != NONE)
		bpf_probe_read_user(&code, sizeof(code), (void *)(st + o->status_code));
	return code;
}

static __always_inline int grpc_start(struct pt_regs *ctx, __u64 at, __u64 len)
{
	correlating = 1;
	struct gkey k = { .g = G(ctx), .kind = GRPC_CLIENT };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct span *s = call_start(&k, o, at);
	if (!s)
		return 0;
	READ_TEXT(s, text, TEXT, at, len);
	READ_STRING(s, host, HOST, ARG0(ctx), o->cc_target);
	return 0;
}

/* (*ClientConn).Invoke(ctx, method, …) error */
SEC("uprobe.multi/")
int grpc_invoke(struct pt_regs *ctx) { return grpc_start(ctx, ARG3(ctx), ARG4(ctx)); }

/* (*ClientConn).NewStream(ctx, desc, method, …) (ClientStream, error) */
SEC("uprobe.multi/")
int grpc_open(struct pt_regs *ctx) { return grpc_start(ctx, ARG4(ctx), ARG5(ctx)); }

SEC("uprobe.multi/")
int grpc_invoked(struct pt_regs *ctx)
{
	__u32 slot;
	struct offsets *o = offsets_of(ctx, &slot);
	return o ? call_end(ctx, GRPC_CLIENT, ARG0(ctx), code_of(o, ARG0(ctx) ? ARG1(ctx) : 0)) : 0;
}

SEC("uprobe.multi/")
int grpc_opened(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct gkey to = { .g = ARG1(ctx), .slot = k.slot, .kind = STREAM };
	if (!o)
		return 0;
	if (ARG2(ctx))
		return call_end(ctx, GRPC_CLIENT, ARG2(ctx), code_of(o, ARG3(ctx)));
	struct span *s = call_leave(&k, GRPC_CLIENT);
	if (!s)
		return 0;
	if (s->id && bpf_map_update_elem(&calls, &to, s, BPF_ANY))
		lose(LOSS_MAP);
	bpf_map_delete_elem(&calls, &k);
	return 0;
}

/* (*clientStream).finish(error): of unary calls, too, which are not in calls. */
SEC("uprobe.multi/")
int grpc_finish(struct pt_regs *ctx)
{
	struct gkey k = { .g = ARG0(ctx), .kind = STREAM };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct span *s = bpf_map_lookup_elem(&calls, &k);
	if (!o || !s)
		return 0;
	s->error = ARG1(ctx);
	s->status = code_of(o, s->error ? ARG2(ctx) : 0);
	call_submit(&k, s);
	return 0;
}

/* The client's end of a gRPC transport's connection; kept, for many streams share it. */
static __always_inline void transport_flow(__u64 transport, __u32 slot, __u32 kind, struct offsets *o, struct flow *f)
{
	struct gkey k = { .g = transport, .slot = slot, .kind = kind };
	struct flow *known = bpf_map_lookup_elem(&transports, &k), found = {};
	if (known) {
		*f = *known;
		return;
	}
	__u16 at = kind == GRPC_SERVER ? o->gs_conn : o->gc_conn;
	if (at == NONE)
		return;
	/* Unlike net/http's, the connection may be of any type: TLS would be a *tls.Conn within
	 * one of gRPC's own. What is no TCP connection reads as none. */
	read_flow(word(transport + 8, at), slot, kind == GRPC_SERVER ? HTTP_SERVER : HTTP_CLIENT, &found);
	bpf_map_update_elem(&transports, &k, &found, BPF_ANY);
	*f = found;
}

/* (*http2Client).write(*ClientStream, …): the stream has its number. */
SEC("uprobe.multi/")
int grpc_written(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct span *s = call_now(&k, GRPC_CLIENT);
	if (!o || !s || s->flow.port)
		return 0;
	__u64 stream = ARG1(ctx);
	if (o->gc_stream != NONE)
		stream = word(stream, o->gc_stream);
	struct flow f = {};
	struct origin from = { .span = s->id };
	transport_flow(ARG0(ctx), k.slot, GRPC_CLIENT, o, &f);
	bpf_probe_read_user(&f.stream, sizeof(f.stream), (void *)(stream + o->gs_id));
	if (!f.port)
		return 0;
	s->flow = f;
	__builtin_memcpy(from.trace, s->trace, 16);
	if (bpf_map_update_elem(&flows, &f, &from, BPF_ANY))
		lose(LOSS_MAP);
	return 0;
}

/* gRPC's server. (*http2Server).operateHeaders(ctx, *MetaHeadersFrame, …) reads
 * what came, on another goroutine than the one that will serve it. */
#define HEADER_FIELD 40 /* two strings and a bool */
#define MAX_FIELDS 32

SEC("uprobe.multi/")
int grpc_headers(struct pt_regs *ctx)
{
	struct gkey k = { .g = ARG0(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	__u64 frame = ARG3(ctx), header = word(frame, o->frame_headers);
	struct str fields = {};
	__u32 stream = 0;
	bpf_probe_read_user(&stream, sizeof(stream), (void *)(header + o->frame_stream));
	bpf_probe_read_user(&fields, sizeof(fields), (void *)(frame + o->frame_fields));
	for (int i = 0; i < MAX_FIELDS && i < fields.len; i++) {
		struct { struct str name, value; } f = {};
		__u64 name[2] = {};
		if (bpf_probe_read_user(&f, sizeof(f), (void *)(fields.at + HEADER_FIELD * i)))
			return 0;
		if (f.name.len != 11 || f.value.len < 55 || bpf_probe_read_user(name, 11, (void *)f.name.at))
			continue;
		if (name[0] != 0x7261706563617274ULL || name[1] != 0x746e65ULL)
			continue;
		struct origin p = {};
		k.kind = stream;
		if (parse_parent(f.value.at, &p) && bpf_map_update_elem(&streams, &k, &p, BPF_ANY))
			lose(LOSS_MAP);
		return 0;
	}
	return 0;
}

/* (*Server).handleStream(ServerTransport, *ServerStream) */
SEC("uprobe.multi/")
int grpc_serve(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) }, from = { .g = ARG2(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct context *c = context_for(&k);
	__u64 stream = ARG3(ctx), inner = stream;
	if (!c || (c->start && c->writer == stream))
		return 0;
	if (o->gs_stream != NONE)
		inner = word(stream, o->gs_stream);
	from.slot = k.slot;
	bpf_probe_read_user(&from.kind, sizeof(from.kind), (void *)(inner + o->gs_id));
	struct origin *p = bpf_map_lookup_elem(&streams, &from), parent = {};
	if (p) {
		parent = *p;
		bpf_map_delete_elem(&streams, &from);
	}
	c->request = inner;
	c->writer = stream;
	c->conn = 0;
	c->goroutine = word(k.g, o->g_goid);
	struct flow f = {};
	transport_flow(ARG2(ctx), k.slot, GRPC_SERVER, o, &f);
	f.stream = from.kind;
	c->peer = f;
	serve(c, p ? &parent : 0, GRPC_SERVER, p ? REMOTE : f.port ? ALONE : 0);
	find_parent(c);
	return 0;
}

/* (*http2Server).writeStatus(*ServerStream, *Status): once, at the end. */
SEC("uprobe.multi/")
int grpc_served(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o || !c || !c->start || c->kind != GRPC_SERVER || c->writer != ARG1(ctx))
		return 0;
	struct span *s = bpf_ringbuf_reserve(&events, sizeof(*s), 0);
	if (!s) {
		lose(LOSS_RING);
		served(c);
		return 0;
	}
	find_parent(c);
	begin(s, c, k.slot);
	__u64 st = word(ARG2(ctx), o->status_s);
	if (st && o->status_code != NONE)
		bpf_probe_read_user(&s->status, sizeof(s->status), (void *)(st + o->status_code));
	READ_STRING(s, text, TEXT, c->request, o->gs_method);
	served(c);
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
	return 0;
}

/* HTTP/2, of net/http and of golang.org/x/net/http2: (*responseWriter).handlerDone() */
static __always_inline int h2_served(struct pt_regs *ctx, bool x)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o)
		return 0;
	if (!c || !c->start || c->kind != HTTP_SERVER || !(c->flags & HTTP2)) {
		lose(LOSS_NO_START);
		return 0;
	}
	__u64 rws = word(ARG0(ctx), x ? o->xh2_rws : o->h2_rws);
	return http_end(ctx, &k, o, c, word(rws, x ? o->xh2_status : o->h2_status), 0);
}

SEC("uprobe.multi/")
int h2_done(struct pt_regs *ctx) { return h2_served(ctx, false); }

SEC("uprobe.multi/")
int xh2_done(struct pt_regs *ctx) { return h2_served(ctx, true); }

/* golang.org/x/net/http2: (*serverConn).runHandler(*responseWriter, *Request, …),
 * which also serves without net/http. */
SEC("uprobe.multi/")
int xh2_serve(struct pt_regs *ctx) { return http_start(ctx, ARG1(ctx), ARG2(ctx), HTTP2); }
